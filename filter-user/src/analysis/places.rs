//! Finds rules for interfaces where no packet is judged, and says where they are judged instead.

use super::Warning;
use crate::{
    netlink::{Interface, Mode, carriers, with_all_below},
    policy::{Policy, Protocol, Rule},
};

/// An interface that rules may name in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its packets are judged at these filtered interfaces, above or below it, whose name they
    /// have for rules.
    Elsewhere {
        /// Those interfaces.
        instead: Vec<String>,
        /// Whether it may be filtered, too.
        may_join: bool,
    },
    /// It has nothing to do with what is filtered, or does not exist.
    Foreign,
}

/// The interfaces that rules name in vain under a policy, each with the first rule that does.
/// `known` are all interfaces of the host.
pub fn in_vain<'a>(
    policy: &Policy,
    rules: impl IntoIterator<Item = &'a Rule>,
    known: &[Interface],
) -> Vec<(String, &'a Rule, Place)> {
    let mut found: Vec<(String, &Rule, Place)> = Vec::new();
    if policy.interfaces.is_empty() {
        // Rules are often written before the first `up`.
        return found;
    }
    for rule in rules {
        for name in &rule.matches.on {
            if found.iter().all(|(seen, ..)| seen != name)
                && let Some(place) = place_of(name, policy, known)
            {
                found.push((name.clone(), rule, place));
            }
        }
    }
    found
}

/// The same as warnings.
pub fn misplaced<'a>(
    policy: &Policy,
    rules: impl IntoIterator<Item = &'a Rule>,
    known: &[Interface],
) -> Vec<Warning> {
    let found = in_vain(policy, rules, known).into_iter();
    let warnings = found.map(|(interface, rule, place)| match place {
        Place::Elsewhere { instead, .. } => Warning::JudgedElsewhere {
            interface,
            rule: rule.id,
            instead,
        },
        Place::Foreign => Warning::ForeignInterface {
            interface,
            rule: rule.id,
            interfaces: policy.interfaces.words().to_vec(),
        },
    });
    warnings.collect()
}

/// The rules that let IPsec in, where what it carries is not judged: under native XDP, the kernel
/// opens it behind the filter, and it never comes by there again.
pub fn unjudged_esp<'a>(
    policy: &Policy,
    rules: impl IntoIterator<Item = &'a Rule>,
    known: &[Interface],
) -> Option<Warning> {
    /// `IPPROTO_ESP`.
    const ESP: Protocol = Protocol::Other(50);
    let mut filtered = known
        .iter()
        .filter(|one| policy.interfaces.contains(&one.name));
    let native = filtered.find(|one| matches!(one.xdp, Some((_, Mode::Native))))?;
    let mut rules = rules.into_iter();
    let rule = rules.find(|rule| rule.action.lets_in() && rule.matches.protocol == ESP)?;
    Some(Warning::UnjudgedEsp {
        rule: rule.id,
        interface: native.name.clone(),
    })
}

fn place_of(name: &str, policy: &Policy, known: &[Interface]) -> Option<Place> {
    if policy.interfaces.contains(name) {
        return None;
    }
    let Some(named) = known.iter().find(|one| one.name == *name) else {
        return Some(Place::Foreign);
    };
    let filtered: Vec<&Interface> = known
        .iter()
        .filter(|one| policy.interfaces.contains(&one.name))
        .collect();
    let own = carriers(named.index, known);
    let is_carried = filtered.iter().any(|one| {
        let in_driver = !matches!(one.xdp, Some((_, Mode::Generic)));
        own.contains(&one.index) || in_driver && carriers(one.index, known).contains(&named.index)
    });
    if is_carried {
        return None;
    }
    let above = filtered.iter().any(|one| stands_on(named, one, known));
    let related = |one: &&&Interface| stands_on(named, one, known) || stands_on(one, named, known);
    let instead: Vec<String> = filtered
        .iter()
        .filter(related)
        .map(|one| one.name.clone())
        .collect();
    Some(match instead.is_empty() {
        true => Place::Foreign,
        // The kernel takes no program below one that has a program.
        false => Place::Elsewhere {
            may_join: above && named.unseen.is_none(),
            instead,
        },
    })
}

/// Whether an interface is above another one, with others between them or without.
fn stands_on(upper: &Interface, lower: &Interface, known: &[Interface]) -> bool {
    let below = with_all_below(upper, known);
    below[1..].iter().any(|one| one.index == lower.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::test_policy::policy,
        netlink::{Master, MasterKind},
    };

    fn port(index: u32, name: &str, of: u32, kind: MasterKind) -> Interface {
        Interface {
            master: Some(Master { index: of, kind }),
            ..Interface::plain(index, name)
        }
    }

    /// eth0 and eth1 below bond0, that below br0; vlan5 on br0; eth2 alone.
    fn known(bond: Option<Mode>) -> Vec<Interface> {
        vec![
            port(1, "eth0", 3, MasterKind::Aggregate),
            port(2, "eth1", 3, MasterKind::Aggregate),
            Interface {
                xdp: bond.map(|mode| (1, mode)),
                ..port(3, "bond0", 4, MasterKind::Bridge)
            },
            Interface::plain(4, "br0"),
            Interface {
                lower: Some(4),
                ..Interface::plain(5, "vlan5")
            },
            Interface::plain(6, "eth2"),
        ]
    }

    #[test]
    fn a_name_is_in_vain_unless_packets_of_a_filtered_interface_carry_it() {
        let native = Some(Mode::Native);
        let elsewhere = |instead: &str, may_join| Place::Elsewhere {
            instead: vec![instead.to_owned()],
            may_join,
        };
        for (filtered, mode, name, expected) in [
            ("bond0", native, "bond0", None),
            ("bond0", native, "eth1", None),
            (
                "bond0",
                Some(Mode::Generic),
                "eth1",
                Some(elsewhere("bond0", false)),
            ),
            ("bond0", native, "br0", Some(elsewhere("bond0", true))),
            ("bond0", native, "vlan5", Some(elsewhere("bond0", true))),
            ("bond0", native, "eth2", Some(Place::Foreign)),
            ("bond0", native, "nope", Some(Place::Foreign)),
            ("eth0", None, "bond0", None),
            ("eth0", None, "br0", Some(elsewhere("eth0", true))),
            ("br0", None, "bond0", Some(elsewhere("br0", false))),
            ("br0", None, "eth0", Some(elsewhere("br0", false))),
            ("vlan5", None, "br0", Some(elsewhere("vlan5", false))),
        ] {
            let policy = policy(&[&format!("allow tcp 22 on {name}")], &[filtered]);
            let found = in_vain(&policy, &policy.rules, &known(mode));
            let place = found.into_iter().map(|(_, _, place)| place).next();
            assert_eq!(place, expected, "{name} where {filtered} is filtered");
        }
    }
}
