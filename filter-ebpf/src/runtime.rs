//! What every program of this crate needs: a panic handler and a licence.

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program from which this can be reached.
    loop {}
}

/// The kernel offers `bpf_skc_lookup_tcp` and others to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
