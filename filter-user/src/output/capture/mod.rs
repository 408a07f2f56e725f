//! Writes packets to capture files that Wireshark, tshark and tcpdump read: pcapng.

mod blocks;
mod file;

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use xdpfw_common::Verdict;

use self::{blocks::Section, file::Place};
use crate::netlink::LinkLayer;

/// Least bytes of a file that is followed by another one: many packets.
const LEAST: u64 = 64 << 10;

/// A packet to be written.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// When it came in.
    pub at: Timestamp,
    /// The kernel's number for the interface that it came in by.
    pub index: u32,
    /// The name of that interface.
    pub interface: &'a str,
    /// What its bytes begin with.
    pub link_layer: LinkLayer,
    /// How long it was, in bytes.
    pub length: u32,
    /// The first of its bytes, or all.
    pub bytes: &'a [u8],
    /// What became of it.
    pub verdict: Verdict,
    /// Why, for people: `drop: default`, `drop: rule r3`.
    pub comment: &'a str,
}

/// A capture: a file, or several, the next one when one is full.
///
/// Each file is a whole capture. A file ends behind its last packet, whatever fails; only a
/// command that is killed may leave part of a packet at the end.
#[derive(Debug)]
pub struct Capture {
    place: Place,
    section: Section,
    /// How many bytes of each packet there may be.
    most: u32,
    /// Bytes that a file may have, if another one follows.
    rotate: Option<u64>,
}

impl Capture {
    /// Makes the first file. It must not be there yet, and root alone may read it.
    ///
    /// Of each packet there are up to `most` bytes. A file that would be larger than `rotate`
    /// bytes is followed by another one.
    ///
    /// # Errors
    ///
    /// Something has this name already, or nothing can be made there.
    pub fn create(path: &Path, most: u32, rotate: Option<u64>) -> Result<Self> {
        let section = Section::new(most);
        Ok(Self {
            place: Place::create(path, &section.header()?)?,
            section,
            most,
            rotate: rotate.map(|bytes| bytes.max(LEAST)),
        })
    }

    /// Writes a packet, in one piece.
    ///
    /// # Errors
    ///
    /// The disk is full, or fails. What was written before is whole.
    pub fn write(&mut self, packet: &Packet<'_>) -> Result<()> {
        let mut blocks = self.section.blocks(packet)?;
        let is_full = self
            .rotate
            .is_some_and(|most| self.place.length() + blocks.len() as u64 > most);
        if is_full {
            let section = Section::new(self.most);
            self.place.next(&section.header()?)?;
            self.section = section;
            blocks = self.section.blocks(packet)?;
        }
        self.place.append(&blocks)?;
        self.section.keep(packet);
        Ok(())
    }
}

/// What a capture says of a packet that was judged for this reason, by this rule.
pub fn comment(verdict: &str, reason: &str, rule: Option<&str>) -> String {
    match rule {
        Some(rule) => format!("{verdict}: {reason} {rule}"),
        None => format!("{verdict}: {reason}"),
    }
}

#[cfg(test)]
mod tests;
