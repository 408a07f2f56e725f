//! Feeds the shared packet logic whatever bytes lead into new parts of it, and
//! holds its answer against the reference model's.
//!
//! The first byte of an input sets the knobs, see [`Knobs`]; the frame follows.

#![cfg_attr(feature = "run", no_main)]

mod host;

use std::net::{Ipv4Addr, Ipv6Addr};

use xdpfw_common::verdict;
use xdpfw_model::{
    Action, Arrival, Opinion, Policy, Prefix, Rule, Transport, UdpReplies, Verdict, What,
};

use crate::host::{Bytes, Simple};

/// What the first byte of an input says.
struct Knobs {
    policy: Policy,
    has_socket: bool,
    has_ethernet: bool,
}

impl From<u8> for Knobs {
    fn from(byte: u8) -> Self {
        let bit = |index: u8| byte >> index & 1 == 1;
        Self {
            policy: Policy {
                default_pass: bit(0),
                fragments_pass: bit(1),
                dhcp_client: bit(2),
                udp_replies: match byte >> 3 & 3 {
                    0 => UdpReplies::Off,
                    1 => UdpReplies::Bound,
                    _ => UdpReplies::Connected,
                },
                rules: if bit(7) { vec![rule()] } else { Vec::new() },
                ..Policy::empty()
            },
            has_socket: bit(5),
            has_ethernet: !bit(6),
        }
    }
}

/// A rule that asks where packets come from.
fn rule() -> Rule {
    let v4 = Ipv4Addr::new(10, 0, 0, 0);
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
    Rule {
        id: "r1".to_owned(),
        action: Action::Allow,
        what: What::Any,
        remote: None,
        from: vec![
            Prefix {
                address: v4.into(),
                len: 8,
            },
            Prefix {
                address: v6.into(),
                len: 32,
            },
        ],
        to: Vec::new(),
        on: Vec::new(),
    }
}

/// Claims that both are of one mind about an input.
fn compare(input: &[u8]) {
    let Some((&knobs, bytes)) = input.split_first() else {
        return;
    };
    let Knobs {
        policy,
        has_socket,
        has_ethernet,
    } = knobs.into();
    let arrival = Arrival {
        frame: bytes,
        has_ethernet,
        interface: "eth0",
        has_socket,
    };
    let opinion = xdpfw_model::judge(&policy, &arrival);
    let frame = Bytes {
        bytes,
        has_ethernet,
    };
    let outcome = verdict::judge(&frame, &Simple::new(&policy, has_socket));
    let answer = Opinion {
        verdict: match outcome.reason().verdict() {
            xdpfw_common::Verdict::Pass => Verdict::Pass,
            xdpfw_common::Verdict::Drop => Verdict::Drop,
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

#[cfg(feature = "run")]
libfuzzer_sys::fuzz_target!(|input: &[u8]| compare(input));

/// Stands in for the fuzzer's.
#[cfg(not(feature = "run"))]
fn main() {
    compare(&[]);
}
