//! The packets that must get in so that an operator keeps a way in. It builds them; whoever
//! has the program judges them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Result, bail};
use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};
use xdpfw_common::Reason;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To open a TCP connection to this port.
    Connection(u16),
    /// To carry a tunnel to this UDP port.
    Tunnel(u16),
    /// To find this host on the link, or to tell it of its routers: an ICMPv6 message of this
    /// type.
    Discovery(u8),
}

/// A packet that must get in.
#[derive(Clone, Debug)]
pub struct Knock {
    /// What it is for.
    pub purpose: Purpose,
    /// All of it, with an Ethernet header.
    pub frame: Vec<u8>,
}

impl Purpose {
    /// Whether a packet gets in that passes for this reason, and does so whenever it comes. An
    /// answer does not: it passes only while this host has asked.
    pub fn is_served_by(self, reason: Reason) -> bool {
        match reason {
            Reason::RuleAllow | Reason::DefaultPass => true,
            Reason::NeighbourDiscovery => matches!(self, Self::Discovery(_)),
            _ => false,
        }
    }
}

/// Two ports of those that clients take (RFC 6335, section 6, and Linux's own range): an
/// operator who comes again comes from another one.
const CLIENT_PORTS: [u16; 2] = [49_407, 60_411];

/// The types of neighbour discovery that a host needs (RFC 4861, section 4).
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Neighbours whose addresses say nothing: routers often have the first.
const NEIGHBOURS: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x7c3f, 0x91ff, 0xfe2a, 0x5e04),
];
/// All hosts on the link (RFC 4291).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The hop limit of neighbour discovery, by which nobody beyond the link can forge it.
const ON_LINK: u8 = 255;
/// The hop limit of others, in hops.
const HOPS: u8 = 64;

/// What an operator sends over a connection, or to open it again.
///
/// # Errors
///
/// The addresses are of two families.
pub fn connection(from: SocketAddr, to: SocketAddr) -> Result<Vec<Knock>> {
    let mut knocks = Vec::new();
    // The connection as it is now, and when it comes again.
    for port in [[from.port()].as_slice(), &CLIENT_PORTS].concat() {
        let mut header = TcpHeader::new(port, to.port(), 1, 65_535);
        header.syn = true;
        let builder = between(from.ip(), to.ip(), HOPS)?.tcp_header(header);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[])?;
        knocks.push(Knock {
            purpose: Purpose::Connection(to.port()),
            frame,
        });
    }
    if let (IpAddr::V6(peer), IpAddr::V6(own)) = (from.ip(), to.ip()) {
        knocks.extend(discovery(peer, own)?);
    }
    Ok(knocks)
}

/// What the other end of a tunnel sends.
///
/// # Errors
///
/// The addresses are of two families.
pub fn tunnel(from: SocketAddr, to: SocketAddr) -> Result<Vec<Knock>> {
    let builder = between(from.ip(), to.ip(), HOPS)?.udp(from.port(), to.port());
    let mut frame = Vec::new();
    builder.write(&mut frame, &[0; 32])?;
    let mut knocks = vec![Knock {
        purpose: Purpose::Tunnel(to.port()),
        frame,
    }];
    if let (IpAddr::V6(peer), IpAddr::V6(own)) = (from.ip(), to.ip()) {
        knocks.extend(discovery(peer, own)?);
    }
    Ok(knocks)
}

/// What this host and its neighbours find each other by, where a peer comes to this address.
fn discovery(peer: Ipv6Addr, own: Ipv6Addr) -> Result<Vec<Knock>> {
    let mut messages = Vec::new();
    for from in NEIGHBOURS.into_iter().chain([peer]) {
        messages.push((SOLICITATION, from, solicited(own)));
        messages.push((SOLICITATION, from, own));
        messages.push((ADVERTISEMENT, from, own));
    }
    if !own.is_unicast_link_local() {
        // By these its routes, and perhaps its address, last.
        messages.extend(NEIGHBOURS.map(|from| (ROUTER_ADVERTISEMENT, from, ALL_NODES)));
    }
    messages
        .into_iter()
        .map(|(number, from, to)| {
            let builder = between(from.into(), to.into(), ON_LINK)?;
            let mut frame = Vec::new();
            builder
                .icmpv6_raw(number, 0, [0; 4])
                .write(&mut frame, &own.octets())?;
            Ok(Knock {
                purpose: Purpose::Discovery(number),
                frame,
            })
        })
        .collect()
}

/// The group that solicitations of an address go to (RFC 4291, section 2.7.1).
fn solicited(own: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = own.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// The headers of a packet in front of what it carries, from Ethernet on.
///
/// # Errors
///
/// The addresses are of two families.
pub fn between(
    from: IpAddr,
    to: IpAddr,
    hops: u8,
) -> Result<PacketBuilderStep<etherparse::IpHeaders>> {
    let builder = PacketBuilder::ethernet2([0; 6], [0; 6]);
    Ok(match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), hops),
        (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), hops),
        _ => bail!("{from} and {to} are of two families"),
    })
}
