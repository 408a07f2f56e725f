//! Columns of a panel, as many as there is room for.

use ratatui::{buffer::Buffer, layout::Rect, style::Style, text::Span};

use super::Look;

/// Blanks between two columns.
const GAP: u16 = 2;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) head: &'static str,
    /// Cells that it takes; for one that stretches, at least.
    pub(super) width: u16,
    pub(super) stretches: bool,
    /// Whether its numbers end in line.
    pub(super) is_right: bool,
    /// Where there is too little room, the highest goes first.
    pub(super) rank: u8,
    pub(super) is_sorted: bool,
}

impl Column {
    pub(super) const fn left(head: &'static str, width: u16, rank: u8) -> Self {
        Self {
            head,
            width,
            stretches: false,
            is_right: false,
            rank,
            is_sorted: false,
        }
    }

    pub(super) const fn right(head: &'static str, width: u16, rank: u8) -> Self {
        Self {
            is_right: true,
            ..Self::left(head, width, rank)
        }
    }

    pub(super) const fn stretching(self) -> Self {
        Self {
            stretches: true,
            ..self
        }
    }

    pub(super) const fn sorted(self, is_sorted: bool) -> Self {
        Self { is_sorted, ..self }
    }
}

/// The places of columns on screen: none for one that there is no room for.
pub(super) fn places(columns: &[Column], area: Rect) -> Vec<Option<(u16, u16)>> {
    let mut shown: Vec<bool> = vec![true; columns.len()];
    // A blank in front.
    let room = area.width.saturating_sub(1);
    let taken = |shown: &[bool]| -> u16 {
        let columns = columns.iter().zip(shown).filter(|(_, shown)| **shown);
        columns.map(|(column, _)| column.width + GAP).sum::<u16>() - GAP
    };
    while taken(&shown) > room && shown.iter().filter(|shown| **shown).count() > 1 {
        let last = (0..columns.len())
            .filter(|&index| shown[index])
            .max_by_key(|&index| columns[index].rank);
        if let Some(last) = last {
            shown[last] = false;
        }
    }
    let spare = room.saturating_sub(taken(&shown));
    let mut x = area.x + 1;
    let place = |(column, shown): (&Column, bool)| {
        if !shown {
            return None;
        }
        let width = match column.stretches {
            true => column.width + spare,
            false => column.width,
        };
        let here = (x, width.min(area.right().saturating_sub(x)));
        x += width + GAP;
        Some(here)
    };
    columns.iter().zip(shown).map(place).collect()
}

/// Writes the heads of columns.
pub(super) fn heads(
    columns: &[Column],
    places: &[Option<(u16, u16)>],
    y: u16,
    is_reversed: bool,
    buffer: &mut Buffer,
    look: &Look,
) {
    for (column, place) in columns.iter().zip(places) {
        let text = match column.is_sorted {
            true => format!("{}{}", column.head, look.sorted(is_reversed)),
            false => column.head.to_owned(),
        };
        write(&text, column, *place, y, look.head(), buffer);
    }
}

/// Writes a cell. What is too long is cut, and ends in `…`.
pub(super) fn write(
    text: &str,
    column: &Column,
    place: Option<(u16, u16)>,
    y: u16,
    style: Style,
    buffer: &mut Buffer,
) {
    let Some((x, room)) = place else {
        return;
    };
    let width = Span::raw(text).width() as u16;
    if width > room {
        let cut = cut(text, room.into());
        buffer.set_stringn(x, y, cut, room.into(), style);
        return;
    }
    let indent = match column.is_right {
        true => room - width,
        false => 0,
    };
    buffer.set_stringn(x + indent, y, text, room.into(), style);
}

/// As much of a text as fits, with a sign that there is more.
fn cut(text: &str, room: usize) -> String {
    let mut cut: String = text.to_owned();
    while Span::raw(&cut).width() >= room.max(1) && cut.pop().is_some() {}
    cut.push('…');
    cut
}
