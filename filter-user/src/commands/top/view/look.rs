//! Colours, attributes and characters, as far as the terminal has them.

use std::io;

use anstream::AutoStream;
use clap::ColorChoice;
use ratatui::{
    style::{Color, Modifier, Style},
    symbols::bar,
};

use crate::output::has_blocks;

/// How things look. Where there is no colour, attributes alone tell things apart.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::top) struct Look {
    pub(in crate::commands::top) is_colored: bool,
    /// Whether the terminal shows more than ASCII.
    pub(in crate::commands::top) has_blocks: bool,
}

/// Whether to use colour on stdout.
fn is_colored(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
    }
}

impl Look {
    /// For this terminal.
    pub(in crate::commands::top) fn new(color: ColorChoice) -> Self {
        Self {
            is_colored: is_colored(color),
            has_blocks: has_blocks(),
        }
    }

    fn style(self, color: Color, modifier: Modifier) -> Style {
        match self.is_colored {
            true => Style::new().fg(color),
            false => Style::new().add_modifier(modifier),
        }
    }

    pub(super) fn drops(self) -> Style {
        self.style(Color::Red, Modifier::BOLD)
    }

    pub(super) fn passes(self) -> Style {
        self.style(Color::Green, Modifier::empty())
    }

    pub(super) fn warning(self) -> Style {
        self.style(Color::Yellow, Modifier::BOLD)
            .add_modifier(Modifier::BOLD)
    }

    /// What is wrong, or is not as it is every day.
    pub(super) fn alarm(self) -> Style {
        self.style(Color::Red, Modifier::BOLD)
            .add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// The panel that keys go to.
    pub(super) fn focus(self) -> Style {
        self.style(Color::Cyan, Modifier::BOLD)
            .add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    pub(super) fn title(self) -> Style {
        self.style(Color::Cyan, Modifier::BOLD)
    }

    pub(super) fn key(self) -> Style {
        self.style(Color::Cyan, Modifier::BOLD)
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        // The whole row alike: a word in its colour would be a hole in it.
        Style::new()
            .fg(Color::Reset)
            .remove_modifier(Modifier::DIM | Modifier::BOLD)
            .add_modifier(Modifier::REVERSED)
    }

    /// Columns of nine heights.
    pub(super) const fn columns(self) -> bar::Set<'static> {
        match self.has_blocks {
            true => bar::NINE_LEVELS,
            false => bar::Set {
                full: "#",
                seven_eighths: "#",
                three_quarters: "+",
                five_eighths: "=",
                half: "=",
                three_eighths: "-",
                one_quarter: ":",
                one_eighth: ".",
                empty: " ",
            },
        }
    }

    /// A bar of a row, `part` of so many cells long.
    pub(super) fn bar(self, part: f64, cells: usize) -> String {
        let eighths = (part.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
        if !self.has_blocks {
            return "#".repeat(eighths.div_ceil(8));
        }
        let mut bar = "█".repeat(eighths / 8);
        if let Some(last) = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"].get((eighths % 8).wrapping_sub(1))
        {
            bar.push_str(last);
        }
        bar
    }

    pub(super) const fn sorted(self, is_reversed: bool) -> &'static str {
        match (self.has_blocks, is_reversed) {
            (true, false) => "▼",
            (true, true) => "▲",
            (false, _) => "*",
        }
    }
}
