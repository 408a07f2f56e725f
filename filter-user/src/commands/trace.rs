//! `xdpfw trace`: show why each packet passed or was dropped.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use anyhow::Result;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

use super::{Context, Exit, require_root};
use crate::{
    datapath::{Record, follow},
    engine::{Engine, InForce, program_in_force},
    output::Printer,
};

/// How often to look whether the traced generation is still in force.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop after so many packets
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

/// Puts a traced flavour of the generation in force, shows what it says, and
/// puts the plain one back.
///
/// # Errors
///
/// The filter is not up, or the kernel refuses.
pub fn run(args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before the first traced packet: whatever ends the command from here on
    // must also end the trace.
    let mut ends = {
        let _context = runtime.enter();
        Ends::watch()?
    };
    let (program, record) = switch(true)?;
    printer.note("tracing slows the filter down; interrupt to stop");
    let result = runtime.block_on(show(args, program, &record, &mut ends, printer));
    if program_in_force()? == Some(program) {
        switch(false)?;
    }
    result?;
    Ok(Exit::Done)
}

/// The signals that end the command: an interrupt, a polite kill, a session
/// that is gone.
struct Ends([Signal; 3]);

impl Ends {
    fn watch() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Puts the same policy in force, traced or not.
fn switch(traced: bool) -> Result<(u32, Record)> {
    let engine = Engine::exclusive()?;
    let live = engine.must_be_up()?;
    let policy = InForce(&live.generation.record().policy);
    let applied = engine.change(&policy).traced(traced).commit()?;
    let generation = applied
        .generation
        .unwrap_or_else(|| live.generation.clone());
    Ok((generation.program_id(), generation.record().clone()))
}

async fn show(
    args: &Args,
    program: u32,
    record: &Record,
    ends: &mut Ends,
    printer: &mut Printer,
) -> Result<()> {
    let (lines, mut received) = unbounded_channel();
    let mut follower = pin!(follow(program, Lines(lines)));
    let mut look = tokio::time::interval(LOOK);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        tokio::select! {
            biased;
            () = ends.next() => break,
            Some(line) = received.recv() => {
                printer.line(&readable(&line, record))?;
                left -= 1;
            }
            result = &mut follower => return result,
            _ = look.tick() => {
                if program_in_force()? != Some(program) {
                    printer.note("the policy changed, which ends the trace");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What the program says, as users read it: addresses with their ports, and the rule by
/// its id.
fn readable(line: &str, record: &Record) -> String {
    let Some((head, packet)) = line.split_once(": ") else {
        return line.to_owned();
    };
    match describe(packet, record) {
        Some(packet) => format!("{head}: {packet}"),
        None => line.to_owned(),
    }
}

/// A packet in the program's words: IP version, kind, source and remote port,
/// destination and local port (or what stands in its place), slot of the rule.
fn describe(packet: &str, record: &Record) -> Option<String> {
    let words: Vec<&str> = packet.split(' ').collect();
    let [version, kind, source, remote, destination, local, slot] = *words.as_slice() else {
        return None;
    };
    let address = |word: &str| -> Option<IpAddr> {
        let address: IpAddr = word.parse().ok()?;
        // The program maps IPv4 into IPv6; IPv6 stays what it is.
        Some(if version == "4" {
            address.to_canonical()
        } else {
            address
        })
    };
    let (source, destination) = (address(source)?, address(destination)?);
    let mut text = match kind {
        "tcp" | "udp" => {
            let source = SocketAddr::new(source, remote.parse().ok()?);
            let destination = SocketAddr::new(destination, local.parse().ok()?);
            format!("{kind} {source} -> {destination}")
        }
        "icmp" | "icmp6" => format!("{kind} type {local} {source} -> {destination}"),
        _ => format!("{kind} {local} {source} -> {destination}"),
    };
    let slot: u32 = slot.parse().ok()?;
    let rule = record.slots.iter().position(|&other| other == slot);
    if let Some(rule) = rule.and_then(|index| record.policy.rules.get(index)) {
        text.push_str(&format!(" by {}", rule.id));
    }
    Some(text)
}

/// Where aya-log delivers the program's lines.
struct Lines(UnboundedSender<String>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nobody receives when the trace is ending.
        drop(self.0.send(record.args().to_string()));
    }

    fn flush(&self) {}
}
