//! The blocks of a capture (draft-ietf-opsawg-pcapng).

use std::borrow::Cow;

use anyhow::{Context as _, Result, anyhow};
use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, Linktype, OptionCode, PcapNGOption,
    SectionHeaderBlock, ToVec,
};
use rustix::system::uname;
use xdpfw_common::Verdict;

use super::Packet;
use crate::netlink::LinkLayer;

/// Options of packets that the library has no names for: `epb_flags` and `epb_verdict`.
const FLAGS: OptionCode = OptionCode(2);
const VERDICT: OptionCode = OptionCode(7);
/// `epb_flags`: the packet came in.
const INBOUND: u32 = 1;
/// `epb_verdict`: an action of an XDP program follows, as 64 bits.
const OF_XDP: u8 = 2;
/// The actions (`enum xdp_action` in linux/bpf.h).
const XDP_DROP: u64 = 1;
const XDP_PASS: u64 = 2;
const XDP_TX: u64 = 3;
/// `if_tsresol`: nanoseconds.
const NANOSECONDS: u8 = 9;
/// `section_length`: not said.
const UNKNOWN_LENGTH: i64 = -1;

/// What a file has so far. Interfaces have numbers by the order in which they are described.
#[derive(Debug)]
pub(super) struct Section {
    interfaces: Vec<(u32, String)>,
    /// How many bytes of each packet there may be.
    most: u32,
}

impl Section {
    pub(super) const fn new(most: u32) -> Self {
        Self {
            interfaces: Vec::new(),
            most,
        }
    }

    /// What a file begins with.
    pub(super) fn header(&self) -> Result<Vec<u8>> {
        let system = uname();
        let name = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let (kernel, release) = (name(system.sysname()), name(system.release()));
        let mut block = SectionHeaderBlock {
            block_type: 0,
            block_len1: 0,
            bom: 0,
            major_version: 1,
            minor_version: 0,
            section_len: UNKNOWN_LENGTH,
            options: vec![
                text(OptionCode::ShbHardware, &name(system.machine())),
                text(OptionCode::ShbOs, &format!("{kernel} {release}")),
                text(
                    OptionCode::ShbUserAppl,
                    concat!("xdpfw ", env!("CARGO_PKG_VERSION")),
                ),
            ],
            block_len2: 0,
        };
        bytes(&mut block)
    }

    /// A packet, behind its interface unless that is described.
    pub(super) fn blocks(&self, packet: &Packet<'_>) -> Result<Vec<u8>> {
        let known = self.number(packet);
        let mut blocks = match known {
            Some(_) => Vec::new(),
            None => self.interface(packet)?,
        };
        let number = known.unwrap_or(self.interfaces.len());
        blocks.extend(self.packet(packet, u32::try_from(number)?)?);
        Ok(blocks)
    }

    /// Notes that a packet was written, and so its interface.
    pub(super) fn keep(&mut self, packet: &Packet<'_>) {
        if self.number(packet).is_none() {
            let interface = (packet.index, packet.interface.to_owned());
            self.interfaces.push(interface);
        }
    }

    fn number(&self, packet: &Packet<'_>) -> Option<usize> {
        let mut known = self.interfaces.iter();
        known.position(|(index, name)| *index == packet.index && name == packet.interface)
    }

    fn interface(&self, packet: &Packet<'_>) -> Result<Vec<u8>> {
        let linktype = match packet.link_layer {
            LinkLayer::None => Linktype::RAW,
            // Others are not filtered.
            LinkLayer::Ethernet | LinkLayer::Other(_) => Linktype::ETHERNET,
        };
        let mut block = InterfaceDescriptionBlock {
            block_type: 0,
            block_len1: 0,
            linktype,
            reserved: 0,
            snaplen: self.most,
            options: vec![text(OptionCode::IfName, packet.interface)],
            block_len2: 0,
            if_tsresol: NANOSECONDS,
            if_tsoffset: 0,
        };
        bytes(&mut block)
    }

    fn packet(&self, packet: &Packet<'_>, number: u32) -> Result<Vec<u8>> {
        let most = usize::try_from(self.most)?;
        let data = packet.bytes.get(..most).unwrap_or(packet.bytes);
        let caplen = u32::try_from(data.len())?;
        // Before 1970, and after 2554, no packet comes in.
        let at = u64::try_from(packet.at.as_nanosecond()).unwrap_or(0);
        let action = match packet.verdict {
            Verdict::Drop => XDP_DROP,
            Verdict::Pass => XDP_PASS,
            Verdict::Answer => XDP_TX,
        };
        let verdict = [&[OF_XDP], action.to_le_bytes().as_slice()].concat();
        let mut block = EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: number,
            ts_high: u32::try_from(at >> 32)?,
            ts_low: u32::try_from(at & u64::from(u32::MAX))?,
            caplen,
            // What was captured cannot be longer.
            origlen: packet.length.max(caplen),
            data,
            options: vec![
                option(FLAGS, INBOUND.to_le_bytes().to_vec()),
                option(VERDICT, verdict),
                text(OptionCode::Comment, packet.comment),
            ],
            block_len2: 0,
        };
        bytes(&mut block)
    }
}

/// A block's bytes, lengths and all.
fn bytes(block: &mut impl ToVec) -> Result<Vec<u8>> {
    block
        .to_vec()
        .map_err(|error| anyhow!("{error}"))
        .context("cannot lay out a block of a capture")
}

/// As much of a value as an option can have.
fn option<'a>(code: OptionCode, mut value: Vec<u8>) -> PcapNGOption<'a> {
    value.truncate(u16::MAX.into());
    PcapNGOption {
        code,
        len: u16::try_from(value.len()).unwrap_or(u16::MAX),
        value: Cow::Owned(value),
    }
}

fn text<'a>(code: OptionCode, text: &str) -> PcapNGOption<'a> {
    option(code, text.as_bytes().to_vec())
}
