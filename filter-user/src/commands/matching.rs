//! The options that restrict which packets a rule matches. Commands that take a rule's words
//! share them.

use anyhow::Result;

use super::{Failure, candidates::Values, ufw};
use crate::policy::{Match, MatchError, MatchSpec, Part};

/// Which packets a rule matches, beside its words.
#[derive(Debug, clap::Args)]
pub(super) struct MatchOptions {
    /// Only packets from these ports of the peer
    #[arg(long, value_name = "PORTS")]
    remote_port: Option<Vec<String>>,
    /// Only packets from these addresses, as in `192.0.2.0/24,2001:db8::/32`
    #[arg(long, value_name = "PREFIX,…")]
    from: Option<Vec<String>>,
    /// Only packets to these addresses
    #[arg(long, value_name = "PREFIX,…")]
    to: Option<Vec<String>>,
    /// Only packets that come in by these interfaces
    #[arg(long, value_name = "IFACE,…", add = Values::Interfaces.completer())]
    on: Option<Vec<String>>,
    /// Only packets from these MAC addresses, on the local link
    #[arg(long, value_name = "ADDR,…")]
    mac: Option<Vec<String>>,
}

impl MatchOptions {
    /// The rule of these words and options.
    ///
    /// # Errors
    ///
    /// They make none.
    pub(super) fn parse(&self, words: &[String]) -> Result<Match> {
        let read = ufw::read(words).map_err(Failure::usage)?;
        let is_ufws = read.is_some();
        let said = read.unwrap_or_else(|| ufw::Said {
            words: words.to_vec(),
            ..ufw::Said::default()
        });
        for (word, option, in_words) in [
            ("from", &self.from, &said.from),
            ("to", &self.to, &said.to),
            ("on", &self.on, &said.on),
            ("remote-port", &self.remote_port, &said.remote),
        ] {
            if option.is_some() && in_words.is_some() {
                return Err(Failure::usage(ufw::said_twice(word)).into());
            }
        }
        let remote = self.remote_port.clone().or(said.remote);
        let from = self.from.clone().or(said.from);
        let to = self.to.clone().or(said.to);
        let on = self.on.clone().or(said.on);
        let matching = Match::parse(&MatchSpec {
            words: strs(&said.words),
            remote: remote.as_deref().map(strs),
            from: from.as_deref().map(strs),
            to: to.as_deref().map(strs),
            on: on.as_deref().map(strs),
            mac: self.mac.as_deref().map(strs),
        });
        let stray = |error: &MatchError| match error.part {
            Part::Words if !is_ufws => words.iter().find(|word| ufw::is_address(word)),
            _ => None,
        };
        Ok(matching.map_err(|error| match stray(&error) {
            Some(word) => Failure::usage(format!(
                "`{word}` is an address among the rule's words (lists are comma-separated, as in \
                 `--from A,B`)"
            )),
            None => Failure::usage(error),
        })?)
    }

    /// Refuses the options beside what takes none.
    ///
    /// # Errors
    ///
    /// There are some.
    pub(super) fn refuse(&self, beside: &str) -> Result<()> {
        let options = [
            ("--remote-port", &self.remote_port),
            ("--from", &self.from),
            ("--to", &self.to),
            ("--on", &self.on),
            ("--mac", &self.mac),
        ];
        match options.into_iter().find(|(_, words)| words.is_some()) {
            None => Ok(()),
            Some((option, _)) => {
                Err(Failure::usage(format!("{beside} needs no {option} (leave it out)")).into())
            }
        }
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
