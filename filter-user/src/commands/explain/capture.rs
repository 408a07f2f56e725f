//! Frames of a capture file, pcap or pcapng, as the filter would see them.

mod headers;

use std::{fs::File, io, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use pcap_parser::{
    Block, Linktype, PcapBlockOwned, PcapError, create_reader, traits::PcapReaderIterator,
};
use rustix::fs::{FileType, Mode, OFlags, fcntl_setfl, fstat, open};

/// The largest block that is read, in bytes: larger than any packet, with room for its options.
const LARGEST_BLOCK: usize = 1 << 20;
/// Longest frame that the kernel judges in one piece, in bytes: a page, less what it keeps in
/// front and behind (`bpf_test_init` in net/bpf/test_run.c).
const LONGEST: usize = 3_400;
/// Shortest frame that it judges, in bytes (`ETH_HLEN` in linux/if_ether.h).
const ETHERNET_HEADER: usize = 14;
/// The kinds of a frame in front of IP (`ETH_P_IP` and `ETH_P_IPV6` in linux/if_ether.h).
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Captured {
    /// All of it, with an Ethernet header.
    Frame(Vec<u8>),
    /// It cannot be judged; why, in part of a line.
    Unreadable(String),
}

/// A capture file.
pub(super) struct Capture {
    reader: Box<dyn PcapReaderIterator + Send>,
    shown: String,
    /// The link types of the interfaces, by their numbers.
    link_types: Vec<Linktype>,
    is_over: bool,
}

impl Capture {
    /// What it is called.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Opens one.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is something else.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string().escape_debug().to_string();
        // A pipe that nobody writes to would not even open.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty())
            .and_then(|file| Ok((fstat(&file)?, file)))
            .and_then(|(stat, file)| {
                fcntl_setfl(&file, OFlags::empty())?;
                Ok((FileType::from_raw_mode(stat.st_mode), File::from(file)))
            });
        let file = match file {
            Ok((FileType::Directory, _)) => bail!("{shown}: is a directory (name a capture in it)"),
            Ok((_, file)) => file,
            Err(errno) => {
                return Err(io::Error::from(errno)).with_context(|| format!("cannot open {shown}"));
            }
        };
        let reader = create_reader(LARGEST_BLOCK, file).map_err(|error| match error {
            PcapError::ReadError => anyhow!("cannot read {shown}"),
            _ => anyhow!("{shown}: no capture (pcap or pcapng)"),
        })?;
        Ok(Self {
            reader,
            shown,
            link_types: Vec::new(),
            is_over: false,
        })
    }

    /// The next frame; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// The file breaks off or is damaged.
    pub(super) fn next(&mut self) -> Result<Option<Captured>> {
        while !self.is_over {
            let found = match self.reader.next() {
                Ok((_, PcapBlockOwned::Legacy(one))) if one.origlen == 0 => {
                    bail!("{}: damaged, with a frame of no bytes", self.shown)
                }
                Ok((length, block)) => {
                    let found = frame_of(&block, &mut self.link_types);
                    self.reader.consume(length);
                    found
                }
                Err(PcapError::Eof) => {
                    self.is_over = true;
                    None
                }
                Err(PcapError::UnexpectedEof) => {
                    bail!("{}: breaks off in the middle of a block", self.shown)
                }
                Err(PcapError::Incomplete(_)) => {
                    let refilled = self.reader.refill();
                    refilled
                        .map_err(|_| io::Error::other("a read failed"))
                        .with_context(|| format!("cannot read {}", self.shown))?;
                    None
                }
                Err(_) => bail!("{}: damaged, or with a block that is too large", self.shown),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The frame of a block, if it has one.
fn frame_of(block: &PcapBlockOwned<'_>, link_types: &mut Vec<Linktype>) -> Option<Captured> {
    let (interface, data, captured, original) = match block {
        PcapBlockOwned::LegacyHeader(header) => {
            // Above is what is said of a check sum behind each frame.
            link_types.push(Linktype(header.network.0 & 0xffff));
            return None;
        }
        PcapBlockOwned::Legacy(one) => (0, one.data, one.caplen, one.origlen),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            // Its interfaces are numbered anew.
            link_types.clear();
            return None;
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(one)) => {
            link_types.push(one.linktype);
            return None;
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(one)) => {
            (one.if_id as usize, one.data, one.caplen, one.origlen)
        }
        PcapBlockOwned::NG(Block::SimplePacket(one)) => {
            let captured = one.origlen.min(u32::try_from(one.data.len()).ok()?);
            (0, one.data, captured, one.origlen)
        }
        PcapBlockOwned::NG(_) => return None,
    };
    let Some(link_type) = link_types.get(interface) else {
        return Some(Captured::Unreadable(
            "of an interface that is not described".to_owned(),
        ));
    };
    let data = data.get(..captured as usize).unwrap_or(data);
    let missing = original.saturating_sub(captured) as usize;
    Some(ethernet(*link_type, data, missing))
}

/// A frame with an Ethernet header, and zeros for what was not captured: headers decide, and all of
/// them are there.
fn ethernet(link_type: Linktype, data: &[u8], missing: usize) -> Captured {
    let headed = |kind: [u8; 2], packet: &[u8]| [&[0; 12], kind.as_slice(), packet].concat();
    let bare = |packet: &[u8]| match packet.first().map(|byte| byte >> 4) {
        Some(4) => Some(headed(IPV4, packet)),
        Some(6) => Some(headed(IPV6, packet)),
        _ => None,
    };
    let cooked = |kind: std::ops::Range<usize>, header: usize| {
        let kind = data.get(kind)?.try_into().ok()?;
        Some(headed(kind, data.get(header..)?))
    };
    let frame = match link_type {
        Linktype::ETHERNET => Some(data.to_vec()),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => bare(data),
        // The address family, in the host's or network byte order, says no more than the header.
        Linktype::NULL | Linktype::LOOP => data.get(4..).and_then(bare),
        // Of either version, the EtherType is last of the header, or first.
        Linktype::LINUX_SLL => cooked(14..16, 16),
        Linktype(276) => cooked(0..2, 20),
        Linktype(other) => {
            return Captured::Unreadable(format!("of link type {other}, which has no Ethernet"));
        }
    };
    let Some(mut frame) = frame else {
        return Captured::Unreadable("too short for its link type".to_owned());
    };
    if frame.len() < ETHERNET_HEADER {
        return Captured::Unreadable("too short for its link type".to_owned());
    }
    if missing > 0 && headers::are_cut(&frame) {
        return Captured::Unreadable("cut off within its headers".to_owned());
    }
    let length = frame.len().saturating_add(missing);
    if length > LONGEST {
        return Captured::Unreadable(format!(
            "of {length} bytes, of which {LONGEST} can be judged"
        ));
    }
    frame.resize(length, 0);
    Captured::Frame(frame)
}

#[cfg(test)]
mod tests;
