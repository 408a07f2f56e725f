//! `xdpfw doctor`: find what keeps the filter from its work on this host, and mend what is safe.

mod facts;

use anyhow::Result;

use self::facts::gather;
use super::{Context, Exit, privilege::require_to_read};
use crate::{
    analysis::doctor::{Finding, Repair, command, examine},
    output::{Doctor, Printer},
    system::run as run_program,
};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Mend what is safe to mend, and say how to undo it
    #[arg(long)]
    fix: bool,
}

/// Shows the findings. The exit code is negative if one of them is a fault.
///
/// # Errors
///
/// The interfaces cannot be listed, or another command holds the lock.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let mut facts = gather(context)?;
    let mut findings = examine(&facts);
    let mut done = Vec::new();
    if args.fix {
        done = fix(&findings, printer);
        if !done.is_empty() {
            printer.change_is_made();
            facts = gather(context)?;
            findings = examine(&facts);
        }
        for Repair { command: did, undo } in &done {
            printer.note(&format!(
                "ran `{}`; `{}` undoes it",
                command(did),
                command(undo)
            ));
        }
    }
    let doctor = Doctor::new(&facts, &findings, &done);
    if context.json() {
        printer.json(&doctor)?;
    } else {
        printer.text(&doctor.to_string())?;
    }
    Ok(match doctor.has_faults() {
        true => Exit::Negative,
        false => Exit::Done,
    })
}

/// Runs the commands that are safe, and returns those that did what they should.
fn fix(findings: &[Finding], printer: &mut Printer) -> Vec<Repair> {
    let repairs = findings.iter().filter_map(|finding| finding.repair.clone());
    repairs
        .filter(|Repair { command: words, .. }| {
            let Some((program, arguments)) = words.split_first() else {
                return false;
            };
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            match run_program(program, &arguments) {
                Ok(()) => true,
                Err(error) => {
                    printer.warning(&format!("`{}`: {error:#}", command(words)));
                    false
                }
            }
        })
        .collect()
}
