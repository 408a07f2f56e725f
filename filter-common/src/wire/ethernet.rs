//! Reads Ethernet II headers and VLAN tags: where the network header starts, and what it is.

use super::{Frame, Malformation};

/// Most VLAN tags looked behind: 802.1Q inside 802.1ad (QinQ).
pub const MAX_VLAN_TAGS: usize = 2;

/// The bits of a VLAN tag's control information that name the VLAN (IEEE 802.1Q, section 9.6).
pub const VLAN_ID: u16 = 0x0fff;

/// Length of a VLAN tag in bytes.
const TAG_LEN: usize = 4;
/// Where the source is in the Ethernet header, in bytes.
const SOURCE_OFFSET: usize = 6;
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
    /// What keeps the link up: EAPOL, LLDP, LACP and the other slow protocols, STP.
    LinkControl,
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
    /// Port access (IEEE 802.1X).
    pub(super) const EAPOL: u16 = 0x888e_u16.to_be();
    /// Station discovery (IEEE 802.1AB).
    pub(super) const LLDP: u16 = 0x88cc_u16.to_be();
    /// Link aggregation and its like (IEEE 802.3, annex 57A).
    pub(super) const SLOW: u16 = 0x8809_u16.to_be();
    /// Types begin here; what is below is a length (IEEE 802.3, section 3.2.6).
    pub(super) const FIRST: u16 = 0x0600;
}

/// Both access points of the spanning tree protocol in a header for logical link control (IEEE
/// 802.1D, section 9.2).
const STP: [u8; 2] = [0x42, 0x42];

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, ether_type::VLAN | ether_type::QINQ)
}

/// An Ethernet address (IEEE 802).
pub type Mac = [u8; 6];

/// The source of a frame; `None` where there is no Ethernet header.
#[inline(always)]
pub fn source<F: Frame + ?Sized>(frame: &F) -> Option<&Mac> {
    if frame.has_ethernet() {
        frame.read::<Mac>(SOURCE_OFFSET)
    } else {
        None
    }
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
        _ if is_link_control(frame, ether_type, header) => Payload::LinkControl,
        _ => Payload::Other,
    })
}

/// Whether a frame of this type keeps the link up; `payload` is behind the type.
#[cold]
#[inline(always)]
fn is_link_control<F: Frame + ?Sized>(frame: &F, ether_type: u16, payload: usize) -> bool {
    match ether_type {
        ether_type::EAPOL | ether_type::LLDP | ether_type::SLOW => true,
        length if u16::from_be(length) < ether_type::FIRST => {
            frame.read::<[u8; 2]>(payload) == Some(&STP)
        }
        _ => false,
    }
}

/// The VLAN tags of a frame, the outer one first, and how many there are: at most
/// [`MAX_VLAN_TAGS`]. A tag is its two bytes of control information (IEEE 802.1Q, section 9.6);
/// places without one are zero.
#[inline(always)]
pub fn vlan_tags<F: Frame + ?Sized>(frame: &F) -> ([[u8; 2]; MAX_VLAN_TAGS], u8) {
    let mut tags = [[0; 2]; MAX_VLAN_TAGS];
    if !frame.has_ethernet() {
        return (tags, 0);
    }
    let tag = |offset: usize| -> Option<[u8; 2]> {
        let [first, second, tag @ ..] = *frame.read::<[u8; 4]>(offset)?;
        is_tag(u16::from_ne_bytes([first, second])).then_some(tag)
    };
    let Some(outer) = tag(TYPE_OFFSET) else {
        return (tags, 0);
    };
    tags[0] = outer;
    let Some(inner) = tag(TYPE_OFFSET + TAG_LEN) else {
        return (tags, 1);
    };
    tags[1] = inner;
    (tags, 2)
}

#[inline(always)]
fn read_type<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<u16, Malformation> {
    let bytes = frame
        .read::<[u8; 2]>(offset)
        .ok_or(Malformation::EthernetTruncated)?;
    Ok(u16::from_ne_bytes(*bytes))
}
