//! Reads the packet's headers, in the order in which it carries them: one file per
//! protocol, each a bounds-checked view that never reads past the frame.
//!
//! No function here panics or loops. Whatever the bytes are, the answer is a view or the [`Malformation`] that explains why there is none.

pub mod ethernet;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;

use core::fmt;

/// Read access to a frame, from its link-layer header on.
pub trait Frame {
    /// Whether it begins with an Ethernet header. On layer-3 interfaces (`tun`) it
    /// begins with the IP header.
    #[inline(always)]
    fn has_ethernet(&self) -> bool {
        true
    }

    /// Length in bytes, without the frame check sequence.
    fn len(&self) -> usize;

    /// The same offset, below 32 KiB. The kernel program makes its verifier forget here
    /// how the offset came about: else it would go through all that follows once for
    /// each way that leads here.
    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        offset
    }

    /// The header at `offset`, or `None` when the frame ends before it does.
    fn read<T: Header>(&self, offset: usize) -> Option<&T>;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A header that any bytes can be seen as, wherever they are.
///
/// # Safety
///
/// Every bit pattern must be a valid value, and the type must have no padding
/// and no alignment.
pub unsafe trait Header: Copy {}

// SAFETY: bytes.
unsafe impl<const N: usize> Header for [u8; N] {}
// SAFETY: `repr(C)`, bytes and arrays of bytes only.
unsafe impl Header for network_types::ip::Ipv4Hdr {}
// SAFETY: as above.
unsafe impl Header for network_types::ip::Ipv6Hdr {}
// SAFETY: as above; its bit field is an array of bytes.
unsafe impl Header for network_types::tcp::TcpHdr {}
// SAFETY: as above.
unsafe impl Header for network_types::udp::UdpHdr {}

impl Frame for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn read<T: Header>(&self, offset: usize) -> Option<&T> {
        let bytes = self.get(offset..)?.get(..size_of::<T>())?;
        // SAFETY: `bytes` is as long as `T`, and `T: Header` takes any bits
        // anywhere.
        Some(unsafe { &*bytes.as_ptr().cast::<T>() })
    }
}

/// A byte of a header.
#[inline(always)]
const fn byte<T: Header>(header: &T, index: usize) -> u8 {
    assert!(index < size_of::<T>());
    // SAFETY: within the header, as just checked, and a header has no padding.
    unsafe { *core::ptr::from_ref(header).cast::<u8>().add(index) }
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp = 0,
    /// UDP (RFC 768).
    Udp = 1,
}

impl Transport {
    /// Both, in counter order.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The IP protocol number (IANA protocol numbers).
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => network_types::ip::IpProto::Tcp as u8,
            Self::Udp => network_types::ip::IpProto::Udp as u8,
        }
    }

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! malformations {
    ($($(#[$doc:meta])* $variant:ident = $word:literal;)+) => {
        /// What exactly is wrong with a malformed packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Malformation {
            $($(#[$doc])* $variant,)+
        }

        impl Malformation {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The user's word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Its number in an [`Event`](crate::abi::Event): its place among all, from 1
            /// on.
            #[inline(always)]
            pub const fn code(self) -> u8 {
                self as u8 + 1
            }

            /// The one with this number.
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code.checked_sub(1)?)).copied()
            }
        }
    };
}

malformations! {
    /// The frame ends inside the Ethernet header or a VLAN tag.
    EthernetTruncated = "ethernet-truncated";
    /// The frame ends inside the IPv4 header.
    Ipv4Truncated = "ipv4-truncated";
    /// The version field of an IPv4 packet is not 4.
    Ipv4Version = "ipv4-version";
    /// The IPv4 header length is below 20 bytes.
    Ipv4HeaderLength = "ipv4-header-length";
    /// The IPv4 total length is below the header length, or beyond the frame.
    Ipv4TotalLength = "ipv4-total-length";
    /// The frame ends inside the IPv6 header.
    Ipv6Truncated = "ipv6-truncated";
    /// The version field of an IPv6 packet is not 6.
    Ipv6Version = "ipv6-version";
    /// The IPv6 payload length is beyond the frame.
    Ipv6PayloadLength = "ipv6-payload-length";
    /// The packet, or its first fragment, ends inside an IPv6 extension header.
    ExtensionTruncated = "extension-truncated";
    /// More IPv6 extension headers than [`ipv6::MAX_HEADERS`].
    TooManyHeaders = "too-many-headers";
    /// On an interface without a link layer: neither IPv4 nor IPv6.
    IpVersion = "ip-version";
    /// The packet, or its first fragment, ends inside the TCP header.
    TcpTruncated = "tcp-truncated";
    /// The TCP data offset is below 20 bytes, or beyond the packet.
    TcpDataOffset = "tcp-data-offset";
    /// The packet, or its first fragment, ends inside the UDP header.
    UdpTruncated = "udp-truncated";
    /// The UDP length is below 8 bytes, or beyond the packet.
    UdpLength = "udp-length";
    /// The packet, or its first fragment, ends inside the ICMP header.
    IcmpTruncated = "icmp-truncated";
}
