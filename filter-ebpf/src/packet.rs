//! The only place that holds packet pointers: bounds-checked reads of the frame.

use core::marker::PhantomData;

use aya_ebpf::programs::XdpContext;
use xdpfw_common::wire::{Even, Frame, Header};

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
        Self {
            start: ctx.data(),
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
    fn read<T: Header>(&self, offset: usize) -> Option<Even<T>> {
        let header = self.start + offset;
        if header + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: all of `T` lies between the start of the packet and its end,
        // as just checked, and `T: Header` takes any bits. Drivers start frames
        // at even addresses, and every header before this one is of even length.
        Some(unsafe { (header as *const Even<T>).read() })
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
