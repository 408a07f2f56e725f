//! Proves that no packet is misjudged or lost while policies change place.

use anyhow::{Context as _, Result};
use xdpfw_tests::Lab;

use super::{number, traffic::Traffic, world::policy};

/// Swaps where nobody says how many.
const SWAPS: u64 = 20;

#[test]
fn swaps_lose_and_misjudge_no_packet() -> Result<()> {
    let swaps = number("XDPFW_CHAOS_SWAPS", SWAPS)?;
    let lab = Lab::with_links(2)?;
    lab.host.xdpfw(["up", "eth0", "eth1"]).ok();
    lab.host.xdpfw(["apply", "-"]).stdin(policy(0)).ok();
    let traffic = Traffic::begin(&lab)?;
    for swap in 1..=swaps {
        // Every third goes back by itself, or is kept.
        let apply = lab.host.xdpfw(match swap % 3 {
            0 => &["apply", "-", "--confirm", "1m"][..],
            _ => &["apply", "-"],
        });
        apply.stdin(policy((swap % 2) as u16)).ok();
        if swap % 3 == 0 {
            let word = if swap % 2 == 0 { "confirm" } else { "rollback" };
            lab.host.xdpfw([word]).ok();
        }
        if swap % 50 == 0 {
            traffic
                .pause()
                .with_context(|| format!("after {swap} swaps"))?;
            traffic.resume();
        }
    }
    traffic.pause()?;
    println!("{swaps} swaps, {} packets", traffic.sent());
    traffic.end()
}
