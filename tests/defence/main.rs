//! Proves what keeps unwelcome sources out.

mod bans;
mod events;
mod journal;
mod trusted;
