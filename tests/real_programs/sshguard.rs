//! SSHGuard has xdpfw block by the backend that the package brings.

use std::{
    fs::File,
    io::Write as _,
    process::{ChildStdin, Stdio},
};

use anyhow::{Context as _, Result};
use xdpfw_tests::{Host, Lab, PATIENCE, Process, is_dropped, packaged, wait_until};

fn prefixes(host: &Host) -> Vec<String> {
    let said = host.xdpfw(["bans"]).json();
    let bans = said["bans"].as_array().into_iter().flatten();
    bans.filter_map(|ban| Some(ban["prefix"].as_str()?.to_owned()))
        .collect()
}

/// The backend on a host, and what it reads.
fn backend(host: &Host) -> Result<(Process, ChildStdin)> {
    let mut command = host.command("sh");
    command
        .arg(packaged("sshguard/sshg-fw-xdpfw"))
        .env("XDPFW", host.binary());
    let mut process = Process::start(command.stdin(Stdio::piped()))?;
    let stdin = process.stdin().context("no stdin")?;
    Ok((process, stdin))
}

#[test]
fn the_backend_blocks_releases_and_flushes_its_own() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let source = lab.link().far().address;
    host.xdpfw(["ban", "203.0.113.99"]).ok();
    let (mut process, mut stdin) = backend(host)?;
    writeln!(
        stdin,
        "block {source} 4 32\nblock 2001:db8:7::1 6 128\nblock 198.51.100.7 4 24"
    )?;
    writeln!(stdin, "block 203.0.113.8 4")?;
    wait_until("four bans more", || prefixes(host).len() == 5)?;
    assert!(is_dropped(&lab, 80)?);
    assert!(prefixes(host).contains(&"198.51.100.0/24".to_owned()));
    writeln!(stdin, "release {source} 4 32\nrelease 203.0.113.8 4")?;
    wait_until("the release", || prefixes(host).len() == 3)?;
    assert!(!is_dropped(&lab, 80)?);
    writeln!(stdin, "flushonexit")?;
    drop(stdin);
    process.wait(PATIENCE)?;
    assert_eq!(prefixes(host), ["203.0.113.99/32"]);
    Ok(())
}

/// Lines of a log of sshd's, read by SSHGuard's own parser and judged by its own blocker.
#[test]
fn sshguard_reads_a_log_and_the_guesser_is_banned() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let source = lab.link().far().address;
    let log = host.directory().join("auth.log");
    let mut lines = File::create(&log)?;
    for port in 50_000..50_010 {
        writeln!(
            lines,
            "Nov 29 04:00:00 it sshd[812]: Failed password for invalid user $(id) from {source} port {port} ssh2"
        )?;
    }
    let mut parser = host.unpacked("sshg-parser")?;
    let mut parser = Process::start(parser.stdin(File::open(&log)?).stdout(Stdio::piped()))?;
    let mut blocker = host.unpacked("sshg-blocker")?;
    let attacks = parser.stdout().context("no stdout")?;
    let (mut process, stdin) = backend(host)?;
    let mut blocker = Process::start(
        blocker
            .args([
                "-a", "30", "-p", "600", "-s", "1800", "-N", "128", "-n", "32",
            ])
            .stdin(attacks)
            .stdout(stdin),
    )?;
    parser.wait(PATIENCE)?;
    wait_until("the ban", || prefixes(host) == [format!("{source}/32")])?;
    assert!(is_dropped(&lab, 80)?);
    blocker.wait(PATIENCE)?;
    process.wait(PATIENCE)?;
    // It ends as its operator has it end: without being asked, nothing is flushed.
    Ok(())
}
