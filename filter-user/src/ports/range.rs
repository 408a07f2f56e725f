//! Ranges of ports, and the names that some of them go by.

use std::fmt;

use super::PortClass;

/// The ports from `first` to `last`, both included.
///
/// One with `first` above `last` contains nothing; the parser never makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// Every port, 0 included: no restriction.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// A single port.
    pub const fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Whether a port is in the range.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Port 0 is written as a range, because alone it is not accepted.
        if self.first == self.last && self.first != 0 {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A range of ports with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamedRange {
    /// The ports of one class (RFC 6335 section 6).
    Class(PortClass),
    /// All ports that an unprivileged process can open, 1024-65535.
    High,
    /// The ports that this host's kernel takes for outgoing connections
    /// (`net.ipv4.ip_local_port_range`). Known only to the host that the policy is applied on.
    Ephemeral,
}

impl NamedRange {
    /// All of them, in the order in which help texts list them.
    pub const ALL: [Self; 5] = [
        Self::Class(PortClass::WellKnown),
        Self::Class(PortClass::Registered),
        Self::Class(PortClass::Dynamic),
        Self::High,
        Self::Ephemeral,
    ];

    /// The range with this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|range| range.as_str().eq_ignore_ascii_case(name))
    }

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class(class) => class.as_str(),
            Self::High => "high",
            Self::Ephemeral => "ephemeral",
        }
    }

    /// The ports it means on a host with these ephemeral ports.
    pub const fn range(self, ephemeral: PortRange) -> PortRange {
        match self {
            Self::Class(class) => class.range(),
            Self::High => PortRange {
                first: 1024,
                last: u16::MAX,
            },
            Self::Ephemeral => ephemeral,
        }
    }
}

impl fmt::Display for NamedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::services;

    #[test]
    fn a_range_is_written_as_users_write_it() {
        let range = |first, last| PortRange { first, last }.to_string();
        assert_eq!(range(443, 443), "443");
        assert_eq!(range(8000, 8100), "8000-8100");
        assert_eq!(range(0, 0), "0-0");
    }

    #[test]
    fn a_backwards_range_contains_nothing() {
        let range = PortRange { first: 2, last: 1 };
        assert!((0..=u16::MAX).all(|port| !range.contains(port)));
    }

    #[test]
    fn no_service_has_the_name_of_a_range() {
        for range in NamedRange::ALL {
            assert_eq!(NamedRange::from_name(range.as_str()), Some(range));
            assert_eq!(services::lookup(range.as_str()), None);
        }
    }
}
