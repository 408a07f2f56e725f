//! Proves what keeps unwelcome sources out.

mod bans;
mod detection;
mod judge;
mod scan;
