//! Which packets `log` and `trace` show. The program leaves out what is not wanted, so that a flood of
//! it takes no room from what is; only several prefixes are looked through here.

use anyhow::{Context as _, Result};
use clap::{ValueEnum, builder::PossibleValuesParser};
use ipnet::IpNet;
use xdpfw_common::{
    Reason, Verdict,
    abi::{Event, NO_RULE, NOTICES, WANTS_HEAD, Wanted, threshold},
};

use super::super::{Exit, Failure};
use crate::{
    datapath::Record,
    policy::{RuleId, parse_prefixes},
};

/// Which packets to show: those to which all of it applies.
#[derive(Debug, clap::Args)]
pub struct FilterArgs {
    /// Only packets that passed, or that were dropped [default: `log` drop, `trace` any]
    #[arg(long, value_enum)]
    verdict: Option<VerdictArg>,
    /// Only packets that passed or were dropped for this reason
    #[arg(long, value_name = "REASON", value_parser = reasons(), hide_possible_values = true)]
    reason: Option<String>,
    /// Only packets that this rule decided
    #[arg(long, value_name = "ID", value_parser = str::parse::<RuleId>)]
    rule: Option<RuleId>,
    /// Only packets to this port of this host, over TCP or UDP
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Only packets from these addresses
    #[arg(long, value_name = "PREFIX")]
    from: Option<String>,
    /// Only one of so many of these packets, at random
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
}

/// Which verdicts to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum VerdictArg {
    /// What was dropped
    Drop,
    /// What passed
    Pass,
    /// All packets
    Any,
}

/// The words for reasons.
fn reasons() -> PossibleValuesParser {
    let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    PossibleValuesParser::new(words)
}

/// The arguments, read.
#[derive(Debug)]
pub(super) struct Filter {
    /// Bits of the reasons, by their slots.
    reasons: u32,
    /// Whether to show what came of packets besides.
    notices: bool,
    rule: Option<RuleId>,
    port: Option<u16>,
    from: Vec<IpNet>,
    sample: u32,
}

impl Filter {
    /// # Errors
    ///
    /// A prefix is none, or no packet can be meant.
    pub(super) fn of(args: &FilterArgs, default: VerdictArg) -> Result<Self> {
        let from = match &args.from {
            Some(text) => {
                parse_prefixes(&[text]).map_err(|(_, message)| Failure::usage(message))?
            }
            None => Vec::new(),
        };
        let of_reason = || {
            // Whoever asks for a reason wants its packets, whatever became of them.
            args.reason.as_ref().map(|_| VerdictArg::Any)
        };
        let verdict = match args.verdict.or_else(of_reason).unwrap_or(default) {
            VerdictArg::Any => None,
            VerdictArg::Drop => Some(Verdict::Drop),
            VerdictArg::Pass => Some(Verdict::Pass),
        };
        let is_meant = |reason: &&Reason| {
            let word = args.reason.as_deref();
            verdict.is_none_or(|verdict| reason.verdict() == verdict)
                && word.is_none_or(|word| reason.as_str() == word)
        };
        let bits = Reason::ALL.iter().filter(is_meant);
        let reasons = bits.fold(0, |bits, reason| bits | 1 << reason.slot());
        if reasons == 0 {
            // One of both is set, or there were reasons.
            let word = args.reason.as_deref().unwrap_or_default();
            let message = format!("`{word}` packets never have this verdict (leave out --verdict)");
            return Err(Failure::usage(message).into());
        }
        let is_of_packets = args.reason.is_some() || args.rule.is_some() || args.port.is_some();
        Ok(Self {
            reasons,
            // They are about sources, whose last packet was dropped.
            notices: !is_of_packets && verdict != Some(Verdict::Pass),
            rule: args.rule,
            port: args.port,
            from,
            sample: args.sample.unwrap_or(1),
        })
    }

