//! A panel: which rows are shown in which order, and which one is selected.

use std::cmp::Ordering;

use super::{Key, Rows};

/// The panels, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::top) enum PanelKind {
    Ports,
    Reasons,
    Sources,
    Rules,
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::top) enum SortKey {
    /// Packets per second, most first.
    Rate,
    /// Packets, most first.
    Packets,
    /// What they are about: number, address, or place.
    Name,
}

/// What is shown of a panel.
#[derive(Clone, Debug)]
pub(in crate::commands::top) struct Panel {
    kind: PanelKind,
    pub(in crate::commands::top) sort: SortKey,
    /// Whether the order is the other way around.
    pub(in crate::commands::top) is_reversed: bool,
    /// Places of the rows that are shown, in their order.
    order: Vec<u32>,
    /// The row that was selected by hand: it stays selected wherever it moves. Nobody has
    /// selected one at first, and the first row is.
    selected: Option<Key>,
    index: usize,
    /// The first row on screen.
    top: usize,
    /// Rows on screen.
    height: usize,
}

impl PanelKind {
    pub(in crate::commands::top) const ALL: [Self; 4] =
        [Self::Ports, Self::Reasons, Self::Sources, Self::Rules];

    pub(in crate::commands::top) const fn title(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Reasons => "reasons",
            Self::Sources => "sources",
            Self::Rules => "rules",
        }
    }

    pub(in crate::commands::top) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    pub(in crate::commands::top) fn previous(self) -> Self {
        Self::ALL[(self as usize + Self::ALL.len() - 1) % Self::ALL.len()]
    }
}

impl SortKey {
    const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Packets,
            Self::Packets => Self::Name,
            Self::Name => Self::Rate,
        }
    }
}

impl Panel {
    pub(super) const fn new(kind: PanelKind) -> Self {
        Self {
            kind,
            sort: match kind {
                // The first match counts, so their order means something.
                PanelKind::Rules => SortKey::Name,
                _ => SortKey::Rate,
            },
            is_reversed: false,
            order: Vec::new(),
            selected: None,
            index: 0,
            top: 0,
            height: 1,
        }
    }

    /// Filters and sorts rows.
    pub(super) fn show(&mut self, rows: &Rows, filter: &str) {
        let kind = self.kind;
        self.order.clear();
        let every = 0..rows.len(kind);
        let filter = filter.to_ascii_lowercase();
        let mut text = String::new();
        self.order.extend(
            every
                .filter(|&index| {
                    filter.is_empty() || {
                        rows.text(kind, index, &mut text);
                        text.contains(&filter)
                    }
                })
                .map(|index| index as u32),
        );
        let (sort, is_reversed) = (self.sort, self.is_reversed);
        self.order.sort_unstable_by(|&one, &other| {
            let order = compare(rows, kind, sort, one as usize, other as usize);
            match is_reversed {
                true => order.reverse(),
                false => order,
            }
        });
        let here = self.selected.as_ref().and_then(|selected| {
            let is_it = |&&index: &&u32| rows.key(kind, index as usize) == *selected;
            self.order.iter().position(|index| is_it(&index))
        });
        match here {
            Some(here) => self.index = here,
            // Whatever has come in its place was not selected.
            None if self.selected.is_none() => self.index = 0,
            None => {}
        }
        self.keep_in_sight();
    }

    /// The rows that are shown, by their places.
    pub(in crate::commands::top) fn order(&self) -> &[u32] {
        &self.order
    }

    /// The one that is selected, by its place in the order.
    pub(in crate::commands::top) const fn index(&self) -> usize {
        self.index
    }

    /// The rows that are on screen, by their places in the order.
    pub(in crate::commands::top) fn in_sight(&self) -> std::ops::Range<usize> {
        self.top..(self.top + self.height).min(self.order.len())
    }

    /// Makes room for so many rows.
    pub(in crate::commands::top) fn fit(&mut self, height: usize) {
        self.height = height.max(1);
        self.keep_in_sight();
    }

    /// Selects another row, so many further down.
    pub(in crate::commands::top) fn select(&mut self, rows: &Rows, down: isize) {
        self.index = self.index.saturating_add_signed(down);
        self.keep_in_sight();
        self.selected = self
            .order
            .get(self.index)
            .map(|&index| rows.key(self.kind, index as usize));
    }

    /// Selects whatever comes first, from now on.
    pub(in crate::commands::top) fn select_first(&mut self) {
        self.selected = None;
        self.index = 0;
        self.keep_in_sight();
    }

    /// Rows that a page has.
    pub(in crate::commands::top) const fn page(&self) -> isize {
        self.height as isize
    }

    /// Sorts by something else from the next time on.
    pub(in crate::commands::top) const fn sort_by_next(&mut self) {
        self.sort = self.sort.next();
        self.is_reversed = false;
    }

    fn keep_in_sight(&mut self) {
        self.index = self.index.min(self.order.len().saturating_sub(1));
        let last = self.order.len().saturating_sub(self.height);
        self.top = self.top.min(last).min(self.index);
        self.top = self.top.max((self.index + 1).saturating_sub(self.height));
    }
}

/// The order of two rows: equal ones stand as they came, and no row jumps.
fn compare(rows: &Rows, kind: PanelKind, sort: SortKey, one: usize, other: usize) -> Ordering {
    let by_name = match kind {
        PanelKind::Sources => {
            let address = |index: usize| rows.sources[index].address;
            address(one).cmp(&address(other))
        }
        _ => one.cmp(&other),
    };
    let (rate, packets) = rows.numbers(kind, one);
    let (other_rate, other_packets) = rows.numbers(kind, other);
    match sort {
        SortKey::Rate => other_rate
            .total_cmp(&rate)
            .then(other_packets.cmp(&packets)),
        SortKey::Packets => other_packets.cmp(&packets),
        SortKey::Name => Ordering::Equal,
    }
    .then(by_name)
}
