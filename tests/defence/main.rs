//! Proves what keeps unwelcome sources out.

mod bans;
mod scan;
