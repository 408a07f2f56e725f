//! The result of a run: a file that can be read again.

pub(crate) mod chapter;
pub(crate) mod machine;
pub(crate) mod names;
pub(crate) mod series;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::report::{chapter::Chapter, machine::Machine};

/// What the form of these files is called.
const SCHEMA: &str = "xdpfw.bench/2";
/// How to get such a file.
const REMEDY: &str = "`cargo xtask bench --json FILE` writes one";

/// Everything that was measured, and on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    schema: String,
    pub(crate) machine: Machine,
    pub(crate) chapters: Vec<Chapter>,
}

/// As much of a file as says whether the rest can be read.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    schema: String,
}

impl Report {
    pub(crate) fn new(machine: Machine, chapters: Vec<Chapter>) -> Self {
        Self {
            schema: SCHEMA.into(),
            machine,
            chapters,
        }
    }

    /// The chapter of this name, if it was measured.
    pub(crate) fn chapter(&self, id: &str) -> Option<&Chapter> {
        self.chapters.iter().find(|chapter| chapter.id == id)
    }

    /// The result of an earlier run.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {shown} ({REMEDY})"))?;
        let unlike = || format!("{shown} is no result of the bench ({REMEDY})");
        let Head { schema } = serde_json::from_str(&text).with_context(unlike)?;
        if schema != SCHEMA {
            bail!("{shown} is of the form `{schema}`, not `{SCHEMA}` ({REMEDY})");
        }
        let report: Self = serde_json::from_str(&text).with_context(unlike)?;
        for chapter in &report.chapters {
            let width = chapter.cases.len();
            if chapter.rows.iter().any(|row| row.cells.len() != width) {
                bail!(
                    "{shown}: the rows of the chapter {} are not as wide as its head ({REMEDY})",
                    chapter.id
                );
            }
        }
        Ok(report)
    }

    /// Writes it for [`Self::read`].
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{names::OUTLINES, series::Series, *};

    impl Report {
        /// The run that is published: what is written today must be read tomorrow.
        pub(crate) fn published() -> Result<Self> {
            Self::read(&crate::root_dir().join("docs/performance/bench.json"))
        }

        /// The same, with made-up numbers in the chapters that were not there yet.
        pub(crate) fn complete() -> Result<Self> {
            let mut report = Self::published()?;
            for outline in &OUTLINES {
                if report.chapter(outline.id).is_none() {
                    let mut chapter = outline.chapter();
                    for row in &mut chapter.rows {
                        row.cells.fill(Some(Series::from_iter([1.0])));
                    }
                    report.chapters.push(chapter);
                }
            }
            Ok(report)
        }
    }

    #[test]
    fn reports_are_read_as_written() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("bench.json");
        let report = Report::published()?;
        report.write(&path)?;
        assert_eq!(Report::read(&path)?, report);
        Ok(())
    }

    #[test]
    fn other_files_are_refused_in_one_line() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("other.json");
        let refusal = || format!("{:#}", Report::read(&path).unwrap_err());
        assert!(refusal().contains("cannot read"));
        for (text, complaint) in [
            ("{", "is no result of the bench"),
            ("{}", "is of the form ``"),
            (
                r#"{"schema": "xdpfw.bench/1"}"#,
                "is of the form `xdpfw.bench/1`, not `xdpfw.bench/2`",
            ),
            (r#"{"schema": "xdpfw.bench/2"}"#, "is no result"),
        ] {
            fs::write(&path, text)?;
            let refusal = refusal();
            assert!(refusal.contains(complaint), "{refusal}");
            assert!(refusal.contains("other.json"), "{refusal}");
            assert!(refusal.contains("--json FILE"), "{refusal}");
            assert!(!refusal.contains('\n'), "{refusal}");
        }
        Ok(())
    }
}
