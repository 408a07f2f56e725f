//! `xdpfw status`: show interfaces, generation, and totals per reason.

use anyhow::Result;

use super::{Context, list::warn_of_changes, require_root};
use crate::{
    exit::Exit,
    kernel::{Lock, Store},
    view::{Printer, Status},
};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the filter's state.
///
/// # Errors
///
/// The kernel cannot be read.
pub fn run(_args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let _lock = Lock::shared()?;
    let store = Store::open()?;
    let live = store.live()?;
    let attached = live.as_ref().map_or(0, |live| live.attached.len());
    let gone = store.link_count()?.saturating_sub(attached);
    if gone > 0 {
        printer.warning(&format!(
            "{gone} filtered interface{} gone; one that came back is not filtered (say `xdpfw up`)",
            if gone == 1 { " is" } else { "s are" }
        ));
    }
    let status = match &live {
        Some(live) => {
            warn_of_changes(context, live.generation.record(), printer);
            Status::new(
                live.generation.record(),
                &live.attached,
                &live.generation.snapshot()?,
            )
        }
        None => {
            printer.note("not up (say `xdpfw up IFACE`)");
            Status::not_up(context.policy_file()?.policy())
        }
    };
    if context.json() {
        printer.json(&status)?;
    } else {
        printer.text(&status.to_string())?;
    }
    Ok(Exit::Done)
}
