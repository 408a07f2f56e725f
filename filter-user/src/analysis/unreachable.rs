//! Finds rules that can never match, and the rules in front of them that take their packets.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::{
    compiler::{Clocks, Environment, Resolved, compile},
    names::icmp::Family,
    policy::{Match, Policy, Protocol, Rule, RuleId},
    ports::{PortRange, PortSet},
};

/// Most rules whose blame is looked for; where so many are in vain, the first few tell.
const MAX_BLAMED: usize = 100;
/// Most pairs of prefixes compared for a pair of rules.
const MAX_PAIRS: usize = 1 << 16;

/// A rule that no packet can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The rule.
    pub rule: RuleId,
    /// The rules in front of it that take its packets, in their order.
    pub by: Vec<RuleId>,
}

/// The rules that no packet can reach on a host with these ephemeral ports, in their order, from
/// before the first of them ends on.
/// None of a policy that is too complex to be compiled, which is refused for that.
pub fn unreachable(policy: &Policy, ephemeral: PortRange) -> Vec<Shadowed> {
    let slots = vec![0; policy.rules.len()];
    // An interface that is not there may come.
    let environment = Environment {
        ephemeral,
        interfaces: Vec::new(),
        clocks: Clocks::BEFORE_ALL,
        lists: placeholders(policy),
        cookies: None,
    };
    let Ok(tables) = compile(policy, &environment, &slots) else {
        return Vec::new();
    };
    let unreached = tables.unreached();
    let resolve = |index: usize| Resolved::of(&policy.rules[index], ephemeral);
    let blame = |(place, &index): (usize, &usize)| {
        let by = if place < MAX_BLAMED {
            in_front(policy, unreached, &resolve(index), index, &resolve)
        } else {
            Vec::new()
        };
        Shadowed {
            rule: policy.rules[index].id,
            by: by.into_iter().map(|index| policy.rules[index].id).collect(),
        }
    };
    unreached.iter().enumerate().map(blame).collect()
}

/// What stands for each list that rules are for.
fn placeholders(policy: &Policy) -> BTreeMap<String, Vec<IpNet>> {
    let rules = policy.rules.iter();
    let names = rules.flat_map(|rule| &rule.matches.from_lists);
    names
        .map(|name| (name.clone(), Match::placeholder(name).to_vec()))
        .collect()
}

/// The rule in front that takes all packets of this one, or else all that take some.
fn in_front<'a>(
    policy: &Policy,
    unreached: &[usize],
    rule: &Resolved<'a>,
    index: usize,
    resolve: &impl Fn(usize) -> Resolved<'a>,
) -> Vec<usize> {
    let meeting: Vec<usize> = (0..index)
        // What takes nothing takes nothing from this one.
        .filter(|other| unreached.binary_search(other).is_err())
        .filter(|&other| may_meet(&policy.rules[other].matches, &rule.rule.matches))
        .filter(|&other| relation(&resolve(other), rule) != Relation::Apart)
        .collect();
    let covering = meeting
        .iter()
        .find(|&&other| relation(&resolve(other), rule) == Relation::Covers);
    match covering {
        Some(&other) => vec![other],
        None => meeting,
    }
}

/// Whether a rule takes packets of another that stands behind it, and is no exception from it:
/// narrower in everything, or for a part of its sources.
pub(super) fn cuts_into(one: &Rule, other: &Rule, ephemeral: PortRange) -> bool {
    let (a, b) = (&one.matches, &other.matches);
    let (ours, theirs) = (a.sources(), b.sources());
    let sources = prefixes(&theirs, &ours);
    // More pairs than are compared are no reason to say anything.
    let is_known = [(&*ours, &*theirs), (&a.to, &b.to)]
        .iter()
        .all(|(one, other)| one.len() * other.len() <= MAX_PAIRS);
    if !is_known || !may_meet(a, b) {
        return false;
    }
    let (one, other) = (Resolved::of(one, ephemeral), Resolved::of(other, ephemeral));
    relation(&one, &other) != Relation::Apart
        && relation(&other, &one) != Relation::Covers
        && (sources != Relation::Covers || prefixes(&ours, &theirs) == Relation::Covers)
}

/// Whether a rule takes all packets of another, from more sources.
pub(super) fn is_wider(one: &Rule, other: &Rule, ephemeral: PortRange) -> bool {
    prefixes(&other.matches.sources(), &one.matches.sources()) != Relation::Covers
        && covers(one, other, ephemeral)
}

