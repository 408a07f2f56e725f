//! The options that say more closely which packets a rule is for; shared by the commands
//! that take a rule's words.

use crate::policy::{What, WhatError, WhatText};

/// Which packets a rule is for, beside its words.
#[derive(Debug, clap::Args)]
pub(super) struct WhatOptions {
    /// Only for packets from these ports of the peer
    #[arg(long, value_name = "PORTS", num_args = 1..)]
    remote_port: Option<Vec<String>>,
    /// Only for packets from these addresses: `192.0.2.0/24`, `2001:db8::/32`
    #[arg(long, value_name = "PREFIX", num_args = 1..)]
    from: Option<Vec<String>>,
    /// Only for packets to these addresses
    #[arg(long, value_name = "PREFIX", num_args = 1..)]
    to: Option<Vec<String>>,
    /// Only for packets that come in by these interfaces
    #[arg(long, value_name = "IFACE", num_args = 1..)]
    on: Option<Vec<String>>,
}

impl WhatOptions {
    /// The rule of these words and options.
    pub(super) fn parse(&self, words: &[String]) -> Result<What, WhatError> {
        What::parse(&WhatText {
            words: words.iter().map(String::as_str).collect(),
            remote: strs(&self.remote_port),
            from: strs(&self.from),
            to: strs(&self.to),
            on: strs(&self.on),
        })
    }
}

fn strs(words: &Option<Vec<String>>) -> Option<Vec<&str>> {
    Some(words.as_ref()?.iter().map(String::as_str).collect())
}
