//! `xdpfw default`: set what happens to packets that no rule matches.

use anyhow::Result;
use clap::ValueEnum;

use super::{
    Context, Exit,
    confirming::Confirming,
    edit::{Edit, describe},
};
use crate::{output::Printer, policy::DefaultAction};

/// Arguments of `default`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What happens to what no rule matches
    #[arg(value_enum)]
    action: Word,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirming: Confirming,
    /// Make the change even if it cuts this SSH session, or puts more in force than it says
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// It is dropped, unless it answers a connection of this host's
    #[value(alias = "deny")]
    Drop,
    /// It passes
    #[value(alias = "allow")]
    Pass,
}

/// Changes the default.
///
/// # Errors
///
/// The change cannot be made.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let default = match args.action {
        Word::Drop => DefaultAction::Drop,
        Word::Pass => DefaultAction::Pass,
    };
    if args.dry_run {
        let note = match context.policy_file()?.policy().default == default {
            true => "already so (dry run)",
            false => "dry run, nothing changed",
        };
        printer.line(&format!("default {default}   {note}"))?;
        return Ok(Exit::Done);
    }
    let mut edit = Edit::begin(context, args.force)?.lasting(args.confirming.lasts);
    if edit.file.policy().default != default {
        edit.file.set_default(default)?;
    }
    let applied = edit.commit(printer)?;
    let note = if applied.changed { "" } else { "already so, " };
    printer.line(&format!("default {default}   {note}{}", describe(&applied)))?;
    Ok(Exit::Done)
}
