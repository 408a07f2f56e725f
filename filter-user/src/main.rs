//! The `xdpfw` command: from arguments to an exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use xdpfw::{
    cli::Cli,
    commands::{self, Context, Exit},
    output::{Printer, Verbosity},
};

fn main() -> ExitCode {
    if let Some(code) = xdpfw::fetch::answer() {
        return code;
    }
    if commands::completions::answer(Cli::command) {
        return Exit::Done.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    let mut printer = Printer::new(cli.global.color, cli.global.verbosity());
    let context = Context::new(cli.global, Cli::command);
    match commands::run(cli.command, &context, &mut printer) {
        Ok(exit) => exit.into(),
        Err(error) if commands::is_closed_pipe(&error) => Exit::Done.into(),
        Err(error) => {
            printer.error(&format!("{error:#}"));
            commands::code_of(&error).into()
        }
    }
}

/// What clap has to say: help as it is, an error in one line.
fn usage(error: &clap::Error) -> Exit {
    let exit = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Exit::Usage,
        ErrorKind::MissingSubcommand => {
            // The same help as without any argument, whatever the environment adds.
            drop(write!(io::stderr(), "{}", Cli::command().render_help()));
            return Exit::Usage;
        }
        _ => {
            let words = std::env::args_os().skip(1);
            let words: Vec<String> = words.map(|word| word.to_string_lossy().into()).collect();
            if let Some(message) = commands::exact_command(error.kind(), &words) {
                Printer::new(clap::ColorChoice::Auto, Verbosity::default()).error(&message);
                return Exit::Usage;
            }
            let text = error.to_string();
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let first = lines.next().unwrap_or_default();
            let mut message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
            for line in lines {
                if let Some(tip) = line.strip_prefix("tip: ") {
                    message.push_str(&format!(" ({tip})"));
                } else if ['<', '[', '-'].iter().any(|&first| line.starts_with(first)) {
                    // What is missing or possible stands on lines of its own.
                    message.push_str(&format!(" {line}"));
                }
            }
            Printer::new(clap::ColorChoice::Auto, Verbosity::default()).error(&message);
            return Exit::Usage;
        }
    };
    // Where help cannot be printed, an error cannot either.
    drop(error.print());
    exit
}
