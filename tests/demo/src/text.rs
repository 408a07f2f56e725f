//! Writes lines, titles and numbers for the user.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

/// Writes one line to stdout; nobody reading it is no reason to leave things behind.
pub(super) fn say(line: fmt::Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Bold on a terminal that wants it.
pub(super) struct Bold<'a>(pub(super) fmt::Arguments<'a>);

impl fmt::Display for Bold<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !no_color {
            write!(f, "\x1b[1m{}\x1b[0m", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// A number with commas, as xdpfw writes them.
pub(super) struct Thousands(pub(super) u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        let shown = [0, 999, 1000, 65_535, 1_234_567].map(|number| Thousands(number).to_string());
        assert_eq!(shown, ["0", "999", "1,000", "65,535", "1,234,567"]);
    }
}
