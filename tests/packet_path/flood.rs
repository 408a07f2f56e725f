//! Proves that the drops of one port are counted to the packet however many they are, and
//! that whoever reads them meanwhile sees counts that there were.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use serde_json::Value;
use xdpfw_common::abi::{ABI_VERSION, PER_OVERFLOW, names};
use xdpfw_tests::{Lab, packets};

/// Packets of the flood: a counter's 16 bits come to their end forty times.
const FLOOD: u32 = 40 * PER_OVERFLOW as u32 + 7;
/// In so many parts, so that it lasts.
const PARTS: u32 = 20;
const PORT: u16 = 23;

#[test]
fn a_flood_of_one_port_is_counted_to_the_packet_and_never_backwards() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    let pins = lab.host.pins().join(format!("abi-{ABI_VERSION}"));
    let pin = pins.join(names::DISPATCHER);
    let dispatcher = Xdp::from_pin(&pin, XdpAttachType::Interface)
        .with_context(|| format!("cannot open {}", pin.display()))?;
    let link = lab.link();
    let syn = packets::syn(link.far().at(40_000), link.near().at(PORT));
    let frame = packets::frame(link.far(), link.near(), &syn);
    let send = |packets: u32| {
        lab.host.enter(|| {
            dispatcher.test_run(TestRunOptions {
                data_in: Some(&frame),
                repeat: packets,
                ..TestRunOptions::new()
            })?;
            Ok(())
        })
    };
    let stats = || lab.host.xdpfw(["stats"]).json();

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let sent = (0..PARTS).try_for_each(|_| send(FLOOD / PARTS));
            let rest = sent.and_then(|()| send(FLOOD % PARTS));
            over.store(true, Ordering::SeqCst);
            rest
        });
        let mut last = 0;
        while !over.load(Ordering::SeqCst) {
            let drops = drops(&stats())?;
            assert!(last <= drops, "{drops} drops, where {last} were before");
            assert!(drops <= u64::from(FLOOD), "{drops} drops of {FLOOD}");
            last = drops;
        }
        flood
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;

    let stats = stats();
    assert_eq!(drops(&stats)?, u64::from(FLOOD));
    let total = &stats["totals"]["dropped"];
    assert_eq!(total["packets"], FLOOD);
    assert_eq!(total["bytes"], u64::from(FLOOD) * frame.len() as u64);
    Ok(())
}

/// The drops of the one port that had any; 0 before the first.
fn drops(stats: &Value) -> Result<u64> {
    let ports = stats["ports"].as_array().context("no ports")?;
    assert!(ports.len() <= 1, "{ports:?}");
    let Some(port) = ports.first() else {
        return Ok(0);
    };
    assert_eq!(
        (&port["protocol"], &port["port"]),
        (&"tcp".into(), &PORT.into())
    );
    port["dropped_packets"].as_u64().context("no drops")
}
