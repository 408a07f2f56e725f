//! Shows the numbers on the terminal: a table for each chapter, and the goals.

use std::fmt::{self, Write as _};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use xdpfw_tests::task::print;

use crate::{
    goals,
    report::{Report, chapter::Chapter},
};

/// Writes the report to stdout.
pub(super) fn show(report: &Report) -> Result<()> {
    let mut text = String::new();
    describe(report, &mut text)?;
    print(&text)
}

/// A table with these heads, the first `words` of which are words, the others numbers.
/// Each row has as many cells.
pub(super) fn table(
    heads: impl IntoIterator<Item = String>,
    words: usize,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.into_iter().collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index >= words {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn describe(report: &Report, text: &mut String) -> fmt::Result {
    let machine = &report.machine;
    writeln!(text, "{}", machine.summary())?;
    for warning in machine.warnings() {
        writeln!(text, "warning: {warning}")?;
    }
    for chapter in &report.chapters {
        write!(
            text,
            "\n{} ({}), {}",
            chapter.title,
            chapter.id,
            chapter.unit.symbol()
        )?;
        if let Some(legend) = chapter.legend() {
            write!(text, " (in brackets: {})", legend.replace('*', ""))?;
        }
        writeln!(text, "\n{}", cells(chapter).trim_end())?;
    }

    let mut goals = goals::evaluate(report);
    // Chapters that were not asked for are not mentioned; the page mentions all.
    goals.retain(|goal| goal.measured.is_some());
    let rows = goals.iter().map(|goal| {
        vec![
            goal.id.into(),
            goal.what.replace('`', ""),
            goal.bound.to_string(),
            goal.verdict().into(),
            goal.shown(),
        ]
    });
    let heads = ["goal", "", "", "", "measured"].map(String::from);
    write!(text, "\n{}", table(heads, 5, rows))?;
    writeln!(text, "\n{}", goals::summary(&goals))
}

fn cells(chapter: &Chapter) -> String {
    let heads = [chapter.axis.clone()].into_iter();
    let rows = chapter.rows.iter().map(|row| {
        let cells = chapter.cases.iter().map(|case| {
            let cell = chapter.cell(&row.subject, case);
            cell.map_or_else(|| "–".into(), |cell| cell.to_string())
        });
        [row.subject.clone()].into_iter().chain(cells).collect()
    });
    table(heads.chain(chapter.cases.iter().cloned()), 1, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told() -> Result<()> {
        let mut text = String::new();
        describe(&Report::published()?, &mut text)?;
        for part in [
            "A flood, dropped (live), Mpps",
            "nft netdev ingress",
            "goals are met.",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        Ok(())
    }
}
