//! Feeds the shared packet logic whatever bytes lead into new parts of it, and
//! holds its answer against the reference model's.
//!
//! The first two bytes of an input set the knobs, see [`Knobs`]; the frame follows.

#![cfg_attr(feature = "run", no_main)]

mod host;

use std::net::{Ipv4Addr, Ipv6Addr};

use xdpfw_common::verdict;
use xdpfw_model::{
    Action, Arrival, Conversation, Kind, Known, Opinion, Past, Policy, Prefix, Replies, Rule,
    Transport, Verdict, What,
};

use crate::host::{Bytes, Simple};

/// What the first two bytes of an input say.
struct Knobs {
    policy: Policy,
    has_socket: bool,
    has_ethernet: bool,
    known: Known,
    is_long: bool,
}

impl From<[u8; 2]> for Knobs {
    fn from(bytes: [u8; 2]) -> Self {
        let word = u16::from_le_bytes(bytes);
        let bit = |index: u16| word >> index & 1 == 1;
        let action = if bit(8) { Action::Deny } else { Action::Allow };
        Self {
            policy: Policy {
                default_pass: bit(0),
                fragments_pass: bit(1),
                dhcp_client: bit(2),
                non_ip_pass: !bit(13),
                replies: match word >> 3 & 3 {
                    0 => Replies::Off,
                    1 => Replies::Sockets,
                    _ => Replies::Flows,
                },
                icmp_errors_pass: bit(9),
                rules: if bit(7) {
                    vec![rule(action, bit(14))]
                } else {
                    Vec::new()
                },
                ..Policy::empty()
            },
            has_socket: bit(5),
            has_ethernet: !bit(6),
            known: match word >> 10 & 3 {
                0 => Known::Nothing,
                1 => Known::Sent,
                2 => Known::PickedUp,
                _ => Known::Opened,
            },
            is_long: bit(12),
        }
    }
}

/// A rule that asks where packets come from, on the link or before.
fn rule(action: Action, on_link: bool) -> Rule {
    let v4 = Ipv4Addr::new(10, 0, 0, 0);
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
    Rule {
        id: "r1".to_owned(),
        action,
        what: What::Any,
        remote: None,
        from: match on_link {
            true => Vec::new(),
            false => vec![
                Prefix {
                    address: v4.into(),
                    len: 8,
                },
                Prefix {
                    address: v6.into(),
                    len: 32,
                },
            ],
        },
        to: Vec::new(),
        on: Vec::new(),
        mac: match on_link {
            true => vec![[2, 0, 10, 0, 0, 2]],
            false => Vec::new(),
        },
        until: None,
    }
}

/// As much is known of every conversation; what is picked up is TCP, and no bare SYN.
struct Everything(Known);

impl Past for Everything {
    fn known(&self, conversation: &Conversation) -> Known {
        match (self.0, conversation.kind) {
            (Known::PickedUp, Kind::Tcp { flags, .. }) if !flags.open() => Known::PickedUp,
            (Known::PickedUp, _) => Known::Sent,
            (known, _) => known,
        }
    }
}

/// Claims that both are of one mind about an input.
fn compare(input: &[u8]) {
    let Some((&knobs, bytes)) = input.split_first_chunk::<2>() else {
        return;
    };
    let Knobs {
        policy,
        has_socket,
        has_ethernet,
        known,
        is_long,
    } = knobs.into();
    // Longer than any datagram, which the fuzzer would not come upon.
    let long = [bytes, &[0; 1 << 16]].concat();
    let bytes = if is_long { &long } else { bytes };
    let arrival = Arrival {
        frame: bytes,
        has_ethernet,
        interface: "eth0",
        has_socket,
        at: 0,
        past: &Everything(known),
    };
    let opinion = xdpfw_model::judge(&policy, &arrival);
    let frame = Bytes {
        bytes,
        has_ethernet,
    };
    let outcome = verdict::judge(&frame, &Simple::new(&policy, has_socket, known));
    read(&frame, &outcome);
    let answer = Opinion {
        verdict: match outcome.reason().verdict() {
            xdpfw_common::Verdict::Pass => Verdict::Pass,
            xdpfw_common::Verdict::Drop => Verdict::Drop,
            xdpfw_common::Verdict::Answer => unreachable!("no rule of these has SYN cookies"),
        },
        reason: outcome.reason().as_str(),
        rule: outcome.rule().map(|slot| slot as usize),
        port: outcome.local_port().map(|(transport, port)| {
            let transport = match transport {
                xdpfw_common::Transport::Tcp => Transport::Tcp,
                xdpfw_common::Transport::Udp => Transport::Udp,
            };
            (transport, port)
        }),
    };
    assert_eq!(
        answer,
        opinion,
        "the packet logic and the model about {:?} under\n{}",
        arrival.packet(),
        policy.to_toml()
    );
}

/// Claims that what a frame is does not depend on what becomes of it.
fn read(frame: &Bytes<'_>, outcome: &verdict::Outcome) {
    let read = verdict::read(frame);
    assert_eq!(read.malformation(), outcome.malformation());
    assert_eq!(read.fields(), outcome.fields());
}

#[cfg(feature = "run")]
libfuzzer_sys::fuzz_target!(|input: &[u8]| compare(input));

/// Stands in for the fuzzer's.
#[cfg(not(feature = "run"))]
fn main() {
    compare(&[]);
}
