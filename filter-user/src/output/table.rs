//! Plain tables: columns side by side, numbers to the right. On a terminal, what does not fit
//! goes on under itself; elsewhere a row is a line, for scripts.

use std::io::{self, IsTerminal as _};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, presets};

use super::CHANGED_ITEMS;
use crate::{policy::Rule, text::visible};

/// Columns of a terminal that does not say how many it has.
const COLUMNS: u16 = 80;

/// Where a cell may go on in the next line. It has no width and never leaves this module; what
/// others wrote has none, as it is escaped.
const BREAK: char = '\u{200e}';

/// Rows of cells, each row in one line, or in as many as a terminal needs.
pub(super) struct Table {
    table: comfy_table::Table,
    /// Whether it must fit a terminal.
    fits: bool,
}

/// A table with these column heads; those in `right` hold numbers.
pub(super) fn table(heads: &[&str], right: &[usize]) -> Table {
    table_within(terminal_width(), heads, right)
}

/// Whether stdout is a terminal, where long lists are cut.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The columns of the terminal that stdout is; `None` if it is none.
fn terminal_width() -> Option<u16> {
    is_terminal().then(|| {
        let size = rustix::termios::tcgetwinsize(io::stdout());
        size.map_or(0, |size| size.ws_col)
    })
}

/// A table that is as wide as needed, or as the terminal: `Some(0)` is one that does not say.
fn table_within(width: Option<u16>, heads: &[&str], right: &[usize]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_delimiter(BREAK);
        table.set_width(if width == 0 { COLUMNS } else { width });
    }
    for &index in right {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
            // A number in two parts would be two numbers.
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    Table {
        table,
        fits: width.is_some(),
    }
}

impl Table {
    /// Never breaks the cells of a column.
    pub(super) fn keep_whole(&mut self, index: usize) {
        if let Some(column) = self.table.column_mut(index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    /// Adds a row, a cell for each column.
    pub(super) fn add_row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(Into::into);
        match self.fits {
            true => self.table.add_row(cells.map(|cell| breakable(&cell))),
            false => self.table.add_row(cells),
        };
    }
}

/// A text that may go on in the next line behind each blank and each comma, so that no prefix of
/// a list is cut in two.
fn breakable(text: &str) -> String {
    let text = visible(text);
    let mut marked = String::with_capacity(text.len() * 2);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        marked.push(c);
        if matches!(c, ' ' | ',') && chars.peek() != Some(&' ') {
            marked.push(BREAK);
        }
    }
    marked
}

/// A rule that changes, and a note about it: `r1  allow tcp 443 (https)   live on eth0`. All of
/// its lists is shown up to [`CHANGED_ITEMS`]; on a terminal, the line goes on under itself.
pub fn change_line(rule: &Rule, note: &str) -> String {
    change_line_within(terminal_width(), rule, note)
}

fn change_line_within(width: Option<u16>, rule: &Rule, note: &str) -> String {
    let note = match note {
        "" => String::new(),
        note => format!("   {note}"),
    };
    let text = format!("{rule:.CHANGED_ITEMS$}{note}");
    under_itself_within(width, &rule.id.to_string(), &text)
}

/// A text behind a short one. On a terminal where it does not fit, it goes on under itself.
pub(super) fn under_itself(head: &str, text: &str) -> String {
    under_itself_within(terminal_width(), head, text)
}

fn under_itself_within(width: Option<u16>, head: &str, text: &str) -> String {
    if text.is_empty() {
        return head.to_owned();
    }
    if width.is_none() {
        return format!("{head}  {text}");
    }
    // Its only row is the head.
    let mut text = lines(&table_within(width, &[head, &breakable(text)], &[]));
    text.pop();
    text
}

/// The table as text, without blanks at the ends of lines.
pub(super) fn lines(table: &Table) -> String {
    let mut text = String::new();
    for line in table.table.lines() {
        let line = line.replace(BREAK, "");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "allow tcp 443 --from 2001:db8:1111:2222::/64 --to 2001:db8:3333:4444::/64";
    const COMMENT: &str = "the office, until the new line is there; ask the network team first";

    fn text(width: Option<u16>) -> String {
        let mut table = table_within(width, &["id", "rule", "packets", "comment"], &[2]);
        table.add_row(["r1", RULE, "18,446,744,073", COMMENT]);
        lines(&table)
    }

    #[test]
    fn a_terminal_gets_no_line_that_is_too_long() {
        for (width, columns) in [(0, 80), (80, 80), (120, 120)] {
            let text = text(Some(width));
            for line in text.lines() {
                assert!(line.chars().count() <= columns, "{width}: {text}");
            }
            // Nothing is lost, and numbers stay whole.
            assert!(text.contains("18,446,744,073"), "{text}");
            for word in RULE.split(' ').chain(COMMENT.split(' ')) {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }

    #[test]
    fn a_list_is_broken_behind_its_commas() {
        let prefixes = [
            "2001:db8:1111:2222::/64",
            "2001:db8:3333:4444::/64",
            "192.0.2.0/24",
        ];
        for width in 70..120 {
            let mut table = table_within(Some(width), &["id", "rule", "packets", "comment"], &[2]);
            let rule = format!("allow tcp 443 --from {}", prefixes.join(","));
            table.add_row(["r1", &rule, "1,234", "a\u{200e}b"]);
            let text = lines(&table);
            for word in prefixes.into_iter().chain(["1,234", "a\\u{200e}b"]) {
                assert!(text.contains(word), "{width}: {text}");
            }
            assert!(!text.contains(BREAK), "{width}: {text}");
        }
    }

    #[test]
    fn a_change_is_shown_whole_and_under_itself() {
        let prefixes: Vec<String> = (0..20).map(|n| format!("192.0.2.{n}")).collect();
        let text = format!(
            "allow tcp 443 --from {} (https)   live on eth0",
            prefixes.join(",")
        );
        let line = format!("r1  {text}");
        assert_eq!(under_itself_within(None, "r1", &text), line);
        let shown = under_itself_within(Some(80), "r1", &text);
        let (first, others) = shown.split_once('\n').unwrap();
        assert!(
            first.starts_with("r1  allow tcp 443 --from 192.0.2.0,"),
            "{shown}"
        );
        for line in others.lines() {
            assert!(line.starts_with("    192.0.2."), "{shown}");
        }
        assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
        let joined: String = shown.lines().map(str::trim_start).collect();
        assert_eq!(joined.replace(' ', ""), line.replace(' ', ""));
    }

    #[test]
    fn a_script_gets_a_line_for_each_row() {
        let text = text(None);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains(RULE) && text.contains(COMMENT), "{text}");
    }
}
