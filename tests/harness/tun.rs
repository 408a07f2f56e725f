//! TUN and TAP interfaces: the host receives what is written here, and what it sends is read
//! here.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::Host;

/// `TUNSETIFF` in linux/if_tun.h.
const SET_INTERFACE: libc::c_ulong = 0x4004_54ca;
/// `struct tun_pi`: flags, and the packet's ethertype.
const INFORMATION: usize = 4;
/// The longest packet.
const PACKET: usize = 65_536;

/// An interface of a host's that carries packets with (TAP) or without (TUN) an Ethernet
/// header. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes an interface for IP packets without any header before them.
    pub fn layer3(host: &Host, name: &str) -> Result<Self> {
        Self::open(host, name, libc::IFF_TUN)
    }

    /// Makes an interface for Ethernet frames.
    pub fn ethernet(host: &Host, name: &str) -> Result<Self> {
        Self::open(host, name, libc::IFF_TAP)
    }

    fn open(host: &Host, name: &str, kind: libc::c_int) -> Result<Self> {
        ensure!(name.len() < libc::IFNAMSIZ, "{name} is no interface's name");
        host.enter(|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .context("cannot open /dev/net/tun")?;
            // SAFETY: a structure of numbers, for which zeros will do.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from.cast_signed();
            }
            request.ifr_ifru.ifru_flags = kind as libc::c_short;
            // SAFETY: the kernel reads and writes this structure, which outlives the call.
            let result = unsafe { libc::ioctl(file.as_raw_fd(), SET_INTERFACE, &raw mut request) };
            ensure!(
                result == 0,
                "cannot make {name}: {}",
                io::Error::last_os_error()
            );
            Ok(Self(file))
        })
    }

    /// Has the host receive a packet, which is what this ethertype says, or not.
    pub fn send(&self, ethertype: u16, packet: &[u8]) -> Result<()> {
        let message = [&[0, 0][..], &ethertype.to_be_bytes(), packet].concat();
        let written = (&self.0).write(&message).context("cannot send a packet")?;
        ensure!(written == message.len(), "a packet was sent in part");
        Ok(())
    }

    /// The next packet that the host sends and that is `wanted`.
    pub fn receive(&self, wanted: impl Fn(&[u8]) -> bool, patience: Duration) -> Result<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut message = vec![0; INFORMATION + PACKET];
        loop {
            match (&self.0).read(&mut message) {
                Ok(len) if len > INFORMATION && wanted(&message[INFORMATION..len]) => {
                    return Ok(message[INFORMATION..len].to_vec());
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("cannot receive"),
            }
            ensure!(Instant::now() < deadline, "the host has sent nothing such");
        }
    }
}