/// Whether a rule takes all packets of another.
pub(super) fn covers(one: &Rule, other: &Rule, ephemeral: PortRange) -> bool {
    may_meet(&one.matches, &other.matches)
        && relation(
            &Resolved::of(one, ephemeral),
            &Resolved::of(other, ephemeral),
        ) == Relation::Covers
}

/// What the packets of one rule are to those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    /// None in common.
    Apart,
    /// Some in common.
    Meets,
    /// All of the other's, and maybe more.
    Covers,
}

impl Relation {
    const fn of(meets: bool, covers: bool) -> Self {
        match (meets, covers) {
            (_, true) => Self::Covers,
            (true, false) => Self::Meets,
            (false, false) => Self::Apart,
        }
    }
}

/// Whether the protocols of two rules have packets in common.
fn may_meet(one: &Match, other: &Match) -> bool {
    let share_ports = || {
        let others = other.protocol.transports();
        let mut ours = one.protocol.transports().iter();
        ours.any(|transport| others.contains(transport))
    };
    one.protocol == Protocol::Any
        || other.protocol == Protocol::Any
        || one.protocol == other.protocol
        || one.protocol.is_icmp() && other.protocol.is_icmp()
        || share_ports()
}

/// What `one` is to `other`, their protocols having packets in common.
fn relation(one: &Resolved<'_>, other: &Resolved<'_>) -> Relation {
    let (a, b) = (&one.rule.matches, &other.rule.matches);
    let kind = Relation::of(true, {
        let transports = b.protocol.transports();
        a.protocol == Protocol::Any
            || a.protocol == b.protocol
            // Their families are compared with their types.
            || a.protocol.is_icmp() && b.protocol.is_icmp()
            || !transports.is_empty()
                && b.protocol != Protocol::Any
                && transports.iter().all(|&t| a.protocol.includes(t))
    });
    let types = match a.protocol.is_icmp() && b.protocol.is_icmp() {
        true => types(a, b),
        false => Relation::Covers,
    };
    [
        kind,
        types,
        ports(&one.local, &other.local),
        ports(&one.remote, &other.remote),
        prefixes(&a.sources(), &b.sources()),
        prefixes(&a.to, &b.to),
        names(&a.on, &b.on),
        names(&a.mac, &b.mac),
        times(one.rule, other.rule),
    ]
    .into_iter()
    .fold(Relation::Covers, Relation::min)
}

/// Of rules that have not ended, both match now.
fn times(one: &Rule, other: &Rule) -> Relation {
    Relation::of(true, one.lasts_as_long_as(other))
}

fn types(one: &Match, other: &Match) -> Relation {
    let both = [Family::Icmp, Family::Icmp6];
    let messages = || {
        let of = |family| (0..=u8::MAX).map(move |number| (family, number));
        both.into_iter().flat_map(of)
    };
    let ours = |&(family, number): &(Family, u8)| one.matches_type(family, number);
    let theirs = |&(family, number): &(Family, u8)| other.matches_type(family, number);
    Relation::of(
        messages().filter(theirs).any(|message| ours(&message)),
        messages().filter(theirs).all(|message| ours(&message)),
    )
}

fn ports(one: &PortSet, other: &PortSet) -> Relation {
    let inside = |range: &PortRange| {
        let mut ranges = one.ranges().iter();
        ranges.any(|own| own.first <= range.first && range.last <= own.last)
    };
    let meets = |range: &PortRange| {
        let mut ranges = one.ranges().iter();
        ranges.any(|own| own.first <= range.last && range.first <= own.last)
    };
    Relation::of(
        other.ranges().iter().any(meets),
        other.ranges().iter().all(inside),
    )
}

fn prefixes(one: &[IpNet], other: &[IpNet]) -> Relation {
    if one.is_empty() {
        return Relation::Covers;
    }
    if other.is_empty() || one.len() * other.len() > MAX_PAIRS {
        return Relation::Meets;
    }
    let inside = |net: &IpNet| one.iter().any(|own| own.contains(net));
    let meets = |net: &IpNet| one.iter().any(|own| own.contains(net) || net.contains(own));
    Relation::of(other.iter().any(meets), other.iter().all(inside))
}

fn names<T: PartialEq>(one: &[T], other: &[T]) -> Relation {
    if one.is_empty() {
        return Relation::Covers;
    }
    if other.is_empty() {
        return Relation::Meets;
    }
    Relation::of(
        other.iter().any(|name| one.contains(name)),
        other.iter().all(|name| one.contains(name)),
    )
}
