//! The contexts of programs that packets come in on.

use aya_ebpf::{EbpfContext, programs::XdpContext};

/// A context of a program that packets come in on.
pub trait Ingress: EbpfContext {
    /// Index of the interface that the packet came in on.
    fn ingress_interface(&self) -> u32;
}

impl Ingress for XdpContext {
    #[inline(always)]
    fn ingress_interface(&self) -> u32 {
        // SAFETY: the context lives as long as the run of the program.
        unsafe { (*self.ctx).ingress_ifindex }
    }
}
