//! Judges frames by compiled tables in userspace, with the code that the kernel program runs.
//! It does no I/O: there is no kernel, the host knows no flows, and it has sockets for every packet or for none.

use std::{collections::HashMap, net::IpAddr};

use xdpfw_common::{
    Transport,
    abi::{Config, EdgeKey, FlowKey, LocalKey, Node, Side},
    flows::{NoFlows, Packet},
    verdict::{self, Host, Lasting, Outcome, Sockets},
    wire::{Frame, ethernet::Mac, ip::Addresses},
};

use super::{Prefix, Tables};

/// The tables as the kernel program sees them.
pub struct Simulation<'a> {
    tables: &'a Tables,
    local: HashMap<LocalKey, Node>,
    edges: HashMap<EdgeKey, Node>,
    has_sockets: bool,
    /// What `CLOCK_BOOTTIME` shows, in nanoseconds.
    now: u64,
}

/// The same for a packet that came in by an interface.
struct Arrival<'a> {
    simulation: &'a Simulation<'a>,
    /// The interface's number, if it is known.
    interface: Option<u32>,
}

impl<'a> Simulation<'a> {
    /// Of a host without sockets.
    pub fn of(tables: &'a Tables) -> Self {
        Self {
            tables,
            local: tables.local.iter().copied().collect(),
            edges: tables.edges.iter().copied().collect(),
            has_sockets: false,
            now: 0,
        }
    }

    /// The same on a host that has a socket for every packet.
    pub fn with_sockets(self) -> Self {
        Self {
            has_sockets: true,
            ..self
        }
    }

    /// The same at this time of `CLOCK_BOOTTIME`, in nanoseconds, instead of 0.
    pub fn at(self, now: u64) -> Self {
        Self { now, ..self }
    }

    /// Whether rules let in a packet, which answers something that leaves, wherever it comes in.
    pub fn admits(&self, packet: &Packet, lasting: Lasting) -> bool {
        let arrival = Arrival {
            simulation: self,
            interface: None,
        };
        verdict::admits(&arrival, packet, lasting)
    }

    /// What becomes of a frame that comes in by the interface with this index.
    pub fn judge<F: Frame + ?Sized>(&self, frame: &F, interface: u32) -> Outcome {
        let simulation = self;
        verdict::judge(
            frame,
            &Arrival {
                simulation,
                interface: Some(interface),
            },
        )
    }
}

/// The class of the longest prefix that holds an address, as the kernel's trie finds it.
fn longest(prefixes: &[(Prefix, u32)], address: u128) -> u32 {
    prefixes
        .iter()
        .filter(|(prefix, _)| {
            let free = 128 - u32::from(prefix.len);
            free == 128 || (prefix.bits ^ address) >> free == 0
        })
        .max_by_key(|(prefix, _)| prefix.len)
        .map_or(0, |&(_, class)| class)
}

impl Host for Arrival<'_> {
    type Tables = Self;
    type Sockets = Self;
    type Memory = NoFlows;

    fn tables(&self) -> &Self {
        self
    }

    fn sockets(&self) -> &Self {
        self
    }

    fn memory(&self) -> &NoFlows {
        &NoFlows
    }

    fn interface(&self) -> u32 {
        self.interface.unwrap_or(0)
    }
}

impl verdict::Tables for Arrival<'_> {
    fn config(&self) -> &Config {
        &self.simulation.tables.config
    }

    fn is_closed(&self, transport: Transport, port: u16) -> bool {
        self.simulation.tables.listed.is_closed(transport, port)
    }

    fn is_listed(&self, side: Side, transport: Transport, port: u16) -> bool {
        self.simulation
            .tables
            .listed
            .contains(side, transport, port)
    }

    fn local(&self, key: LocalKey) -> Option<Node> {
        self.simulation.local.get(&key).copied()
    }

    fn edge(&self, key: EdgeKey) -> Option<Node> {
        self.simulation.edges.get(&key).copied()
    }

    fn remote_port_class(&self, transport: Transport, port: u16) -> u32 {
        let key = LocalKey::new(transport.into(), port);
        let mut found = self
            .simulation
            .tables
            .remote
            .iter()
            .filter(|(other, _)| *other == key);
        found.next().map_or(0, |&(_, class)| class)
    }

    fn interface_class(&self) -> Option<u32> {
        let interface = self.interface?;
        let mut found = self.simulation.tables.interfaces.iter();
        let found = found.find(|(index, _)| *index == interface);
        Some(found.map_or(0, |&(_, class)| class))
    }

    fn mac_class(&self, mac: &Mac) -> u32 {
        let mut found = self.simulation.tables.macs.iter();
        let found = found.find(|(other, _)| other == mac);
        found.map_or(0, |&(_, class)| class)
    }

    fn ends_ahead(&self) -> u32 {
        self.simulation.tables.ends.ahead(self.simulation.now)
    }

    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32 {
        let (tries, address) = match side {
            Side::Remote => (&self.simulation.tables.sources, addresses.remote()),
            Side::Local => (&self.simulation.tables.destinations, addresses.local()),
        };
        match address {
            IpAddr::V4(address) => longest(&tries[0], u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => longest(&tries[1], address.to_bits()),
        }
    }
}

impl Sockets for Arrival<'_> {
    fn has_socket(&self, _: &FlowKey) -> bool {
        self.simulation.has_sockets
    }
}
