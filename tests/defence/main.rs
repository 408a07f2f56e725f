//! Proves what keeps unwelcome sources out.

mod bans;
mod journal;
mod trusted;
