//! Proves that captures are what other programs read, and whole when the disk is full.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use xdpfw::{
    netlink::LinkLayer,
    output::{Capture, Packet, comment},
};
use xdpfw_common::Verdict;
use xdpfw_tests::{Host, capture, packets};

/// How many bytes of each packet there may be.
const MOST: u32 = 128;

/// What tshark says of each packet of a capture: these fields, with a tab between.
fn tshark(path: &Path, fields: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-r"]).arg(path);
    for field in fields {
        command.args(["-e", field]);
    }
    let lines = capture(&mut command).context("tshark cannot read it")?;
    Ok(lines.lines().map(str::to_owned).collect())
}

fn packet<'a>(bytes: &'a [u8], comment: &'a str) -> Packet<'a> {
    Packet {
        at: Timestamp::UNIX_EPOCH,
        index: 2,
        interface: "eth0",
        link_layer: LinkLayer::Ethernet,
        length: bytes.len() as u32,
        bytes,
        verdict: Verdict::Drop,
        comment,
    }
}

#[test]
fn tshark_shows_bytes_interface_verdict_and_comment() -> Result<()> {
    let host = Host::new()?;
    let path = host.directory().join("drops.pcapng");
    let syn = packets::syn(([192, 0, 2, 7], 40_000), ([192, 0, 2, 1], 443));
    let frame = [&[0; 12], &[8, 0][..], &syn].concat();
    let long = [&frame[..], &[0; 1000]].concat();
    let defaulted = comment("drop", "default", None);
    let ruled = comment("pass", "rule", Some("r3"));
    let mut written = Capture::create(&path, MOST, None)?;
    written.write(&Packet {
        at: Timestamp::from_nanosecond(1_795_000_000_123_456_789)?,
        ..packet(&frame, &defaulted)
    })?;
    written.write(&Packet {
        length: 1054,
        verdict: Verdict::Pass,
        ..packet(&long, &ruled)
    })?;
    written.write(&Packet {
        index: 7,
        interface: "wg0",
        link_layer: LinkLayer::None,
        ..packet(&syn, "drop: bad-flags")
    })?;
    let fields = [
        "frame.time_epoch",
        "frame.interface_name",
        "frame.len",
        "frame.cap_len",
        "frame.packet_flags_direction",
        "frame.verdict.ebpf_xdp",
        "frame.comment",
        "ip.src",
        "tcp.dstport",
    ];
    assert_eq!(
        tshark(&path, &fields)?,
        [
            "1795000000.123456789\teth0\t54\t54\t0x00000001\t1\tdrop: default\t192.0.2.7\t443",
            "0.000000000\teth0\t1054\t128\t0x00000001\t2\tpass: rule r3\t192.0.2.7\t443",
            "0.000000000\twg0\t40\t40\t0x00000001\t1\tdrop: bad-flags\t192.0.2.7\t443",
        ]
    );
    // The same bytes.
    let dump = capture(
        Command::new("tshark")
            .args(["-T", "jsonraw", "-r"])
            .arg(&path),
    )?;
    let dump: serde_json::Value = serde_json::from_str(&dump)?;
    for (number, bytes) in [&frame[..], &long[..MOST as usize], &syn]
        .into_iter()
        .enumerate()
    {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let raw = &dump[number]["_source"]["layers"]["frame_raw"][0];
        assert_eq!(raw, hex.as_str(), "{number}");
    }
    Ok(())
}

#[test]
fn a_capture_without_packets_is_one() -> Result<()> {
    let host = Host::new()?;
    let path = host.directory().join("drops.pcapng");
    Capture::create(&path, MOST, None)?;
    assert!(tshark(&path, &["frame.number"])?.is_empty());
    Ok(())
}

/// A file system with little room, while this lives.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, size: &str) -> Result<Self> {
        fs::create_dir(path)?;
        let options = format!("size={size},mode=0700");
        capture(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &options, "none"])
                .arg(path),
        )?;
        Ok(Self(path))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        drop(capture(Command::new("umount").arg(self.0)));
    }
}

/// Writes packets until it fails: how many, and why.
fn fill(written: &mut Capture) -> Result<(usize, String)> {
    for number in 0..100_000 {
        if let Err(error) = written.write(&packet(&[7; 100], "drop: default")) {
            return Ok((number, format!("{error:#}")));
        }
    }
    anyhow::bail!("it did not become full")
}

#[test]
fn a_full_disk_ends_a_capture_behind_a_packet() -> Result<()> {
    let host = Host::new()?;
    let disk = host.directory().join("small");
    let _small = Small::mount(&disk, "100k")?;
    let path = disk.join("drops.pcapng");
    let mut written = Capture::create(&path, MOST, None)?;
    let (number, error) = fill(&mut written)?;
    let expected = format!(
        "cannot write {}: No space left on device (os error 28); what was captured before is whole",
        path.display()
    );
    assert_eq!(error, expected);
    assert_eq!(
        tshark(&path, &["frame.comment"])?,
        vec!["drop: default"; number]
    );
    // Nothing else has room either, and nothing is left that is no capture.
    let error = format!(
        "{:#}",
        Capture::create(&disk.join("more"), MOST, None).unwrap_err()
    );
    ensure!(error.contains("No space left"), "{error}");
    assert!(!disk.join("more").exists());
    Ok(())
}

#[test]
fn a_full_disk_ends_a_capture_of_several_files() -> Result<()> {
    let host = Host::new()?;
    let disk = host.directory().join("small");
    let _small = Small::mount(&disk, "200k")?;
    let mut written = Capture::create(&disk.join("drops.pcapng"), MOST, Some(64 << 10))?;
    let (number, error) = fill(&mut written)?;
    assert!(error.contains("No space left"), "{error}");
    let mut found = 0;
    for entry in fs::read_dir(&disk)? {
        found += tshark(&entry?.path(), &["frame.comment"])?.len();
    }
    assert_eq!(found, number);
    Ok(())
}
