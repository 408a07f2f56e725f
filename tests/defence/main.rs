//! Proves what keeps unwelcome sources out.

mod bans;
mod crowdsec;
mod events;
mod journal;
mod trusted;
