//! Divides one dimension of the rules into classes: the values that the same rules match.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Environment;
use crate::{
    policy::{MacAddress, Policy},
    ports::{PortRange, PortSet},
};

/// FamilySet of addresses, as a set of bits.
pub(super) type FamilySet = u8;
/// IPv4.
pub(super) const V4: FamilySet = 1 << 0;
/// IPv6.
pub(super) const V6: FamilySet = 1 << 1;
/// Both.
pub(super) const ANY_FAMILY: FamilySet = V4 | V6;

/// A dimension. Class 0 holds the values that no rule names.
#[derive(Default)]
pub(super) struct Dimension {
    /// The classes of each rule that restricts the dimension.
    pub(super) of_rule: HashMap<u32, Vec<u32>>,
    /// In which families each class beyond 0 has values, in order.
    pub(super) families: Vec<FamilySet>,
    /// In which families class 0 has values.
    pub(super) rest: FamilySet,
}

impl Dimension {
    /// Whether a rule restricts it.
    pub(super) fn restricts(&self, rule: u32) -> bool {
        self.of_rule.contains_key(&rule)
    }

    /// In which of these families there are values of a class.
    pub(super) fn families_of(&self, class: u32) -> FamilySet {
        match class {
            0 => self.rest,
            class => self.families[class as usize - 1],
        }
    }
}

/// Collects the sets of rules that match some value: equal sets, one class.
#[derive(Default)]
pub(super) struct Classes {
    known: HashMap<Vec<u32>, u32>,
    dimension: Dimension,
}

impl Classes {
    /// Remembers that a rule restricts the dimension, whether any value matches or not.
    pub(super) fn restrict(&mut self, rule: u32) {
        self.dimension.of_rule.entry(rule).or_default();
    }

    /// The class of values of these families that exactly these rules match, of those
    /// that restrict the dimension.
    pub(super) fn class(&mut self, rules: &[u32], families: FamilySet) -> u32 {
        if rules.is_empty() {
            self.dimension.rest |= families;
            return 0;
        }
        let class = match self.known.get(rules) {
            Some(&class) => class,
            None => {
                self.dimension.families.push(0);
                let class = self.dimension.families.len() as u32;
                for &rule in rules {
                    self.dimension.of_rule.entry(rule).or_default().push(class);
                }
                self.known.insert(rules.to_vec(), class);
                class
            }
        };
        self.dimension.families[class as usize - 1] |= families;
        class
    }

    /// What was collected.
    pub(super) fn finish(self) -> Dimension {
        self.dimension
    }
}

/// Divides all ports into ranges that exactly the same of these sets contain, and calls
/// `each` with them in order. A set counts by its number, in ascending order, up to the
/// first that is `last`: what follows has no say.
pub(super) fn for_each_range<'a>(
    sets: impl Iterator<Item = (u32, &'a PortSet)>,
    last: impl Fn(u32) -> bool,
    mut each: impl FnMut(PortRange, Vec<u32>) -> Result<(), super::TooComplex>,
) -> Result<(), super::TooComplex> {
    const END: u32 = 1 << 16;
    // Where sets begin and end: port → set, and whether it begins.
    let mut edges: BTreeMap<u32, Vec<(u32, bool)>> = BTreeMap::from([(0, Vec::new())]);
    for (set, ports) in sets {
        for range in ports.ranges() {
            let (start, end) = (u32::from(range.first), u32::from(range.last) + 1);
            edges.entry(start).or_default().push((set, true));
            edges.entry(end).or_default().push((set, false));
        }
    }
    edges.entry(END).or_default();
    let mut inside = std::collections::BTreeSet::new();
    let following: Vec<u32> = edges.keys().copied().skip(1).collect();
    for ((start, changes), next) in edges.into_iter().zip(following) {
        for (set, begins) in changes {
            if begins {
                inside.insert(set);
            } else {
                inside.remove(&set);
            }
        }
        let mut sets = Vec::new();
        for &set in &inside {
            sets.push(set);
            if last(set) {
                break;
            }
        }
        // `next` is at most 65536, so the last port fits.
        let range = PortRange {
            first: start as u16,
            last: (next - 1) as u16,
        };
        each(range, sets)?;
    }
    Ok(())
}

/// The interfaces that rules name and that exist, by their numbers, with their classes, and the
/// dimension. An interface may have several names: its own, and that of its bond.
pub(super) fn interfaces(
    policy: &Policy,
    environment: &Environment,
) -> (Vec<(u32, u32)>, Dimension) {
    let mut by_name: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for (rule, matches) in (0..).zip(policy.rules.iter().map(|rule| &rule.matches)) {
        for name in &matches.on {
            by_name.entry(name).or_default().insert(rule);
        }
    }
    let mut by_number: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (name, number) in &environment.interfaces {
        let rules = by_name.get(name.as_str()).into_iter().flatten();
        by_number.entry(*number).or_default().extend(rules);
    }
    let mut classes = Classes::default();
    let mut class = |rules: BTreeSet<u32>| {
        let rules: Vec<u32> = rules.into_iter().collect();
        classes.class(&rules, ANY_FAMILY)
    };
    let numbered = by_number
        .into_iter()
        .map(|(number, rules)| (number, class(rules)))
        .collect();
    // Interfaces that do not exist may come, and their rules are for no other ones.
    for rules in by_name.into_values() {
        class(rules);
    }
    // There is always another interface.
    class(BTreeSet::new());
    (numbered, classes.finish())
}

/// The MAC addresses that rules name, with their classes, and the dimension.
pub(super) fn macs(policy: &Policy) -> (Vec<([u8; 6], u32)>, Dimension) {
    let mut classes = Classes::default();
    let mut rules: BTreeMap<MacAddress, Vec<u32>> = BTreeMap::new();
    for (index, rule) in (0..).zip(&policy.rules) {
        for &mac in &rule.matches.mac {
            let of_mac = rules.entry(mac).or_default();
            if of_mac.last() != Some(&index) {
                of_mac.push(index);
            }
        }
    }
    let named = rules
        .into_iter()
        .map(|(mac, rules)| (mac.0, classes.class(&rules, ANY_FAMILY)));
    let named = named.collect();
    // There is always another address, or none.
    classes.class(&[], ANY_FAMILY);
    (named, classes.finish())
}
