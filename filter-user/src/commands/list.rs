//! `xdpfw list`: show the rules and how often each decided.

use anyhow::Result;

use super::{Context, require_root, warnings};
use crate::{
    exit::Exit,
    kernel::{Lock, Record, Snapshot, Store},
    view::{List, Printer},
};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the rules in force, or those of the policy file if nothing is up.
///
/// # Errors
///
/// The kernel or the policy file cannot be read.
pub fn run(_args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let _lock = Lock::shared()?;
    let (list, shadowed) = match Store::open()?.live()? {
        Some(live) => {
            let record = live.generation.record();
            warn_of_changes(context, record, printer);
            let shadowed = warnings::unreachable(&record.policy);
            let counters = live.generation.snapshot()?;
            (List::new(&record.policy, &counters, &shadowed), shadowed)
        }
        None => {
            printer.note("not up; the rules are those of the policy file");
            let file = context.policy_file()?;
            let policy = file.policy();
            let shadowed = warnings::unreachable(policy);
            let counters = Snapshot::empty(policy.rules.len());
            (List::new(policy, &counters, &shadowed), shadowed)
        }
    };
    if context.json() {
        printer.json(&list)?;
    } else {
        printer.text(&list.to_string())?;
    }
    warnings::of_unreachable(&shadowed, printer);
    Ok(Exit::Done)
}

/// Says so when the policy file was edited and not applied.
pub(super) fn warn_of_changes(context: &Context, live: &Record, printer: &mut Printer) {
    let path = context.policy_path().display();
    match context.policy_file() {
        Ok(file) if file.policy().same_verdicts(&live.policy) => {}
        Ok(_) => printer.warning(&format!(
            "{path} differs from what is live (see `xdpfw apply --check`)"
        )),
        Err(error) => printer.warning(&format!("{error:#}")),
    }
}
