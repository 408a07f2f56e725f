//! `xdpfw scanners`: who scans this host's ports.

use anyhow::Result;

use super::{Context, Exit, privilege::require_to_read};
use crate::{
    engine::Engine,
    output::{Printer, Scanners},
};

/// Shows who scans, and why they are banned or not.
///
/// # Errors
///
/// The filter is not up, or the kernel cannot be read.
pub fn run(context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let engine = Engine::shared()?;
    let scans = engine.must_be_up()?.generation.record().policy.scan;
    let scanners = Scanners::new(&engine.scanning()?);
    drop(engine);
    match context.json() {
        true => printer.json(&scanners)?,
        false => printer.text(&scanners.to_string())?,
    }
    if scans.is_none() {
        printer.note("nobody looks for scans (add `[scan]` to the policy)");
    }
    Ok(Exit::Done)
}
