//! The result of a judgement: what the packet is, the verdict on it, and why.

use crate::{
    Reason, Transport,
    abi::{ACTION_DENY, NO_RULE, ProtocolKind},
    flows::{Carries, Conversation},
    wire::{Malformation, ip::Ip, tcp::Flags},
};

use super::rules::Decision;

/// The fields of a packet that rules see, beside its addresses and its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Its kind.
    pub kind: ProtocolKind,
    /// Offset of the IP header from the start of the frame.
    pub network: usize,
    /// This host's port, host byte order; without ports, the ICMP type or the
    /// protocol number.
    pub local: u16,
    /// The peer's port, host byte order; without ports, 0.
    pub remote: u16,
    /// The control bits of TCP; [`Flags::NONE`] of everything else.
    pub flags: Flags,
}

impl Fields {
    /// A packet that the filter knows nothing about.
    const NONE: Self = Self {
        kind: ProtocolKind::Other,
        network: 0,
        local: 0,
        remote: 0,
        flags: Flags::NONE,
    };
}

/// A TCP or UDP packet, as seen on ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The transport protocol.
    pub transport: Transport,
    /// Offset of the IP header from the start of the frame.
    pub network: usize,
    /// This host's port, host byte order.
    pub local: u16,
    /// The peer's port, host byte order.
    pub remote: u16,
    /// The control bits; [`Flags::NONE`] of UDP.
    pub flags: Flags,
}

impl Segment {
    /// The conversation it belongs to.
    #[inline(always)]
    pub(super) const fn conversation<'a>(&self, ip: &Ip<'a>) -> Conversation<'a> {
        Conversation {
            addresses: ip.addresses,
            protocol: self.transport.protocol(),
            remote: self.remote,
            local: self.local,
            carries: match self.transport {
                Transport::Tcp => Carries::Tcp,
                Transport::Udp => Carries::Udp,
            },
            flags: self.flags,
        }
    }
}

impl From<Segment> for Fields {
    #[inline(always)]
    fn from(segment: Segment) -> Self {
        Self {
            kind: segment.transport.into(),
            network: segment.network,
            local: segment.local,
            remote: segment.remote,
            flags: segment.flags,
        }
    }
}

/// The verdict, with all that is counted and reported about it.
///
/// Every field always has a value. If one were undefined where it means nothing, the
/// compiler would keep another value's register there, and the verifier would see
/// arithmetic on a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    reason: Reason,
    rule: u32,
    has_fields: bool,
    fields: Fields,
    malformation: Option<Malformation>,
}

impl Outcome {
    /// What becomes of a packet of which nothing is known.
    #[inline(always)]
    pub const fn of(reason: Reason) -> Self {
        Self {
            reason,
            rule: NO_RULE,
            has_fields: false,
            fields: Fields::NONE,
            malformation: None,
        }
    }

    #[inline(always)]
    pub(super) const fn malformed(malformation: Malformation) -> Self {
        Self {
            malformation: Some(malformation),
            ..Self::of(Reason::Malformed)
        }
    }

    #[inline(always)]
    pub(super) const fn decided(decision: Decision) -> Self {
        Self {
            rule: decision.slot,
            ..Self::of(if decision.action == ACTION_DENY {
                Reason::RuleDeny
            } else {
                Reason::RuleAllow
            })
        }
    }

    /// The pass of a packet that a rule lets in, or the default where there is none.
    #[inline(always)]
    pub(super) const fn passed(decision: Decision) -> Self {
        Self {
            rule: decision.slot,
            ..Self::of(if decision.is_some() {
                Reason::RuleAllow
            } else {
                Reason::DefaultPass
            })
        }
    }

    /// What becomes of a packet, for this reason, of which a rule says how it may pass.
    #[inline(always)]
    pub(super) const fn ruled(decision: Decision, reason: Reason) -> Self {
        Self {
            rule: decision.slot,
            ..Self::of(reason)
        }
    }

    /// The drop of a packet that a rule denies, or that none allows.
    #[inline(always)]
    pub(super) const fn dropped(decision: Decision) -> Self {
        Self {
            rule: decision.slot,
            ..Self::of(if decision.is_some() {
                Reason::RuleDeny
            } else {
                Reason::DefaultDrop
            })
        }
    }

    #[inline(always)]
    pub(super) fn with(self, fields: impl Into<Fields>) -> Self {
        Self {
            has_fields: true,
            fields: fields.into(),
            ..self
        }
    }

    /// Why; the verdict itself follows from it.
    #[inline(always)]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Slot of the rule that decided.
    #[inline(always)]
    pub const fn rule(&self) -> Option<u32> {
        if self.rule == NO_RULE {
            None
        } else {
            Some(self.rule)
        }
    }

    /// What the packet is, if the judgement got that far.
    #[inline(always)]
    pub const fn fields(&self) -> Option<&Fields> {
        if self.has_fields {
            Some(&self.fields)
        } else {
            None
        }
    }

    /// The local port, if the packet has one and the judgement got that far.
    #[inline(always)]
    pub const fn local_port(&self) -> Option<(Transport, u16)> {
        match (self.has_fields, self.fields.kind.transport()) {
            (true, Some(transport)) => Some((transport, self.fields.local)),
            _ => None,
        }
    }

    /// For [`Reason::Malformed`]: what is wrong.
    #[inline(always)]
    pub const fn malformation(&self) -> Option<Malformation> {
        self.malformation
    }
}
