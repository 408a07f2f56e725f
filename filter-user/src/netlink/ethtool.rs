//! Asks a driver for its settings and changes them, by the ioctl that ethtool(8) uses as well.

use std::{
    ffi::c_int,
    io,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
};

/// `ETHTOOL_GFLAGS` in linux/ethtool.h.
const GET_FLAGS: u32 = 0x25;
/// `ETHTOOL_GCHANNELS` there.
const GET_CHANNELS: u32 = 0x3c;
/// `ETHTOOL_SCHANNELS` there.
const SET_CHANNELS: u32 = 0x3d;
/// `ETH_FLAG_RXVLAN`.
const RX_VLAN: u32 = 1 << 8;
/// `ETH_FLAG_LRO`.
const LRO: u32 = 1 << 15;

/// Settings of a driver that bear on XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether the card puts packets together before XDP would see them.
    pub lro: bool,
    /// Whether the card takes VLAN tags off, so that XDP sees none.
    pub rx_vlan: bool,
    /// Its queues, if it tells.
    pub queues: Option<Queues>,
}

/// Queues of a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// How many packets come in by.
    pub receiving: u32,
    /// How many there could be.
    pub most: u32,
    /// What `ethtool -L` calls them.
    pub word: &'static str,
}

/// The settings of an interface, by its name. What a driver does not tell is not on.
///
/// # Errors
///
/// There is no such interface, or no socket to ask by.
pub fn settings(interface: &str) -> io::Result<Settings> {
    // Any socket will do.
    let asking = UnixDatagram::unbound()?;
    let flags = ask(
        &asking,
        interface,
        Value {
            command: GET_FLAGS,
            data: 0,
        },
    )?;
    let flags = flags.map_or(0, |value| value.data);
    let channels = channels(&asking, interface)?;
    Ok(Settings {
        lro: flags & LRO != 0,
        rx_vlan: flags & RX_VLAN != 0,
        queues: channels.and_then(Channels::queues),
    })
}

/// Has an interface, by its name, use this many of its combined queues.
///
/// # Errors
///
/// It has none such, the driver refuses, or this process may not (CAP_NET_ADMIN).
pub fn set_queues(interface: &str, count: u32) -> io::Result<()> {
    let asking = UnixDatagram::unbound()?;
    let channels = channels(&asking, interface)?.ok_or(io::ErrorKind::Unsupported)?;
    let wanted = Channels {
        command: SET_CHANNELS,
        combined: count,
        ..channels
    };
    match ask(&asking, interface, wanted)? {
        Some(_) => Ok(()),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn channels(asking: &UnixDatagram, interface: &str) -> io::Result<Option<Channels>> {
    let question = Channels {
        command: GET_CHANNELS,
        ..Channels::default()
    };
    ask(asking, interface, question)
}

/// `struct ethtool_value` in linux/ethtool.h.
#[derive(Clone, Copy)]
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_channels` in linux/ethtool.h.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

impl Channels {
    const fn queues(self) -> Option<Queues> {
        match (self.combined, self.rx) {
            (0, 0) => None,
            (0, rx) => Some(Queues {
                receiving: rx,
                most: self.max_rx,
                word: "rx",
            }),
            (combined, rx) => Some(Queues {
                receiving: combined + rx,
                most: self.max_combined,
                word: "combined",
            }),
        }
    }
}

/// A question of ethtool's: a struct that begins with its command, and is answered in place.
trait Question: Copy {}
impl Question for Value {}
impl Question for Channels {}

/// Asks; `None` if the driver has no such settings, or this process may not ask.
fn ask<Q: Question>(
    asking: &UnixDatagram,
    interface: &str,
    mut question: Q,
) -> io::Result<Option<Q>> {
    // SAFETY: a struct of plain integers and a union of them, all of which may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The kernel wants a zero at the end.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut question).cast();
    // SAFETY: both structs live through the call. The kernel writes as much as the command in
    // front of the question says, which is the question's own size.
    let done: c_int =
        unsafe { libc::ioctl(asking.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if done == 0 {
        return Ok(Some(question));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EPERM) => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_and_nothing_else_does() {
        let settings = settings("lo").unwrap();
        assert!(!settings.lro);
        assert_eq!(settings.queues, None);
        assert!(super::settings("xdpfw-none").is_err());
        assert!(super::settings("a-name-that-no-interface-can-have").is_err());
    }

    #[test]
    fn queues_are_those_that_packets_come_in_by() {
        let channels = Channels {
            max_rx: 4,
            max_combined: 8,
            ..Channels::default()
        };
        assert_eq!(channels.queues(), None);
        let rx = Channels { rx: 2, ..channels };
        let expected = Queues {
            receiving: 2,
            most: 4,
            word: "rx",
        };
        assert_eq!(rx.queues(), Some(expected));
        let combined = Channels {
            combined: 3,
            ..channels
        };
        let expected = Queues {
            receiving: 3,
            most: 8,
            word: "combined",
        };
        assert_eq!(combined.queues(), Some(expected));
    }
}
