//! The table of scans, and who may open nothing for it. All generations share both, and packets write
//! them while they are read.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use ipnet::IpNet;
use rustix::rand::{GetRandomFlags, getrandom};
use xdpfw_common::{
    abi::{
        BanKey, EXACT, MAX_OPENER_BANS, OPENER_BANS, OpenerBan, SCAN_SHIFT, SCAN_STATE, SCAN_TAGS,
        SCANNER_COUNT, SCANNERS, ScanConfig, ScanState, Scanner, SharedMap, V4,
    },
    scan::{Kind, Place, Tag, expected_bits},
};

use super::{Clock, pins::PinDirectory, syscall};
use crate::policy::{Policy, Scan};

/// Words of a [`Scanner`].
const WORDS: usize = size_of::<Scanner>() / size_of::<u64>();
/// Bytes of all tags.
pub(super) const TAGS_LEN: usize = SCANNER_COUNT as usize * size_of::<Tag>();
/// Elements that are read in one call.
const BATCH: u32 = 1 << 12;
/// Bytes that the kernel takes for a ban: element and key (`htab_elem` in kernel/bpf/hashtab.c), value,
/// and its share of the buckets.
const BYTES_OF_BAN: u64 = 48 + 8 + 32 + 16;
/// How long a source that was found is not found again, where it is not banned.
const REST: Duration = Duration::from_secs(600);

/// The table of scans, open.
pub struct Scans {
    scanners: OwnedFd,
    /// How many elements it has: one, where scans are not looked for.
    count: u32,
    state: ScanState,
    bans: HashMap<MapData, BanKey, [u8; size_of::<OpenerBan>()]>,
    /// The same map, for calls that aya has not.
    bans_map: OwnedFd,
    clock: Clock,
}

impl Scans {
    pub(super) fn open(directory: &PinDirectory, clock: Clock) -> Result<Self> {
        let open =
            |map: SharedMap| MapData::from_pin(directory.pin(map.pin)).context("no table of scans");
        let fd = |map: SharedMap| {
            syscall::open_pin(&directory.pin(map.pin)).context("no table of scans")
        };
        let state =
            Array::<_, [u8; size_of::<ScanState>()]>::try_from(Map::Array(open(SCAN_STATE)?))?;
        Ok(Self {
            scanners: fd(SCANNERS)?,
            count: open(SCANNERS)?.info()?.max_entries(),
            state: bytemuck::cast(state.get(&0, 0)?),
            bans: Map::LruHashMap(open(OPENER_BANS)?).try_into()?,
            bans_map: fd(OPENER_BANS)?,
            clock,
        })
    }

    /// The sources that were found to scan.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn found(&self) -> Result<Vec<Scanner>> {
        let mut found = Vec::new();
        for first in (0..self.count).step_by(BATCH as usize) {
            let count = BATCH.min(self.count - first) as usize;
            let words = syscall::elements(self.scanners.as_fd(), first, count, WORDS)
                .context("cannot read the table of scans")?;
            let (elements, _) = words.as_chunks::<WORDS>();
            let scanners = elements.iter().map(|words| bytemuck::cast(*words));
            found.extend(scanners.filter(|one: &Scanner| one.mark != 0));
        }
        Ok(found)
    }

    /// Who may open nothing, and is banned still.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn banned(&self) -> Result<Vec<(IpNet, OpenerBan)>> {
        let capacity = MAX_OPENER_BANS;
        let bans: Vec<(BanKey, OpenerBan)> = syscall::entries(self.bans_map.as_fd(), capacity)
            .context("cannot read who may open nothing")?;
        let now = super::Deadline::after(Duration::ZERO).nanoseconds();
        Ok(bans
            .into_iter()
            .filter(|(_, ban)| ban.until > now)
            .map(|(key, ban)| (prefix_of(&key), ban))
            .collect())
    }

    /// Ends the ban of a source, and forgets what it did; whether it was banned.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn unban(&mut self, prefix: &IpNet) -> Result<bool> {
        let Some(key) = key_of(prefix) else {
            return Ok(false);
        };
        let was_banned = match self.bans.remove(&key) {
            Ok(()) => true,
            Err(MapError::KeyNotFound) => false,
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
            {
                false
            }
            Err(error) => return Err(error).context("cannot end a ban"),
        };
        // Else the next packet of a slow scan would ban it again.
        for kind in Kind::ALL {
            self.forget(&key, kind)?;
        }
        Ok(was_banned)
    }

    fn forget(&self, key: &BanKey, kind: Kind) -> Result<()> {
        let index = Place::of(key, kind, &self.state.secret).index();
        if index >= self.count {
            return Ok(());
        }
        let map = self.scanners.as_fd();
        let words = syscall::elements(map, index, 1, WORDS)?;
        let words: [u64; WORDS] = words.try_into().unwrap_or_default();
        let scanner: Scanner = bytemuck::cast(words);
        if scanner.who == Scanner::who(key, kind as u8) {
            syscall::set(map, &index, &Scanner::default())
                .context("cannot write the table of scans")?;
        }
        Ok(())
    }

    /// How many sources were not banned since too many were in a minute, and how long ago the last one.
    pub fn capped(&self) -> Option<(u64, Duration)> {
        match self.state.capped {
            0 => None,
            count => {
                let ticks = self.state.capped_at << SCAN_SHIFT;
                Some((count, self.clock.since(ticks)))
            }
        }
    }

    /// How long ago something was, of which a [`Scanner`] tells.
    pub fn since(&self, moment: u32) -> Duration {
        let now = self.clock.now() >> SCAN_SHIFT;
        let passed = (now as u32).wrapping_sub(moment);
        // A packet that is ahead of what we take for the time.
        let passed = if passed > u32::MAX / 2 { 0 } else { passed };
        let now = self.clock.now();
        self.clock
            .since(now.saturating_sub(u64::from(passed) << SCAN_SHIFT))
    }
}

