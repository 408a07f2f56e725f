//! Proves what keeps unwelcome sources out.

mod bans;
mod lists;
mod lists_fetched;
mod lists_in_rules;
mod lists_large;
mod web;
