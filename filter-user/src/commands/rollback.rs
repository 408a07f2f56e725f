//! `xdpfw rollback`: take back the change that is pending, or put a policy of the history in force
//! again.

use anyhow::Result;

use super::{
    Context, Exit,
    candidates::Values,
    edit::{Edit, current},
    history::origin,
    privilege::require_to_change,
    replaced::report,
};
use crate::{
    engine::{Engine, Entry, PolicyFile},
    output::{Difference, Printer},
};

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number of the policy, as `xdpfw history` shows it; without, the one before the last
    /// change
    #[arg(value_name = "N", add = Values::Policies.completer())]
    number: Option<u64>,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Make the change even if it cuts this SSH session
    #[arg(long)]
    force: bool,
}

/// Takes the change back that is pending; else puts a policy of the history in force and saves it,
/// as a change of its own.
///
/// # Errors
///
/// There is no such policy, or the change cannot be made; nothing changes then.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_change()?;
    if args.number.is_none() && !args.dry_run && take_back(printer)? {
        return Ok(Exit::Done);
    }
    let find = |engine: &Engine| find(args.number, engine, context);
    if args.dry_run {
        let engine = Engine::shared()?;
        let (number, file) = find(&engine)?;
        let difference = Difference::between(&current(&engine, context)?.0, file.policy());
        drop(engine);
        printer.text(&difference.to_string())?;
        printer.note(&format!("policy {number}: dry run, nothing changed"));
        return Ok(Exit::Done);
    }
    let mut found = 0;
    let read = |engine: &Engine| {
        let (number, file) = find(engine)?;
        found = number;
        Ok(file)
    };
    let mut edit = Edit::replace(context, read, args.force)?;
    let applied = edit.commit(printer)?;
    let number = match edit.number() {
        Some(number) => format!("policy {found}, as {number}: "),
        None => format!("policy {found}: "),
    };
    report(&number, &applied, edit.file.policy(), printer)
}

/// Takes the change back that is pending; whether there was one.
fn take_back(printer: &mut Printer) -> Result<bool> {
    let mut engine = Engine::exclusive()?;
    if engine.live().is_none_or(|live| live.pending().is_none()) {
        // Whoever means a change that has just gone back means no other one.
        engine.refuse_if_gone_back()?;
        return Ok(false);
    }
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
    Ok(true)
}

/// The policy of this number, or the one before the last change, as it is to be saved.
fn find(number: Option<u64>, engine: &Engine, context: &Context) -> Result<(u64, PolicyFile)> {
    let history = context.history();
    let Entry { number, text, .. } = match number {
        Some(number) => history.read(number)?,
        None => {
            let file = context.policy_file().ok();
            engine.previous(&history, file.as_ref())?
        }
    };
    let path = context.policy_path();
    let file = PolicyFile::replacing(path, &origin(number), text.into_bytes())?;
    Ok((number, file))
}
