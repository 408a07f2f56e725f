//! Fills the tables of flows with what was under way before packets that leave were recorded.

use std::{collections::HashSet, net::SocketAddr};

use anyhow::Result;
use xdpfw_common::{
    Transport,
    abi::{FlowState, Note, Origin, Table},
};

use crate::{
    datapath::{Clock, Flow, FlowMaps},
    netlink::{Tracked, own_addresses, tracked_connections},
    ports::PortRange,
    system::{Socket, SocketState, ephemeral_ports, sockets},
};

/// Flows, and the local ports that have sent something.
#[derive(Debug, Default)]
struct Seed {
    flows: Vec<Flow>,
    tcp: HashSet<u16>,
    syn: HashSet<u16>,
    udp: HashSet<u16>,
}

/// Remembers what this host's sockets, and those it forwards for, may be waiting for.
///
/// # Errors
///
/// The kernel does not tell, or refuses.
pub(super) fn seed(maps: &mut FlowMaps, clock: &Clock) -> Result<()> {
    let now = clock.now();
    let mut seed = Seed::default();
    seed.add_sockets(&sockets()?, ephemeral_ports(), now);
    let tracked = tracked_connections()?;
    if !tracked.is_empty() {
        let own: HashSet<_> = own_addresses()?.into_iter().map(|(own, _)| own).collect();
        let from_outside = |tracked: &&Tracked| !own.contains(&tracked.remote.ip());
        seed.add_tracked(tracked.iter().filter(from_outside), now);
    }
    maps.add(&seed.flows)?;
    for (note, ports) in [
        (Note::Tcp, seed.tcp),
        (Note::Syn, seed.syn),
        (Note::Udp, seed.udp),
    ] {
        let ports: Vec<u16> = ports.into_iter().collect();
        maps.note(note, &ports, now)?;
    }
    Ok(())
}

impl Seed {
    fn add_sockets(&mut self, sockets: &[Socket], ephemeral: PortRange, now: u64) {
        let listening: HashSet<u16> = sockets
            .iter()
            .filter(|socket| {
                socket.transport == Transport::Tcp && socket.state == SocketState::Listening
            })
            .map(|socket| socket.local.port())
            .collect();
        for socket in sockets {
            let Some(remote) = socket.remote else {
                continue;
            };
            let port = socket.local.port();
            // Who opened a connection is not told. This host did where its port is one
            // that the kernel picked, and nobody takes connections there.
            let is_own =
                !listening.contains(&port) && (ephemeral.first..=ephemeral.last).contains(&port);
            let state = FlowState {
                picked_up: u8::from(!is_own),
                ..FlowState::new(now)
            };
            match (socket.transport, socket.state) {
                (_, SocketState::Listening) => {}
                (Transport::Udp, _) => {
                    self.udp.insert(port);
                    self.add(
                        Transport::Udp,
                        remote,
                        socket.local,
                        FlowState::new(now),
                        None,
                    );
                }
                (Transport::Tcp, SocketState::Connecting) => {
                    self.tcp.insert(port);
                    self.syn.insert(port);
                    let state = FlowState::new(now);
                    self.add(
                        Transport::Tcp,
                        remote,
                        socket.local,
                        state,
                        Some(Table::Brief),
                    );
                }
                (Transport::Tcp, _) => {
                    self.tcp.insert(port);
                    self.add(Transport::Tcp, remote, socket.local, state, None);
                }
            }
        }
    }

    fn add(
        &mut self,
        transport: Transport,
        remote: SocketAddr,
        local: SocketAddr,
        state: FlowState,
        table: Option<Table>,
    ) {
        let flow = Flow::between(Origin::Local, transport, remote, local, state);
        self.flows.extend(flow.map(|flow| Flow {
            table: table.unwrap_or(flow.table),
            ..flow
        }));
    }

    /// Adds connections whose first packet came from this side.
    fn add_tracked<'a>(&mut self, tracked: impl Iterator<Item = &'a Tracked>, now: u64) {
        for tracked in tracked {
            let port = tracked.local.port();
            match tracked.transport {
                Transport::Tcp if !tracked.established => continue,
                Transport::Tcp => self.tcp.insert(port),
                Transport::Udp => self.udp.insert(port),
            };
            let &Tracked {
                transport,
                remote,
                local,
                ..
            } = tracked;
            let state = FlowState::new(now);
            self.flows.extend(Flow::between(
                Origin::Forwarded,
                transport,
                remote,
                local,
                state,
            ));
        }
    }
}
