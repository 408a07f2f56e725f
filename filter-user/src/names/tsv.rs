//! Reads tables of names: a row a line, fields apart by tabs, comments behind `#`.

use std::str::{FromStr, Split};

/// The rows of a table, its comments left out.
pub(super) fn rows(text: &'static str) -> impl Iterator<Item = Row> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(Row::of)
}

/// The fields of a row, read from left to right.
pub(super) struct Row {
    fields: Split<'static, char>,
}

impl Row {
    /// The row that is written so.
    pub(super) fn of(line: &'static str) -> Self {
        Self {
            fields: line.split('\t'),
        }
    }

    /// The next field.
    pub(super) fn field(&mut self) -> Option<&'static str> {
        self.fields.next()
    }

    /// The next field, which is a number.
    pub(super) fn number<T: FromStr>(&mut self) -> Option<T> {
        self.field()?.parse().ok()
    }

    /// The last two fields: a name, and its aliases if it has any.
    pub(super) fn names(mut self) -> Option<Names> {
        Some(Names {
            name: self.field().filter(|name| !name.is_empty())?,
            aliases: self.field().unwrap_or_default(),
        })
    }
}

/// A name and its aliases, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    /// The name that is shown.
    pub(super) name: &'static str,
    /// Separated by blanks.
    aliases: &'static str,
}

impl Names {
    /// The name, then its aliases.
    pub(super) fn all(self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.split_ascii_whitespace())
    }

    /// Whether it is one of them; case does not matter.
    pub(super) fn contains(self, name: &str) -> bool {
        self.all().any(|known| known.eq_ignore_ascii_case(name))
    }
}
