//! The interface that a packet comes in by, as far as the context of a program tells.

use aya_ebpf::programs::XdpContext;

/// What a program knows that asks the rules about packets that come in.
pub trait Ingress {
    /// Index of the interface that the packet comes in by; `None` where nobody knows.
    fn ingress_interface(&self) -> Option<u32>;
}

impl Ingress for XdpContext {
    #[inline(always)]
    fn ingress_interface(&self) -> Option<u32> {
        // SAFETY: the context lives as long as the run of the program.
        Some(unsafe { (*self.ctx).ingress_ifindex })
    }
}

/// An interface that is known already, or that nobody knows.
pub struct Via(pub Option<u32>);

impl Ingress for Via {
    #[inline(always)]
    fn ingress_interface(&self) -> Option<u32> {
        self.0
    }
}
