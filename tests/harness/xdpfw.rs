//! Runs the xdpfw binary, and asserts how a call ends.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::Process;

/// Begins a script in a system of its own. The network namespace of its init has no name there, so
/// the history would be that of the machine.
const OWN_HISTORY: &str = "mkdir -p /var/lib/xdpfw \\
    && mount -t tmpfs -o mode=0700 history /var/lib/xdpfw || exit 89";

/// The capabilities that xdpfw asks for, as setpriv(1) names them.
pub const CAPABILITIES: [&str; 3] = ["bpf", "net_admin", "perfmon"];

/// A call of xdpfw on a host, with that host's policy file.
#[derive(Debug)]
pub struct Xdpfw {
    command: Command,
    binary: PathBuf,
    arguments: Vec<OsString>,
    stdin: Vec<u8>,
}

impl Xdpfw {
    pub(crate) fn new(
        command: Command,
        binary: &Path,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Self {
        Self {
            command,
            binary: binary.to_owned(),
            arguments: arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned())
                .collect(),
            stdin: Vec::new(),
        }
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Removes an environment variable.
    pub fn without_env(mut self, key: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(key);
        self
    }

    /// What it reads from stdin; by default nothing.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// The same call, made by a shell script in a mount namespace of its own. In the
    /// script, it is `"$@"`.
    pub fn in_private_mounts(mut self, script: &str) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(self.command.get_program())
            .args(self.command.get_args());
        copy_environment(&self.command, &mut command);
        self.command = command;
        self
    }

    /// The same call, made by a shell script in a system of its own: with its own mounts, processes
    /// and history, in the same network namespace. In the script, it is `"$@"`. One that waits for
    /// what never comes is killed, and with it all that it started.
    pub fn in_private_system(self, script: &str) -> Self {
        let system = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"];
        let limit = ["timeout", "-s", "KILL", "300"];
        let script = format!("{OWN_HISTORY}\n{script}");
        let shell = ["sh", "-c", &script, "sh"];
        self.under(system.iter().chain(&limit).chain(&shell))
    }

    /// The same call, made by another program: one that has these words and then the call.
    pub fn under(mut self, program: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        let words: Vec<&OsStr> = self.command.get_args().collect();
        let entered = words.iter().take_while(|word| **word != "--").count() + 1;
        let (enter, xdpfw) = words.split_at(entered);
        let mut command = Command::new(self.command.get_program());
        command.args(enter).args(program).args(xdpfw);
        copy_environment(&self.command, &mut command);
        self.command = command;
        self
    }

    /// The same call as root with these capabilities alone and no way to others, as a service has
    /// it.
    pub fn with_capabilities(self, capabilities: &[&str]) -> Self {
        let set = capability_set(capabilities);
        self.under([
            "setpriv",
            "--no-new-privs",
            "--inh-caps",
            "-all",
            "--bounding-set",
            &set,
        ])
    }

    /// The same call as the user without rights, who has these capabilities.
    pub fn as_nobody_with(self, capabilities: &[&str]) -> Self {
        let set = capability_set(capabilities);
        let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
        let sets = ["--inh-caps", "--ambient-caps", "--bounding-set"];
        self.under(
            nobody
                .split(' ')
                .chain(sets.into_iter().flat_map(|which| [which, &set])),
        )
    }

    /// The same call where there is no room left in the directory of its policy.
    pub fn with_full_disk(self) -> Self {
        self.in_private_mounts(
            "directory=$(dirname \"$XDPFW_POLICY\")
            policy=$(cat \"$XDPFW_POLICY\")
            mount -t tmpfs -o size=4k full \"$directory\" || exit 90
            echo \"$policy\" >\"$XDPFW_POLICY\" || exit 91
            \"$@\"; exit $?",
        )
    }

    /// The same call where the directory of its policy cannot be written.
    pub fn with_read_only_policy(self) -> Self {
        self.in_private_mounts(
            "directory=$(dirname \"$XDPFW_POLICY\")
            mount --bind \"$directory\" \"$directory\" || exit 90
            mount -o remount,bind,ro \"$directory\" || exit 91
            \"$@\"; exit $?",
        )
    }

    /// The command itself, for whoever wants to deal with its input and output.
    pub fn command(mut self) -> Result<Command> {
        ensure!(
            self.binary.is_file(),
            "{} does not exist; run `cargo xtask build` or set XDPFW_BIN",
            self.binary.display()
        );
        self.command.args(&self.arguments);
        Ok(self.command)
    }

    /// Starts it; it ends when the result is dropped.
    pub fn spawn(self) -> Result<Process> {
        Process::start(&mut self.command()?)
    }

    /// Runs it to its end, whatever that is.
    pub fn output(mut self) -> Result<Output> {
        let input = std::mem::take(&mut self.stdin);
        let mut child = self
            .command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start nsenter")?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may well end without reading all of it.
            let _ = stdin.write_all(&input);
        }
        child.wait_with_output().context("cannot wait for xdpfw")
    }

    /// Runs it, claims that it succeeds, and returns its stdout.
    #[track_caller]
    pub fn ok(self) -> String {
        let shown = self.to_string();
        let output = self.finished();
        assert!(
            output.status.success(),
            "`{shown}` failed, {}",
            Finished(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it, claims that it exits with `code`, and returns its stderr.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        let shown = self.to_string();
        let output = self.finished();
        assert!(
            output.status.code() == Some(code),
            "`{shown}` should have exited with {code}, {}",
            Finished(&output)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs it with `--json`, claims that it succeeds, and returns what it says.
    #[track_caller]
    pub fn json(self) -> Value {
        self.json_with(|_| 0)
    }

    /// Runs it with `--json`, and claims that it exits with what its answer calls for.
    #[track_caller]
    pub fn json_with(mut self, code: impl Fn(&Value) -> i32) -> Value {
        self.arguments.insert(0, "--json".into());
        let shown = self.to_string();
        let output = self.finished();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("`{shown}`: no JSON value: {error}, {}", Finished(&output))
        });
        let code = code(&value);
        assert!(
            output.status.code() == Some(code),
            "`{shown}` should have exited with {code}, {}",
            Finished(&output)
        );
        value
    }

    #[track_caller]
    fn finished(self) -> Output {
        self.output().unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// Capabilities as setpriv(1) takes them, and no others.
fn capability_set(capabilities: &[&str]) -> String {
    let mut set = "-all".to_owned();
    for capability in capabilities {
        set.push_str(",+");
        set.push_str(capability);
    }
    set
}

fn copy_environment(from: &Command, to: &mut Command) {
    for (key, value) in from.get_envs() {
        match value {
            Some(value) => to.env(key, value),
            None => to.env_remove(key),
        };
    }
}

impl fmt::Display for Xdpfw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("xdpfw")?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {}", argument.display()))
    }
}

/// How a call ended, for the message of a claim that does not hold.
struct Finished<'a>(&'a Output);

impl fmt::Display for Finished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output {
            status,
            stdout,
            stderr,
        } = self.0;
        write!(f, "{status}")?;
        for (name, bytes) in [("stdout", stdout), ("stderr", stderr)] {
            let text = String::from_utf8_lossy(bytes);
            if !text.trim().is_empty() {
                write!(f, "\n--- {name}\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}
