//! Proves what keeps unwelcome sources out.

mod bans;
mod cookies;
mod crowdsec;
mod detection;
mod events;
mod journal;
mod judge;
mod limits;
mod scan;
mod trusted;
