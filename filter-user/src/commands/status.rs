//! `xdpfw status`: show interfaces, generation, and totals per reason.

use anyhow::Result;

use super::{Context, list::warn_of_changes, require_root};
use crate::{
    exit::Exit,
    kernel::{Lock, Snapshot, Store},
    policy::Policy,
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
    let attached = store.attached()?;
    let gone = store.link_count()?.saturating_sub(attached.len());
    if gone > 0 {
        printer.warning(&format!(
            "{gone} filtered interface{} gone; one that came back is not filtered (say `xdpfw up`)",
            if gone == 1 { " is" } else { "s are" }
        ));
    }
    let live = if attached.is_empty() {
        None
    } else {
        store.current()?
    };
    let status = match &live {
        Some(live) => {
            warn_of_changes(context, live.record(), printer);
            Status::new(
                &live.record().policy,
                live.record().generation,
                live.record().traced,
                &attached,
                &live.snapshot()?,
            )
        }
        None => {
            printer.note("not up (say `xdpfw up IFACE`)");
            let policy = context
                .policy_file()
                .map_or_else(|_| Policy::default(), |file| file.policy().clone());
            Status::new(&policy, 0, false, &attached, &Snapshot::empty(0))
        }
    };
    if context.json() {
        printer.json(&status)?;
    } else {
        printer.text(&status.to_string())?;
    }
    Ok(Exit::Done)
}
