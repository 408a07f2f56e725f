//! A set of ports as sorted ranges. The compiler takes this form; it never knows how the ports
//! were written.

use std::fmt;

use xdpfw_common::Transport;

use super::{PortError, PortRange, PortSpec};

/// A set of ports: ranges in order, none of which touches the next, so that two equal sets
/// have equal ranges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// Every port: no restriction.
    pub fn any() -> Self {
        Self(vec![PortRange::ALL])
    }

    /// The set that a text means on a host with these ephemeral ports; see
    /// [`PortSpec::parse`] for the words.
    pub fn parse(
        text: &str,
        transports: &[Transport],
        ephemeral: PortRange,
    ) -> Result<Self, PortError> {
        Ok(PortSpec::parse(text, transports)?.resolve(ephemeral))
    }

    /// Whether the set holds every port, and so restricts nothing.
    pub fn is_any(&self) -> bool {
        self.0 == [PortRange::ALL]
    }

    /// Whether a port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let below = self.0.partition_point(|range| range.last < port);
        self.0.get(below).is_some_and(|range| range.contains(port))
    }

    /// The ranges, in order, as few as possible.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// The number of ports, up to 65,536.
    pub fn len(&self) -> usize {
        let length = |range: &PortRange| usize::from(range.last - range.first) + 1;
        self.0.iter().map(length).sum()
    }

    /// Whether there is no port in the set; a parsed set has at least one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<PortRange> for PortSet {
    /// The union of the ranges.
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut ranges: Vec<PortRange> = ranges
            .into_iter()
            .filter(|range| range.first <= range.last)
            .collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, previous| {
            let touches = next.first <= previous.last.saturating_add(1);
            if touches {
                previous.last = previous.last.max(next.last);
            }
            touches
        });
        Self(ranges)
    }
}

impl fmt::Display for PortSet {
    /// As users write it: `443`, `80,443`, `8000-8100`, `any`; of an empty set, `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.write_str("any");
        }
        let Some((first, rest)) = self.0.split_first() else {
            return f.write_str("none");
        };
        write!(f, "{first}")?;
        rest.iter().try_for_each(|range| write!(f, ",{range}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const EPHEMERAL: PortRange = PortRange {
        first: 32768,
        last: 60999,
    };

    fn set(ranges: &[(u16, u16)]) -> PortSet {
        let range = |&(first, last)| PortRange { first, last };
        ranges.iter().map(range).collect()
    }

    #[test]
    fn any_holds_every_port() {
        assert_eq!(PortSet::any(), set(&[(1024, 65535), (0, 1023)]));
        assert!(PortSet::any().is_any());
        assert!(!set(&[(1, 65535)]).is_any());
        assert_eq!(PortSet::any().len(), 65536);
    }

    #[test]
    fn overlapping_and_adjacent_ranges_become_one() {
        let merged = set(&[(443, 443), (80, 81), (82, 90), (85, 86), (92, 92)]);
        assert_eq!(merged.to_string(), "80-90,92,443");
        assert_eq!(merged.len(), 13);
        assert!(merged.contains(90) && !merged.contains(91) && merged.contains(92));
    }

    #[test]
    fn the_empty_set_says_so() {
        assert_eq!(set(&[(2, 1)]).to_string(), "none");
        assert!(set(&[]).is_empty() && !set(&[]).contains(0));
    }

    #[test]
    fn named_ranges_and_names_become_numbers() {
        for (text, expected) in [
            ("well-known", "0-1023"),
            ("registered", "1024-49151"),
            ("Dynamic", "49152-65535"),
            ("high", "1024-65535"),
            ("ephemeral", "32768-60999"),
            ("well-known,high", "any"),
            ("any,22", "any"),
            ("https,ssh", "22,443"),
        ] {
            let set = PortSet::parse(text, &[Transport::Tcp], EPHEMERAL).unwrap();
            assert_eq!(set.to_string(), expected, "{text}");
        }
    }

    /// Ranges short and close enough to meet, at both ends of the numbers and between.
    fn ranges() -> impl Strategy<Value = Vec<PortRange>> {
        let first = prop_oneof![0..40u16, 1000..1040u16, 65_500..=u16::MAX, any::<u16>()];
        let range = (first, 0..12u16).prop_map(|(first, more)| PortRange {
            first,
            last: first.saturating_add(more),
        });
        prop::collection::vec(range, 0..12)
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_the_set_of_their_ports(ranges in ranges()) {
            let set: PortSet = ranges.iter().copied().collect();
            let naive: BTreeSet<u16> =
                ranges.iter().flat_map(|range| range.first..=range.last).collect();
            prop_assert_eq!(set.len(), naive.len());
            let ports = set.ranges().iter().flat_map(|range| range.first..=range.last);
            prop_assert!(ports.eq(naive.iter().copied()));
            // Each port and both its neighbours.
            for port in naive.iter().flat_map(|&port| port.saturating_sub(1)..=port.saturating_add(1)) {
                prop_assert_eq!(set.contains(port), naive.contains(&port), "{}", port);
            }
            for pair in set.ranges().windows(2) {
                prop_assert!(u32::from(pair[0].last) + 1 < u32::from(pair[1].first));
            }
        }

        #[test]
        fn what_is_displayed_parses_to_the_same_set(ranges in ranges()) {
            let set: PortSet = ranges.into_iter().collect();
            prop_assume!(!set.is_empty());
            let again = PortSet::parse(&set.to_string(), &[Transport::Tcp], EPHEMERAL);
            prop_assert_eq!(again, Ok(set));
        }
    }
}
