//! `xdpfw rollback`: take back the change that is pending.

use anyhow::Result;

use super::{Context, Exit, require_root};
use crate::{engine::Engine, output::Printer};

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Takes the change back that is pending.
///
/// # Errors
///
/// None is pending, or the kernel refuses.
pub fn run(_args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let mut engine = Engine::exclusive()?;
    engine.take_back()?;
    let in_force = engine
        .live()
        .map(|live| live.generation.record().generation);
    drop(engine);
    printer.change_is_made();
    printer.line(&match in_force {
        Some(number) => format!("taken back: generation {number} is in force"),
        None => "taken back: nothing is filtered".to_owned(),
    })?;
    Ok(Exit::Done)
}
