//! Runs packets through the program of a host as if they had come in, as many as a test needs, and
//! reaches what the program remembers.

use std::{fs, net::Ipv4Addr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{Array, LpmTrie, Map, MapData, lpm_trie::Key},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use aya_obj::programs::XdpAttachType;
use xdpfw::datapath::Probe;
use xdpfw_common::abi::{
    ABI_VERSION, SCAN_SHIFT, SCAN_STATE, SCAN_TAGS, SCANNER_COUNT, SCANNERS, ScanState, Scanner,
    SharedMap, Source, TRUSTED, Trusted, V4,
};
use xdpfw_tests::{Lab, packets};

/// Bytes of all tags of the table of scans.
const TAGS_LEN: usize = SCANNER_COUNT as usize * size_of::<u32>();

/// `XDP_DROP` in linux/bpf.h.
const DROP: u32 = 1;

/// The program of the generation in force on the host of a lab.
pub(crate) struct Judge<'a> {
    lab: &'a Lab,
    program: Xdp,
    generation: PathBuf,
    ticks_per_second: u32,
}

impl<'a> Judge<'a> {
    pub(crate) fn of(lab: &'a Lab) -> Result<Self> {
        let pins = lab.host.pins().join(format!("abi-{ABI_VERSION}"));
        let mut generations = fs::read_dir(pins.join("generations"))?;
        let generation = generations.next().context("no generation")??.path();
        ensure!(generations.next().is_none(), "more than one generation");
        let program = Xdp::from_pin(generation.join("program"), XdpAttachType::Interface)?;
        Ok(Self {
            lab,
            program,
            generation,
            ticks_per_second: Probe::load()?.clock()?.ticks_per_second,
        })
    }

    /// How many of these packets are dropped, which come in by the first link.
    pub(crate) fn dropped(
        &self,
        packets: impl IntoIterator<Item = Vec<u8>> + Send,
    ) -> Result<usize> {
        let (near, far) = (self.lab.link().near(), self.lab.link().far());
        self.lab.host.enter(|| {
            let mut dropped = 0;
            for packet in packets {
                let frame = packets::frame(far, near, &packet);
                let result = self.program.test_run(TestRunOptions {
                    data_in: Some(&frame),
                    ..TestRunOptions::new()
                })?;
                dropped += usize::from(result.return_value == DROP);
            }
            Ok(dropped)
        })
    }

    /// Has time pass for everything that is known of scans, by making it older.
    pub(crate) fn pass(&self, time: Duration) -> Result<()> {
        let ticks = time.as_secs() * u64::from(self.ticks_per_second);
        let units = (ticks >> SCAN_SHIFT) as u32;
        let mut scanners = self.array::<{ size_of::<Scanner>() }>(SCANNERS)?;
        for index in 0..scanners.len() {
            let mut scanner: Scanner = bytemuck::cast(scanners.get(&index, 0)?);
            if scanner.kind == 0 {
                continue;
            }
            for moment in [
                &mut scanner.first,
                &mut scanner.last,
                &mut scanner.start,
                &mut scanner.found,
            ] {
                *moment = moment.wrapping_sub(units);
            }
            scanners.set(index, bytemuck::cast::<_, [u8; 64]>(scanner), 0)?;
        }
        let mut map = self.array::<TAGS_LEN>(SCAN_TAGS)?;
        let mut tags: [u32; SCANNER_COUNT as usize] = bytemuck::cast(map.get(&0, 0)?);
        for tag in &mut tags {
            // The time is in the upper half.
            *tag = tag.wrapping_sub(units << u16::BITS);
        }
        map.set(0, bytemuck::cast::<_, [u8; TAGS_LEN]>(tags), 0)?;
        let mut states = self.array::<{ size_of::<ScanState>() }>(SCAN_STATE)?;
        let mut state: ScanState = bytemuck::cast(states.get(&0, 0)?);
        state.minute = state.minute.saturating_sub(units.into());
        states.set(0, bytemuck::cast::<_, [u8; 64]>(state), 0)?;
        Ok(())
    }

    /// Has the host trust a source, as a policy does.
    pub(crate) fn trust(&self, source: Ipv4Addr) -> Result<()> {
        let mut bytes: Source = [0; 16];
        bytes[..4].copy_from_slice(&V4);
        bytes[4..8].copy_from_slice(&source.octets());
        let map = MapData::from_pin(self.generation.join(TRUSTED.pin))?;
        let mut trusted = LpmTrie::<_, Source, Trusted>::try_from(Map::LpmTrie(map))?;
        trusted.insert(&Key::new(64, bytes), 1, 0)?;
        Ok(())
    }

    /// How many entries a map has room for.
    pub(crate) fn room(&self, map: SharedMap) -> Result<u32> {
        Ok(MapData::from_pin(self.generation.join(map.pin))?
            .info()?
            .max_entries())
    }

    fn array<const BYTES: usize>(&self, map: SharedMap) -> Result<Array<MapData, [u8; BYTES]>> {
        let map = MapData::from_pin(self.generation.join(map.pin))?;
        Ok(Array::try_from(Map::Array(map))?)
    }
}
