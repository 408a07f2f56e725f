//! Who is never banned, as the kernel has it: asked only about sources that somebody banned.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{LpmTrie, Map, MapData, lpm_trie::Key};
use ipnet::IpNet;
use xdpfw_common::abi::{MAX_TRUSTED, Source, TRUSTED, Trusted};

use super::{
    bans::{place_of, prefix_of},
    pins::PinDirectory,
};

/// The prefixes of a generation that are never banned, each with why.
pub struct TrustedMap {
    map: LpmTrie<MapData, Source, Trusted>,
}

impl TrustedMap {
    pub(super) fn open(directory: &PinDirectory) -> Result<Self> {
        let map = MapData::from_pin(directory.pin(TRUSTED.pin));
        let map = map.context("cannot open the list of who is trusted")?;
        Ok(Self {
            map: Map::LpmTrie(map).try_into()?,
        })
    }

    /// All of them, by prefix.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn read(&self) -> Result<Vec<(IpNet, Trusted)>> {
        let mut found = Vec::new();
        for entry in self.map.iter() {
            let (key, why) = entry.context("cannot read who is trusted")?;
            found.push((prefix_of(&key.data(), key.prefix_len() as u8), why));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Trusts these and no others. Who is in both the old and the new ones is trusted all along.
    ///
    /// # Errors
    ///
    /// They are too many, or the kernel refuses.
    pub fn set(&mut self, trusted: &[(IpNet, Trusted)]) -> Result<()> {
        ensure!(
            trusted.len() <= MAX_TRUSTED as usize,
            "at most {MAX_TRUSTED} prefixes can be trusted (say wider ones)"
        );
        let key = |prefix: &IpNet| {
            let (source, len) = place_of(prefix);
            Key::new(u32::from(len), source)
        };
        let before = self.read()?;
        for (prefix, _) in &before {
            if !trusted.iter().any(|(other, _)| other == prefix) {
                let removed = self.map.remove(&key(prefix));
                removed.context("cannot end trust")?;
            }
        }
        for entry in trusted.iter().filter(|entry| !before.contains(entry)) {
            let (prefix, why) = entry;
            let added = self.map.insert(&key(prefix), *why, 0);
            added.with_context(|| format!("cannot trust {prefix}"))?;
        }
        Ok(())
    }
}
