//! Limits: how much of it each source has had.

use aya_ebpf::{
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use xdpfw_common::{
    abi::{Bucket, Limit, LimitKey, Source},
    limit::{self, Take},
};

use super::{atomic, bans};

// The loader sets how many entries these have room for.
#[map]
static LIMITS: HashMap<u32, Limit> = HashMap::with_max_entries(1, 0);

#[map]
static LIMITED: LruHashMap<LimitKey, Bucket> = LruHashMap::with_max_entries(1, 0);

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
    let Some(bucket) = LIMITED.get_ptr_mut(key) else {
        let fresh = Bucket {
            due: now.wrapping_add(limit.interval),
            over: 0,
        };
        // What has no room is let in: there is room, since the map forgets others.
        let _ = LIMITED.insert(key, fresh, 0);
        return false;
    };
    // SAFETY: a word of a map value of this type, aligned; so for the others below.
    let due = unsafe { (&raw const (*bucket).due).read_volatile() };
    match limit::take(limit, due, now) {
        Take::Fresh(due) => {
            // SAFETY: as above.
            unsafe { (&raw mut (*bucket).due).write_volatile(due) };
            false
        }
        Take::Within => {
            // SAFETY: as above.
            unsafe { atomic::add(&raw mut (*bucket).due, limit.interval) };
            false
        }
        // A limit of all sources together is theirs, too: who they are can be forged.
        Take::Over if limit.len != [0; 2] && bans::is_trusted(source) => false,
        Take::Over => {
            // SAFETY: as above.
            unsafe { (&raw mut (*bucket).over).write_volatile(now) };
            true
        }
    }
}
