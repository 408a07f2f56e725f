//! Whether this host can answer with SYN cookies: what kernel, settings and drivers must allow.

use std::fs;

use anyhow::Result;
use xdpfw_common::Transport;

use super::Engine;
use crate::{
    compiler::CookieOptions,
    datapath::Attached,
    netlink::{Interface, Mode, has_native_peer, interfaces},
    policy::{Action, Policy},
    system::{Kernel, SocketState, ephemeral_ports, have_own_windows, most_buffered, sockets},
};

/// The kernel's setting for cookies at any time; 1 is those where its own queue is full.
const ALWAYS: u32 = 2;
/// The kernel whose programs can read and write packets in several buffers.
const SINCE: (u32, u32) = (5, 18);

/// The bits of a window that is not scaled, but for the first; and by how many bits it can be shifted at
/// most (RFC 7323).
const UNSCALED: u32 = 15;
const MOST_SCALE: u32 = 14;

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
    Setting(u32),
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
        let setting = setting("tcp_syncookies").unwrap_or_default();
        if setting != ALWAYS {
            return Ok(Some(NoCookies::Setting(setting)));
        }
        let attached = self.live.as_ref().map_or(&[][..], |live| &live.attached);
        mute(attached)
    }
}

/// What the kernel takes from the cookies of a policy's rules besides the size of segments: only under
/// `net.ipv4.tcp_timestamps = 2`, since under 1 each client's timestamps begin somewhere else, which only
/// the kernel knows, and under 0 there are none. `before` is what they carry now.
pub(super) fn cookie_options(
    policy: &Policy,
    before: Option<CookieOptions>,
) -> Option<CookieOptions> {
    if !policy.has_cookies() || setting("tcp_timestamps") != Some(2) {
        return None;
    }
    Some(CookieOptions {
        sack: setting("tcp_sack").is_some_and(|setting| setting != 0),
        scale: scale(policy, before.and_then(|before| before.scale)),
    })
}

/// By how many bits the kernel shifts the windows of all connections to a policy's rules with cookies
/// (`tcp_select_initial_window` in net/ipv4/tcp_output.c). `None` if it scales none; or maybe some others,
/// because a program has set what its socket takes: the two ends would take windows for others than
/// they are. Who may not know that leaves it as it was `before`: services with few capabilities.
fn scale(policy: &Policy, before: Option<u8>) -> Option<u8> {
    setting("tcp_window_scaling").filter(|setting| *setting != 0)?;
    let ephemeral = ephemeral_ports();
    let is_answered = |port: u16| {
        let mut rules = policy.rules.iter();
        rules.any(|rule| {
            rule.action == Action::AllowWithCookies && rule.matches.local.contains(port, ephemeral)
        })
    };
    let mut listeners = sockets().ok()?;
    listeners.retain(|socket| {
        socket.transport == Transport::Tcp
            && socket.state == SocketState::Listening
            && is_answered(socket.local.port())
    });
    let most = *settings("tcp_rmem")?.last()?;
    let most = most.max(most_buffered().ok()?);
    let bits = most.checked_ilog2()?.saturating_sub(UNSCALED);
    let scale = u8::try_from(bits.min(MOST_SCALE)).ok();
    match have_own_windows(&listeners) {
        Ok(false) => scale,
        Ok(true) => None,
        Err(_) => before.filter(|before| scale == Some(*before)),
    }
}

/// The numbers of a setting of IP.
fn settings(name: &str) -> Option<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
    let numbers = text.split_whitespace().map(str::parse);
    numbers.collect::<Result<_, _>>().ok()
}

/// The same, where there is only one.
fn setting(name: &str) -> Option<u32> {
    settings(name)?.first().copied()
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
