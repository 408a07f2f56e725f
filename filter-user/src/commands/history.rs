//! `xdpfw history`: show the last policies, and how they differ.

use anyhow::Result;

use super::{Context, Exit, candidates::Values, edit::current, privilege::require_to_read};
use crate::{
    engine::{Engine, Entry, FileError, History},
    output::{Difference, HistoryTable, Printer},
    policy::Policy,
};

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what policy M changes in policy N; without M, what is in force
    #[arg(long, value_names = ["N", "M"], num_args = 1..=2, add = Values::Policies.completer())]
    diff: Vec<u64>,
}

/// Shows the history.
///
/// # Errors
///
/// There is no policy of that number, or the history cannot be read.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let history = context.history();
    if let Some((&base, next)) = args.diff.split_first() {
        return differ(&history, base, next.first().copied(), context, printer);
    }
    let engine = Engine::shared()?;
    let mut entries = Vec::new();
    for number in history.numbers()?.into_iter().rev() {
        match history.read(number) {
            Ok(entry) => entries.push(entry),
            Err(error) => printer.warning(&error.to_string()),
        }
    }
    let in_force = entries.iter().find(|entry| engine.is_in_force(entry));
    let in_force = in_force.map(|entry| entry.number);
    drop(engine);
    let is_empty = entries.is_empty();
    let table = HistoryTable::new(entries, in_force);
    match context.json() {
        true => printer.json(&table)?,
        false if is_empty => printer.note("no policy yet (each change puts one here)"),
        false => printer.text(&table.to_string())?,
    }
    Ok(Exit::Done)
}

/// Shows how two policies differ.
fn differ(
    history: &History,
    base: u64,
    next: Option<u64>,
    context: &Context,
    printer: &mut Printer,
) -> Result<Exit> {
    let base = policy(&history.read(base)?)?;
    let next = match next {
        Some(number) => {
            let next = policy(&history.read(number)?)?;
            if base.interfaces != next.interfaces {
                printer.note(&format!(
                    "interfaces {} -> {}",
                    base.interfaces.words().join(","),
                    next.interfaces.words().join(",")
                ));
            }
            next
        }
        None => current(&Engine::shared()?, context)?.0,
    };
    let difference = Difference::between(&base, &next);
    match context.json() {
        true => printer.json(&difference)?,
        false => printer.text(&difference.to_string())?,
    }
    if difference.is_empty() {
        printer.note("no packet is judged differently");
    }
    Ok(Exit::Done)
}

fn policy(entry: &Entry) -> Result<Policy> {
    let document = entry.document().map_err(|mistake| FileError::Invalid {
        origin: origin(entry.number),
        mistake,
    })?;
    Ok(document.policy().clone())
}

/// What a text of the history is called in messages.
pub(super) fn origin(number: u64) -> String {
    format!("policy {number} of the history")
}
