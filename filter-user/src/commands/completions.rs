//! `xdpfw completions`: print a completion script for a shell.

use anyhow::Result;
use clap_complete::Shell;

use super::{Context, Exit};
use crate::output::Printer;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// It cannot be written.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut context.command_line(),
        "xdpfw",
        &mut script,
    );
    printer.text(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}
