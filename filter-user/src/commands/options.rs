//! The options that say more closely which packets a rule is for; shared by the commands
//! that take a rule's words.

use anyhow::Result;

use crate::{
    exit::Failure,
    policy::{What, WhatText},
};

/// Which packets a rule is for, beside its words.
#[derive(Debug, clap::Args)]
pub(super) struct WhatOptions {
    /// Only for packets from these ports of the peer
    #[arg(long, value_name = "PORTS", num_args = 1..)]
    remote_port: Option<Vec<String>>,
    /// Only for packets from these addresses, as in `192.0.2.0/24` or `2001:db8::/32`
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
    /// Their ids, where one of them may stand for what is missing.
    pub(super) const IDS: [&str; 4] = ["remote_port", "from", "to", "on"];

    /// The rule of these words and options.
    ///
    /// # Errors
    ///
    /// They make none.
    pub(super) fn parse(&self, words: &[String]) -> Result<What> {
        let what = What::parse(&WhatText {
            words: strs(words),
            remote: self.remote_port.as_deref().map(strs),
            from: self.from.as_deref().map(strs),
            to: self.to.as_deref().map(strs),
            on: self.on.as_deref().map(strs),
        });
        Ok(what.map_err(Failure::usage)?)
    }

    /// The first option that was given, with its words.
    fn given(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        [
            ("--remote-port", &self.remote_port),
            ("--from", &self.from),
            ("--to", &self.to),
            ("--on", &self.on),
        ]
        .into_iter()
        .filter_map(|(option, words)| Some((option, words.as_deref()?)))
    }

    /// Refuses the options where only ids were given, or nothing at all.
    ///
    /// # Errors
    ///
    /// There are some.
    pub(super) fn refuse(&self) -> Result<()> {
        match self.given().next() {
            None => Ok(()),
            Some((option, _)) => {
                Err(Failure::usage(format!("an id needs no {option} (leave it out)")).into())
            }
        }
    }

    /// Why there are no words in front: an option takes every word behind it, also those
    /// that were meant for the rule.
    ///
    /// `verb` is what the words belong behind, and `is_said` knows them.
    pub(super) fn nothing_said(
        &self,
        verb: &str,
        is_said: impl Fn(&[String]) -> bool,
    ) -> anyhow::Error {
        for (option, words) in self.given() {
            // Longest first: `tcp any`, not `any`.
            let split = (1..words.len()).find(|&at| is_said(&words[at..]));
            if let Some(at) = split {
                let (own, said) = (words[..at].join(" "), words[at..].join(" "));
                return Failure::usage(format!(
                    "{option} takes `{said}` for its own (say `{verb} {said} {option} {own}`)"
                ))
                .into();
            }
        }
        Failure::usage("no words say what the rule is for (say for example `tcp 443` first)").into()
    }
}

/// Whether these words alone make a rule.
pub(super) fn is_rule(words: &[String]) -> bool {
    let text = WhatText {
        words: strs(words),
        ..WhatText::default()
    };
    What::parse(&text).is_ok()
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
