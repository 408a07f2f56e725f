//! The connections that the kernel tracks in this network namespace, for NAT and for stateful
//! rules of other filters. Asking never makes the kernel begin to track.

use std::{fs, io, net::SocketAddr};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple,
        Protocol, Status, Tuple,
    },
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_NETFILTER};
use xdpfw_common::Transport;

/// How many connections are tracked. The file is there exactly if the kernel can track at all,
/// that is, if what does it is compiled in or has been loaded.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// The state of a TCP connection whose handshake is complete (`TCP_CONNTRACK_ESTABLISHED` in
/// linux/netfilter/nf_conntrack_tcp.h).
const ESTABLISHED: u8 = 3;

/// A tracked TCP connection or exchange of UDP datagrams, as answers to its first packet look
/// before the kernel undoes any NAT.
///
/// Whoever sent that first packet is at the local end: this host, or somebody it forwards for.
/// Of a connection that others opened to this host, the remote end therefore is this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its protocol.
    pub transport: Transport,
    /// Where answers come from.
    pub remote: SocketAddr,
    /// Where answers go to.
    pub local: SocketAddr,
    /// Where its first packet went to, before any NAT.
    pub asked: SocketAddr,
    /// Whether an answer has been seen.
    pub answered: bool,
    /// Whether the kernel keeps it when its table is full: enough has been seen both ways.
    pub assured: bool,
    /// Whether the TCP handshake is complete and no end has said FIN; never of UDP.
    pub established: bool,
}

/// Whether the kernel can track connections now. Without that it does no NAT either.
pub fn tracks_connections() -> bool {
    fs::exists(COUNT).unwrap_or(false)
}

/// The tracked TCP connections and UDP exchanges of this network namespace, those it forwards
/// included. There are none where the kernel does not track.
///
/// # Errors
///
/// Netlink does not answer.
pub fn tracked_connections() -> Result<Vec<Tracked>> {
    // To ask where nothing is tracked would load the kernel's modules for it.
    let nothing = fs::read_to_string(COUNT).map_or(true, |count| count.trim() == "0");
    if nothing {
        return Ok(Vec::new());
    }
    match dump() {
        Err(error) if is_unsupported(&error) => Ok(Vec::new()),
        tracked => tracked.context("cannot list the tracked connections"),
    }
}

/// Whether the kernel tracks connections but cannot list them.
fn is_unsupported(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error)
        .is_some_and(|code| [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL].contains(&code))
}

fn dump() -> Result<Vec<Tracked>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    socket.send(&request(), 0)?;
    let mut tracked = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(tracked),
                NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                NetlinkPayload::InnerMessage(message) => tracked.extend(tracked_of(&message)),
                NetlinkPayload::Overrun(_) => bail!("some of them were lost"),
                _ => {}
            }
            // Messages begin at multiples of four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(4)..).unwrap_or_default();
        }
    }
}

/// Asks for all connections of both families.
fn request() -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(
        header,
        NetlinkPayload::from(NetfilterMessage::new(
            NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0),
            ConntrackMessage::Get(Vec::new()),
        )),
    );
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The connection of a message; `None` if it is no TCP or UDP.
fn tracked_of(message: &NetfilterMessage) -> Option<Tracked> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = &message.inner else {
        return None;
    };
    let (mut ends, mut asked) = (None, None);
    let mut status = Status::empty();
    let mut established = false;
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => asked = Some(Ends::of(tuple)?.destination),
            ConntrackAttribute::CtaTupleReply(tuple) => ends = Some(Ends::of(tuple)?),
            ConntrackAttribute::CtaStatus(of_it) => status = *of_it,
            ConntrackAttribute::CtaProtoInfo(info) => established = is_established(info),
            _ => {}
        }
    }
    let Ends {
        transport,
        source,
        destination,
    } = ends?;
    Some(Tracked {
        transport,
        remote: source,
        local: destination,
        asked: asked?,
        answered: status.contains(Status::SeenReply),
        assured: status.contains(Status::Assured),
        established,
    })
}

/// What the packets of one direction look like.
struct Ends {
    transport: Transport,
    source: SocketAddr,
    destination: SocketAddr,
}

impl Ends {
    /// Reads a tuple; `None` if it is of no TCP or UDP.
    fn of(tuple: &[Tuple]) -> Option<Self> {
        let ips = tuple.iter().filter_map(|part| match part {
            Tuple::Ip(ips) => Some(ips),
            _ => None,
        });
        let (mut from, mut to) = (None, None);
        for ip in ips.flatten() {
            match ip {
                IPTuple::SourceAddress(address) => from = Some(*address),
                IPTuple::DestinationAddress(address) => to = Some(*address),
                _ => {}
            }
        }
        let protocols = tuple.iter().filter_map(|part| match part {
            Tuple::Proto(protocol) => Some(protocol),
            _ => None,
        });
        let (mut transport, mut source, mut destination) = (None, None, None);
        for part in protocols.flatten() {
            match part {
                ProtoTuple::Protocol(Protocol::Tcp) => transport = Some(Transport::Tcp),
                ProtoTuple::Protocol(Protocol::Udp) => transport = Some(Transport::Udp),
                ProtoTuple::SourcePort(port) => source = Some(*port),
                ProtoTuple::DestinationPort(port) => destination = Some(*port),
                _ => {}
            }
        }
        Some(Self {
            transport: transport?,
            source: SocketAddr::new(from?, source?),
            destination: SocketAddr::new(to?, destination?),
        })
    }
}

fn is_established(info: &[ProtoInfo]) -> bool {
    info.iter().any(|info| match info {
        ProtoInfo::TCP(tcp) => tcp.contains(&ProtoInfoTCP::State(ESTABLISHED)),
        _ => false,
    })
}
