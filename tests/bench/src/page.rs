//! Writes the page on which the numbers are published, `docs/PERFORMANCE.md`, with its plots
//! and the numbers themselves beside it. Its words are in one template, which names no
//! number; a chapter that has none is left out.

use std::{
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    goals::{self, Goal},
    plot,
    report::{Report, chapter::Chapter, machine::Machine},
    root_dir,
};

/// The words, in sections that begin with `<!-- NAME -->`. Most are named after a chapter.
const TEMPLATE: &str = include_str!("page.md");
/// The directory beside the page, for plots and numbers.
const ASSETS: &str = "performance";
const NUMBERS: &str = "bench.json";

/// Writes the page and what lies beside it; says where it is.
pub(super) fn publish(report: &Report) -> Result<PathBuf> {
    write_to(report, &root_dir().join("docs"))
}

fn write_to(report: &Report, docs: &Path) -> Result<PathBuf> {
    let assets = docs.join(ASSETS);
    fs::create_dir_all(&assets).with_context(|| format!("cannot make {}", assets.display()))?;
    let mut page = String::new();
    for (name, words) in sections() {
        match name {
            "goals" => goals(report, words, &mut page)?,
            "machine" => describe(&report.machine, &mut page)?,
            "head" => page.push_str(words),
            "end" => write!(page, "\n{words}")?,
            id => {
                let chapter = report.chapter(id);
                let svg = chapter.map(plot::draw).transpose()?.flatten();
                let path = assets.join(format!("{id}.svg"));
                match (chapter, svg) {
                    (Some(chapter), Some(svg)) => {
                        fs::write(&path, svg)
                            .with_context(|| format!("cannot write {}", path.display()))?;
                        tell(chapter, words, &mut page)?;
                    }
                    // An earlier run's must not stay.
                    _ if path.exists() => fs::remove_file(&path)
                        .with_context(|| format!("cannot remove {}", path.display()))?,
                    _ => {}
                }
            }
        }
    }
    report.write(&assets.join(NUMBERS))?;
    let path = docs.join("PERFORMANCE.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The names of the sections, and their words.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = TEMPLATE.split("\n<!-- ");
    sections.map(|section| section.split_once(" -->\n").unwrap_or(("head", section)))
}

fn goals(report: &Report, words: &str, page: &mut String) -> fmt::Result {
    let goals = goals::evaluate(report);
    writeln!(page, "\n## Goals\n\n{}\n{words}", goals::summary(&goals))?;
    writeln!(page, "| what | goal | measured | |\n|---|---|---|---|")?;
    for goal in &goals {
        let (bound, shown) = (goal.bound, goal.shown());
        writeln!(
            page,
            "| {} | {bound} | {shown} | {} |",
            goal.what,
            verdict(goal)
        )?;
    }
    Ok(())
}

/// Whether it is met, or why not.
fn verdict(goal: &Goal) -> String {
    match goal.measured {
        _ if goal.is_met() => "met".into(),
        Some(_) => format!("**missed**: {}", goal.why),
        None => "**missed**".into(),
    }
}

fn describe(machine: &Machine, page: &mut String) -> fmt::Result {
    let kind = if machine.is_virtual {
        ", in a virtual machine"
    } else {
        ""
    };
    let cpus = format!("{} × {}{kind}", machine.cpus, machine.cpu_model);
    let rows = [
        ("date", machine.date.clone()),
        ("command", format!("`{}`", machine.command)),
        ("rounds", machine.rounds.to_string()),
        ("CPU", cpus),
        ("CPU time that others took", percentage(machine.stolen)),
        ("Linux", machine.kernel.clone()),
        ("Spectre v2", machine.spectre_v2.clone().unwrap_or_default()),
        ("xdpfw", machine.version()),
    ];
    let peers = machine.peers.iter();
    let peers = peers.map(|(name, version)| (name.as_str(), version.clone()));
    writeln!(page, "\n## What was measured on\n\n| | |\n|---|---|")?;
    let rows = rows.into_iter().chain(peers);
    for (name, value) in rows.filter(|(_, value)| !value.is_empty()) {
        writeln!(page, "| {name} | {value} |")?;
    }
    for warning in machine.warnings() {
        writeln!(page, "\n**Warning:** {warning}.")?;
    }
    Ok(())
}

/// A part of a whole.
fn percentage(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// A chapter: its words, its plot, its table.
fn tell(chapter: &Chapter, words: &str, page: &mut String) -> fmt::Result {
    let Chapter {
        id, title, axis, ..
    } = chapter;
    writeln!(page, "\n## {title}\n\n{words}")?;
    writeln!(page, "![{title}]({ASSETS}/{id}.svg)\n")?;
    let unit = chapter.unit.symbol();
    match chapter.legend() {
        Some(legend) => writeln!(page, "Medians in {unit}; in brackets: {legend}.\n")?,
        None => writeln!(page, "Medians in {unit}.\n")?,
    }
    writeln!(page, "| {axis} | {} |", chapter.cases.join(" | "))?;
    writeln!(page, "|---{}|", "|--:".repeat(chapter.cases.len()))?;
    for row in &chapter.rows {
        write!(page, "| {} |", row.subject)?;
        for case in &chapter.cases {
            match chapter.cell(&row.subject, case) {
                Some(cell) => write!(page, " {cell} |")?,
                None => write!(page, " – |")?,
            }
        }
        writeln!(page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::names;

    #[test]
    fn every_chapter_is_told() -> Result<()> {
        let docs = tempfile::tempdir()?;
        let mut report = Report::complete()?;
        let path = write_to(&report, docs.path())?;
        let page = fs::read_to_string(&path)?;
        let assets = docs.path().join(ASSETS);
        for id in names::ids() {
            assert!(sections().any(|(name, _)| name == id), "{id} has no words");
            assert!(page.contains(&format!("](performance/{id}.svg)")), "{id}");
            assert!(assets.join(format!("{id}.svg")).exists(), "{id}");
        }
        // What is written is what is read.
        let again = Report::read(&assets.join(NUMBERS))?;
        write_to(&again, docs.path())?;
        assert_eq!(fs::read_to_string(&path)?, page);

        for row in &mut report.chapters[0].rows {
            row.cells.fill(None);
        }
        write_to(&report, docs.path())?;
        let plot = format!("{}.svg", report.chapters[0].id);
        assert!(!fs::read_to_string(&path)?.contains(&plot));
        assert!(!assets.join(&plot).exists());
        Ok(())
    }

    #[test]
    fn words_fit_the_page() {
        for line in TEMPLATE.lines() {
            assert!(line.chars().count() <= 92, "{line}");
        }
    }

    #[test]
    fn what_is_missed_says_why() -> Result<()> {
        let mut goals = goals::evaluate(&Report::published()?);
        goals.retain(|goal| goal.measured.is_some() && !goal.is_met());
        for goal in goals {
            assert!(verdict(&goal).contains(goal.why));
        }
        Ok(())
    }
}
