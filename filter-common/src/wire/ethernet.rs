//! Reads Ethernet II headers and VLAN tags: where the network header starts, and what it is.

use super::{Frame, Malformation};

/// Most VLAN tags looked behind: 802.1Q inside 802.1ad (QinQ).
pub const MAX_VLAN_TAGS: usize = 2;

/// Length of a VLAN tag in bytes.
const TAG_LEN: usize = 4;
/// Where the Ethernet header's type is, in bytes.
const TYPE_OFFSET: usize = 12;

/// What an Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// IPv4, its header at this offset.
    Ipv4(usize),
    /// IPv6, its header at this offset.
    Ipv6(usize),
    /// Address resolution.
    Arp,
    /// Yet another VLAN tag behind [`MAX_VLAN_TAGS`].
    TooManyTags,
    /// Anything else.
    Other,
}

/// Types of Ethernet payload (IEEE 802 numbers) as a load from the frame gives
/// them: the library's values are in network byte order already.
mod ether_type {
    use network_types::eth::EtherType;

    pub(super) const IPV4: u16 = EtherType::Ipv4 as u16;
    pub(super) const ARP: u16 = EtherType::Arp as u16;
    pub(super) const VLAN: u16 = EtherType::Ieee8021q as u16;
    pub(super) const IPV6: u16 = EtherType::Ipv6 as u16;
    pub(super) const QINQ: u16 = EtherType::Ieee8021ad as u16;
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, ether_type::VLAN | ether_type::QINQ)
}

/// Finds the network header of `frame`.
#[inline(always)]
pub fn payload<F: Frame + ?Sized>(frame: &F) -> Result<Payload, Malformation> {
    let mut offset = TYPE_OFFSET;
    let mut ether_type = read_type(frame, offset)?;
    // Unrolled by hand: at most two tags, and the verifier of older kernels
    // needs no loop to see it.
    if is_tag(ether_type) {
        offset += TAG_LEN;
        ether_type = read_type(frame, offset)?;
        if is_tag(ether_type) {
            offset += TAG_LEN;
            ether_type = read_type(frame, offset)?;
            if is_tag(ether_type) {
                return Ok(Payload::TooManyTags);
            }
        }
        offset = frame.settle(offset);
    }
    let header = offset + size_of_val(&ether_type);
    Ok(match ether_type {
        ether_type::IPV4 => Payload::Ipv4(header),
        ether_type::IPV6 => Payload::Ipv6(header),
        ether_type::ARP => Payload::Arp,
        _ => Payload::Other,
    })
}

#[inline(always)]
fn read_type<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<u16, Malformation> {
    let bytes = frame
        .read::<[u8; 2]>(offset)
        .ok_or(Malformation::EthernetTruncated)?;
    Ok(u16::from_ne_bytes(*bytes))
}
