//! The commands, a file for each: `Args`, and `run`.

pub mod apply;
pub mod completions;
pub mod default;
pub mod delete;
pub mod down;
mod edit;
pub mod list;
mod lockout;
pub mod man;
mod options;
pub mod rule;
mod ruling;
pub mod stats;
pub mod status;
pub mod trace;
pub mod up;
mod warnings;

use anyhow::Result;

use crate::{
    cli::{Command, Global},
    exit::{Exit, Failure},
    policy::{Action, PolicyFile},
    view::Printer,
};

/// What every command is told.
#[derive(Debug)]
pub struct Context {
    global: Global,
}

impl Context {
    /// With these flags.
    pub const fn new(global: Global) -> Self {
        Self { global }
    }

    /// Whether to print JSON.
    pub const fn json(&self) -> bool {
        self.global.json
    }

    /// Reads the policy file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no policy.
    pub fn policy_file(&self) -> Result<PolicyFile> {
        PolicyFile::open(&self.global.policy)
    }

    /// Where the policy is.
    pub fn policy_path(&self) -> &std::path::Path {
        &self.global.policy
    }
}

/// Does what was asked.
///
/// # Errors
///
/// Whatever went wrong, with its [exit code](crate::exit::code_of).
pub fn run(command: Command, context: &Context, printer: &mut Printer) -> Result<Exit> {
    match command {
        Command::Up(args) => up::run(&args, context, printer),
        Command::Down(args) => down::run(&args, context, printer),
        Command::Allow(args) => rule::run(Action::Allow, &args, context, printer),
        Command::Deny(args) => rule::run(Action::Deny, &args, context, printer),
        Command::Delete(args) => delete::run(&args, context, printer),
        Command::Default(args) => default::run(&args, context, printer),
        Command::List(args) => list::run(&args, context, printer),
        Command::Status(args) => status::run(&args, context, printer),
        Command::Stats(args) => stats::run(&args, context, printer),
        Command::Apply(args) => apply::run(&args, context, printer),
        Command::Trace(args) => trace::run(&args, context, printer),
        Command::Completions(args) => completions::run(&args, context, printer),
        Command::Man(args) => man::run(&args, context, printer),
    }
}

/// Refuses whoever may not talk to the kernel's filter.
///
/// # Errors
///
/// Not root.
fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(Exit::Privilege, "this needs root; say `sudo xdpfw …`").into())
}

/// What commands say that need the filter to be up.
fn not_up() -> anyhow::Error {
    Failure::new(Exit::Failed, "not up (say `xdpfw up IFACE`)").into()
}
