//! Commands that run while a test goes on.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::io::ioctl_fionread;
use serde_json::Value;
use xdpfw_tests::{PATIENCE, Xdpfw};

/// Starts a command, its stdout to be read.
pub(crate) fn start(xdpfw: Xdpfw) -> Result<Child> {
    let mut command = xdpfw.command()?;
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().context("cannot start nsenter")
}

/// How a process ended, if it does so in time.
pub(crate) fn ended(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() > deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether its stdout is full, and so whoever writes there stuck.
pub(crate) fn is_stalled(child: &Child) -> bool {
    let unread = || {
        let stdout = child.stdout.as_ref()?;
        ioctl_fionread(stdout).ok()
    };
    let before = unread();
    thread::sleep(Duration::from_millis(300));
    before.is_some_and(|bytes| bytes > 0) && unread() == before
}

/// Waits for a line of output, which `cause` brings about.
pub(crate) fn read_line_while(child: &mut Child, cause: impl Fn() -> Result<bool>) -> Result<()> {
    cause()?;
    let stdout = child.stdout.as_mut().context("no stdout")?;
    ensure!(stdout.read(&mut [0; 1])? > 0, "no output");
    Ok(())
}

/// What a command wrote that ends by itself, an object a line.
pub(crate) fn objects(child: &mut Child) -> Result<Vec<Value>> {
    let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut objects = Vec::new();
    for line in stdout.lines() {
        objects.push(serde_json::from_str(&line?)?);
    }
    let status = ended(child, PATIENCE)?.context("it does not end")?;
    assert_eq!(status.code(), Some(0));
    Ok(objects)
}
