//! Packets that nobody has sent to services, and the ways that they would come by.

use std::net::IpAddr;

use anyhow::Result;
use etherparse::TcpHeader;
use xdpfw_common::Transport;

use crate::{
    analysis::between,
    policy::{Carried, MacAddress, Packet},
};

/// The hop limit, in hops: somebody beyond the link.
const HOPS: u8 = 64;

/// An address of this host's, and a filtered interface by which packets to it come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface's number.
    pub index: u32,
    /// Its name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// Where this host is reached.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The interfaces that are filtered.
    pub filtered: Vec<(u32, String)>,
    /// The ways in by them.
    pub ways: Vec<Way>,
    /// All addresses.
    pub own: Vec<IpAddr>,
}

/// A packet that nobody has sent.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// By which way it comes.
    pub way: &'a Way,
    /// The service's protocol.
    pub(super) transport: Transport,
    /// The service's port.
    pub(super) port: u16,
    /// Where it comes from.
    pub(super) from: IpAddr,
    /// The peer's port.
    pub(super) remote: u16,
    /// The Ethernet address it comes from; `None` is any.
    pub(super) mac: Option<MacAddress>,
}

impl Question<'_> {
    /// All of it, with an Ethernet header.
    ///
    /// # Errors
    ///
    /// The addresses are of two families.
    pub fn frame(&self) -> Result<Vec<u8>> {
        let builder = between(self.from, self.way.address, HOPS)?;
        let mut frame = Vec::new();
        match self.transport {
            Transport::Tcp => {
                let mut header = TcpHeader::new(self.remote, self.port, 1, 65_535);
                header.syn = true;
                builder.tcp_header(header).write(&mut frame, &[])?;
            }
            Transport::Udp => builder
                .udp(self.remote, self.port)
                .write(&mut frame, &[0; 32])?,
        }
        if let Some(MacAddress(mac)) = self.mac {
            frame[6..12].copy_from_slice(&mac);
        }
        Ok(frame)
    }

    /// The same as rules see it.
    pub fn packet(&self) -> Packet<'_> {
        let (local, remote) = (self.port, self.remote);
        Packet {
            source: self.from,
            destination: self.way.address,
            interface: Some(&self.way.interface),
            mac: Some(self.mac.unwrap_or(MacAddress([0; 6]))),
            carries: match self.transport {
                Transport::Tcp => Carried::Tcp { local, remote },
                Transport::Udp => Carried::Udp { local, remote },
            },
        }
    }
}
