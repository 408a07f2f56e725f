//! The command line as a whole: flags that hold for every command, and the command.

use clap::Parser;

use crate::commands::{Command, Global};

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
