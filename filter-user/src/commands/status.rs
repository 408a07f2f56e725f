//! `xdpfw status`: show interfaces, generation, and totals per reason.

use anyhow::Result;

use super::{Context, list::warn_of_changes, require_root};
use crate::{
    exit::Exit,
    kernel::{Live, Lock, Store, interfaces},
    policy::PolicyFile,
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
    let warned = match &live {
        Some(live) => warn_of_unfiltered(context, live, printer)?,
        None => false,
    };
    let attached = live.as_ref().map_or(0, |live| live.attached.len());
    if !warned && store.link_count()? > attached {
        printer.warning(
            "a filtered interface is gone; one that came back is not filtered (say `xdpfw up`)",
        );
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

/// Says which interfaces of the policy are not filtered, and whether there are any.
fn warn_of_unfiltered(context: &Context, live: &Live, printer: &mut Printer) -> Result<bool> {
    // The policy in force may be older than interfaces that were added to the file.
    let file = context.policy_file();
    let policy = file
        .as_ref()
        .map_or(&live.generation.record().policy, PolicyFile::policy);
    let is_filtered = |name: &&String| live.attached.iter().any(|a| a.interface.name == **name);
    let (_, unfiltered): (Vec<&String>, Vec<_>) = policy.interfaces.iter().partition(is_filtered);
    if unfiltered.is_empty() {
        return Ok(false);
    }
    let existing = interfaces()?;
    for name in unfiltered {
        let exists = existing.iter().any(|interface| interface.name == *name);
        let name = name.escape_debug();
        printer.warning(&if exists {
            format!("{name}: in the policy, but not filtered (say `xdpfw up {name}`)")
        } else {
            format!(
                "{name}: in the policy, but there is no such interface (once it is there, say `xdpfw up {name}`)"
            )
        });
    }
    Ok(true)
}
