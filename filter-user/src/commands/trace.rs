//! `xdpfw trace`: show why each packet passed or was dropped.

use std::{net::SocketAddr, pin::pin, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};
use xdpfw_common::abi::{Event, ProtocolKind};

use super::{Context, Exit, require_root};
use crate::{
    datapath::{Generation, Record, follow_diagnostics},
    engine::{Engine, Facts, InForce, program_in_force},
    output::Printer,
};

/// How often to look whether the traced generation is still in force.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop after so many packets
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

/// Puts a traced flavour of the generation in force, shows what it reports, and
/// puts the plain one back.
///
/// # Errors
///
/// The filter is not up, or the kernel refuses.
pub fn run(args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before the first traced packet: whatever ends the command from here on
    // must also end the trace.
    let mut ends = {
        let _context = runtime.enter();
        Ends::watch()?
    };
    let generation = switch(true)?;
    printer.note("tracing slows the filter down; interrupt to stop");
    let result = runtime.block_on(show(args, &generation, &mut ends, printer));
    if program_in_force()? == Some(generation.program_id()) {
        switch(false)?;
    }
    result?;
    Ok(Exit::Done)
}

/// The signals that end the command: an interrupt, a polite kill, a session
/// that is gone.
struct Ends([Signal; 3]);

impl Ends {
    fn watch() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Puts the same policy in force, traced or not.
fn switch(traced: bool) -> Result<Generation> {
    let engine = Engine::exclusive()?;
    let live = engine.must_be_up()?;
    let policy = InForce(live.generation.record());
    let applied = engine
        .change(&policy)
        .facts(Facts::Kept)
        .traced(traced)
        .commit()?;
    Ok(applied
        .generation
        .unwrap_or_else(|| live.generation.clone()))
}

async fn show(
    args: &Args,
    generation: &Generation,
    ends: &mut Ends,
    printer: &mut Printer,
) -> Result<()> {
    let program = generation.program_id();
    let mut events = generation.events()?;
    let (lines, mut diagnostics) = unbounded_channel();
    let mut follower = pin!(follow_diagnostics(program, Lines(lines)));
    let mut look = tokio::time::interval(LOOK);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        tokio::select! {
            biased;
            () = ends.next() => break,
            result = &mut follower => return result,
            Some(line) = diagnostics.recv() => printer.detail(|| line),
            event = events.next() => {
                printer.line(&readable(&event?, generation.record())?)?;
                left -= 1;
            }
            _ = look.tick() => {
                if program_in_force()? != Some(program) {
                    printer.note("the policy changed, which ends the trace");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// An event as users read it: the verdict, why, and the packet.
fn readable(event: &Event, record: &Record) -> Result<String> {
    let reason = event.reason().context("an event without a reason")?;
    let mut text = format!("{} {reason}", reason.verdict());
    if let Some(malformation) = event.malformation() {
        text.push_str(&format!(": {}", malformation.as_str()));
    } else if let Some(packet) = describe(event, record) {
        text.push_str(&format!(": {packet}"));
    }
    Ok(text)
}

/// The packet: its addresses with their ports, or what stands in their place, and the rule
/// by its id. `None` where the filter did not get as far as knowing.
fn describe(event: &Event, record: &Record) -> Option<String> {
    let kind = event.kind()?;
    let word = kind.as_str();
    let (source, destination) = event.addresses()?;
    let local = event.local();
    let mut text = match kind {
        ProtocolKind::Tcp | ProtocolKind::Udp => {
            let source = SocketAddr::new(source, event.remote());
            let destination = SocketAddr::new(destination, local);
            format!("{word} {source} -> {destination}")
        }
        ProtocolKind::Icmp | ProtocolKind::Icmp6 => {
            format!("{word} type {local} {source} -> {destination}")
        }
        ProtocolKind::Other => format!("{word} {local} {source} -> {destination}"),
    };
    let rule = event.rule().and_then(|slot| {
        let index = record.slots.iter().position(|&other| other == slot)?;
        record.policy.rules.get(index)
    });
    if let Some(rule) = rule {
        text.push_str(&format!(" by {}", rule.id));
    }
    Some(text)
}

/// Where aya-log delivers the program's lines.
struct Lines(UnboundedSender<String>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nobody receives any more when the trace ends.
        drop(self.0.send(record.args().to_string()));
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use xdpfw_common::{Reason, abi::NO_RULE, wire::Malformation};

    use super::*;
    use crate::datapath::Clock;
    use crate::{
        compiler::Environment,
        policy::{Action, Match, MatchSpec, Policy, Rule, RuleId},
        ports::PortRange,
    };

    /// A policy of one rule, `r7`, that counts in slot 3.
    fn record() -> Record {
        Record {
            generation: 1,
            counting_since: Timestamp::UNIX_EPOCH,
            traced: true,
            frags: false,
            clock: Clock::of_tests(),
            origin: None,
            policy: Policy {
                rules: vec![Rule {
                    id: RuleId(7),
                    action: Action::Allow,
                    matches: Match::parse(&MatchSpec::of_words("https")).unwrap(),
                    comment: None,
                }],
                ..Policy::default()
            },
            environment: Environment {
                ephemeral: PortRange {
                    first: 32768,
                    last: 60999,
                },
                interfaces: Vec::new(),
            },
            slots: vec![3],
        }
    }

    /// A packet that nothing is known about.
    fn event(reason: Reason) -> Event {
        Event {
            slot: NO_RULE,
            reason: reason.slot() as u8,
            ..bytemuck::Zeroable::zeroed()
        }
    }

    fn packet(reason: Reason, kind: ProtocolKind, family: u8, [remote, local]: [u16; 2]) -> Event {
        let address = |last| match family {
            4 => std::net::Ipv4Addr::new(192, 0, 2, last)
                .to_ipv6_mapped()
                .octets(),
            _ => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).octets(),
        };
        Event {
            source: address(1),
            destination: address(2),
            remote: remote.to_be_bytes(),
            local: local.to_be_bytes(),
            kind: kind as u8,
            family,
            ..event(reason)
        }
    }

    #[test]
    fn an_event_is_a_line() {
        use ProtocolKind::{Icmp, Icmp6, Other, Tcp, Udp};
        let allowed = Event {
            slot: 3,
            ..packet(Reason::RuleAllow, Tcp, 4, [40_000, 443])
        };
        let malformed = Event {
            malformation: Malformation::Ipv4HeaderLength.code(),
            ..event(Reason::Malformed)
        };
        for (event, line) in [
            (
                allowed,
                "pass rule: tcp 192.0.2.1:40000 -> 192.0.2.2:443 by r7",
            ),
            (
                packet(Reason::DefaultDrop, Udp, 6, [40_000, 53]),
                "drop default: udp [2001:db8::1]:40000 -> [2001:db8::2]:53",
            ),
            (
                packet(Reason::DefaultDrop, Icmp, 4, [0, 8]),
                "drop default: icmp type 8 192.0.2.1 -> 192.0.2.2",
            ),
            (
                packet(Reason::NeighbourDiscovery, Icmp6, 6, [0, 135]),
                "pass neighbour-discovery: icmp6 type 135 2001:db8::1 -> 2001:db8::2",
            ),
            (
                packet(Reason::DefaultPass, Other, 4, [0, 47]),
                "pass default: proto 47 192.0.2.1 -> 192.0.2.2",
            ),
            (malformed, "drop malformed: ipv4-header-length"),
            (event(Reason::Arp), "pass arp"),
        ] {
            assert_eq!(readable(&event, &record()).unwrap(), line);
        }
    }

    #[test]
    fn a_slot_that_no_rule_counts_in_names_no_rule() {
        let event = Event {
            slot: 4,
            ..packet(Reason::RuleAllow, ProtocolKind::Tcp, 4, [40_000, 443])
        };
        assert_eq!(
            readable(&event, &record()).unwrap(),
            "pass rule: tcp 192.0.2.1:40000 -> 192.0.2.2:443"
        );
    }

    #[test]
    fn an_unknown_reason_is_an_error() {
        let event = Event {
            reason: u8::MAX,
            ..event(Reason::Arp)
        };
        assert!(readable(&event, &record()).is_err());
    }
}