    /// What the program of a generation with this record is to report: what is shown, and with
    /// several prefixes perhaps more; with these [`Wanted::flags`].
    ///
    /// # Errors
    ///
    /// There is no such rule in force.
    pub(super) fn wanted(&self, record: &Record, flags: u16) -> Result<Wanted> {
        let slot = match self.rule {
            Some(id) => slot_of(id, record).with_context(|| no_rule(id))?,
            None => NO_RULE,
        };
        let (source, mask) = covering(&self.from);
        let has_room = flags & WANTS_HEAD == 0;
        let notices = u32::from(self.notices && has_room) << NOTICES;
        Ok(Wanted {
            reasons: self.reasons | notices,
            slot,
            source: source.to_be_bytes(),
            mask: mask.to_be_bytes(),
            threshold: threshold(self.sample),
            port: self.port.unwrap_or_default().to_be_bytes(),
            flags,
        })
    }

    /// Whether to show what the program of a generation with this record reports. It may not know
    /// yet what is asked for.
    pub(super) fn shows(&self, event: &Event, record: &Record) -> bool {
        let by_rule = |id| event.rule().is_some() && event.rule() == slot_of(id, record);
        if !self.rule.is_none_or(by_rule) {
            return false;
        }
        let addresses = event.addresses();
        let is_from = |net: &IpNet| addresses.is_some_and(|(source, _)| net.contains(&source));
        self.from.is_empty() || self.from.iter().any(is_from)
    }
}

impl Filter {
    /// Whether a ban of a prefix is about packets that are shown.
    pub(super) fn shows_ban(&self, prefix: &IpNet) -> bool {
        let is_near = |net: &IpNet| net.contains(prefix) || prefix.contains(net);
        self.reasons & 1 << Reason::Ban.slot() != 0
            && self.rule.is_none()
            && (self.from.is_empty() || self.from.iter().any(is_near))
    }
}

/// Where a rule is counted.
fn slot_of(id: RuleId, record: &Record) -> Option<u32> {
    let mut rules = record.policy.rules.iter();
    let index = rules.position(|rule| rule.id == id)?;
    record.slots.get(index).copied()
}

fn no_rule(id: RuleId) -> Failure {
    let message = format!("{id}: no such rule is in force (see `xdpfw list`)");
    Failure::new(Exit::Failed, message)
}

/// The longest prefix that covers all of these, as bits and mask of an IPv6 address that IPv4
/// is mapped into. Without any, it covers everything.
fn covering(prefixes: &[IpNet]) -> (u128, u128) {
    let mapped = |net: &IpNet| match net {
        IpNet::V4(net) => {
            let bits = u128::from(net.network().to_ipv6_mapped());
            (bits, 96 + u32::from(net.prefix_len()))
        }
        IpNet::V6(net) => (u128::from(net.network()), u32::from(net.prefix_len())),
    };
    let common = |(a, a_len): (u128, u32), (b, b_len): (u128, u32)| {
        (a, a_len.min(b_len).min((a ^ b).leading_zeros()))
    };
    let (bits, len) = prefixes.iter().map(mapped).reduce(common).unwrap_or((0, 0));
    let mask = u128::MAX.checked_shl(u128::BITS - len).unwrap_or(0);
    (bits & mask, mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(prefixes: &[&str]) -> String {
        let nets: Vec<IpNet> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        let (bits, mask) = covering(&nets);
        assert_eq!(bits & !mask, 0);
        format!("{}/{}", std::net::Ipv6Addr::from(bits), mask.leading_ones())
    }

    #[test]
    fn prefixes_are_covered_as_closely_as_one_can() {
        for (prefixes, expected) in [
            (&[][..], "::/0"),
            (&["192.0.2.1/32"], "::ffff:192.0.2.1/128"),
            (&["192.0.2.0/24"], "::ffff:192.0.2.0/120"),
            (&["0.0.0.0/0"], "::ffff:0.0.0.0/96"),
            (&["10.0.0.0/24", "10.0.1.0/24"], "::ffff:10.0.0.0/119"),
            (&["10.0.0.0/8", "10.0.1.0/24"], "::ffff:10.0.0.0/104"),
            (&["2001:db8::/32"], "2001:db8::/32"),
            (&["2001:db8::/32", "192.0.2.0/24"], "::/2"),
            (&["::/0"], "::/0"),
        ] {
            assert_eq!(cover(prefixes), expected, "{prefixes:?}");
        }
    }
}
