//! Reads the frame, within bounds that are checked, in any kind of program that has a
//! [`Context`]. No other place may hold packet pointers.

use aya_ebpf::{
    helpers::bpf_xdp_get_buff_len,
    programs::{TcContext, XdpContext},
};
use xdpfw_common::wire::{Frame, Header};

/// What a kind of program knows of the packet that it runs on.
pub trait Context {
    /// Where the first buffer begins.
    fn start(&self) -> usize;

    /// Where the first buffer ends.
    fn end(&self) -> usize;

    /// Length in bytes, in all buffers. This is a call.
    fn whole_len(&self) -> usize;

    /// Any number that the verifier knows nothing about.
    fn unknown(&self) -> u32;
}

impl Context for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn whole_len(&self) -> usize {
        // SAFETY: the context lives as long as the run of the program.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    #[inline(always)]
    fn unknown(&self) -> u32 {
        // SAFETY: the context lives as long as the run of the program.
        unsafe { (*self.ctx).rx_queue_index }
    }
}

impl Context for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn whole_len(&self) -> usize {
        self.len() as usize
    }

    #[inline(always)]
    fn unknown(&self) -> u32 {
        // SAFETY: the context lives as long as the run of the program.
        unsafe { (*self.skb.skb).queue_mapping }
    }
}

/// The frame that the program runs on. With `FRAGS`, it may go on in further buffers,
/// whose bytes are counted but not read here: see `frags::Copy`, which the yardsticks
/// have not.
pub struct Packet<'a, const FRAGS: bool, C = XdpContext> {
    /// The context of this run of the program.
    pub ctx: &'a C,
    start: usize,
    end: usize,
    /// Its length in all buffers, asked for once: that is a call. Without `FRAGS`, 0.
    whole: usize,
    /// Whether it begins with an Ethernet header.
    pub has_ethernet: bool,
}

impl<'a, const FRAGS: bool, C: Context> Packet<'a, FRAGS, C> {
    /// The frame of this run of the program, with an Ethernet header.
    #[inline(always)]
    pub fn new(ctx: &'a C) -> Self {
        Self {
            ctx,
            start: ctx.start(),
            end: ctx.end(),
            whole: if FRAGS { ctx.whole_len() } else { 0 },
            has_ethernet: true,
        }
    }
}

impl<const FRAGS: bool, C> Packet<'_, FRAGS, C> {
    /// How many bytes are in the first buffer, where they can be read.
    #[inline(always)]
    pub fn first_buffer(&self) -> usize {
        self.end - self.start
    }
}

impl<const FRAGS: bool, C: Context> Frame for Packet<'_, FRAGS, C> {
    #[inline(always)]
    fn has_ethernet(&self) -> bool {
        self.has_ethernet
    }

    #[inline(always)]
    fn len(&self) -> usize {
        if FRAGS {
            self.whole
        } else {
            opaque(self.first_buffer())
        }
    }

    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        forget(offset, self.ctx.unknown().into())
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: usize) -> Option<&T> {
        let header = self.start + offset;
        let mut past = header + size_of::<T>();
        if size_of::<T>() == 1 {
            // Else it is compared before the addition, of which the verifier learns nothing
            // (`find_good_pkt_pointers` in kernel/bpf/verifier.c).
            past = opaque(past);
        }
        if past > self.end {
            return None;
        }
        // SAFETY: drivers start frames at even addresses, and all headers are of even
        // length. Told this, the compiler loads two-byte fields at once, which it would
        // otherwise assemble from bytes.
        unsafe { core::hint::assert_unchecked(header.is_multiple_of(2)) };
        // SAFETY: all of `T` lies between the start of the packet and its end, as just
        // checked, nobody else writes to it, and `T: Header` takes any bits.
        Some(unsafe { &*(header as *const T) })
    }
}

/// Returns `number`. The compiler then knows nothing about it.
///
/// The verifier believes only comparisons with the packet's end. Left to
/// itself, the compiler proves some of them from lengths that were compared
/// before, removes them, and the verifier rejects what remains.
#[inline(always)]
pub fn opaque(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let copy;
        // SAFETY: a move between registers. Not an empty statement: it would
        // leave two line records for one instruction, which the kernel refuses.
        unsafe {
            core::arch::asm!(
                "{copy} = {number}",
                number = in(reg) number,
                copy = lateout(reg) copy,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        copy
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// Four bytes of a header, in the order of the packet, loaded at once: the kernel allows that at any
/// address (`check_pkt_ptr_alignment` in kernel/bpf/verifier.c), and the compiler does not know.
#[inline(always)]
pub fn word<const AT: usize, const LEN: usize>(header: &[u8; LEN]) -> u64 {
    const { assert!(AT + size_of::<u32>() <= LEN) };
    #[cfg(target_arch = "bpf")]
    {
        let word;
        // SAFETY: within `header`, which it only reads.
        unsafe {
            core::arch::asm!(
                "{word} = *(u32 *)({header} + {at})",
                header = in(reg) header.as_ptr(),
                at = const AT,
                word = lateout(reg) word,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        word
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let [a, b, c, d] = core::array::from_fn(|byte| header[AT + byte]);
        u32::from_ne_bytes([a, b, c, d]).into()
    }
}

/// Returns `offset`. The verifier then knows only that it is below 32 KiB:
/// the sum with a number unknown to it is unknown, and so is the difference.
#[inline(always)]
pub fn forget(offset: usize, unknown: u64) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut offset = offset;
        // SAFETY: arithmetic in registers, whose result is `offset` again.
        unsafe {
            core::arch::asm!(
                "{offset} += {unknown}",
                "{offset} -= {unknown}",
                offset = inout(reg) offset,
                unknown = in(reg) unknown,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        offset & 0x7fff
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = unknown;
        offset
    }
}
