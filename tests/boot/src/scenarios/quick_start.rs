//! From an empty Debian to a filtered one, as a user would do it, over ssh: the transcript is the
//! README's.

use std::ffi::OsStr;

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::task::print;

use crate::{
    guest::ends,
    payload::PACKAGE,
    stage::{Scene, Stage},
};

/// Prints the transcript, and checks what it shows.
pub fn quick_start(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.open("quick-start")?;
    let package = stage.payload.package.file_name();
    let package = package.and_then(OsStr::to_str).context("no package")?;
    scene.guest.run(&format!("cp {PACKAGE} /root/{package}"))?;
    let before = scan(&scene)?;
    for command in [
        &format!("apt install ./{package}"),
        "xdpfw allow ssh",
        "xdpfw up eth0",
        "reboot",
    ] {
        let said = over_ssh(stage, &scene, command)?;
        print(&format!("root@guest:~# {command}\n{said}"))?;
    }
    scene.guest.wait_for_boot()?;
    scene.settle();
    let after = scan(&scene)?;
    let said = over_ssh(stage, &scene, "xdpfw status")?;
    print(&format!("root@guest:~# xdpfw status\n{said}"))?;
    for (scan, open) in [(&before, true), (&after, false)] {
        ensure!(
            scan.contains("22/tcp"),
            "the scan does not find ssh: {scan}"
        );
        ensure!(
            scan.contains("7777/tcp") == open,
            "the scan should {}find the closed port: {scan}",
            if open { "" } else { "not " }
        );
    }
    Ok("the transcript is on stdout".into())
}

/// Scans the guest from outside, and prints what is found.
fn scan(scene: &Scene<'_>) -> Result<String> {
    let [guest, _] = ends();
    let address = guest.address.to_string();
    let words = [
        "-n",
        "-Pn",
        "-T4",
        "--max-retries",
        "1",
        "-p",
        "1-10000",
        &address,
    ];
    let found = scene.peer.run("nmap", words)?;
    print(&format!("$ nmap {}\n{found}", words.join(" ")))?;
    Ok(found)
}

/// Runs a command in a session of root's, and returns all that it wrote.
fn over_ssh(stage: &Stage<'_>, scene: &Scene<'_>, command: &str) -> Result<String> {
    let [guest, _] = ends();
    let key = stage.image.key.display().to_string();
    let output = scene
        .peer
        .command("ssh")
        .args(["-q", "-i", &key, "-o", "IdentitiesOnly=yes"])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=5"])
        .args([format!("root@{}", guest.address), format!("{command} 2>&1")])
        .output()
        .context("cannot start ssh")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // A reboot ends the session; `status` warns with 8.
    ensure!(
        matches!(output.status.code(), Some(0 | 8)) || command == "reboot",
        "`{command}` failed ({}): {said}",
        output.status
    );
    Ok(said)
}
