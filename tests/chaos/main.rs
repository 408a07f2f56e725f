//! Lets commands race, fail and die under traffic, and looks whether exactly the old policy or
//! the new one is in force afterwards, on all interfaces, in kernel and file.
//!
//! A few rounds by default; `cargo xtask chaos` runs many. `XDPFW_CHAOS_SEED` repeats a run as far
//! as chance is concerned: what races is up to the kernel.

mod faults;
mod round;
mod swaps;
mod traffic;
mod upgrade;
mod world;

use std::{env, time::SystemTime};

use anyhow::{Context as _, Result};
use rand::{SeedableRng as _, rngs::SmallRng};

use self::{round::Round, world::World};

/// Rounds where nobody says how many.
const ROUNDS: u64 = 25;

/// A number from the environment.
fn number(name: &str, default: u64) -> Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(default),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

#[test]
fn whatever_happens_the_old_policy_or_the_new_one_is_in_force() -> Result<()> {
    let rounds = number("XDPFW_CHAOS_ROUNDS", ROUNDS)?;
    let seed = number("XDPFW_CHAOS_SEED", now())?;
    println!("chaos: {rounds} rounds, XDPFW_CHAOS_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut world = World::new()?;
    for number in 0..rounds {
        let round = Round::random(&mut random);
        world
            .play(&round)
            .with_context(|| format!("round {number} of seed {seed}: {round}"))?;
        if number % 100 == 99 {
            println!(
                "chaos: {} of {rounds} rounds, {}",
                number + 1,
                world.summary()
            );
        }
    }
    println!("chaos: {rounds} rounds, {}", world.summary());
    world.end()
}
