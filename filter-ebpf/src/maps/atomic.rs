//! The one atomic operation that all supported kernels have.

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
