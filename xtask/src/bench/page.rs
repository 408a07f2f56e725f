//! Owns the page on which the numbers are published, `docs/PERFORMANCE.md`, with its
//! plots and the numbers themselves beside it. What is written there in words is in
//! fragments, one for each chapter, and never names a number.

use std::{
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    bench::{
        goals::{self, Goal},
        plot,
        report::{Report, chapter::Chapter, machine::Machine, names::chapters::*},
    },
    command::root_dir,
};

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
    head(report, &mut page)?;
    for chapter in &report.chapters {
        // A chapter without numbers is none, but its last plot must not stay.
        let path = assets.join(format!("{}.svg", chapter.id));
        match plot::draw(chapter)? {
            Some(svg) => {
                fs::write(&path, svg)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                tell(chapter, &mut page)?;
            }
            None if path.exists() => {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
            None => {}
        }
    }
    write!(page, "\n{}", include_str!("page/tail.md"))?;
    report.write(&assets.join(NUMBERS))?;
    let path = docs.join("PERFORMANCE.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// What comes before the chapters.
fn head(report: &Report, page: &mut String) -> fmt::Result {
    let goals = goals::evaluate(report);
    page.push_str(include_str!("page/head.md"));
    writeln!(page, "\n## Goals\n\n{}", goals::summary(&goals))?;
    page.push_str(include_str!("page/goals.md"));
    writeln!(page, "\n| what | goal | measured | |")?;
    writeln!(page, "|---|---|---|---|")?;
    for goal in &goals {
        writeln!(
            page,
            "| {} | {} | {} | {} |",
            goal.what,
            goal.bound,
            goal.shown(),
            verdict(goal)
        )?;
    }
    describe(&report.machine, page)
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
fn tell(chapter: &Chapter, page: &mut String) -> fmt::Result {
    let Chapter {
        id, title, axis, ..
    } = chapter;
    writeln!(page, "\n## {title}\n")?;
    if let Some(words) = words(id) {
        writeln!(page, "{words}")?;
    }
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

/// What is said of a chapter.
fn words(id: &str) -> Option<&'static str> {
    Some(match id {
        PACKET => include_str!("page/packet.md"),
        FEATURES => include_str!("page/features.md"),
        LIVE => include_str!("page/live.md"),
        RULES => include_str!("page/rules.md"),
        RULES_HOT => include_str!("page/rules-hot.md"),
        PORTS => include_str!("page/ports.md"),
        PREFIXES => include_str!("page/prefixes.md"),
        PREFIXES_ASKED => include_str!("page/prefixes-asked.md"),
        SOURCES => include_str!("page/sources.md"),
        THROUGHPUT => include_str!("page/throughput.md"),
        LATENCY => include_str!("page/latency.md"),
        LATENCY_P99 => include_str!("page/latency-p99.md"),
        FLOOD_TAKEN => include_str!("page/flood-taken.md"),
        APPLY => include_str!("page/apply.md"),
        COMMANDS => include_str!("page/commands.md"),
        MEMORY => include_str!("page/memory.md"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{names, sample};

    #[test]
    fn every_chapter_is_told() -> Result<()> {
        let docs = tempfile::tempdir()?;
        let mut report = sample::report();
        let path = write_to(&report, docs.path())?;
        let page = fs::read_to_string(&path)?;
        let assets = docs.path().join(ASSETS);
        for id in names::ids() {
            assert!(words(id).is_some(), "{id} has no words");
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
        let pages = [
            include_str!("page/head.md"),
            include_str!("page/goals.md"),
            include_str!("page/tail.md"),
        ];
        for words in names::ids().into_iter().filter_map(words).chain(pages) {
            for line in words.lines() {
                assert!(line.chars().count() <= 92, "{line}");
            }
        }
    }

    #[test]
    fn what_is_missed_says_why() {
        let mut goals = goals::evaluate(&sample::report());
        goals.retain(|goal| goal.measured.is_some() && !goal.is_met());
        for goal in goals {
            assert!(verdict(&goal).contains(goal.why));
        }
    }
}
