//! Divides time into classes: how many of the moments at which rules end are ahead.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use xdpfw_common::abi::{Ends, MAX_ENDS};

use super::{
    TooComplex,
    dimension::{ANY_FAMILY, Dimension},
};
use crate::policy::Policy;

/// No machine runs longer: a century.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// What two clocks show at the same moment: rules end by the one, and the kernel program reads
/// the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The wall clock.
    pub wall: Timestamp,
    /// The time since the machine started, asleep or not (`CLOCK_BOOTTIME`).
    pub boot: Duration,
}

impl Clocks {
    /// Before any rule ends, for those who ask only what rules do to each other.
    pub const BEFORE_ALL: Self = Self {
        wall: Timestamp::UNIX_EPOCH,
        boot: Duration::ZERO,
    };

    /// How far the wall clock was set forward since other readings, or back.
    pub fn jump_since(&self, before: &Self) -> jiff::SignedDuration {
        let wall = self.wall.duration_since(before.wall);
        let boot = |clocks: &Self| jiff::SignedDuration::try_from(clocks.boot).unwrap_or_default();
        wall - (boot(self) - boot(before))
    }

    /// What the clock of the machine shows at a later moment, in nanoseconds.
    fn nanoseconds_at(&self, moment: Timestamp) -> u64 {
        let left = moment.duration_since(self.wall).max(Default::default());
        let at = self.boot + left.unsigned_abs().min(LONGEST);
        u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The moments at which rules end, and the dimension. A rule that has ended is in no class.
pub(super) fn ends(policy: &Policy, clocks: &Clocks) -> Result<(Ends, Dimension), TooComplex> {
    let numbered = || (0_u32..).zip(&policy.rules);
    let until = numbered().filter_map(|(index, rule)| {
        let until = rule.until.as_ref()?;
        Some((index, until.timestamp()))
    });
    let until: Vec<(u32, Timestamp)> = until.collect();
    let ahead = until.iter().map(|(_, moment)| *moment);
    let moments: BTreeSet<Timestamp> = ahead.filter(|moment| *moment > clocks.wall).collect();
    if moments.len() > MAX_ENDS {
        return Err(TooComplex::Ends(moments.len()));
    }
    let mut ends = Ends::NONE;
    for (place, moment) in ends.moments.iter_mut().zip(&moments) {
        *place = clocks.nanoseconds_at(*moment);
    }
    ends.count = moments.len() as u64;
    // The last of them is in class 1, when it alone is ahead.
    let last_class = moments.len() as u32;
    let class_of: HashMap<Timestamp, u32> = moments.into_iter().rev().zip(1..).collect();
    let classes = |moment| match class_of.get(moment) {
        Some(&class) => (class..=last_class).collect(),
        None => Vec::new(),
    };
    let dimension = Dimension {
        of_rule: until
            .iter()
            .map(|(rule, moment)| (*rule, classes(moment)))
            .collect(),
        families: vec![ANY_FAMILY; last_class as usize],
        // The time comes when all have ended.
        rest: ANY_FAMILY,
    };
    Ok((ends, dimension))
}
