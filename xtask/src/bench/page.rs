//! (being written)
use super::{plot, report::Report};
use crate::command::root_dir;
use anyhow::Result;
use std::path::PathBuf;
pub(super) fn publish(report: &Report) -> Result<PathBuf> {
    let dir = root_dir().join("docs/performance");
    std::fs::create_dir_all(&dir)?;
    for chapter in &report.chapters {
        if let Some(svg) = plot::draw(chapter)? {
            std::fs::write(dir.join(format!("{}.svg", chapter.id)), svg)?;
        }
    }
    Ok(dir)
}
