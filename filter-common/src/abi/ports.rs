//! The bitmaps of ports, which spare most packets all look-ups.

use bytemuck::{Pod, Zeroable};

use crate::wire::Transport;

/// Names of the globals that hold such bits.
pub mod names {
    /// Read-only global, a [`PortBitmaps`](super::PortBitmaps).
    pub const LISTED: &str = "LISTED";
}

/// Ports per transport.
pub const PORTS: usize = 1 << 16;

/// Which end of a connection a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Side {
    /// This host's port: the destination on ingress.
    Local = 0,
    /// The peer's port: the source on ingress.
    Remote = 1,
}

/// Words of one bitmap of ports.
pub(super) const BITMAP_WORDS: usize = PORTS / u64::BITS as usize;

/// Bit of the first port of a word. The highest, so that the bit of any port
/// can be shifted to the sign, which is one comparison in the packet path.
pub(super) const FIRST_BIT: u64 = 1 << (u64::BITS - 1);

/// Bits for each port.
///
/// A local port is *closed* when the default drops what comes to it, and no rule can change
/// that; an answer can still pass. The packet path asks nothing else about most packets, so
/// this is a bit of its own. A port is *listed* when the port maps have it. A local port is
/// *free* when whatever comes to it passes, so that nothing it sends need be recorded.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct PortBitmaps {
    open: [[u64; BITMAP_WORDS]; 2],
    listed: [[[u64; BITMAP_WORDS]; 2]; 2],
    free: [[u64; BITMAP_WORDS]; 2],
}

impl PortBitmaps {
    /// Every port closed, none listed or free.
    pub const EMPTY: Self = Self {
        open: [[0; BITMAP_WORDS]; 2],
        listed: [[[0; BITMAP_WORDS]; 2]; 2],
        free: [[0; BITMAP_WORDS]; 2],
    };

    /// Opens a local port.
    pub const fn open(&mut self, transport: Transport, port: u16) {
        let (word, bit) = place(port);
        self.open[transport as usize][word] |= FIRST_BIT >> bit;
    }

    /// Lists a port; a listed local port is open.
    pub const fn insert(&mut self, side: Side, transport: Transport, port: u16) {
        let (word, bit) = place(port);
        self.listed[side as usize][transport as usize][word] |= FIRST_BIT >> bit;
        if matches!(side, Side::Local) {
            self.open(transport, port);
        }
    }

    /// Frees a local port.
    pub const fn free(&mut self, transport: Transport, port: u16) {
        let (word, bit) = place(port);
        self.free[transport as usize][word] |= FIRST_BIT >> bit;
    }

    /// Whether a local port is free.
    #[inline(always)]
    pub fn is_free(&self, transport: Transport, port: u16) -> bool {
        is_set(&self.free[transport as usize], port)
    }

    /// Whether a local port is closed.
    #[inline(always)]
    pub fn is_closed(&self, transport: Transport, port: u16) -> bool {
        !is_set(&self.open[transport as usize], port)
    }

    /// Whether a port is listed.
    #[inline(always)]
    pub fn contains(&self, side: Side, transport: Transport, port: u16) -> bool {
        is_set(&self.listed[side as usize][transport as usize], port)
    }
}

/// A port's place wherever each port has one: the port as the packet has it.
#[inline(always)]
pub(super) const fn index(port: u16) -> usize {
    port.to_be() as usize
}

/// Where the bit of a port is: the word, and the bit from the highest.
#[inline(always)]
pub(super) const fn place(port: u16) -> (usize, u32) {
    let index = index(port);
    (index % BITMAP_WORDS, (index / BITMAP_WORDS) as u32)
}

/// Whether the bit of a port is set. The read is volatile: in the kernel program
/// the bitmaps are filled after compilation.
#[inline(always)]
fn is_set(bitmap: &[u64; BITMAP_WORDS], port: u16) -> bool {
    let (word, bit) = place(port);
    // SAFETY: a reference into `bitmap`, aligned and initialised.
    let word = unsafe { core::ptr::read_volatile(&raw const bitmap[word]) };
    (word << bit).cast_signed() < 0
}

const _: () = assert!(size_of::<PortBitmaps>() == 64 * 1024);
