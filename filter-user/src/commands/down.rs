//! `xdpfw down`: detach the filter.

use anyhow::Result;

use super::{Context, require_root};
use crate::{
    exit::{Exit, Failure},
    kernel::{Lock, Store},
    view::Printer,
};

/// Arguments of `down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The interfaces; without any, all
    #[arg(value_name = "IFACE")]
    interfaces: Vec<String>,
}

/// Detaches the filter; with the last interface, its counters are forgotten.
///
/// # Errors
///
/// A named interface is not filtered, or a pin cannot be removed.
pub fn run(args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let _lock = Lock::exclusive()?;
    let store = Store::open()?;
    let attached = store.attached()?;
    for name in &args.interfaces {
        if !attached.iter().any(|a| a.interface.name == *name) {
            return Err(
                Failure::new(Exit::Failed, format!("{}: not up", name.escape_debug())).into(),
            );
        }
    }
    let (leaving, staying): (Vec<_>, Vec<_>) = attached
        .into_iter()
        .partition(|a| args.interfaces.is_empty() || args.interfaces.contains(&a.interface.name));
    for attached in &leaving {
        store.detach(attached.interface.index)?;
        printer.line(&format!("{}: detached", attached.interface.name))?;
    }
    if staying.is_empty() {
        store.clear()?;
    }
    if leaving.is_empty() {
        printer.note("nothing was up");
    }
    Ok(Exit::Done)
}
