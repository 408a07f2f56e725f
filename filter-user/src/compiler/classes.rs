//! Classes of one dimension: ports that exactly the same rules match.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xdpfw_common::abi::FIRST_LISTED_CLASS;

use crate::ports::{PortRange, PortSet};

/// What one rule asks of this dimension.
pub(super) struct Constraint<'a> {
    /// The rule, by its place in the policy.
    pub(super) rule: usize,
    /// The ports it matches.
    pub(super) ports: &'a PortSet,
    /// It asks nothing of the other dimension: where it matches, no later rule
    /// has a say.
    pub(super) decides: bool,
}

/// The classes of one dimension for one transport.
pub(super) struct Classes {
    /// Rules of each class, ascending, up to the first that decides.
    rules: Vec<Vec<usize>>,
    /// Ranges of ports in each class but the first.
    ranges: Vec<(PortRange, usize)>,
    /// Number of the second class in the tables; the first is the unlisted one.
    first: u32,
    /// Number of the first class in the tables.
    unlisted: u32,
}

impl Classes {
    /// Sorts ports into classes, numbered from `first` on.
    pub(super) fn of<'a>(
        constraints: impl Iterator<Item = Constraint<'a>>,
        first: Option<u32>,
        unlisted: u32,
    ) -> Self {
        let mut unlisted_rules = Vec::new();
        let mut unlisted_decided = false;
        let mut deciding = BTreeSet::new();
        // Where rules begin and end to match: port → rules (beyond 65535: end).
        let mut starts: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        let mut ends: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for constraint in constraints {
            if constraint.decides {
                deciding.insert(constraint.rule);
            }
            if constraint.ports.is_any() && !unlisted_decided {
                unlisted_rules.push(constraint.rule);
                unlisted_decided = constraint.decides;
            }
            for range in constraint.ports.ranges() {
                let (start, end) = (u32::from(range.first), u32::from(range.last) + 1);
                starts.entry(start).or_default().push(constraint.rule);
                ends.entry(end).or_default().push(constraint.rule);
            }
        }
        let mut classes = Self {
            rules: vec![unlisted_rules.clone()],
            ranges: Vec::new(),
            first: first.unwrap_or(FIRST_LISTED_CLASS),
            unlisted,
        };
        let mut known = HashMap::from([(unlisted_rules, 0)]);
        let mut active = BTreeSet::new();
        let edges: BTreeSet<u32> = starts.keys().chain(ends.keys()).copied().collect();
        let following = edges.iter().skip(1);
        for (&edge, &next) in edges.iter().zip(following) {
            for rule in ends.get(&edge).into_iter().flatten() {
                active.remove(rule);
            }
            active.extend(starts.get(&edge).into_iter().flatten());
            let mut rules = Vec::new();
            for &rule in &active {
                rules.push(rule);
                if deciding.contains(&rule) {
                    break;
                }
            }
            let class = *known.entry(rules).or_insert_with_key(|rules| {
                classes.rules.push(rules.clone());
                classes.rules.len() - 1
            });
            // `next` is at most 65536, so the last port fits.
            let range = PortRange {
                first: edge as u16,
                last: (next - 1) as u16,
            };
            if class != 0 {
                classes.ranges.push((range, class));
            }
        }
        classes
    }

    /// How many classes there are.
    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// The rules that match ports of no other class.
    pub(super) fn unlisted(&self) -> &[usize] {
        &self.rules[0]
    }

    /// Every class, by its number in the tables, with its rules.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &[usize])> {
        self.rules
            .iter()
            .enumerate()
            .map(|(class, rules)| (self.number(class), rules.as_slice()))
    }

    /// Ranges of ports that are not in the unlisted class.
    pub(super) fn listed(&self) -> impl Iterator<Item = (PortRange, u32)> {
        self.ranges
            .iter()
            .map(|&(range, class)| (range, self.number(class)))
    }

    const fn number(&self, class: usize) -> u32 {
        match class {
            0 => self.unlisted,
            class => self.first + class as u32 - 1,
        }
    }
}
