//! Writes and compares the page, `docs/DETECTION.md`.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::Row;

/// Says what is done to the page: `overwrite`, or by default compare.
const KNOB: &str = "XDPFW_DETECTION";

/// A table of the page.
pub(super) struct Section {
    pub(super) text: &'static str,
    pub(super) heads: &'static [&'static str],
    pub(super) rows: Vec<Row>,
}

/// Claims that the page says what was proven, or writes it.
pub(super) fn settle(sections: &[Section]) -> Result<()> {
    let page = page(sections)?;
    let path = path();
    match env::var_os(KNOB) {
        None => {}
        Some(word) if word == "overwrite" => {
            return fs::write(&path, page)
                .with_context(|| format!("cannot write {}", path.display()));
        }
        Some(word) => bail!(
            "{KNOB} is {} (say overwrite, or leave it out)",
            word.display()
        ),
    }
    let published =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let advice = format!("say {KNOB}=overwrite cargo xtask test -- detection");
    for (number, (published, proven)) in (1..).zip(published.lines().zip(page.lines())) {
        assert_eq!(published, proven, "docs/DETECTION.md:{number} ({advice})");
    }
    assert!(
        published == page,
        "docs/DETECTION.md is too long or too short ({advice})"
    );
    Ok(())
}

fn page(sections: &[Section]) -> Result<String> {
    let mut page = include_str!("head.md").replace("KNOB", KNOB);
    for Section { text, heads, rows } in sections {
        write!(page, "\n{text}\n")?;
        writeln!(page, "| {} |", heads.join(" | "))?;
        writeln!(page, "|{}", "---|".repeat(heads.len()))?;
        for Row { name, cells } in rows {
            writeln!(page, "| {name} | {} |", cells.join(" | "))?;
        }
    }
    page.push_str(include_str!("tail.md"));
    Ok(page)
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/DETECTION.md")
}
