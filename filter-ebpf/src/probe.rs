//! Judges a packet as the generation would, and counts nothing.

use aya_ebpf::{
    macros::{map, xdp},
    maps::Array,
    programs::XdpContext,
};
use xdpfw_common::{
    abi::{Judged, NO_RULE},
    verdict,
    wire::Malformation,
};

use crate::{action, frame, host::Kernel};

/// The verdict on the last packet.
#[map]
static JUDGED: Array<Judged> = Array::with_max_entries(1, 0);

/// Judges a packet by the generation's own tables. Never attached: the loader runs it on
/// packets that nobody has sent.
#[xdp]
pub fn probe(ctx: XdpContext) -> u32 {
    let packet = frame::<false>(&ctx);
    let outcome = verdict::judge(&packet, &Kernel::new(packet.ctx));
    if let Some(place) = JUDGED.get_ptr_mut(0) {
        let judged = Judged {
            reason: outcome.reason().slot() as u32,
            slot: outcome.rule().unwrap_or(NO_RULE),
            malformation: outcome.malformation().map_or(0, Malformation::code).into(),
        };
        // SAFETY: a map value of this type. Whoever loaded the program runs it once at a time.
        unsafe { place.write(judged) };
    }
    action(&outcome)
}
