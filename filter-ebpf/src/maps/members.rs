//! Knows which interfaces are one link with others: the members of bonds. The loader fills it.

use aya_ebpf::{macros::map, maps::HashMap};

/// Written by the loader; the verifier sees a constant.
#[unsafe(no_mangle)]
static HAS_MEMBERS: u32 = 0;

// The loader sets how many entries it has room for.
#[map]
static MEMBERS: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

/// The link that an interface belongs to: the bond of a member, itself of any other. What leaves
/// by a bond may be answered by any member, whose number the answer carries under native XDP.
#[inline(always)]
pub fn link_of(interface: u32) -> u32 {
    // SAFETY: a reference, so aligned and initialised.
    if unsafe { core::ptr::read_volatile(&HAS_MEMBERS) } == 0 {
        return interface;
    }
    // SAFETY: nothing writes to the map once the loader has filled it.
    unsafe { MEMBERS.get(interface) }
        .copied()
        .unwrap_or(interface)
}
