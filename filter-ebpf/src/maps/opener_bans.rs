//! Sources that the program itself has banned: they may open nothing, and what is open goes on.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, macros::map, maps::LruHashMap};
use xdpfw_common::{
    abi::{
        BanKey, MAX_OPENER_BANS, OPENER_BANS_PER_MINUTE, OpenerBan, OpenerOrigin, SCAN_SHIFT,
        Source, ban_key, setting,
    },
    flows::Memory as _,
};

use super::{atomic, bans::is_trusted, flows::Known, scan};

// The loader makes it small where nobody is banned so.
#[map]
static OPENER_BANS: LruHashMap<BanKey, OpenerBan> =
    LruHashMap::with_max_entries(MAX_OPENER_BANS, 0);

/// What became of a wish to ban a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banned {
    /// It is banned.
    Yes,
    /// It was already.
    Already,
    /// It is trusted, and is not.
    Trusted,
    /// So many were banned in this minute already that it is not.
    Capped,
}

/// Bans a source for so many nanoseconds. One that is banned stays so for as long as it was to be, or
/// longer if this is for another reason: what goes on all the time takes nobody else's place in the
/// minute.
#[inline(always)]
pub fn ban(source: &Source, origin: OpenerOrigin, duration: u64) -> Banned {
    if is_trusted(source) {
        return Banned::Trusted;
    }
    let now = scan::now();
    // SAFETY: it has no arguments.
    let since = unsafe { bpf_ktime_get_boot_ns() };
    let until = since.saturating_add(duration);
    let key = ban_key(source);
    if let Some(known) = OPENER_BANS.get_ptr_mut(key) {
        // SAFETY: words of a map value, aligned; each makes sense beside any other's value.
        unsafe {
            if (*known).until > since {
                if (*known).origin != origin as u32 && (*known).until < until {
                    (&raw mut (*known).until).write_volatile(until);
                    extend(now + units(duration) + 1);
                }
                return Banned::Already;
            }
        }
    }
    if !take(now) {
        return Banned::Capped;
    }
    let ban = OpenerBan {
        until,
        since,
        packets: 0,
        origin: origin as u32,
        padding: 0,
    };
    // It fails only where the table is being written by all CPUs at once, and the source comes again.
    let _ = OPENER_BANS.insert(key, ban, 0);
    // Nobody looks for a ban before it is said that there are any.
    extend(now + units(duration) + 1);
    Banned::Yes
}

/// The ban of a source that is in force, unless it is trusted.
#[inline(always)]
pub fn find(source: &Source) -> Option<*mut OpenerBan> {
    let ban = OPENER_BANS.get_ptr_mut(ban_key(source))?;
    // SAFETY: a map value of this type; the helper takes nothing and reads a clock (Linux 5.8).
    let is_on = unsafe { (*ban).until > bpf_ktime_get_boot_ns() };
    (is_on && !is_trusted(source)).then_some(ban)
}

/// Whether anybody may be banned. Where the policy bans nobody so, it costs nothing, and else a load
/// of the clock and one of the latest end.
#[inline(always)]
pub fn has_any() -> bool {
    scan::bans_openers()
        && scan::state().is_some_and(|state| {
            // SAFETY: a word of a map value, aligned.
            let until = unsafe { (&raw const (*state).until).read_volatile() };
            until != 0 && until >= scan::now()
        })
}

/// Counts a packet that such a ban drops.
#[inline(always)]
pub fn count(source: &Source) {
    if let Some(ban) = OPENER_BANS.get_ptr_mut(ban_key(source)) {
        // SAFETY: a word of a map value, aligned, which everybody changes atomically.
        unsafe { atomic::add(&raw mut (*ban).packets, 1) };
    }
}

/// Takes one of the bans of this minute; counts it if there are none left. CPUs that do so at the same
/// moment may take one more each.
#[inline(always)]
fn take(now: u64) -> bool {
    let Some(state) = scan::state() else {
        return false;
    };
    // SAFETY: words of a map value, aligned; whoever writes them meanwhile means about the same.
    unsafe {
        let minute = (&raw const (*state).minute).read_volatile();
        if now.wrapping_sub(minute) >= u64::from(setting(&scan::config().minute)) {
            (&raw mut (*state).minute).write_volatile(now);
            (&raw mut (*state).banned).write_volatile(0);
        }
        if (&raw const (*state).banned).read_volatile() >= OPENER_BANS_PER_MINUTE {
            atomic::add(&raw mut (*state).capped, 1);
            (&raw mut (*state).capped_at).write_volatile(now);
            return false;
        }
        atomic::add(&raw mut (*state).banned, 1);
    }
    true
}

/// Says that somebody is banned until then.
#[inline(always)]
fn extend(until: u64) {
    if let Some(state) = scan::state() {
        // SAFETY: a word of a map value, aligned.
        unsafe {
            if (&raw const (*state).until).read_volatile() < until {
                (&raw mut (*state).until).write_volatile(until);
            }
        }
    }
}

/// Nanoseconds in the time of scans.
#[inline(always)]
fn units(nanoseconds: u64) -> u64 {
    // In milliseconds, so that ten years of a thousand ticks do not overflow.
    ((nanoseconds / 1_000_000) * Known.ticks_per_second() / 1_000) >> SCAN_SHIFT
}
