//! A terminal: tmux shows what a program draws, and hits keys for it.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{PATIENCE, process::capture};

/// A terminal with a shell in it; closed on drop, and whatever runs there ends.
#[derive(Debug)]
pub struct Tmux {
    /// Of a tmux server of its own.
    socket: PathBuf,
}

impl Tmux {
    /// Opens one of so many columns and lines.
    pub fn new(width: u16, height: u16) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self {
            socket: env::temp_dir().join(format!("xdpfw-tests-{}-{number}.tmux", process::id())),
        };
        let mut command = terminal.command();
        // What is configured on this host is none of our business.
        command.args(["-u", "-f", "/dev/null", "new-session", "-d"]);
        command.args(["-x", &width.to_string(), "-y", &height.to_string()]);
        command.args(["env", "LC_ALL=C.UTF-8", "PS1=$ ", "sh"]);
        for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TMUX"] {
            command.env_remove(variable);
        }
        capture(&mut command)?;
        terminal.wait_for("a prompt", |screen| screen.contains('$'))?;
        Ok(terminal)
    }

    /// Has the shell run a command.
    pub fn run(&self, command: &Command) -> Result<()> {
        self.write(&line(command))?;
        self.hit(&["Enter"])
    }

    /// The same on a clear screen, as if this had been typed: how a test calls a command is not
    /// to be seen.
    pub fn run_as(&self, typed: &str, command: &Command) -> Result<()> {
        let typed = quoted(&format!("$ {typed}"));
        self.write(&format!("clear; echo {typed}; {}", line(command)))?;
        self.hit(&["Enter"])
    }

    /// Types text.
    pub fn write(&self, text: &str) -> Result<()> {
        capture(self.command().args(["send-keys", "-l", text])).map(drop)
    }

    /// Hits keys, by their names in tmux(1).
    pub fn hit(&self, keys: &[&str]) -> Result<()> {
        capture(self.command().arg("send-keys").args(keys)).map(drop)
    }

    /// Makes it another size.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        let mut command = self.command();
        command.args(["resize-window", "-x", &width.to_string()]);
        capture(command.args(["-y", &height.to_string()])).map(drop)
    }

    /// What is on the screen.
    pub fn screen(&self) -> Result<String> {
        capture(self.command().args(["capture-pane", "-p"]))
    }

    /// The same to the end of each line, with colours and attributes as escape sequences.
    pub fn colored_screen(&self) -> Result<String> {
        capture(self.command().args(["capture-pane", "-p", "-e", "-N"]))
    }

    /// What tmux knows of it, by the names of its formats: `alternate_on`, `cursor_flag`.
    pub fn is_set(&self, flag: &str) -> Result<bool> {
        let format = format!("#{{{flag}}}");
        let said = capture(self.command().args(["display-message", "-p", &format]))?;
        Ok(said.trim() == "1")
    }

    /// The process that shows it: while that is stopped, nothing is taken of what is written.
    pub fn server(&self) -> Result<i32> {
        let said = capture(self.command().args(["display-message", "-p", "#{pid}"]))?;
        Ok(said.trim().parse()?)
    }

    /// Waits until the screen is as it should be, and returns it.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen()?;
            if is_so(&screen) {
                return Ok(screen);
            }
            if Instant::now() > deadline {
                bail!("the screen does not show {what}:\n{screen}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket);
        command
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        drop(capture(self.command().arg("kill-server")));
        drop(fs::remove_file(&self.socket));
    }
}

/// A command as a shell takes it.
fn line(command: &Command) -> String {
    let mut words = vec!["env".to_owned()];
    for (key, value) in command.get_envs() {
        let key = key.to_string_lossy();
        // What is taken away goes first: env(1) takes options before variables.
        match value {
            None => drop(words.splice(1..1, [format!("--unset={key}")])),
            Some(value) => {
                words.push(format!("{key}={}", quoted(&value.to_string_lossy())));
            }
        }
    }
    let program = [command.get_program()].into_iter();
    words.extend(
        program
            .chain(command.get_args())
            .map(|word| quoted(&word.to_string_lossy())),
    );
    words.join(" ")
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
