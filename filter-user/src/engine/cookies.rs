//! Whether this host can answer with SYN cookies: what kernel, settings and drivers must allow.

use std::fs;

use anyhow::Result;

use super::Engine;
use crate::{
    datapath::Attached,
    netlink::{Interface, Mode, has_native_peer, interfaces},
    policy::Policy,
    system::Kernel,
};

/// The kernel's setting: 2 is cookies at any time, 1 only where its own queue is full.
const SETTING: &str = "/proc/sys/net/ipv4/tcp_syncookies";
/// The kernel whose programs can read and write packets in several buffers.
const SINCE: (u32, u32) = (5, 18);

/// Why a rule cannot answer with SYN cookies here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCookies {
    /// The kernel is too old.
    #[error("SYN cookies need Linux 5.18 or newer (leave out --syn-cookies)")]
    Kernel,
    /// The kernel makes none for this.
    #[error(
        "SYN cookies need net.ipv4.tcp_syncookies = 2, and it is {0} (say `sysctl -w net.ipv4.tcp_syncookies=2`)"
    )]
    Setting(String),
    /// What is sent back there reaches nobody.
    #[error(
        "{0}: a veth in native mode hands no answers back, unless there is an XDP program at its other end (say `xdpfw down {0}`, then `xdpfw up {0} --mode generic`)"
    )]
    Veth(String),
}

impl Engine {
    /// Why the rules of a policy that answer with SYN cookies cannot do so here, if there are any.
    ///
    /// # Errors
    ///
    /// Netlink does not answer.
    pub fn no_cookies(&self, policy: &Policy) -> Result<Option<NoCookies>> {
        if !policy.has_cookies() {
            return Ok(None);
        }
        if Kernel::read()
            .version()
            .is_some_and(|version| version < SINCE)
        {
            return Ok(Some(NoCookies::Kernel));
        }
        let setting = fs::read_to_string(SETTING).unwrap_or_default();
        if setting.trim() != "2" {
            return Ok(Some(NoCookies::Setting(setting.trim().to_owned())));
        }
        let attached = self.live.as_ref().map_or(&[][..], |live| &live.attached);
        mute(attached)
    }
}

/// The first interface that is filtered in a mode in which its answers reach nobody.
fn mute(attached: &[Attached]) -> Result<Option<NoCookies>> {
    let native: Vec<&Attached> = attached
        .iter()
        .filter(|one| one.mode == Mode::Native && is_veth(&one.interface))
        .collect();
    if native.is_empty() {
        return Ok(None);
    }
    let known = interfaces()?;
    for attached in native {
        let name = &attached.interface.name;
        let interface = known
            .iter()
            .find(|one| one.index == attached.interface.index);
        if let Some(interface) = interface
            && !has_native_peer(interface, &known)?
        {
            return Ok(Some(NoCookies::Veth(name.clone())));
        }
    }
    Ok(None)
}

/// Whether answers of an interface reach nobody in native mode.
///
/// # Errors
///
/// Netlink does not answer.
pub(super) fn is_mute(interface: &Interface) -> Result<bool> {
    Ok(is_veth(interface) && !has_native_peer(interface, &interfaces()?)?)
}

fn is_veth(interface: &Interface) -> bool {
    interface.driver.as_deref() == Some("veth")
}
