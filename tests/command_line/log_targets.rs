//! Proves where `log` puts packets that it does not show: captures that tshark reads, and the logs
//! of the host.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixDatagram,
    },
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{
    Lab, PATIENCE, Sender, assert_is_one_error, capture, is_traced, packets, text, wait_until,
};

use crate::running::{ended, start};

/// The peer's port.
const REMOTE: u16 = 40_000;

/// Packets from the peer to these ports of the host.
fn scan(lab: &Lab, ports: impl Iterator<Item = u16>) -> Result<Vec<Vec<u8>>> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let syns: Vec<Vec<u8>> = ports
        .map(|port| packets::syn(far.at(REMOTE), near.at(port)))
        .collect();
    Sender::new(&lab.peer, far)?.send_all(syns.clone())?;
    Ok(syns)
}

/// What tshark says of each packet of a capture.
fn tshark(path: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "json", "-x", "-r"]).arg(path);
    Ok(serde_json::from_str(&capture(&mut command)?)?)
}

#[test]
fn a_scan_is_captured_with_bytes_verdict_comment_and_interface() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ deny = 'tcp 105' }]");
    let host = &lab.host;
    let path = host.directory().join("drops.pcapng");
    let shown = path.to_string_lossy().into_owned();
    let mut log = start(host.xdpfw(["log", "--write", &shown, "-n", "100"]))?;
    wait_until("listening", || is_traced(host))?;
    let sent = scan(&lab, 100..200)?;
    let status = ended(&mut log, PATIENCE)?.context("log does not end")?;
    assert_eq!(status.code(), Some(0));
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    let packets = tshark(&path)?;
    assert_eq!(packets.len(), sent.len());
    let mut found: Vec<String> = Vec::new();
    for packet in &packets {
        let layers = &packet["_source"]["layers"];
        let frame = &layers["frame"];
        assert_eq!(
            frame["frame.interface_id_tree"]["frame.interface_name"],
            "eth0"
        );
        let verdict = frame["frame.verdict_tree"]["frame.verdict.ebpf_xdp"].as_str();
        assert_eq!(verdict, Some("1"), "{frame}");
        let comment = match layers["tcp"]["tcp.dstport"] == "105" {
            true => "drop: rule r1",
            false => "drop: default",
        };
        assert!(layers.to_string().contains(comment), "{layers}");
        // Behind the Ethernet header.
        let bytes = layers["frame_raw"][0].as_str().context("no bytes")?;
        found.push(bytes[28..].to_owned());
    }
    let hex =
        |packet: &Vec<u8>| -> String { packet.iter().map(|byte| format!("{byte:02x}")).collect() };
    let mut sent: Vec<String> = sent.iter().map(hex).collect();
    sent.sort();
    found.sort();
    assert!(found == sent, "{found:?}\n{sent:?}");
    Ok(())
}

#[test]
fn a_capture_takes_nothings_place() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = []");
    let host = &lab.host;
    let at = |name: &str| host.directory().join(name);
    fs::write(at("file"), "mine")?;
    symlink(at("nowhere"), at("link"))?;
    for (name, why) in [
        ("file", "nothing is overwritten"),
        ("link", "is a symbolic link"),
        (".", "is a directory"),
    ] {
        let path = at(name).to_string_lossy().into_owned();
        let error = host.xdpfw(["log", "--write", &path, "-n", "1"]).fails(1);
        assert!(error.contains(why) || name == ".", "{error}");
        assert_is_one_error(&error, "");
    }
    assert_eq!(fs::read(at("file"))?, b"mine");
    assert!(!at("nowhere").exists());
    // Nor is a file left by a command that cannot begin.
    host.xdpfw(["down"]).ok();
    let path = at("new").to_string_lossy().into_owned();
    host.xdpfw(["log", "--write", &path]).fails(1);
    assert!(!at("new").exists());
    Ok(())
}

#[test]
fn a_full_disk_ends_it_with_an_error_and_a_whole_capture() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = []");
    let host = &lab.host;
    let directory = host.directory();
    let small = directory.join("small");
    fs::create_dir(&small)?;
    let path = small.join("drops.pcapng").to_string_lossy().into_owned();
    let script = format!(
        "cd {} && mount -t tmpfs -o size=32k none small || exit 90
        \"$@\" 2>said; code=$?
        cp small/drops.pcapng kept; exit $code",
        directory.display()
    );
    let log = host
        .xdpfw(["log", "--write", &path])
        .in_private_mounts(&script);
    let mut log = start(log)?;
    wait_until("listening", || is_traced(host))?;
    scan(&lab, 1..1000)?;
    let status = ended(&mut log, PATIENCE)?.context("log does not end")?;
    let said = text(&fs::read(directory.join("said"))?);
    assert_is_one_error(&said, "No space left on device");
    assert!(said.contains("what was captured before is whole"), "{said}");
    assert_eq!(status.code(), Some(1));
    assert!(tshark(&directory.join("kept"))?.len() > 100);
    Ok(())
}

#[test]
fn the_logs_of_the_host_get_each_packet() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ deny = 'tcp 105' }]");
    let host = &lab.host;
    for (log, place, name) in [
        ("journald", "/run/systemd/journal", "socket"),
        ("syslog", "/dev", "log"),
    ] {
        let directory = host.directory().join(log);
        fs::create_dir(&directory)?;
        let socket = UnixDatagram::bind(directory.join(name))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let script = format!(
            "mkdir -p {place} && mount --bind {} {place} || exit 90
            \"$@\"; exit $?",
            directory.display()
        );
        let command = ["log", "--to", log, "-n", "2"];
        let mut command = start(host.xdpfw(command).in_private_mounts(&script))?;
        wait_until("listening", || is_traced(host))?;
        scan(&lab, 104..106)?;
        let read = || -> Result<String> {
            let mut room = [0; 4096];
            let length = socket.recv(&mut room)?;
            Ok(text(&room[..length]))
        };
        let got = [read()?, read()?].concat();
        let (near, far) = (lab.link().near().address, lab.link().far().address);
        for end in [
            "DPT=104 FLAGS=S REASON=default",
            "DPT=105 FLAGS=S REASON=rule RULE=r1",
        ] {
            let line =
                format!("drop IN=eth0 SRC={far} DST={near} LEN=54 PROTO=TCP SPT=40000 {end}");
            assert!(got.contains(&line), "{got}");
        }
        assert_eq!(
            got.contains("\nXDPFW_RULE=r1\n"),
            log == "journald",
            "{got}"
        );
        let status = ended(&mut command, PATIENCE)?.context("log does not end")?;
        assert_eq!(status.code(), Some(0));
    }
    Ok(())
}
