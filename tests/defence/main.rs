//! Proves what keeps unwelcome sources out.

mod bans;
mod cookies;
mod limits;
