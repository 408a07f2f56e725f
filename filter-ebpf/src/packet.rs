//! The only place that holds packet pointers: bounds-checked reads of the frame.

use core::marker::PhantomData;

use aya_ebpf::programs::XdpContext;
use xdpfw_common::wire::{Frame, Header};

/// The frame that the program runs on.
pub struct Packet<'a> {
    start: usize,
    end: usize,
    context: PhantomData<&'a XdpContext>,
}

impl<'a> Packet<'a> {
    /// The frame of this run of the program.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        let start = ctx.data();
        // SAFETY: drivers start frames at even addresses. All headers are of even
        // length: told this, the compiler sees that it may load two-byte fields at
        // once, where it would otherwise assemble them from bytes.
        unsafe { core::hint::assert_unchecked(start.is_multiple_of(2)) };
        Self {
            start,
            end: ctx.data_end(),
            context: PhantomData,
        }
    }
}

impl Frame for Packet<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        opaque(self.end - self.start)
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: usize) -> Option<&T> {
        let header = self.start + offset;
        if header + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: all of `T` lies between the start of the packet and its end, as just
        // checked, nobody else writes to it, and `T: Header` takes any bits.
        Some(unsafe { &*(header as *const T) })
    }
}

/// Returns `len`, of which the compiler then knows nothing.
///
/// The verifier believes only comparisons with the packet's end. Left to
/// itself, the compiler proves some of them from lengths that were compared
/// before, removes them, and the verifier rejects what remains.
#[inline(always)]
fn opaque(len: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let copy;
        // SAFETY: a move between registers. Not an empty statement: it would
        // leave two line records for one instruction, which the kernel refuses.
        unsafe {
            core::arch::asm!(
                "{copy} = {len}",
                len = in(reg) len,
                copy = lateout(reg) copy,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        copy
    }
    #[cfg(not(target_arch = "bpf"))]
    len
}
