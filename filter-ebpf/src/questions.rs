//! What several paths of a program ask, each as a function of its own with a name that others
//! can see. The verifier goes through such a one once, for any packet, instead of on every
//! path that leads to it, and on each from there on.
//!
//! The packet in question is handed over in a map: on the stack, each path would have a place
//! for it, and there are 512 bytes.

use aya_ebpf::{bindings::xdp_md, macros::map, maps::PerCpuArray, programs::XdpContext};
use xdpfw_common::{
    Reason,
    abi::ban_source,
    flows::{Conversation, Packet, is_found, may_be_found},
    verdict::{self, Defences, Lasting},
    wire::ip::Addresses,
};

use crate::{
    cookies::{self, Cookie},
    ingress::{Ingress as _, Via},
    maps::{bans, flows::Known, limits, members::link_of, opener_bans, scan, tables::Tables},
    sockets::Sockets,
};

/// The packet in question, for each [`Asker`]. Nothing else of its kind runs on this CPU
/// before the answer.
#[map]
static ASKED: PerCpuArray<Packet> = PerCpuArray::with_max_entries(2, 0);

/// Whose packet it is.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Asker {
    /// The program for what comes in.
    Ingress = 0,
    /// The one for what leaves.
    Egress = 1,
}

/// Whether a packet of this conversation answers something: see [`verdict::is_answer`].
#[inline(always)]
pub fn is_answer(
    ctx: &XdpContext,
    conversation: &Conversation<'_>,
    denied: bool,
    is_noted: bool,
) -> bool {
    let packet = put(Asker::Ingress, conversation, interface_of(ctx));
    answer(ctx.ctx, denied.into(), is_noted.into()) != 0
        || verdict::discovers(&Tables::new(ctx)) && packet.is_some_and(may_be_found) && found() != 0
}

/// What becomes of a packet of this conversation that a rule or the default lets in: see
/// [`Host::defend`](verdict::Host::defend).
#[inline(always)]
pub fn defend(
    ctx: &XdpContext,
    conversation: &Conversation<'_>,
    defences: &Defences,
) -> Option<Reason> {
    put(Asker::Ingress, conversation, interface_of(ctx));
    let &Defences {
        against,
        slot,
        network,
        transport,
    } = defences;
    match defended(ctx.ctx, against, slot, network << 16 | transport) {
        BAN => Some(Reason::Ban),
        LIMIT => Some(Reason::Limit),
        REPLY => Some(Reason::Reply),
        COOKIE => Some(Reason::SynCookie),
        BAD_COOKIE => Some(Reason::BadCookie),
        _ => None,
    }
}

/// What [`defended`] says: the slots of these reasons, or nothing.
const NOTHING: u32 = u32::MAX;
const BAN: u32 = Reason::Ban as u32;
const LIMIT: u32 = Reason::Limit as u32;
const REPLY: u32 = Reason::Reply as u32;
const COOKIE: u32 = Reason::SynCookie as u32;
const BAD_COOKIE: u32 = Reason::BadCookie as u32;

/// Whether the source of this conversation's packet is banned, answers or not.
#[inline(always)]
pub fn is_banned_hard(ctx: &XdpContext, conversation: &Conversation<'_>) -> bool {
    put(Asker::Ingress, conversation, interface_of(ctx));
    banned() == BANNED_HARD
}

/// Notes that the packet in question is over the limit of the rule that counts in this slot, and bans
/// its source if the rule says so: what there is to tell.
#[inline(always)]
pub fn note_over_limit(slot: u32) -> u8 {
    note_limited(slot) as u8
}

/// Counts the packet in question, which a ban drops.
#[inline(always)]
pub fn count_banned() {
    count_ban();
}

/// What [`banned`] says: nobody bans the source.
const NOT_BANNED: u32 = 0;
/// Somebody does, and answers pass.
const BANNED: u32 = 1;
/// Somebody does, and they do not.
const BANNED_HARD: u32 = 2;

/// Whether rules let in a packet of this conversation: see [`verdict::admits`].
#[inline(always)]
pub fn admits(ctx: &XdpContext, conversation: &Conversation<'_>) -> bool {
    let interface = interface_of(ctx);
    put(Asker::Ingress, conversation, interface);
    admit(Asker::Ingress as u32, interface) != 0
}

/// Whether rules let in the answer to the packet in question, which leaves.
#[inline(always)]
pub fn admits_answer() -> bool {
    // Nobody knows by which interface it will come.
    admit(Asker::Egress as u32, UNKNOWN) != 0
}

/// Stands for an interface that nobody knows.
const UNKNOWN: u32 = 0;

#[inline(always)]
fn interface_of(ctx: &XdpContext) -> u32 {
    ctx.ingress_interface().unwrap_or(UNKNOWN)
}

