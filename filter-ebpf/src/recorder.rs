//! The egress half of a generation: notes what leaves, so that its answer may come in.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC},
    helpers::bpf_skb_pull_data,
    macros::classifier,
    programs::TcContext,
};
use network_types::eth::EtherType;
use xdpfw_common::{
    Transport,
    abi::{BARE_MARK, BARE_MARK_CB, FlowKey, FlowState, Note, Origin, Table},
    flows::{self, Carries, Conversation, Memory, Recorder},
    verdict,
    wire::ethernet,
};
use xdpfw_ebpf::packet::Packet;

use crate::{
    ingress::Via,
    maps::{
        bans, bridges, flows as maps,
        flows::Known,
        scan,
        tables::{self, Tables},
    },
    questions::{self, Asker},
};

/// Headers that are read in place, in bytes: Ethernet, IPv4 without options, TCP without
/// options.
const HEADERS: usize = 14 + 20 + 20;
/// The same for all but IPv4: two tags, IPv6.
const LONGER_HEADERS: usize = 14 + 2 * 4 + 40 + 20;
/// How much of a packet is brought together if its headers are not, in bytes.
const PULLED: u32 = 128;

/// Records a packet that leaves, and lets it go on whatever it is.
#[classifier]
#[inline(always)]
pub fn recorder(ctx: TcContext) -> i32 {
    record(&ctx);
    TC_ACT_UNSPEC
}

#[inline(always)]
pub fn record(ctx: &TcContext) {
    let skb = skb(ctx);
    let (linear, len) = (ctx.data_end() - ctx.data(), ctx.len() as usize);
    if linear < LONGER_HEADERS && linear < len {
        // Of bulk TCP over IPv4 without options, no more than this is linear, and enough.
        let is_ipv4 = skb.protocol == u32::from(EtherType::Ipv4 as u16);
        if linear < HEADERS || !is_ipv4 {
            pull(ctx);
        }
    }
    let mut packet = Packet::<true, _>::new(ctx);
    packet.has_ethernet = skb.cb[BARE_MARK_CB] != BARE_MARK;
    let Some(conversation) = Conversation::of_outgoing(&packet) else {
        return;
    };
    let origin = match skb.ingress_ifindex {
        0 => Origin::Local,
        _ => Origin::Forwarded,
    };
    let Some(flow) = questions::put(Asker::Egress, &conversation, skb.ifindex) else {
        return;
    };
    if origin == Origin::Forwarded
        && let Some(mac) = ethernet::source(&packet)
        && bridges::is_forged(&flow.key, skb.ingress_ifindex, skb.ifindex, mac)
    {
        return;
    }
    remember(origin as u32);
}

/// Remembers the packet in question. A function of its own, for the reason that
/// [`questions`] have. Returns 0, since the verifier takes none that returns nothing.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn remember(origin: u32) -> u32 {
    let Some(packet) = questions::asked(Asker::Egress as u32) else {
        return 0;
    };
    let origin = match origin {
        0 => Origin::Local,
        _ => Origin::Forwarded,
    };
    flows::record(packet, origin, &Outgoing);
    0
}

/// Whether the packet in question is known the other way round. A function of its own, since
/// [`remember`] has no room for a second key.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn known_turned() -> u32 {
    let Some(packet) = questions::asked(Asker::Egress as u32) else {
        return 0;
    };
    flows::is_known_turned(&packet.key.turned(), packet.carries, &Outgoing).into()
}

/// Brings a packet's headers together, where they can be read.
#[cold]
#[inline(always)]
fn pull(ctx: &TcContext) {
    let len = ctx.len().min(PULLED);
    // SAFETY: no pointer into the packet is held. If it fails, nothing can be read, and the
    // packet goes unrecorded.
    unsafe { bpf_skb_pull_data(ctx.skb.skb, len) };
}

#[inline(always)]
fn skb(ctx: &TcContext) -> &__sk_buff {
    // SAFETY: the context lives as long as the run of the program.
    unsafe { &*ctx.skb.skb }
}

/// The tables, as a packet sees them that leaves.
struct Outgoing;

impl Memory for Outgoing {
    #[inline(always)]
    fn now(&self) -> u64 {
        Known.now()
    }

    #[inline(always)]
    fn ticks_per_second(&self) -> u64 {
        Known.ticks_per_second()
    }

    #[inline(always)]
    fn get(&self, origin: Origin, table: Table, key: &FlowKey) -> Option<FlowState> {
        Known.get(origin, table, key)
    }

    #[inline(always)]
    fn set_fin_in(&self, origin: Origin, key: &FlowKey) {
        Known.set_fin_in(origin, key);
    }

    #[inline(always)]
    fn note(&self, note: Note, port: [u8; 2]) -> u32 {
        Known.note(note, port)
    }
}

impl Recorder for Outgoing {
    #[inline(always)]
    fn insert(&self, origin: Origin, table: Table, key: &FlowKey, state: FlowState) {
        maps::insert(origin, table, key, &state);
    }

    #[inline(always)]
    fn refresh(&self, origin: Origin, table: Table, key: &FlowKey) {
        maps::refresh(origin, table, key);
    }

    #[inline(always)]
    fn set_fin_out(&self, origin: Origin, key: &FlowKey) {
        maps::set_fin_out(origin, key);
    }

    #[inline(always)]
    fn remove(&self, origin: Origin, table: Table, key: &FlowKey) {
        maps::remove(origin, table, key);
    }

    #[inline(always)]
    fn set_note(&self, note: Note, port: [u8; 2], time: u32) {
        maps::set_note(note, port, time);
    }

    #[inline(always)]
    fn discovers(&self) -> bool {
        verdict::discovers(&Tables::new(&Via(None)))
    }

    #[inline(always)]
    fn is_free(&self, packet: &flows::Packet) -> bool {
        let transport = match packet.carries {
            Carries::Tcp => Transport::Tcp,
            Carries::Udp => Transport::Udp,
            _ => return false,
        };
        tables::is_free(transport, u16::from_be_bytes(packet.key.local_port))
    }

    #[inline(always)]
    fn has_bans(&self) -> bool {
        bans::has_any()
    }

    #[inline(always)]
    fn bans_openers(&self) -> bool {
        scan::bans_openers()
    }

    #[inline(always)]
    fn admits_answer(&self, _: &flows::Packet) -> bool {
        // Where none are added, no new flow has to be remembered.
        verdict::is_established_only(&Tables::new(&Via(None))) || questions::admits_answer()
    }

    #[inline(always)]
    fn is_known_turned(&self, _: &flows::Packet) -> bool {
        known_turned() != 0
    }
}
