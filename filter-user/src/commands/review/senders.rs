//! Who sends to the services that nobody reaches. The counters do not tell, and sources are kept
//! nowhere: a client that wants an answer tries again, and is heard then.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytemuck::Zeroable as _;
use xdpfw_common::{
    Reason, Transport,
    abi::{NO_RULE, Wanted, threshold},
};

use crate::{
    analysis::review::{Reach, Service},
    engine::Listener,
};

/// How often to look for reports.
const TAKE: Duration = Duration::from_millis(50);
/// How many reports to take before the time is looked at.
const AT_ONCE: usize = 1024;
/// Most sources of a port that are told apart: in a flood of forged ones they have no end.
const SOURCES: usize = 1000;

/// Listens for so long, and adds to each closed service who sends to it. If nothing was ever dropped there, or
/// nothing is filtered, it does not wait.
///
/// # Errors
///
/// Too many listen already, or the kernel refuses.
pub(super) fn hear(services: &mut [Service], lasts: Duration) -> Result<()> {
    let is_asked = |service: &&mut Service| {
        service.reach == Reach::Closed && service.is_exposed() && service.dropped > 0
    };
    let mut closed: Vec<&mut Service> = services.iter_mut().filter(is_asked).collect();
    let ports = closed
        .iter()
        .map(|service| (service.transport, service.port));
    let mut heard: HashMap<_, HashMap<IpAddr, u64>> =
        ports.map(|port| (port, HashMap::new())).collect();
    if heard.is_empty() {
        return Ok(());
    }
    let mut listener = Listener::begin(|_| Ok(wanted(heard.keys().copied())))?;
    let deadline = Instant::now() + lasts;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        thread::sleep(TAKE.min(left));
        // In a flood, reports have no end.
        for _ in 0..AT_ONCE {
            let Some(report) = listener.hear()? else {
                break;
            };
            let event = &report.event;
            let transport = event.kind().and_then(|kind| kind.transport());
            if let Some(transport) = transport
                && let Some((source, _)) = event.addresses()
                && let Some(sources) = heard.get_mut(&(transport, event.local()))
                && (sources.len() < SOURCES || sources.contains_key(&source))
            {
                *sources.entry(source).or_default() += 1;
            }
        }
        if left.is_zero() {
            break;
        }
    }
    for service in &mut closed {
        if let Some(sources) = heard.get(&(service.transport, service.port)) {
            service.sources = sources
                .iter()
                .map(|(from, count)| (*from, *count))
                .collect();
            // The busiest first.
            service
                .sources
                .sort_unstable_by_key(|&(from, count)| (Reverse(count), from));
        }
    }
    Ok(())
}

/// What the default drops of these ports: of one, or of all and more.
fn wanted(ports: impl Iterator<Item = (Transport, u16)>) -> Wanted {
    let mut ports: Vec<u16> = ports.map(|(_, port)| port).collect();
    ports.sort_unstable();
    ports.dedup();
    let only = match ports.as_slice() {
        [port] => *port,
        _ => 0,
    };
    Wanted {
        reasons: 1 << Reason::DefaultDrop.slot(),
        slot: NO_RULE,
        threshold: threshold(1),
        port: only.to_be_bytes(),
        ..Wanted::zeroed()
    }
}
