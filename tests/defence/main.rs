//! Proves what keeps unwelcome sources out.

mod bans;
mod cookies;
mod crowdsec;
mod events;
mod journal;
mod limits;
mod trusted;
