//! `xdpfw flows`: show what left lately and may be answered.

use anyhow::Result;

use super::{Context, Exit, privilege::require_to_read};
use crate::{
    datapath::{Flow, Generation, flow_memory},
    engine::Engine,
    output::{FlowFill, Flows, Printer},
};

/// Flows shown where the user asked for no number.
const ROWS: usize = 20;

/// Arguments of `flows`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only so many, the latest first
    #[arg(long, value_name = "N")]
    top: Option<usize>,
}

/// Shows the flows.
///
/// # Errors
///
/// The filter is not up, or the kernel cannot be read.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let engine = Engine::shared()?;
    let generation = &engine.must_be_up()?.generation;
    let (fill, flows) = read(generation)?;
    let clock = generation.record().clock;
    let records = generation.record().policy.records_flows();
    drop(engine);
    if context.json() {
        printer.json(&Flows::new(fill, &flows, &clock, args.top))?;
    } else {
        let top = args.top.or(Some(ROWS));
        printer.text(&Flows::new(fill, &flows, &clock, top).to_string())?;
    }
    if !records {
        printer
            .note("nothing is recorded: the policy drops nothing, or `replies` is not \"flows\"");
    }
    Ok(Exit::Done)
}

/// The flows of a generation, and how full its tables are.
pub(super) fn read(generation: &Generation) -> Result<(FlowFill, Vec<Flow>)> {
    let maps = generation.flows()?;
    let flows = maps.read()?;
    let memory = flow_memory(generation.record().flow_sizes());
    let fill = FlowFill::of(|origin, table| maps.usage(origin, table, &flows), memory)?;
    Ok((fill, flows))
}
