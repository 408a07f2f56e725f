//! The tables: what is expected of frames, and the proof of it.

use anyhow::Result;
use xdpfw_common::{
    abi::{Config, EdgeKey, FlowKey, LocalKey, Node, Side},
    flows::NoFlows,
    verdict,
    wire::{Frame, Header, Malformation, Transport, ethernet::Mac, ip::Addresses},
};

use crate::filter::{Filter, Programs};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Drop,
}

impl Verdict {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

/// What is claimed of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) reason: &'static str,
    /// For malformed packets: what is wrong.
    pub(crate) detail: Option<&'static str>,
    pub(crate) port: Option<&'static str>,
    pub(crate) rule: Option<&'static str>,
}

pub(crate) fn passes(reason: &'static str) -> Expected {
    Expected {
        verdict: Verdict::Pass,
        reason,
        detail: None,
        port: None,
        rule: None,
    }
}

pub(crate) fn drops(reason: &'static str) -> Expected {
    Expected {
        verdict: Verdict::Drop,
        ..passes(reason)
    }
}

/// The rule lets it pass.
pub(crate) fn allowed(rule: &'static str) -> Expected {
    Expected {
        rule: Some(rule),
        ..passes("rule")
    }
}

/// The rule drops it.
pub(crate) fn denied(rule: &'static str) -> Expected {
    Expected {
        rule: Some(rule),
        ..drops("rule")
    }
}

/// No rule matches, and the default drops what comes to this port.
pub(crate) fn closed(port: &'static str) -> Expected {
    drops("default").on(port)
}

/// It is dropped for what is wrong with it, in the word of
/// [`Malformation`](xdpfw_common::wire::Malformation).
pub(crate) fn malformed(detail: &'static str) -> Expected {
    Expected {
        detail: Some(detail),
        ..drops("malformed")
    }
}

impl Expected {
    /// The drop is counted at this port.
    pub(crate) fn on(self, port: &'static str) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }
}

/// Frames that all meet the same fate.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) expected: Expected,
}

pub(crate) fn case<F: Into<Vec<u8>>>(
    name: impl Into<String>,
    frames: impl IntoIterator<Item = F>,
    expected: Expected,
) -> Case {
    Case {
        name: name.into(),
        frames: frames.into_iter().map(Into::into).collect(),
        expected,
    }
}

/// Cases on one subject.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    /// Under each of these, the same becomes of the frames.
    pub(crate) policies: &'static [&'static str],
    pub(crate) programs: Programs,
    pub(crate) cases: Vec<Case>,
}

impl Section {
    /// Claims every case under every policy.
    pub(crate) fn prove(&self) -> Result<()> {
        for case in &self.cases {
            assert!(!case.frames.is_empty(), "{}: no frame", case.name);
            // The generation counts details nowhere, so the code that it is compiled
            // from is asked once more, here.
            if case.expected.detail.is_some() {
                for frame in &case.frames {
                    let outcome = match self.programs {
                        Programs::Ethernet | Programs::Jumbo => {
                            verdict::judge(&frame[..], &Nowhere)
                        }
                        Programs::Bare => verdict::judge(&Bare(frame), &Nowhere),
                    };
                    let detail = outcome.malformation().map(Malformation::as_str);
                    let name = &case.name;
                    assert_eq!(detail, case.expected.detail, "{name}: {frame:02x?}");
                }
            }
        }
        for policy in self.policies {
            let filter = Filter::with(policy, self.programs)?;
            filter.judge_all(&self.cases)?;
        }
        Ok(())
    }
}

/// Claims of a policy, line by line, what becomes of packets.
pub(crate) fn prove(policy: &str, cases: &[Case]) -> Result<()> {
    let filter = Filter::with(policy, Programs::Ethernet)?;
    filter.judge_all(cases)
}

/// A packet without a link-layer header.
struct Bare<'a>(&'a [u8]);

impl Frame for Bare<'_> {
    fn has_ethernet(&self) -> bool {
        false
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn read<T: Header>(&self, offset: usize) -> Option<&T> {
        self.0.read(offset)
    }
}

/// No host at all: what is malformed is so by itself, whatever the policy.
struct Nowhere;

impl verdict::Host for Nowhere {
    type Tables = Self;
    type Sockets = Self;
    type Memory = NoFlows;

    fn tables(&self) -> &Self {
        self
    }

    fn sockets(&self) -> &Self {
        self
    }

    fn memory(&self) -> &NoFlows {
        panic!("asked for flows")
    }

    fn interface(&self) -> u32 {
        panic!("asked for the interface")
    }
}

impl verdict::Tables for Nowhere {
    fn config(&self) -> &Config {
        panic!("asked for the policy")
    }

    fn is_closed(&self, transport: Transport, port: u16) -> bool {
        panic!("asked whether {transport} {port} is closed")
    }

    fn is_listed(&self, _: Side, transport: Transport, port: u16) -> bool {
        panic!("asked whether {transport} {port} is listed")
    }

    fn local(&self, key: LocalKey) -> Option<Node> {
        panic!("asked for {key:?}")
    }

    fn edge(&self, key: EdgeKey) -> Option<Node> {
        panic!("asked for {key:?}")
    }

    fn remote_port_class(&self, transport: Transport, port: u16) -> u32 {
        panic!("asked for the class of {transport} {port}")
    }

    fn interface_class(&self) -> Option<u32> {
        panic!("asked for the interface's class")
    }

    fn mac_class(&self, mac: &Mac) -> u32 {
        panic!("asked for the class of {mac:?}")
    }

    fn ends_ahead(&self) -> u32 {
        panic!("asked for the time")
    }

    fn address_class(&self, side: Side, _: &Addresses<'_>) -> u32 {
        panic!("asked for the class of the {side:?} address")
    }
}

impl verdict::Sockets for Nowhere {
    fn has_socket(&self, key: &FlowKey) -> bool {
        panic!("asked for a socket for {key:?}")
    }
}
