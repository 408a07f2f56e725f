//! Network interfaces and what XDP is attached to them, as netlink tells it.

use std::{fmt, fs, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec,
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        link::{LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached},
    },
};

use crate::{compiler::Environment, host, policy::Policy};

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
    /// The longest packet it carries, in bytes, without the link layer's header.
    pub mtu: u32,
    /// The driver (`virtio_net`) or the kind of virtual interface (`veth`).
    pub driver: Option<String>,
    /// The XDP program attached to it, and where.
    pub xdp: Option<(u32, Mode)>,
}

/// All interfaces of this network namespace.
///
/// # Errors
///
/// Netlink does not answer.
pub fn interfaces() -> Result<Vec<Interface>> {
    netlink(async |handle| {
        let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
        Ok(links.into_iter().map(Interface::from).collect())
    })
    .context("cannot list the network interfaces")
}

/// The interface that an address of this host's is on; `None` if it is on none, or on
/// several, as link-local addresses can be.
///
/// # Errors
///
/// Netlink does not answer.
pub fn interface_with(address: IpAddr) -> Result<Option<String>> {
    netlink(async |handle| {
        let all: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
        let mut owners: Vec<u32> = all
            .iter()
            .filter(|message| {
                // Of a point-to-point link, `Address` is the other end's.
                let local = message.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(local) => Some(*local),
                    _ => None,
                });
                local.map_or_else(
                    || {
                        let own = AddressAttribute::Address(address);
                        message.attributes.contains(&own)
                    },
                    |local| local == address,
                )
            })
            .map(|message| message.header.index)
            .collect();
        owners.sort_unstable();
        owners.dedup();
        let &[owner] = owners.as_slice() else {
            return Ok(None);
        };
        let mut link = handle.link().get().match_index(owner).execute();
        let link = link.try_next().await?.map(Interface::from);
        Ok(link.map(|interface| interface.name))
    })
    .context("cannot list the addresses")
}

/// What policies depend on of this host, as far as this one does.
///
/// # Errors
///
/// Netlink does not answer.
pub fn environment(policy: &Policy) -> Result<Environment> {
    let mut environment = Environment {
        ephemeral: host::ephemeral_ports(),
        interfaces: Vec::new(),
    };
    let mut named: Vec<&String> = policy.rules.iter().flat_map(|rule| &rule.what.on).collect();
    if !named.is_empty() {
        named.sort_unstable();
        named.dedup();
        let known = interfaces()?;
        let existing = known
            .into_iter()
            .filter(|known| named.binary_search(&&known.name).is_ok());
        environment.interfaces = existing.map(|known| (known.name, known.index)).collect();
    }
    Ok(environment)
}

/// Detaches whatever XDP program was attached to an interface without a link.
pub(super) fn detach_unlinked(index: u32, mode: Mode) -> Result<()> {
    const NO_PROGRAM: i32 = -1;
    // `XDP_FLAGS_SKB_MODE` and its like in linux/if_link.h.
    let flags = match mode {
        Mode::Generic => 1 << 1,
        Mode::Native => 1 << 2,
        Mode::Offloaded => 1 << 3,
    };
    netlink(async |handle| {
        let detach = LinkMessageBuilder::<LinkUnspec>::default()
            .index(index)
            .append_extra_attribute(LinkAttribute::Xdp(vec![
                LinkXdp::Fd(NO_PROGRAM),
                LinkXdp::Flags(flags),
            ]))
            .build();
        Ok(handle.link().set(detach).execute().await?)
    })
    .context("cannot detach the program")
}

fn netlink<T>(work: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            work(handle).await
        })
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
            mtu: 0,
            driver: None,
            xdp: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                LinkAttribute::LinkInfo(infos) => {
                    interface.driver = infos.into_iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Xdp(xdp) => interface.xdp = attached(&xdp),
                _ => {}
            }
        }
        if interface.driver.is_none() {
            interface.driver = driver_of(&interface.name, interface.index);
        }
        interface
    }
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
