//! Owns the virtual machine: one boot, to its end or to the end of our patience. It has
//! a processor, memory and a console, no devices, no network and no disk.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::interrupt::Interrupted;

/// How long a guest may take: several times of what it does.
const PATIENCE: Duration = Duration::from_secs(45 * 60);
/// How soon an interrupt is noticed.
const NOTICE: Duration = Duration::from_millis(100);
/// The guest is emulated: KVM inside of a virtual machine may be there and yet hang, and
/// nothing tells before.
const MACHINE: [&str; 16] = [
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "1536",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-no-reboot",
    "-append",
];
/// Who panics, or is in a state that it should have panicked in, reboots: that is the end.
const PARAMETERS: &str = "console=ttyS0 quiet panic=-1 oops=panic";

/// A running guest; it ends when this is dropped.
pub(super) struct Guest {
    qemu: Child,
    console: ChildStdout,
    log: fs::File,
}

impl Guest {
    /// Boots a kernel; what it says is written to `log`, too.
    pub(super) fn boot(kernel: &Path, initramfs: &Path, log: &Path) -> Result<Self> {
        let log =
            fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(MACHINE)
            .arg(PARAMETERS)
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
        let console = qemu.stdout.take().context("qemu has no stdout")?;
        Ok(Self { qemu, console, log })
    }

    /// Hands each line of the console to `take`, until the guest has ended.
    pub(super) fn read(
        mut self,
        interrupted: &Interrupted,
        mut take: impl FnMut(&str),
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let lines = lines_of(self.console);
        let mut guard = Running(self.qemu);
        loop {
            interrupted.check()?;
            match lines.recv_timeout(NOTICE) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    writeln!(self.log, "{}", line.trim_end()).context("cannot write its log")?;
                    take(line.trim_end_matches('\n'));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() > deadline {
                bail!("not finished after {} minutes", PATIENCE.as_secs() / 60);
            }
        }
        let status = guard.0.wait().context("cannot wait for qemu")?;
        if !status.success() {
            bail!("qemu failed ({status})");
        }
        Ok(())
    }
}

/// A virtual machine that must not outlive us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a console as they come.
fn lines_of(console: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console
            .read_until(b'\n', &mut line)
            .is_ok_and(|len| len > 0)
        {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}
