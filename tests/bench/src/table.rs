//! Writes the cells of a chapter: the number, and beside it its relation to the reference.
//! Terminal, page and plots have the same.

use std::fmt;

use crate::{
    number::{difference, number},
    report::chapter::{Chapter, Unit},
};

/// A cell in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) value: String,
    /// What it is to the reference; nothing for the reference itself.
    pub(super) beside: Option<String>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.beside {
            Some(beside) => f.pad(&format!("{} ({beside})", self.value)),
            None => f.pad(&self.value),
        }
    }
}

impl Chapter {
    /// What a subject measured in a case, in words.
    pub(super) fn cell(&self, subject: &str, case: &str) -> Option<Cell> {
        let value = number(self.series(subject, case)?.median());
        let beside = if self.reference.as_deref() == Some(subject) {
            None
        } else if self.unit.is_per_packet() {
            let beyond = self.beyond(subject, case);
            beyond.map(|beyond| format!("{} ns", difference(beyond.median())))
        } else {
            let relative = self.relative(subject, case);
            relative.map(|relative| format!("{} ×", number(relative.median())))
        };
        Some(Cell { value, beside })
    }

    /// What stands in brackets in [`Self::cell`], in words.
    pub(super) fn legend(&self) -> Option<String> {
        let reference = self.reference.as_ref()?;
        Some(if self.unit.is_per_packet() {
            format!("ns per packet beyond *{reference}*")
        } else {
            format!("as a multiple of *{reference}*")
        })
    }
}

impl Unit {
    /// Whether it says what a packet costs, one way or the other, so that the difference
    /// between two subjects is what one does and the other does not.
    const fn is_per_packet(self) -> bool {
        matches!(
            self,
            Self::NanosecondsPerPacket | Self::MegapacketsPerSecond
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_what_packets_cost_more() {
        for (unit, beside) in [
            (Unit::NanosecondsPerPacket, "8.00 (+3.00 ns)"),
            (Unit::MegapacketsPerSecond, "8.00 (−75.0 ns)"),
            (Unit::Milliseconds, "8.00 (1.60 ×)"),
        ] {
            let mut chapter = Chapter::new("x", "", unit, "x").against("no-op");
            chapter.push("no-op", "SYN", 5.0);
            chapter.push("xdpfw", "SYN", 8.0);
            let text = |subject| chapter.cell(subject, "SYN").map(|cell| cell.to_string());
            assert_eq!(text("xdpfw").as_deref(), Some(beside));
            assert_eq!(text("no-op").as_deref(), Some("5.00"));
            assert_eq!(text("floor"), None);
        }
    }
}
