//! When a generation ends that is in force for a while only.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use xdpfw_common::abi::NO_DEADLINE;

/// A moment of `CLOCK_BOOTTIME`, which goes on while the machine sleeps and does not jump when
/// somebody sets the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    nanoseconds: u64,
}

impl Deadline {
    /// As long from now.
    pub fn after(duration: Duration) -> Self {
        let moment = now().saturating_add(duration);
        Self {
            nanoseconds: u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// So many nanoseconds of the clock.
    pub const fn of(nanoseconds: u64) -> Self {
        Self { nanoseconds }
    }

    /// In nanoseconds of the clock.
    pub const fn nanoseconds(self) -> u64 {
        self.nanoseconds
    }

    /// A moment that is past for sure.
    pub(super) const fn passed() -> Self {
        Self { nanoseconds: 1 }
    }

    /// Whether it is past.
    pub fn is_past(self) -> bool {
        self.left().is_zero()
    }

    /// How long until then; zero if it is past.
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.nanoseconds).saturating_sub(now())
    }

    /// What the clock on the wall shows then, if nobody sets it.
    pub fn on_the_wall(self) -> Timestamp {
        let (moment, now) = (Duration::from_nanos(self.nanoseconds), now());
        let wall = Timestamp::now();
        let shown = match moment.checked_sub(now) {
            Some(left) => wall.saturating_add(left),
            None => wall.saturating_sub(now.saturating_sub(moment)),
        };
        shown.unwrap_or(wall)
    }

    /// What the map pinned at `path` says.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let map = Array::<_, u64>::try_from(Map::Array(MapData::from_pin(path)?))?;
        let nanoseconds = map.get(&0, 0).context("cannot read a deadline")?;
        Ok((nanoseconds != NO_DEADLINE).then_some(Self { nanoseconds }))
    }

    /// Writes it to the map pinned at `path`; `None` means that there is none. One store,
    /// which packets see at once.
    pub(super) fn write(deadline: Option<Self>, path: &Path) -> Result<()> {
        let mut map = Array::<_, u64>::try_from(Map::Array(MapData::from_pin(path)?))?;
        let nanoseconds = deadline.map_or(NO_DEADLINE, |deadline| deadline.nanoseconds);
        map.set(0, nanoseconds, 0).context("cannot set a deadline")
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
