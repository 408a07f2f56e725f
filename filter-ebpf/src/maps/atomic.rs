//! The atomic operations that all supported kernels have. For this target, `core` has no functions
//! for them.

/// Adds to a word to which others add at the same time.
///
/// # Safety
///
/// `word` is aligned and initialised, and whoever else adds to it does so by this.
#[inline(always)]
pub unsafe fn add(word: *mut u64, number: u64) {
    // SAFETY: one atomic instruction, on what the caller vouches for.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) += {number}",
            word = in(reg) word,
            number = in(reg) number,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as above.
    unsafe {
        core::sync::atomic::AtomicU64::from_ptr(word)
            .fetch_add(number, core::sync::atomic::Ordering::Relaxed);
    }
}

/// Sets bits of a word of which others set bits at the same time.
///
/// # Safety
///
/// `word` is aligned and initialised, and whoever else changes it does so by this.
#[inline(always)]
pub unsafe fn set_bits(word: *mut u64, bits: u64) {
    // SAFETY: one atomic instruction, on what the caller vouches for.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) |= {bits}",
            word = in(reg) word,
            bits = in(reg) bits,
            options(nostack),
        );
    }
    // SAFETY: the caller vouches.
    #[cfg(not(target_arch = "bpf"))]
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
        AtomicU64::from_ptr(word).fetch_or(bits, Relaxed);
    }
}
