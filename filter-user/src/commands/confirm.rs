//! `xdpfw confirm`: keep the change that is pending.

use anyhow::Result;

use super::{Context, Exit, privilege::require_to_change, recording::Recorded};
use crate::{
    datapath::Generation,
    engine::{Engine, History},
    output::Printer,
};

/// Arguments of `confirm`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Keeps the change that is pending, and saves it to the policy file.
///
/// # Errors
///
/// None is pending, it went back already, or it cannot be saved.
pub fn run(_args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_change()?;
    let confirmed = confirm(printer)?;
    let record = confirmed.record();
    let file = record.origin.as_deref();
    let saved = file.map_or_else(String::new, |file| format!(", saved to {}", file.display()));
    printer.line(&format!(
        "confirmed: generation {} stays{saved}",
        record.generation
    ))?;
    Ok(Exit::Done)
}

/// Keeps the change that is pending, and puts it into the history.
pub(super) fn confirm(printer: &mut Printer) -> Result<Generation> {
    let mut engine = Engine::exclusive()?;
    let confirmed = engine.confirm()?;
    let recorded = Recorded::confirmed(&History::own(), &engine, confirmed.record());
    drop(engine);
    printer.change_is_made();
    recorded.report(printer);
    Ok(confirmed)
}
