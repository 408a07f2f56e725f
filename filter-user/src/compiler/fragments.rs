//! Asks the rules about later fragments, of which neither ports nor ICMP types are known.

use std::collections::HashSet;

use xdpfw_common::abi::ProtocolKind;

use super::{
    Resolved, TooComplex,
    builder::Builder,
    diagram::Candidate,
    dimension::{ANY_FAMILY, V4, V6},
};
use crate::policy::{Action, Protocol, Until};

/// Whether a fragment that meets all other conditions of a rule carries what the rule is for.
enum Carries {
    No,
    Perhaps,
    Yes,
}

impl Carries {
    const fn if_known(is_known: bool) -> Self {
        if is_known { Self::Yes } else { Self::Perhaps }
    }
}

impl Builder<'_> {
    /// Adds the nodes for later fragments.
    pub(super) fn add_fragments(&mut self) -> Result<(), TooComplex> {
        for kind in ProtocolKind::ALL {
            let families = match kind {
                ProtocolKind::Tcp | ProtocolKind::Udp => ANY_FAMILY,
                ProtocolKind::Icmp => V4,
                // Only IPv6 hides the protocol of a fragment.
                ProtocolKind::Icmp6 | ProtocolKind::Other => V6,
            };
            let rules = self.candidates(kind);
            // No node asks for ports, so the transport makes no difference.
            self.tables.config.fragments[kind as usize] = self.diagram.node(rules, 0, families)?;
        }
        Ok(())
    }

    /// The rules that fragments of a kind may match, up to the first that decides; without
    /// those that make no difference.
    fn candidates(&self, kind: ProtocolKind) -> Vec<Candidate> {
        let mut found = Vec::new();
        let mut known = HashSet::new();
        for (index, rule) in (0_u32..).zip(self.rules) {
            match carries(rule, kind) {
                Carries::No => {}
                Carries::Yes => {
                    found.push(Candidate::sure(index));
                    if self.diagram.decides(index) {
                        break;
                    }
                }
                Carries::Perhaps => {
                    // Of several that differ in their ports alone, the first is enough: a
                    // policy may have thousands.
                    let matching = &rule.rule.matches;
                    let until = rule.rule.until.as_ref().map(Until::timestamp);
                    let where_from = (&matching.on, &matching.mac, &matching.from, &matching.to);
                    if known.insert((rule.rule.action, where_from, until)) {
                        found.push(Candidate::perhaps(index));
                    }
                    let anywhere = (&Vec::new(), &Vec::new(), &Vec::new(), &Vec::new());
                    let is_open = |action| known.contains(&(action, anywhere, None));
                    if is_open(Action::Allow) && is_open(Action::Deny) {
                        // Whatever follows is in doubt.
                        break;
                    }
                }
            }
        }
        // None decides but a sure one.
        let end = found.iter().rposition(|rule| rule.is_sure());
        found.truncate(end.map_or(0, |last| last + 1));
        found
    }
}

/// Whether fragments of a kind carry what a rule is for. [`ProtocolKind::Other`] stands for
/// those over IPv6 whose protocol is not known.
fn carries(rule: &Resolved<'_>, kind: ProtocolKind) -> Carries {
    let matching = &rule.rule.matches;
    match (matching.protocol, kind) {
        (Protocol::Any, _) => Carries::Yes,
        (Protocol::Icmp, ProtocolKind::Icmp) | (Protocol::Icmp6, ProtocolKind::Icmp6) => {
            Carries::if_known((0..=u8::MAX).all(|message| matching.types.contains(message)))
        }
        (Protocol::Icmp, ProtocolKind::Other) => Carries::No,
        (_, ProtocolKind::Other) => Carries::Perhaps,
        (protocol, kind) => match kind.transport() {
            Some(transport) if protocol.includes(transport) => {
                Carries::if_known(rule.local.is_any() && rule.remote.is_any())
            }
            _ => Carries::No,
        },
    }
}
