//! `xdpfw trace`: show why each packet passed or was dropped.

use std::{pin::pin, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use ipnet::IpNet;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};
use xdpfw_common::{
    Reason, Verdict,
    abi::{Event, ProtocolKind},
};

use super::{Context, Exit, Failure, require_root};
use crate::{
    datapath::{Generation, follow_diagnostics},
    engine::{Engine, Facts, InForce, program_in_force},
    netlink::interfaces,
    output::{Printer, Seen},
    policy::parse_prefixes,
};

/// How often to look whether the traced generation is still in force.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop after so many packets
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Only packets that passed, or that were dropped
    #[arg(long, value_enum, default_value_t)]
    verdict: VerdictArg,
    /// Only packets to this port of this host, over TCP or UDP
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Only packets from these addresses
    #[arg(long, value_name = "PREFIX")]
    from: Option<String>,
}

/// Which verdicts to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum VerdictArg {
    /// What was dropped
    Drop,
    /// What passed
    Pass,
    /// All packets
    #[default]
    Any,
}

/// Which packets to show.
struct Filter {
    verdict: VerdictArg,
    port: Option<u16>,
    from: Vec<IpNet>,
}

impl Filter {
    fn of(args: &Args) -> Result<Self> {
        let from = match &args.from {
            Some(text) => {
                parse_prefixes(&[text]).map_err(|(_, message)| Failure::usage(message))?
            }
            None => Vec::new(),
        };
        let (verdict, port) = (args.verdict, args.port);
        Ok(Self {
            verdict,
            port,
            from,
        })
    }

    fn shows(&self, event: &Event) -> bool {
        let verdict = event.reason().map(Reason::verdict);
        let has_ports = matches!(event.kind(), Some(ProtocolKind::Tcp | ProtocolKind::Udp));
        let addresses = event.addresses();
        let is_from = |net: &IpNet| addresses.is_some_and(|(source, _)| net.contains(&source));
        (match self.verdict {
            VerdictArg::Any => true,
            VerdictArg::Drop => verdict == Some(Verdict::Drop),
            VerdictArg::Pass => verdict == Some(Verdict::Pass),
        }) && self
            .port
            .is_none_or(|port| has_ports && addresses.is_some() && event.local() == port)
            && (self.from.is_empty() || self.from.iter().any(is_from))
    }
}

/// Puts a traced flavour of the generation in force, shows what it reports, and
/// puts the plain one back.
///
/// # Errors
///
/// The filter is not up, or the kernel refuses.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let filter = Filter::of(args)?;
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
    let generation = switch(true)?;
    printer.note("tracing slows the filter down; interrupt to stop");
    let result = runtime.block_on(show(
        args,
        &filter,
        context,
        &generation,
        &mut ends,
        printer,
    ));
    if program_in_force()? == Some(generation.program_id()) {
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
fn switch(traced: bool) -> Result<Generation> {
    let engine = Engine::exclusive()?;
    let live = engine.must_be_up()?;
    let policy = InForce(live.generation.record());
    let applied = engine
        .change(&policy)
        .facts(Facts::Kept)
        .traced(traced)
        .commit()?;
    Ok(applied
        .generation
        .unwrap_or_else(|| live.generation.clone()))
}

async fn show(
    args: &Args,
    filter: &Filter,
    context: &Context,
    generation: &Generation,
    ends: &mut Ends,
    printer: &mut Printer,
) -> Result<()> {
    let program = generation.program_id();
    let mut events = generation.events()?;
    let (lines, mut diagnostics) = unbounded_channel();
    let mut follower = pin!(follow_diagnostics(program, Lines(lines)));
    let mut look = tokio::time::interval(LOOK);
    let known = interfaces()?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        tokio::select! {
            biased;
            () = ends.next() => break,
            result = &mut follower => return result,
            Some(line) = diagnostics.recv() => printer.detail(|| line),
            event = events.next() => {
                let event = event?;
                if filter.shows(&event) {
                    let name = known.iter().find(|one| one.index == event.interface);
                    let name = name.map_or_else(|| format!("if{}", event.interface), |one| one.name.clone());
                    let seen = Seen::new(&event, generation.record(), name)?;
                    match context.json() {
                        true => printer.json(&seen)?,
                        false => printer.line(&seen.to_string())?,
                    }
                    left -= 1;
                }
            }
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

/// Where aya-log delivers the program's lines.
struct Lines(UnboundedSender<String>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nobody receives any more when the trace ends.
        drop(self.0.send(record.args().to_string()));
    }

    fn flush(&self) {}
}
