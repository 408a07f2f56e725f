//! `xdpfw shadow`: show what a rehearsed policy would do otherwise, put it in force, or drop it.

use anyhow::Result;

use super::{
    Context, Exit,
    confirming::Confirming,
    edit::Edit,
    privilege::{require_to_change, require_to_read},
    replaced::report,
};
use crate::{
    engine::{Begun, Engine, Error, PolicyFile},
    netlink::interfaces,
    output::{Printer, Shadow},
};

/// Arguments of `shadow`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Put the rehearsed policy in force, and save it
    #[arg(long, conflicts_with = "drop")]
    accept: bool,
    /// End the rehearsal
    #[arg(long)]
    drop: bool,
    #[command(flatten)]
    confirming: Confirming,
    /// Make the change even if it cuts this SSH session
    #[arg(long, requires = "accept")]
    force: bool,
}

/// Shows a rehearsal, or ends it one way or the other.
///
/// # Errors
///
/// Nothing is rehearsed, or the change cannot be made; then the rehearsal goes on.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    match args.accept || args.drop {
        true => require_to_change()?,
        false => require_to_read()?,
    }
    if args.accept {
        return accept(args, context, printer);
    }
    if args.confirming.lasts.is_some() {
        return Err(super::Failure::usage("--confirm goes with --accept").into());
    }
    if args.drop {
        let engine = Engine::exclusive()?;
        engine.end_rehearsal()?;
        drop(engine);
        printer.change_is_made();
        printer.line("the rehearsal is over; what is in force stays")?;
        return Ok(Exit::Done);
    }
    let engine = Engine::shared()?;
    let rehearsed = engine.rehearsed()?;
    drop(engine);
    let shadow = Shadow::new(
        &rehearsed.live,
        &rehearsed.candidate,
        &rehearsed.differences,
        &interfaces()?,
    );
    if context.json() {
        printer.json(&shadow)?;
    } else {
        printer.verdicts(&shadow.to_string())?;
        printer.note("end the rehearsal with `xdpfw shadow --accept` or `xdpfw shadow --drop`");
    }
    Ok(Exit::Done)
}

fn accept(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let mut edit = Edit::accept(context, args.force)?.lasting(args.confirming.lasts);
    let applied = edit.commit(printer)?;
    report("", &applied, edit.file.policy(), printer)
}

/// Begins a rehearsal of a policy, for `apply`.
///
/// # Errors
///
/// Nothing is filtered, something temporary is in force, or the kernel refuses.
pub(super) fn begin(
    read: impl FnOnce() -> Result<PolicyFile>,
    printer: &mut Printer,
) -> Result<Exit> {
    let engine = Engine::exclusive()?;
    let file = read()?;
    let begun = engine.rehearse(&file)?;
    drop(engine);
    printer.change_is_made();
    warn_of_lock_out(&begun, printer);
    if begun.replaces {
        printer.note("the rehearsal before is over");
    }
    let rules = file.policy().rules.len();
    let s = if rules == 1 { "" } else { "s" };
    let default = file.policy().default;
    printer.line(&format!(
        "default {default}, {rules} rule{s}   rehearsed; what is in force stays (see `xdpfw shadow`)"
    ))?;
    Ok(Exit::Done)
}

/// Says whom a candidate would lock out.
fn warn_of_lock_out(begun: &Begun, printer: &mut Printer) {
    match &begun.doubt {
        Some(Error::LockedOut { peer, lock_out }) => printer.warning(&format!(
            "in force, this would cut your SSH session from {peer} ({})",
            lock_out.why
        )),
        Some(Error::PerhapsLockedOut { why }) => printer.warning(&format!(
            "whether this would cut your SSH session in force cannot be told ({why})"
        )),
        Some(_) | None => {}
    }
}
