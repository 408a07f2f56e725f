//! What `xdpfw explain --pcap` says of frames.

use std::{fs, iter, path::Path};

use anyhow::{Result, ensure};
use serde_json::Value;
use xdpfw_tests::{Host, json::number, packets, text};

/// Longest frame that it judges, in bytes.
pub(crate) const LONGEST: usize = 3_400;

/// `LINKTYPE_ETHERNET` of captures.
const ETHERNET: u32 = 1;

/// What is said of each of these frames, coming in by an interface.
pub(crate) fn explain<'a>(
    host: &Host,
    interface: &str,
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Value>> {
    let frames: Vec<&[u8]> = frames.into_iter().collect();
    let file = host.directory().join(format!("{interface}.pcap"));
    let whole = frames.iter().map(|frame| (*frame, frame.len()));
    fs::write(&file, packets::pcap(ETHERNET, whole))?;
    let said = explain_file(host, interface, &file)?;
    ensure!(
        said.len() == frames.len(),
        "{} of {} explained",
        said.len(),
        frames.len()
    );
    for (said, expected) in iter::zip(&said, 1..) {
        assert_eq!(said["schema"], "xdpfw.explain/1");
        assert_eq!(number(&said["frame"])?, expected);
    }
    Ok(said)
}

fn explain_file(host: &Host, interface: &str, file: &Path) -> Result<Vec<Value>> {
    let path = file.to_string_lossy().into_owned();
    let words = ["--json", "explain", "--pcap", &path, "--on", interface];
    let output = host.xdpfw(words).output()?;
    let (lines, complaints) = (text(&output.stdout), text(&output.stderr));
    ensure!(complaints.is_empty(), "{complaints}");
    let said: Vec<Value> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let drops = said.iter().any(|said| said["verdict"] == "drop");
    assert_eq!(output.status.code(), Some(if drops { 8 } else { 0 }));
    Ok(said)
}
