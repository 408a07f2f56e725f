//! Network interfaces, and the XDP programs that are attached to them.

use std::{
    fmt, fs,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec,
    packet_route::link::{
        InfoData, InfoIpVlan, InfoKind, InfoPortKind, IpVlanMode, LinkAttribute, LinkFlags,
        LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
    },
};

use super::{Master, MasterKind, Unseen, request};

/// In linux/if_link.h.
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// Where on a packet's way the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel spends anything on the packet.
    Native,
    /// In the network stack, where every driver will do; slower.
    Generic,
    /// In the network card.
    Offloaded,
}

impl Mode {
    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a packet begins with, as XDP sees it on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header.
    None,
    /// With something else (`ARPHRD_*` in linux/if_arp.h).
    Other(u16),
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What its packets begin with.
    pub link_layer: LinkLayer,
    /// Whether what is sent by it comes back in by it.
    pub is_loopback: bool,
    /// Whether it was brought up (`IFF_UP`).
    pub is_up: bool,
    /// Its link-layer address, if that is of Ethernet's length.
    pub mac: Option<[u8; 6]>,
    /// The longest packet it carries, in bytes, without the link layer's header.
    pub mtu: u32,
    /// The driver (`virtio_net`) or the kind of virtual interface (`veth`).
    pub driver: Option<String>,
    /// Whether the kernel made it up, so that no device stands behind it.
    pub is_virtual: bool,
    /// Index of the interface below it: of a VLAN's or macvlan's parent.
    pub lower: Option<u32>,
    /// The kernel's number here for the network namespace that `lower` is in; `None` if it is this one.
    pub namespace_of_lower: Option<i32>,
    /// The XDP program attached to it, and where.
    pub xdp: Option<(u32, Mode)>,
    /// The interface that it is a port of.
    pub master: Option<Master>,
    /// Why no packet comes in by it, if that is so.
    pub unseen: Option<Unseen>,
}

/// All interfaces of this network namespace.
///
/// # Errors
///
/// Netlink does not answer.
pub fn interfaces() -> Result<Vec<Interface>> {
    request(async |handle| {
        let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
        Ok(links.into_iter().map(Interface::from).collect())
    })
    .context("cannot list the network interfaces")
}

/// Whether a veth's other end has an XDP program in native mode; not, if nobody may look there.
///
/// # Errors
///
/// Netlink does not answer.
pub fn has_native_peer(veth: &Interface, known: &[Interface]) -> Result<bool> {
    let is_native = |xdp: Option<(u32, Mode)>| matches!(xdp, Some((_, Mode::Native)));
    let Some(peer) = veth.lower else {
        return Ok(false);
    };
    let Some(namespace) = veth.namespace_of_lower else {
        let peer = known.iter().find(|one| one.index == peer);
        return Ok(peer.is_some_and(|peer| is_native(peer.xdp)));
    };
    request(async move |handle| {
        let mut get = handle.link().get().match_index(peer);
        let attributes = &mut get.message_mut().attributes;
        attributes.push(LinkAttribute::IfNetnsId(namespace));
        let link = get.execute().try_next().await;
        let attributes = link.ok().flatten().map(|link| link.attributes);
        let xdp = attributes.iter().flatten().find_map(|one| match one {
            LinkAttribute::Xdp(xdp) => attached(xdp),
            _ => None,
        });
        Ok(is_native(xdp))
    })
}

/// Detaches the XDP program of an interface that was attached without a link; only the
/// `expected` one, if it is given.
///
/// # Errors
///
/// Netlink does not answer, or the kernel refuses.
pub fn take_xdp_off(index: u32, mode: Mode, expected: Option<BorrowedFd<'_>>) -> Result<()> {
    const NO_PROGRAM: i32 = -1;
    let mut attributes = vec![LinkXdp::Fd(NO_PROGRAM)];
    let mut flags = flags(mode);
    if let Some(expected) = expected {
        attributes.push(LinkXdp::ExpectedFd(expected.as_raw_fd() as u32));
        flags |= XDP_FLAGS_REPLACE;
    }
    attributes.push(LinkXdp::Flags(flags));
    set_xdp(index, attributes).context("cannot detach the program")
}

/// Attaches an XDP program to an interface that has none, without a link.
///
/// # Errors
///
/// Netlink does not answer, or the kernel refuses.
pub fn put_xdp(index: u32, mode: Mode, program: BorrowedFd<'_>) -> Result<()> {
    let flags = LinkXdp::Flags(flags(mode) | XDP_FLAGS_UPDATE_IF_NOEXIST);
    let attributes = vec![LinkXdp::Fd(program.as_raw_fd()), flags];
    set_xdp(index, attributes).context("cannot attach the program")
}

