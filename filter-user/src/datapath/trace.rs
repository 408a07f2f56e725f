//! What a traced generation reports: an event for each packet, and its diagnostics.

use anyhow::{Context as _, Result};
use aya::{
    maps::{Map, MapData, MapInfo, RingBuf},
    programs::ProgramInfo,
};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use xdpfw_common::abi::{Event, names};

/// The events of a traced generation, oldest first.
pub struct Events(AsyncFd<RingBuf<MapData>>);

impl Events {
    /// Those that a program reports.
    pub(super) fn of(program: &ProgramInfo) -> Result<Self> {
        let maps = program.map_ids()?.context("the kernel shows no maps")?;
        let map = maps
            .into_iter()
            .filter_map(|id| MapInfo::from_id(id).ok())
            .find(|map| map.name_as_str() == Some(names::EVENTS))
            .context("the program reports no events")?;
        let events = RingBuf::try_from(Map::RingBuf(MapData::from_id(map.id())?))?;
        // SAFETY: the ring buffer owns its descriptor and never changes it.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) }?;
        Ok(Self(events))
    }

    /// Waits for the next event. Dropped while it waits, it loses none.
    ///
    /// # Errors
    ///
    /// What the program wrote is no event, or the kernel refuses to wait.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(bytes) = self.0.get_mut().next() {
                return bytemuck::try_pod_read_unaligned(&bytes)
                    .map_err(|error| anyhow::anyhow!("the program reports no event: {error}"));
            }
            self.0.readable_mut().await?.clear_ready();
        }
    }
}

/// Hands each line that the program writes about itself to `logger`, until dropped.
///
/// # Errors
///
/// The program is not a traced one, or is gone.
pub async fn follow_diagnostics(program_id: u32, logger: impl log::Log + 'static) -> Result<()> {
    let records = EbpfLogger::init_from_id_with_logger(program_id, logger)
        .context("cannot follow the program's log")?;
    // SAFETY: the logger owns its ring buffer's descriptor and never changes it.
    let mut records = unsafe { AsyncFd::register_with_interest(records, Interest::READABLE) }?;
    loop {
        let mut guard = records.readable_mut().await?;
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}
