//! The command line: flags and words, not yet what they mean.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand};

use crate::{
    commands::{
        apply, completions, default, delete, down, list, man, rule, stats, status, trace, up,
    },
    view::Verbosity,
};

/// The host packet filter that drops in the driver.
///
/// Everything that no rule allows is dropped before the kernel spends anything
/// on it, and counted per port. Answers to this host's own connections pass.
#[derive(Debug, Parser)]
#[command(name = "xdpfw", version, arg_required_else_help = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command; in help, behind the command's own options.
#[derive(Debug, Args)]
#[command(next_display_order = 100)]
pub struct Global {
    /// Print JSON, one object (a line for each where it goes on)
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say how it is done, too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// The policy file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "XDPFW_POLICY",
        hide_env_values = true,
        default_value = "/etc/xdpfw/policy.toml"
    )]
    pub policy: PathBuf,
}

impl Global {
    /// How much to say.
    pub const fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
            (false, true) => Verbosity::Verbose,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach the filter to interfaces
    Up(up::Args),
    /// Detach the filter
    Down(down::Args),
    /// Add a rule that lets packets pass
    Allow(rule::Args),
    /// Add a rule that drops packets
    Deny(rule::Args),
    /// Remove rules, by id or by saying one again
    Delete(delete::Args),
    /// Say what happens to what no rule matches
    Default(default::Args),
    /// Show the rules and how often each decided
    List(list::Args),
    /// Show interfaces, generation, and totals per reason
    Status(status::Args),
    /// Show the drops of every port
    Stats(stats::Args),
    /// Replace the policy by a file, or compare it
    Apply(apply::Args),
    /// Tell of each packet what became of it and why
    Trace(trace::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page
    Man(man::Args),
}
