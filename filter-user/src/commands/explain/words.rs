//! The packet that the words of `explain` describe.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use etherparse::TcpHeader;

use super::super::Failure;
use crate::{
    analysis::between,
    names::icmp::Family,
    policy::{Carried, Match, MatchSpec, Protocol},
    ports::PortWord,
};

/// The peer's port where none is said: one that clients take on any system.
const CLIENT_PORT: u16 = 51_000;
/// The hop limit, which only neighbour discovery depends on: nobody beyond the link can forge it.
const HOPS: u8 = 255;

/// A packet that a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Where it comes from.
    pub(super) peer: IpAddr,
    carries: Carried,
}

impl Asked {
    /// Reads `tcp PEER[:PORT] PORT`, `icmp PEER TYPE`, `ping PEER`, `proto NAME PEER`.
    ///
    /// # Errors
    ///
    /// They are something else.
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (rule, peer) = match words.as_slice() {
            [word @ ("tcp" | "udp" | "icmp" | "icmp6"), peer, what] => (vec![*word, *what], *peer),
            ["proto", protocol, peer] => (vec!["proto", *protocol], *peer),
            ["ping", peer] => (vec!["ping"], *peer),
            _ => {
                let message = "say for example `xdpfw explain tcp 203.0.113.7:51000 443`, \
                               `explain icmp 203.0.113.7 echo-request`, `explain ping 203.0.113.7`";
                return Err(Failure::usage(message).into());
            }
        };
        let (peer, port) = peer_of(peer)?;
        let rule = Match::parse(&MatchSpec {
            words: rule,
            ..MatchSpec::default()
        })
        .map_err(Failure::usage)?;
        let local = || one_port(&rule);
        let number = |family| one_type(&rule, family);
        let remote = port.unwrap_or(CLIENT_PORT);
        let carries = match rule.protocol {
            Protocol::Tcp => Carried::Tcp {
                local: local()?,
                remote,
            },
            Protocol::Udp => Carried::Udp {
                local: local()?,
                remote,
            },
            Protocol::Icmp => Carried::Icmp(number(Family::Icmp)?),
            Protocol::Icmp6 => Carried::Icmp6(number(Family::Icmp6)?),
            Protocol::Ping if peer.is_ipv4() => Carried::Icmp(Family::Icmp.echo_request()),
            Protocol::Ping => Carried::Icmp6(Family::Icmp6.echo_request()),
            Protocol::Other(number) => Carried::Other(number),
            Protocol::TcpUdp | Protocol::Any => {
                return Err(Failure::usage("a packet has one protocol: say tcp or udp").into());
            }
        };
        let asked = Self { peer, carries };
        asked.check(port)?;
        Ok(asked)
    }

    fn check(&self, port: Option<u16>) -> Result<()> {
        let has_ports = matches!(self.carries, Carried::Tcp { .. } | Carried::Udp { .. });
        if port.is_some() && !has_ports {
            return Err(Failure::usage("only tcp and udp have ports").into());
        }
        let family = match self.carries {
            Carried::Icmp(_) if self.peer.is_ipv6() => "icmp is for IPv4 (say icmp6)",
            Carried::Icmp6(_) if self.peer.is_ipv4() => "icmp6 is for IPv6 (say icmp)",
            _ => return Ok(()),
        };
        Err(Failure::usage(family).into())
    }

    /// All of it, with an Ethernet header, on its way to an address of this host's.
    pub(super) fn frame(&self, to: IpAddr, flags: Option<&str>) -> Result<Vec<u8>> {
        let builder = between(self.peer, to, HOPS).map_err(|error| {
            Failure::usage(format!("{error} (say --to with an address of the other)"))
        })?;
        let mut frame = Vec::new();
        match self.carries {
            Carried::Tcp { local, remote } => {
                let header = tcp(remote, local, flags.unwrap_or("S"))?;
                builder.tcp_header(header).write(&mut frame, &[])?;
            }
            _ if flags.is_some() => return Err(Failure::usage("only tcp has flags").into()),
            Carried::Udp { local, remote } => builder.udp(remote, local).write(&mut frame, &[])?,
            Carried::Icmp(number) => {
                builder
                    .icmpv4_raw(number, 0, [0; 4])
                    .write(&mut frame, &[0; 28])?;
            }
            Carried::Icmp6(number) => {
                builder
                    .icmpv6_raw(number, 0, [0; 4])
                    .write(&mut frame, &[0; 48])?;
            }
            Carried::Other(number) => builder.write(&mut frame, number.into(), &[0; 32])?,
        }
        Ok(frame)
    }
}

/// A segment's header with the flags of these letters.
fn tcp(remote: u16, local: u16, letters: &str) -> Result<TcpHeader> {
    let mut header = TcpHeader::new(remote, local, 1, 65_535);
    for letter in letters.chars() {
        let flag = match letter.to_ascii_uppercase() {
            'F' => &mut header.fin,
            'S' => &mut header.syn,
            'R' => &mut header.rst,
            'P' => &mut header.psh,
            'A' => &mut header.ack,
            'U' => &mut header.urg,
            'E' => &mut header.ece,
            'C' => &mut header.cwr,
            other => {
                let other = other.escape_debug();
                let message = format!("`{other}` is no flag of tcp (say some of FSRPAUEC)");
                return Err(Failure::usage(message).into());
            }
        };
        *flag = true;
    }
    Ok(header)
}

/// An address, with or without a port.
fn peer_of(text: &str) -> Result<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Ok((address, None));
    }
    match text.parse::<SocketAddr>() {
        Ok(socket) => Ok((socket.ip(), Some(socket.port()))),
        Err(_) => Err(Failure::usage(format!(
            "`{}` is no address of a peer (say for example 203.0.113.7:51000 or [2001:db8::7]:51000)",
            text.escape_debug()
        ))
        .into()),
    }
}

fn one_port(rule: &Match) -> Result<u16> {
    match *rule.local.words() {
        [PortWord::Port(port)] => Ok(port),
        _ => Err(Failure::usage("a packet goes to one port").into()),
    }
}

fn one_type(rule: &Match, family: Family) -> Result<u8> {
    let mut numbers = (0..=u8::MAX).filter(|&number| rule.matches_type(family, number));
    match (numbers.next(), numbers.next()) {
        (Some(number), None) => Ok(number),
        _ => Err(Failure::usage("a message has one type").into()),
    }
}
