//! Copies headers to where they can be read, if a driver delivers them outside the
//! packet's first buffer. Some drivers do so with all packets above a page.

use aya_ebpf::{helpers::bpf_xdp_load_bytes, macros::map, maps::PerCpuArray};
use xdpfw_common::wire::{Frame, Header};
use xdpfw_ebpf::packet::{Packet, opaque};

/// How much of a packet is copied, in bytes: all headers that any stack sends.
const COPIED: usize = 512;

/// Nothing else runs on this CPU while a packet is judged.
#[map]
static SCRATCH: PerCpuArray<[u8; COPIED]> = PerCpuArray::with_max_entries(1, 0);

/// The beginning of a packet, copied together from its buffers. What lies behind it
/// cannot be read.
pub struct Copy<'a> {
    packet: &'a Packet<'a, true>,
    bytes: &'a [u8; COPIED],
    /// How many of the bytes are the packet's.
    valid: usize,
}

impl<'a> Copy<'a> {
    /// Copies the beginning of `packet`, if its first buffer holds less than that, and
    /// others follow.
    #[inline(always)]
    pub fn of(packet: &'a Packet<'a, true>) -> Option<Self> {
        let len = packet.len();
        if packet.first_buffer() >= len || packet.first_buffer() >= COPIED {
            return None;
        }
        let bytes = SCRATCH.get_ptr_mut(0)?;
        let valid = if len < COPIED { len } else { COPIED };
        // For the verifier, which otherwise may not see that it is 1 to COPIED.
        let valid = (opaque(valid - 1) & (COPIED - 1)) + 1;
        // SAFETY: the buffer is at least as long as what is copied into it.
        let result = unsafe { bpf_xdp_load_bytes(packet.ctx.ctx, 0, bytes.cast(), valid as u32) };
        if result != 0 {
            return None;
        }
        Some(Self {
            packet,
            // SAFETY: a map value of this type, this CPU's own.
            bytes: unsafe { &*bytes },
            valid: opaque(valid),
        })
    }
}

impl Frame for Copy<'_> {
    #[inline(always)]
    fn has_ethernet(&self) -> bool {
        self.packet.has_ethernet()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.packet.len()
    }

    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        self.packet.settle(offset)
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: usize) -> Option<&T> {
        // What the verifier believes is the first comparison, what is true the second.
        let offset = afresh(offset);
        if offset > COPIED - size_of::<T>() || offset + size_of::<T>() > self.valid {
            return None;
        }
        // SAFETY: all of `T` lies within the bytes, and `T: Header` takes any bits.
        Some(unsafe { &*self.bytes.as_ptr().add(offset).cast::<T>() })
    }
}

/// Returns `offset`, of which the compiler then does not even know that it has seen it
/// before: else it would take a pointer from a read at the same place, whose comparison
/// was with another length.
#[inline(always)]
fn afresh(offset: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let copy;
        // SAFETY: a move between registers. Not `pure`, so that each is its own.
        unsafe {
            core::arch::asm!(
                "{copy} = {offset}",
                offset = in(reg) offset,
                copy = lateout(reg) copy,
                options(nomem, nostack, preserves_flags),
            );
        }
        copy
    }
    #[cfg(not(target_arch = "bpf"))]
    offset
}
