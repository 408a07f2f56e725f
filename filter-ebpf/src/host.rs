//! The host, as the verdict sees it: the compiled policy, the sockets, and what
//! left lately.

use aya_ebpf::programs::XdpContext;
use xdpfw_common::{
    Reason,
    flows::Conversation,
    verdict::{Defences, Host},
    wire::ip::Addresses,
};

use crate::{
    ingress::Ingress,
    maps::{bans, flows::Known, opener_bans, tables::Tables},
    questions,
    sockets::Sockets,
};

/// The kernel that the program runs in.
pub struct Kernel<'a, C> {
    tables: Tables<'a, C>,
    sockets: Sockets<'a, C>,
    ctx: &'a C,
}

impl<'a, C> Kernel<'a, C> {
    /// The kernel in which the packet of `ctx` is judged.
    #[inline(always)]
    pub const fn new(ctx: &'a C) -> Self {
        Self {
            tables: Tables::new(ctx),
            sockets: Sockets::new(ctx),
            ctx,
        }
    }
}

impl<'a> Host for Kernel<'a, XdpContext> {
    type Tables = Tables<'a, XdpContext>;
    type Sockets = Sockets<'a, XdpContext>;
    type Memory = Known;

    #[inline(always)]
    fn tables(&self) -> &Self::Tables {
        &self.tables
    }

    #[inline(always)]
    fn sockets(&self) -> &Self::Sockets {
        &self.sockets
    }

    #[inline(always)]
    fn memory(&self) -> &Self::Memory {
        &Known
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.ctx.ingress_interface().unwrap_or(0)
    }

    #[inline(always)]
    fn is_answer(&self, conversation: &Conversation<'_>, denied: bool, is_noted: bool) -> bool {
        questions::is_answer(self.ctx, conversation, denied, is_noted)
    }

    #[inline(always)]
    fn may_be_banned(&self, addresses: &Addresses<'_>) -> bool {
        bans::may_be_banned(addresses)
    }

    #[inline(always)]
    fn has_banned_openers(&self) -> bool {
        opener_bans::has_any()
    }

    #[inline(always)]
    fn defend(&self, conversation: &Conversation<'_>, defences: &Defences) -> Option<Reason> {
        questions::defend(self.ctx, conversation, defences)
    }

    #[inline(always)]
    fn is_banned_hard(&self, conversation: &Conversation<'_>) -> bool {
        bans::has_hard()
            && bans::may_be_banned(&conversation.addresses)
            && questions::is_banned_hard(self.ctx, conversation)
    }

    #[inline(always)]
    fn admits(&self, conversation: &Conversation<'_>) -> bool {
        questions::admits(self.ctx, conversation)
    }
}
