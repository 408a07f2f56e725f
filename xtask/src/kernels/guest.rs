//! Boots a virtual machine and reads its console to the end. The machine has processors,
//! memory and a console; no devices, no network and no disk.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// How long a guest may take, as `timeout` reads it: several times of what it does.
const PATIENCE: &str = "60m";
/// What `timeout` exits with when that is over.
const TOO_LONG: i32 = 124;
/// The guest ends with the thread that waits for it, even if that is killed.
const GUARDED: [&str; 5] = ["--pdeathsig", "TERM", "timeout", "--foreground", PATIENCE];
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
/// A kernel that panics, or should have, reboots: that is the end. What protects from other
/// users of a processor protects nobody here, and emulated it takes a quarter of the time.
const PARAMETERS: &str = "console=ttyS0 quiet panic=-1 oops=panic \
     mitigations=off nosmap nosmep no5lvl init_on_alloc=0";

/// Boots a kernel and hands each line of its console to `take`, until the guest has ended.
/// The lines are written to `log`, too.
pub(super) fn run(
    kernel: &Path,
    initramfs: &Path,
    log: &Path,
    mut take: impl FnMut(&str),
) -> Result<()> {
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut qemu = Command::new("setpriv")
        .args(GUARDED)
        .arg("qemu-system-x86_64")
        .args(MACHINE)
        .arg(PARAMETERS)
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start setpriv, which starts qemu")?;
    let console = qemu.stdout.take().context("qemu has no stdout")?;
    for line in BufReader::new(console).split(b'\n') {
        let line = line.context("cannot read the console")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        writeln!(log, "{line}").context("cannot write the log of the console")?;
        take(line);
    }
    let status = qemu.wait().context("cannot wait for qemu")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(TOO_LONG) => bail!("not finished after {PATIENCE}"),
        _ => bail!("qemu failed ({status})"),
    }
}
