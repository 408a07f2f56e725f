//! Builds IPv6 extension headers. They are filled with what looks like ports, for a parser
//! that takes them for a transport header.

use etherparse::IpNumber;

/// Hop-by-hop options, routing, destination options: what is measured in units of
/// eight bytes.
pub(crate) const IN_EIGHTS: [IpNumber; 3] = [HOP_BY_HOP, ROUTING, DESTINATION];
pub(crate) const HOP_BY_HOP: IpNumber = IpNumber::IPV6_HEADER_HOP_BY_HOP;
pub(crate) const ROUTING: IpNumber = IpNumber::IPV6_ROUTE_HEADER;
pub(crate) const DESTINATION: IpNumber = IpNumber::IPV6_DESTINATION_OPTIONS;
pub(crate) const AH: IpNumber = IpNumber::AUTHENTICATION_HEADER;
pub(crate) const FRAGMENT: IpNumber = IpNumber::IPV6_FRAGMENTATION_HEADER;

/// A port that the policies of the tests allow, again and again.
const FILLING: [u8; 2] = 443_u16.to_be_bytes();

/// An extension header.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    number: IpNumber,
    bytes: Vec<u8>,
}

impl Extension {
    /// One of [`IN_EIGHTS`], with this length field: `(length + 1) * 8` bytes.
    pub(crate) fn new(number: IpNumber, length: u8) -> Self {
        Self::of(number, length, (usize::from(length) + 1) * 8)
    }

    /// An authentication header with this length field: `(length + 2) * 4` bytes.
    pub(crate) fn auth(length: u8) -> Self {
        Self::of(AH, length, (usize::from(length) + 2) * 4)
    }

    /// A fragment header.
    pub(crate) fn fragment(offset: u16, more: bool) -> Self {
        let mut header = Self::of(FRAGMENT, 0, 8);
        let word = offset << 3 | u16::from(more);
        header.bytes[2..4].copy_from_slice(&word.to_be_bytes());
        header
    }

    /// Hop-by-hop options that say how long a jumbogram is behind the IPv6 header (RFC 2675).
    pub(crate) fn jumbo(len: u32) -> Self {
        let mut header = Self::new(HOP_BY_HOP, 0);
        header.bytes[2..4].copy_from_slice(&[0xc2, 4]);
        header.bytes[4..].copy_from_slice(&len.to_be_bytes());
        header
    }

    /// The shortest one with this number.
    pub(crate) fn shortest(number: IpNumber) -> Self {
        match number {
            AH => Self::auth(0),
            FRAGMENT => Self::fragment(0, false),
            _ => Self::new(number, 0),
        }
    }

    fn of(number: IpNumber, length: u8, len: usize) -> Self {
        let mut bytes = FILLING.repeat(len / 2);
        bytes[1] = length;
        Self { number, bytes }
    }

    /// With this length field, whatever its length.
    pub(crate) fn claims(mut self, length: u8) -> Self {
        self.bytes[1] = length;
        self
    }

    /// The chain's first number and its bytes, when `protocol` follows it.
    pub(crate) fn chain(extensions: &[Self], protocol: IpNumber) -> (IpNumber, Vec<u8>) {
        let mut next = protocol;
        let mut chain = Vec::new();
        for extension in extensions.iter().rev() {
            let mut bytes = extension.bytes.clone();
            bytes[0] = next.0;
            next = extension.number;
            chain = [bytes, chain].concat();
        }
        (next, chain)
    }
}
