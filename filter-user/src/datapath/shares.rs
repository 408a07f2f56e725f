//! What each source has had of limits.

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, MapError};
use ipnet::IpNet;
use xdpfw_common::{
    abi::{LIMITED, LimitKey},
    limit,
};

use super::{Record, bans::place_of, pins::PinDirectory};
use crate::compiler;

/// A key of the table as its bytes.
type Key = [u8; size_of::<LimitKey>()];

/// Forgets what a source has had of the limits that ban.
pub(super) fn forget(directory: &PinDirectory, record: &Record, source: &IpNet) -> Result<()> {
    let limits = compiler::limits(&record.policy, &record.slots);
    let limits: Vec<_> = limits.iter().filter(|(_, limit)| limit.ban != 0).collect();
    if limits.is_empty() {
        return Ok(());
    }
    let map = MapData::from_pin(directory.pin(LIMITED.pin))?;
    let mut shares: HashMap<_, Key, u64> = Map::LruHashMap(map).try_into()?;
    let (address, _) = place_of(source);
    for (_, limit) in limits {
        let key: Key = bytemuck::cast(limit::key(limit, &address, source.addr().is_ipv6()));
        match shares.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error).context("cannot forget what a source has had"),
        }
    }
    Ok(())
}
