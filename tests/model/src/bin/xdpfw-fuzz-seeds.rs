//! Writes inputs for the coverage-guided fuzzer to begin with: each is two bytes of knobs and
//! a packet. `cargo xtask fuzz --coverage` calls it with a directory and a seed.

use std::{error::Error, fs, path::PathBuf};

use rand::RngExt as _;
use xdpfw_model::{PacketSource, Policy, random};

/// Packets for each setting of the knobs.
const SEEDS: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), Some(seed)) = (arguments.next(), arguments.next()) else {
        return Err("usage: xdpfw-fuzz-seeds DIRECTORY SEED".into());
    };
    let directory = PathBuf::from(directory);
    let mut random = random(seed.to_string_lossy().parse()?);
    let policy = Policy::random(&mut random, &["eth0"], (32_768, 60_999));
    let packets = PacketSource::aimed_at(&policy);
    for knobs in 0..=u8::MAX {
        for number in 0..SEEDS {
            let mut input = vec![knobs, random.random()];
            // One knob says whether there is an Ethernet header; some seeds lie.
            input.extend(if number % 4 == 3 {
                packets.bare_packet(&mut random)
            } else {
                packets.frame(&mut random)
            });
            let path = directory.join(format!("{knobs:02x}-{number}"));
            fs::write(&path, &input)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
    }
    Ok(())
}