/// Hands a packet over, which comes in or leaves by this interface.
#[inline(always)]
pub fn put(
    asker: Asker,
    conversation: &Conversation<'_>,
    interface: u32,
) -> Option<&'static Packet> {
    let place = ASKED.get_ptr_mut(asker as u32)?;
    // SAFETY: a map value of this type, this CPU's own; all zero, it is a packet, too.
    let packet = unsafe { &mut *place };
    conversation.write(link_of(interface), packet);
    Some(packet)
}

/// The packet that was handed over.
#[inline(always)]
pub fn asked(asker: u32) -> Option<&'static Packet> {
    // SAFETY: written just before, and not again before the answer.
    ASKED.get_ptr(asker).map(|packet| unsafe { &*packet })
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn answer(ctx: *mut xdp_md, denied: u32, is_noted: u32) -> u32 {
    let Some(packet) = asked(Asker::Ingress as u32) else {
        return 0;
    };
    let ctx = XdpContext::new(ctx);
    let (tables, sockets) = (Tables::new(&ctx), Sockets::new(&ctx));
    verdict::is_answer(
        &tables,
        &sockets,
        &Known,
        packet,
        denied != 0,
        is_noted != 0,
    )
    .into()
}

/// Judges the packet in question by the defences against it. One function for all paths of the
/// verdict, which would be too long with it in each. `offsets` are those of [`Defences`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn defended(ctx: *mut xdp_md, against: u32, slot: u32, offsets: u32) -> u32 {
    if against & Defences::BANS != 0 {
        let is_dropped = match banned() {
            NOT_BANNED => false,
            // Only what this host asked for, as under a rule that denies.
            BANNED => answer(ctx, 1, 0) == 0,
            _ => true,
        };
        if is_dropped {
            return BAN;
        }
    }
    if against & Defences::OPENERS != 0 && banned_opener() != 0 && answer(ctx, 1, 0) == 0 {
        return BAN;
    }
    if against & Defences::LIMIT != 0 && over_limit(slot) != 0 {
        // What this host asked for is no load that others put on it.
        return if answer(ctx, 1, 0) != 0 { REPLY } else { LIMIT };
    }
    if against & Defences::COOKIES != 0 {
        return match Cookie::of(cookies::cookie(ctx, slot, offsets >> 16, offsets & 0xffff)) {
            Cookie::Pass => NOTHING,
            Cookie::Answer => COOKIE,
            Cookie::Forged => BAD_COOKIE,
        };
    }
    NOTHING
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn banned() -> u32 {
    let Some(packet) = asked(Asker::Ingress as u32) else {
        return NOT_BANNED;
    };
    match bans::find(&ban_source(&packet.key.addresses())) {
        None => NOT_BANNED,
        // SAFETY: a map value of this type.
        Some(ban) if unsafe { (*ban).hard } == 0 => BANNED,
        Some(_) => BANNED_HARD,
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn banned_opener() -> u32 {
    let Some(packet) = asked(Asker::Ingress as u32) else {
        return 0;
    };
    opener_bans::find(&ban_source(&packet.key.addresses()))
        .is_some()
        .into()
}

/// Returns 0, since the verifier takes none that returns nothing.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn count_ban() -> u32 {
    if let Some(packet) = asked(Asker::Ingress as u32) {
        let source = ban_source(&packet.key.addresses());
        if !bans::count(&source) && scan::bans_openers() {
            opener_bans::count(&source);
        }
    }
    0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn over_limit(slot: u32) -> u32 {
    let Some(packet) = asked(Asker::Ingress as u32) else {
        return 0;
    };
    let addresses = packet.key.addresses();
    let is_ipv6 = matches!(addresses, Addresses::V6(_));
    limits::is_over(slot, &ban_source(&addresses), is_ipv6).into()
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn note_limited(slot: u32) -> u32 {
    let Some(packet) = asked(Asker::Ingress as u32) else {
        return 0;
    };
    let addresses = packet.key.addresses();
    let is_ipv6 = matches!(addresses, Addresses::V6(_));
    limits::note_over(slot, &ban_source(&addresses), is_ipv6).into()
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn found() -> u32 {
    let Some(packet) = asked(Asker::Ingress as u32) else {
        return 0;
    };
    is_found(packet, &Known).into()
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn admit(asker: u32, interface: u32) -> u32 {
    let Some(packet) = asked(asker) else {
        return 0;
    };
    let via = Via((interface != UNKNOWN).then_some(interface));
    // What comes in is here now; what leaves may be answered for long.
    let lasting = match asker == Asker::Egress as u32 {
        true => Lasting::ForGood,
        false => Lasting::ForNow,
    };
    verdict::admits(&Tables::new(&via), packet, lasting).into()
}
