//! `xdpfw completions`: print a completion script for a shell, which then asks this program
//! what a word may become.

use std::env;

use anyhow::{Context as _, Result};
use clap_complete::{
    Shell,
    env::{CompleteEnv, Shells},
};

use super::{Context, Exit};
use crate::output::Printer;

/// The variable in which a script says which shell asks. No other program reads or sets it: where
/// it is set, no command is run.
const VARIABLE: &str = "_XDPFW_COMPLETE";

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
pub fn run(args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(&args.shell.to_string())
        .context("this shell has no completion")?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "xdpfw", "xdpfw", "xdpfw", &mut script)?;
    let mut script = String::from_utf8(script)?;
    if args.shell == Shell::Bash {
        // The others are silent where the program is not found.
        let words = r#"-- "${words[@]}""#;
        script = script.replace(words, &format!("{words} 2>/dev/null"));
    }
    printer.text(script.trim_end())?;
    Ok(Exit::Done)
}

/// Answers a shell that asks what a word may become; `false` if none does. What goes wrong is
/// no matter of whoever types: then there is no answer.
pub fn answer(command_line: fn() -> clap::Command) -> bool {
    let directory = env::current_dir().ok();
    CompleteEnv::with_factory(command_line)
        .var(VARIABLE)
        .try_complete(env::args_os(), directory.as_deref())
        .unwrap_or(true)
}
