//! Bans: who is not welcome. Userspace writes all of it, while packets read it.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
};
use xdpfw_common::{
    abi::{
        BAN_BLOCK_COUNT, BANS_ANY, BANS_HARD, Ban, BanBlock, BanKey, MAX_TRUSTED, Source, Trusted,
        ban_key, ban_place, ban_source,
    },
    wire::ip::Addresses,
};

use super::atomic;

// The loader sets how many entries these have room for.
#[map]
static BANS: HashMap<BanKey, Ban> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

#[map]
static BANNED_NETS: LpmTrie<Source, Ban> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);

#[map]
static BAN_BLOCKS: Array<BanBlock> = Array::with_max_entries(BAN_BLOCK_COUNT, 0);

#[map]
static TRUSTED: LpmTrie<Source, Trusted> =
    LpmTrie::with_max_entries(MAX_TRUSTED, BPF_F_NO_PREALLOC);

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.banned")]
static mut BANNED: u32 = 0;

/// How many prefixes around a source are looked at, most of which are over. Userspace removes those
/// before it adds others.
const TRIES: usize = 4;

/// Whether the source of a packet may be banned. While nobody is, it costs one load.
#[inline(always)]
pub fn may_be_banned(addresses: &Addresses<'_>) -> bool {
    // SAFETY: aligned and initialised; others write it as one word.
    let banned = unsafe { (&raw const BANNED).read_volatile() };
    banned & BANS_ANY != 0 && is_in_banned_block(addresses)
}

/// Whether anybody is banned.
#[inline(always)]
pub fn has_any() -> bool {
    // SAFETY: as above.
    unsafe { (&raw const BANNED).read_volatile() & BANS_ANY != 0 }
}

/// Whether anybody is banned from answering.
#[inline(always)]
pub fn has_hard() -> bool {
    // SAFETY: as above.
    unsafe { (&raw const BANNED).read_volatile() & BANS_HARD != 0 }
}

#[cold]
#[inline(always)]
fn is_in_banned_block(addresses: &Addresses<'_>) -> bool {
    let (element, word, bit) = ban_place(&ban_source(addresses));
    BAN_BLOCKS.get_ptr(element).is_some_and(|block| {
        // SAFETY: a word of a map value of this type, aligned.
        let bits = unsafe { block.cast::<u64>().add(word & 7).read_volatile() };
        bits & bit != 0
    })
}

/// The ban of a source that is in force, unless it is trusted.
#[inline(always)]
pub fn find(source: &Source) -> Option<*mut Ban> {
    find_any(source).filter(|_| !is_trusted(source))
}

/// Whether a source is never banned.
#[inline(always)]
pub fn is_trusted(source: &Source) -> bool {
    TRUSTED.get(Key::new(128, *source)).is_some()
}

/// The ban of a source that is in force, even if it is trusted: the narrowest, or a hard one around it.
#[inline(always)]
fn find_any(source: &Source) -> Option<*mut Ban> {
    let exact = BANS.get_ptr_mut(ban_key(source)).filter(|ban| is_on(*ban));
    if exact.is_some_and(is_last) {
        return exact;
    }
    find_net(source, exact)
}

/// The same among prefixes of other lengths, where this one was found already.
#[inline(always)]
fn find_net(source: &Source, mut found: Option<*mut Ban>) -> Option<*mut Ban> {
    let mut len = 128;
    for _ in 0..TRIES {
        let Some(ban) = BANNED_NETS.get(Key::new(len, *source)) else {
            return found;
        };
        let ban = core::ptr::from_ref(ban).cast_mut();
        if is_on(ban) && (found.is_none() || is_hard(ban)) {
            found = Some(ban);
            if is_last(ban) {
                return found;
            }
        }
        // SAFETY: a map value of this type.
        let Some(wider) = u32::from(unsafe { (*ban).len }).checked_sub(1) else {
            return found;
        };
        len = wider;
    }
    found
}

/// Whether no ban around this one can say more.
#[inline(always)]
fn is_last(ban: *mut Ban) -> bool {
    !has_hard() || is_hard(ban)
}

#[inline(always)]
fn is_hard(ban: *mut Ban) -> bool {
    // SAFETY: a map value of this type.
    unsafe { (*ban).hard != 0 }
}

#[inline(always)]
fn is_on(ban: *mut Ban) -> bool {
    // SAFETY: a map value of this type; it takes nothing and reads a clock (Linux 5.8).
    unsafe { (*ban).until > bpf_ktime_get_boot_ns() }
}

/// Counts a packet that a ban drops; whether there is such a ban.
#[inline(always)]
pub fn count(source: &Source) -> bool {
    let Some(ban) = find(source) else {
        return false;
    };
    // SAFETY: a word of a map value, aligned, which everybody changes atomically.
    unsafe { atomic::add(&raw mut (*ban).packets, 1) };
    true
}