fn set_xdp(index: u32, attributes: Vec<LinkXdp>) -> Result<()> {
    request(async move |handle| {
        let set = LinkMessageBuilder::<LinkUnspec>::default()
            .index(index)
            .append_extra_attribute(LinkAttribute::Xdp(attributes))
            .build();
        Ok(handle.link().set(set).execute().await?)
    })
}

/// `XDP_FLAGS_SKB_MODE` and its like in linux/if_link.h.
const fn flags(mode: Mode) -> u32 {
    match mode {
        Mode::Generic => 1 << 1,
        Mode::Native => 1 << 2,
        Mode::Offloaded => 1 << 3,
    }
}

impl From<LinkMessage> for Interface {
    fn from(message: LinkMessage) -> Self {
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            link_layer: match message.header.link_layer_type {
                // The loopback interface has Ethernet headers, too.
                LinkLayerType::Ether | LinkLayerType::Loopback => LinkLayer::Ethernet,
                LinkLayerType::None => LinkLayer::None,
                other => LinkLayer::Other(other.into()),
            },
            is_loopback: message.header.link_layer_type == LinkLayerType::Loopback,
            is_up: message.header.flags.contains(LinkFlags::Up),
            mac: None,
            mtu: 0,
            driver: None,
            is_virtual: false,
            lower: None,
            namespace_of_lower: None,
            xdp: None,
            master: None,
            unseen: None,
        };
        let (mut master, mut kind) = (None, MasterKind::Aggregate);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Address(mac) => interface.mac = mac.try_into().ok(),
                LinkAttribute::Link(lower) => interface.lower = Some(lower),
                LinkAttribute::LinkNetNsId(number) => interface.namespace_of_lower = Some(number),
                LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                LinkAttribute::LinkInfo(infos) => {
                    kind = master_kind(&infos);
                    interface.unseen = unseen(&infos);
                    interface.driver = infos.into_iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Controller(index) => master = Some(index),
                LinkAttribute::Xdp(xdp) => interface.xdp = attached(&xdp),
                _ => {}
            }
        }
        if interface.driver.as_deref() == Some("xfrm") {
            // It says that there is none, and its packets have the one that ESP came with, which
            // none of them tells.
            interface.link_layer = LinkLayer::Other(message.header.link_layer_type.into());
        }
        interface.master = master.map(|index| Master { index, kind });
        interface.is_virtual = interface.driver.is_some() || interface.is_loopback;
        if interface.driver.is_none() {
            interface.driver = driver_of(&interface.name, interface.index);
        }
        interface
    }
}

/// What the master of a port makes of it. Only some masters give their ports a name.
fn master_kind(port: &[LinkInfo]) -> MasterKind {
    let kind = port.iter().find_map(|info| match info {
        LinkInfo::PortKind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoPortKind::Bridge) => MasterKind::Bridge,
        Some(InfoPortKind::Vrf) => MasterKind::Vrf,
        // A bridge, too.
        Some(InfoPortKind::Other(kind)) if kind == "openvswitch" => MasterKind::Bridge,
        _ => MasterKind::Aggregate,
    }
}

/// Why no packet comes in by an interface of this kind.
fn unseen(infos: &[LinkInfo]) -> Option<Unseen> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(InfoKind::Vrf) => Some(Unseen::Vrf),
        LinkInfo::Kind(InfoKind::Dummy) => Some(Unseen::Dummy),
        LinkInfo::Kind(InfoKind::Ifb) => Some(Unseen::Ifb),
        LinkInfo::Data(InfoData::IpVlan(data)) => data
            .contains(&InfoIpVlan::Mode(IpVlanMode::L3S))
            .then_some(Unseen::IpvlanL3s),
        _ => None,
    })
}

fn attached(xdp: &[LinkXdp]) -> Option<(u32, Mode)> {
    let mode = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(Mode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(Mode::Offloaded),
        _ => None,
    })?;
    let program = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    Some((program, mode))
}

/// The driver of a network card, from sysfs; which may show another network
/// namespace's interfaces, so that the number must agree too.
fn driver_of(name: &str, index: u32) -> Option<String> {
    let device = PathBuf::from("/sys/class/net").join(name);
    let shown: u32 = fs::read_to_string(device.join("ifindex"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    if shown != index {
        return None;
    }
    let driver = fs::read_link(device.join("device/driver")).ok()?;
    Some(driver.file_name()?.to_str()?.to_owned())
}