/// How many entries of a map are used, under a policy; `None`, if that does not depend on it. The tags
/// are one element, which is as large without scans, but is taken over only with what they are of.
pub(super) fn capacity(map: SharedMap, policy: &Policy) -> Option<u32> {
    match map {
        SCANNERS | SCAN_TAGS => Some(policy.scan.map_or(1, |_| SCANNER_COUNT)),
        OPENER_BANS => Some(if policy.bans_openers() {
            MAX_OPENER_BANS
        } else {
            1
        }),
        _ => None,
    }
}

/// Bytes that the tables of a policy take, about.
pub(super) fn memory(policy: &Policy) -> u64 {
    let entries = |map| u64::from(capacity(map, policy).unwrap_or(0));
    entries(SCANNERS) * size_of::<Scanner>() as u64
        + TAGS_LEN as u64
        + entries(OPENER_BANS) * BYTES_OF_BAN
}

/// What the program is to know of what a policy asks for.
pub(super) fn config(policy: &Policy, clock: &Clock, secret: &[u64; 2]) -> ScanConfig {
    let bans_openers = u32::from(policy.bans_openers());
    let units = |duration: Duration| -> u32 {
        let ticks = duration.as_millis() * u128::from(clock.ticks_per_second) / 1_000;
        u32::try_from(ticks >> SCAN_SHIFT).map_or(u32::MAX / 2, |units| units.min(u32::MAX / 2))
    };
    let seconds = |seconds| units(Duration::from_secs(seconds));
    let Some(scan) = policy.scan else {
        return ScanConfig {
            secret: *secret,
            minute: seconds(60),
            bans_openers,
            ..ScanConfig::default()
        };
    };
    let ban = scan.ban.map(crate::duration::Seconds::duration);
    ScanConfig {
        bits: expected_bits(scan.ports),
        slow_bits: expected_bits(scan.slow_ports()),
        window: units(scan.window.duration()).max(1),
        slow_window: seconds(Scan::SLOW_WINDOW),
        second: seconds(1).max(1),
        minute: seconds(60),
        rest: units(ban.unwrap_or(REST)).max(1),
        bans_openers,
        ban: ban.map_or(0, |ban| u64::try_from(ban.as_nanos()).unwrap_or(u64::MAX)),
        secret: *secret,
    }
}

/// What nobody knows of any scan yet, with a secret.
pub(super) fn new_state() -> Result<ScanState> {
    let mut secret = [0; 2];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut secret);
    // So few bytes come whole.
    getrandom(bytes, GetRandomFlags::empty()).context("no random numbers")?;
    Ok(ScanState {
        secret,
        ..ScanState::default()
    })
}

/// The prefix that a ban's key stands for.
pub fn prefix_of(key: &BanKey) -> IpNet {
    let [a, b, c, d, e, f, g, h] = *key;
    if [a, b, c, d] == V4 {
        return IpNet::from(IpAddr::V4(Ipv4Addr::new(e, f, g, h)));
    }
    let address = Ipv6Addr::from_bits(u128::from(u64::from_be_bytes(*key)) << 64);
    IpNet::new_assert(address.into(), EXACT)
}

/// The key of a source: an IPv4 address, or an IPv6 address or prefix within one /64.
fn key_of(prefix: &IpNet) -> Option<BanKey> {
    match prefix {
        IpNet::V4(net) if net.prefix_len() == 32 => {
            let [v0, v1, v2, v3] = V4;
            let [a, b, c, d] = net.addr().octets();
            Some([v0, v1, v2, v3, a, b, c, d])
        }
        IpNet::V6(net) if net.prefix_len() >= EXACT => {
            let bits = (net.addr().to_bits() >> 64) as u64;
            Some(bits.to_be_bytes())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_the_key_of_its_prefix() {
        for (prefix, of_key) in [
            ("192.0.2.7/32", "192.0.2.7/32"),
            ("2001:db8:7::/64", "2001:db8:7::/64"),
            ("2001:db8:7::9/128", "2001:db8:7::/64"),
        ] {
            let key = key_of(&prefix.parse().unwrap()).unwrap();
            assert_eq!(prefix_of(&key).to_string(), of_key);
        }
        for prefix in ["192.0.2.0/24", "2001:db8::/32"] {
            assert_eq!(key_of(&prefix.parse().unwrap()), None);
        }
    }

    #[test]
    fn times_are_in_the_clock_of_scans() {
        let scan = Scan {
            ports: 16,
            window: "10s".parse().unwrap(),
            ban: Some("10m".parse().unwrap()),
        };
        let policy = Policy {
            scan: Some(scan),
            ..Policy::default()
        };
        let config = config(&policy, &Clock::of_tests(), &[1, 2]);
        // 250 ticks a second, 64 of them a unit.
        assert_eq!((config.window, config.second, config.minute), (39, 3, 234));
        assert_eq!((config.bits, config.slow_bits), (16, 29));
        assert_eq!((config.rest, config.ban), (2_343, 600_000_000_000));
        assert_eq!(
            super::config(&Policy::default(), &Clock::of_tests(), &[1, 2]).bits,
            0
        );
    }
}
