//! Divides addresses into classes: the longest matching prefix stands for all rules whose
//! prefixes contain the address.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::dimension::{Classes, Dimension, FamilySet, V4, V6};

/// A prefix: the address's bits from the highest of 128 on, and how many of them count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address; IPv4 takes the upper 32 bits.
    pub bits: u128,
    /// Length in bits.
    pub len: u8,
}

impl Prefix {
    fn of(net: &IpNet) -> Self {
        match net {
            IpNet::V4(net) => Self {
                bits: u128::from(net.network().to_bits()) << 96,
                len: net.prefix_len(),
            },
            IpNet::V6(net) => Self {
                bits: net.network().to_bits(),
                len: net.prefix_len(),
            },
        }
    }

    const fn contains(&self, other: &Self) -> bool {
        self.len <= other.len
            && match 128 - self.len as u32 {
                128 => true,
                free => (self.bits ^ other.bits) >> free == 0,
            }
    }

    /// How many addresses it holds, in pairs of 128 bits: all of them are 2^127.
    const fn pairs(&self) -> u128 {
        // A single IPv6 address is less than a pair, and covers nothing.
        if self.len == 128 {
            0
        } else {
            1 << (127 - self.len as u32)
        }
    }
}

/// Classes of the addresses of one side of the packet.
pub(super) struct Addresses {
    /// Classes of IPv4 and of IPv6 prefixes: that of the longest match counts.
    pub(super) prefixes: [Vec<(Prefix, u32)>; 2],
    /// The dimension.
    pub(super) dimension: Dimension,
}

/// Sorts addresses into classes; rules come with the prefixes that they match, rules
/// without any match all.
pub(super) fn addresses<'a>(rules: impl Iterator<Item = (u32, &'a [IpNet])>) -> Addresses {
    let mut classes = Classes::default();
    let mut named = [const { BTreeMap::<Prefix, Vec<u32>>::new() }; 2];
    for (rule, prefixes) in rules {
        if prefixes.is_empty() {
            continue;
        }
        classes.restrict(rule);
        for net in prefixes {
            let family = usize::from(matches!(net, IpNet::V6(_)));
            let of_prefix = named[family].entry(Prefix::of(net)).or_default();
            if of_prefix.last() != Some(&rule) {
                of_prefix.push(rule);
            }
        }
    }
    let [v4, v6] = named;
    Addresses {
        prefixes: [
            longest_matches(v4, V4, &mut classes),
            longest_matches(v6, V6, &mut classes),
        ],
        dimension: classes.finish(),
    }
}

/// A prefix whose longer ones are still to come.
struct Open {
    prefix: Prefix,
    /// All rules that match in it.
    rules: Vec<u32>,
    /// Whether it says something else than the prefix around it.
    differs: bool,
    /// How much of it, in [pairs](Prefix::pairs), for which longer prefixes decide.
    covered: u128,
}

/// The class of each prefix, for addresses that match none that is longer.
fn longest_matches(
    named: BTreeMap<Prefix, Vec<u32>>,
    family: FamilySet,
    classes: &mut Classes,
) -> Vec<(Prefix, u32)> {
    let everything = Prefix { bits: 0, len: 0 };
    let mut open = vec![Open {
        prefix: everything,
        rules: Vec::new(),
        // Around all there is nothing.
        differs: false,
        covered: 0,
    }];
    let mut found = Vec::with_capacity(named.len());
    let mut close = |open: &mut Vec<Open>| {
        let Some(closed) = open.pop() else { return };
        let is_covered = closed.covered == closed.prefix.pairs() && closed.covered != 0;
        if closed.differs {
            if !is_covered {
                let class = classes.class(&closed.rules, family);
                found.push((closed.prefix, class));
            }
            if let Some(around) = open.last_mut() {
                around.covered += closed.prefix.pairs();
            }
        } else if let Some(around) = open.last_mut() {
            around.covered += closed.covered;
        } else if !is_covered {
            // What no prefix holds.
            classes.class(&[], family);
        }
    };
    // In this order, a prefix comes before those that it contains.
    for (prefix, own) in named {
        while open.len() > 1
            && open
                .last()
                .is_some_and(|last| !last.prefix.contains(&prefix))
        {
            close(&mut open);
        }
        let around = open.last().map_or(&[][..], |last| &last.rules);
        let rules = union(around, &own);
        let differs = rules != around;
        open.push(Open {
            prefix,
            rules,
            differs,
            covered: 0,
        });
    }
    while !open.is_empty() {
        close(&mut open);
    }
    found
}

/// The union of two ascending lists.
fn union(left: &[u32], right: &[u32]) -> Vec<u32> {
    let mut both = [left, right].concat();
    both.sort_unstable();
    both.dedup();
    both
}
