//! The three classes that RFC 6335 divides the port numbers into.

use std::fmt;

use super::PortRange;

/// The class of a port number (RFC 6335 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortClass {
    /// System ports, 0-1023: assigned by IANA, opened by privileged processes.
    WellKnown,
    /// User ports, 1024-49151: assigned by IANA.
    Registered,
    /// Dynamic or private ports, 49152-65535: never assigned.
    Dynamic,
}

impl PortClass {
    /// All three, in the order of their ports.
    pub const ALL: [Self; 3] = [Self::WellKnown, Self::Registered, Self::Dynamic];

    /// The class that a port belongs to.
    pub const fn of(port: u16) -> Self {
        match port {
            0..=1023 => Self::WellKnown,
            1024..=49151 => Self::Registered,
            49152..=u16::MAX => Self::Dynamic,
        }
    }

    /// The ports of the class.
    pub const fn range(self) -> PortRange {
        let (first, last) = match self {
            Self::WellKnown => (0, 1023),
            Self::Registered => (1024, 49151),
            Self::Dynamic => (49152, u16::MAX),
        };
        PortRange { first, last }
    }

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WellKnown => "well-known",
            Self::Registered => "registered",
            Self::Dynamic => "dynamic",
        }
    }
}

impl fmt::Display for PortClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_in_the_range_of_its_class_only() {
        for port in 0..=u16::MAX {
            for class in PortClass::ALL {
                assert_eq!(class.range().contains(port), class == PortClass::of(port));
            }
        }
    }
}
