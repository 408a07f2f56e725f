//! Limits: how much of it each source has had.

use aya_ebpf::{
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use xdpfw_common::{
    abi::{Limit, LimitKey, NOTICE_BAN, NOTICE_LIMIT, OpenerOrigin, Source, TOLD},
    limit::{self, Take},
};

use super::{
    atomic, bans,
    opener_bans::{self, Banned},
    scan,
};

// The loader sets how many entries these have room for.
#[map]
static LIMITS: HashMap<u32, Limit> = HashMap::with_max_entries(1, 0);

#[map]
static LIMITED: LruHashMap<LimitKey, u64> = LruHashMap::with_max_entries(1, 0);

/// Whether a source is over the limit of the rule that counts in this slot. If it is not, it has one
/// more.
///
/// CPUs that judge the same source at the same time may each let a packet pass that is the last of its
/// burst; what they let pass is counted, so the rate stays what it is.
#[inline(always)]
pub fn is_over(slot: u32, source: &Source, is_ipv6: bool) -> bool {
    // SAFETY: the loader fills the map before the program runs, and nothing changes it.
    let Some(limit) = (unsafe { LIMITS.get(slot) }) else {
        return false;
    };
    let key = limit::key(limit, source, is_ipv6);
    // SAFETY: it takes nothing and reads a clock (Linux 5.8).
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(due) = LIMITED.get_ptr_mut(key) else {
        // There is always room, since the map forgets others.
        let _ = LIMITED.insert(key, limit::first_due(limit, now), 0);
        return false;
    };
    // SAFETY: a map value of this type, aligned; so for the others below.
    match limit::take(limit, unsafe { due.read_volatile() }, now) {
        Take::Fresh(next) => {
            // SAFETY: as above.
            unsafe { due.write_volatile(next) };
            false
        }
        Take::Within => {
            // SAFETY: as above.
            unsafe { atomic::add(due, limit.interval) };
            false
        }
        // A limit of all sources together is theirs, too: who they are can be forged.
        Take::Over => limit.len == [0; 2] || !bans::is_trusted(source),
    }
}

/// Notes that a packet of a source was over the limit of the rule that counts in this slot, and bans the
/// source if the rule says so: what there is to tell, as [`Event::notice`](xdpfw_common::abi::Event).
#[inline(always)]
pub fn note_over(slot: u32, source: &Source, is_ipv6: bool) -> u8 {
    // SAFETY: as above.
    let Some(limit) = (unsafe { LIMITS.get(slot) }) else {
        return 0;
    };
    let mut notice = 0;
    if let Some(due) = LIMITED.get_ptr_mut(limit::key(limit, source, is_ipv6)) {
        // SAFETY: a map value of this type, aligned, which everybody changes atomically.
        unsafe {
            if due.read_volatile() & TOLD == 0 {
                atomic::set_bits(due, TOLD);
                notice |= NOTICE_LIMIT;
            }
        }
    }
    if scan::bans_openers()
        && limit.ban != 0
        && opener_bans::ban(source, OpenerOrigin::Limit, limit.ban) == Banned::Yes
    {
        notice |= NOTICE_BAN;
    }
    notice
}
