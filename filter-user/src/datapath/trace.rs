//! What a traced generation reports: an event for each packet that is wanted, and its
//! diagnostics.
//!
//! A traced generation costs time with each packet, so it must not outlive its reader, not even
//! one that is killed. The reader marks the generation's directory with a lock (flock(2)), which
//! the kernel takes away when the process ends, and which is gone with the directory. A traced
//! generation without the mark is left over, and the next command that changes anything puts
//! the plain one back.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use xdpfw_common::abi::{Event, Wanted, names};

use super::{
    object::{self, LOG_RECORDS, Object},
    pins::PinDirectory,
};

/// Pins of what the program reports with, and what it writes about itself; only in the directory
/// of a traced generation.
const EVENTS: &str = "events";
const UNREPORTED: &str = "unreported";
const WANTED: &str = "wanted";
const LOG: &str = "log";

/// The events of a traced generation, oldest first.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    unreported: PerCpuArray<MapData, u64>,
    /// Says that somebody reads.
    _mark: OwnedFd,
}

impl Events {
    /// Has the generation of a directory report what is wanted.
    pub(super) fn of(directory: &PinDirectory, wanted: &Wanted, mark: OwnedFd) -> Result<Self> {
        let map = |pin| MapData::from_pin(directory.pin(pin)).context("nothing reports events");
        let ring = RingBuf::try_from(Map::RingBuf(map(EVENTS)?))?;
        // SAFETY: the ring buffer owns its descriptor and never changes it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        let unreported = Map::PerCpuArray(map(UNREPORTED)?).try_into()?;
        // Last: from now on it reports.
        let mut filter = Array::<_, [u8; size_of::<Wanted>()]>::try_from(Map::Array(map(WANTED)?))?;
        filter.set(
            0,
            bytemuck::cast::<Wanted, [u8; size_of::<Wanted>()]>(*wanted),
            0,
        )?;
        Ok(Self {
            ring,
            unreported,
            _mark: mark,
        })
    }

    /// How many packets were wanted and are not reported, since too many events waited.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn unreported(&self) -> Result<u64> {
        Ok(self.unreported.get(&0, 0)?.iter().sum())
    }

    /// Waits for the next event. Dropped while it waits, it loses none.
    ///
    /// # Errors
    ///
    /// What the program wrote is no event, or the kernel refuses to wait.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(bytes) = self.ring.get_mut().next() {
                return bytemuck::try_pod_read_unaligned(&bytes)
                    .map_err(|error| anyhow::anyhow!("the program reports no event: {error}"));
            }
            self.ring.readable_mut().await?.clear_ready();
        }
    }
}

/// Pins what a traced generation reports with.
pub(super) fn pin(object: &Object, directory: &PinDirectory) -> Result<()> {
    [
        (names::EVENTS, EVENTS),
        (names::UNREPORTED, UNREPORTED),
        (names::WANTED, WANTED),
        (LOG_RECORDS, LOG),
    ]
    .into_iter()
    .try_for_each(|(map, pin)| object.pin_map(map, &directory.pin(pin)))
}

/// Hands each line that a traced program writes about itself to `logger`, until dropped.
pub(super) async fn follow_log(
    directory: &PinDirectory,
    logger: impl log::Log + 'static,
) -> Result<()> {
    let mut object = object::with_log(&directory.pin(LOG))?;
    let records = EbpfLogger::init_with_logger(&mut object, logger)
        .context("cannot follow the program's log")?;
    drop(object);
    // SAFETY: the logger owns its ring buffer's descriptor and never changes it.
    let mut records = unsafe { AsyncFd::register_with_interest(records, Interest::READABLE) }?;
    loop {
        let mut guard = records.readable_mut().await?;
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}
