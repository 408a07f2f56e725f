//! The packet's headers, in the order in which it carries them: one file per
//! protocol, each a bounds-checked view that never reads past the frame.
//!
//! No function here panics or loops; whatever the bytes are, the answer is a
//! view or the [`Malformation`] that explains why there is none.

pub mod ethernet;
pub mod ipv4;
pub mod tcp;
pub mod udp;

use core::fmt;

/// Read access to a frame, from its Ethernet header on.
pub trait Frame {
    /// Length in bytes, without the frame check sequence.
    fn len(&self) -> usize;

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

/// What exactly is wrong with a malformed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformation {
    /// The frame ends inside the Ethernet header or a VLAN tag.
    EthernetTruncated,
    /// The frame ends inside the IPv4 header.
    Ipv4Truncated,
    /// The version field of an IPv4 packet is not 4.
    Ipv4Version,
    /// The IPv4 header length is below 20 bytes.
    Ipv4HeaderLength,
    /// The IPv4 total length is below the header length, or beyond the frame.
    Ipv4TotalLength,
    /// The packet, or its first fragment, ends inside the TCP header.
    TcpTruncated,
    /// The TCP data offset is below 20 bytes, or beyond the packet.
    TcpDataOffset,
    /// The packet, or its first fragment, ends inside the UDP header.
    UdpTruncated,
    /// The UDP length is below 8 bytes, or beyond the packet.
    UdpLength,
}

impl Malformation {
    /// The user's words for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EthernetTruncated => "truncated Ethernet header",
            Self::Ipv4Truncated => "truncated IPv4 header",
            Self::Ipv4Version => "IP version is not 4",
            Self::Ipv4HeaderLength => "IPv4 header length below 20",
            Self::Ipv4TotalLength => "IPv4 total length contradicts the frame",
            Self::TcpTruncated => "truncated TCP header",
            Self::TcpDataOffset => "TCP data offset contradicts the packet",
            Self::UdpTruncated => "truncated UDP header",
            Self::UdpLength => "UDP length contradicts the packet",
        }
    }
}
