//! Proves what keeps unwelcome sources out.

mod bans;
mod cookie_options;
mod cookies;
mod cookies_measured;
mod crowdsec;
mod detection;
mod events;
mod journal;
mod judge;
mod limits;
mod lists;
mod lists_fetched;
mod lists_in_rules;
mod lists_large;
mod scan;
mod trusted;
mod web;
