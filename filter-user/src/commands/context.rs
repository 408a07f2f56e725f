//! The flags that hold for every command.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ColorChoice};

use crate::{
    engine::{History, PolicyFile},
    output::Verbosity,
    system::network_namespace_name,
};

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
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Also print how it is done
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// The policy file, which root alone may write [default: /etc/xdpfw/policy.toml, in
    /// network namespace NAME /etc/netns/NAME/xdpfw/policy.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "XDPFW_POLICY",
        hide_env_values = true
    )]
    pub policy: Option<PathBuf>,
}

impl Global {
    /// How much to print.
    pub const fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
            (false, true) => Verbosity::Verbose,
        }
    }
}

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    global: Global,
    policy: PathBuf,
    /// The whole command line, for commands that describe it.
    command_line: fn() -> clap::Command,
}

impl Context {
    /// With these flags of this command line.
    pub fn new(global: Global, command_line: fn() -> clap::Command) -> Self {
        let policy = global.policy.clone().unwrap_or_else(default_policy);
        Self {
            global,
            policy,
            command_line,
        }
    }

    /// Whether to print JSON.
    pub const fn json(&self) -> bool {
        self.global.json
    }

    /// When to use colour.
    pub const fn color(&self) -> ColorChoice {
        self.global.color
    }

    /// The policy file that the command line or the environment names, if one does.
    pub fn named_policy(&self) -> Option<&Path> {
        self.global.policy.as_deref()
    }

    /// Reads the policy file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no policy.
    pub fn policy_file(&self) -> Result<PolicyFile> {
        Ok(PolicyFile::open(&self.policy)?)
    }

    /// Where the policy is.
    pub fn policy_path(&self) -> &Path {
        &self.policy
    }

    /// The history of the policies of this network namespace.
    pub fn history(&self) -> History {
        History::own()
    }

    /// The whole command line: commands, options and their help.
    pub fn command_line(&self) -> clap::Command {
        (self.command_line)()
    }
}

/// The policy file that nobody named: each network namespace that has a name has its own, where
/// `ip netns exec` looks for what is to be in `/etc` (ip-netns(8)).
pub(super) fn default_policy() -> PathBuf {
    let etc = match network_namespace_name() {
        Some(name) => Path::new("/etc/netns").join(name),
        None => "/etc".into(),
    };
    etc.join("xdpfw/policy.toml")
}
