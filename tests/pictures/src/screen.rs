//! A screen, as tmux writes it: text with escape sequences that select colours and attributes
//! (SGR: ECMA-48, section 8.3.117).

/// How a cell looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// One of sixteen colours; `None` is the terminal's own.
    pub(super) color: Option<u8>,
    pub(super) background: Option<u8>,
    pub(super) is_bold: bool,
    pub(super) is_dim: bool,
    pub(super) is_reversed: bool,
}

/// The lines of a screen: cell by cell, a character and its look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Screen {
    pub(super) lines: Vec<Vec<(char, Look)>>,
}

impl Screen {
    /// Reads a screen. What is no text and selects no look is left out, and so are the empty lines
    /// at the end.
    pub(super) fn read(text: &str) -> Self {
        let mut look = Look::default();
        let lines = text.lines().map(|line| {
            let mut cells = Vec::new();
            let mut left = line;
            while let Some(first) = left.chars().next() {
                left = &left[first.len_utf8()..];
                match (first, left.strip_prefix('[')) {
                    ('\x1b', Some(sequence)) => {
                        let end = sequence.find(|c: char| ('@'..='~').contains(&c));
                        let end = end.unwrap_or(sequence.len());
                        let (numbers, others) = sequence.split_at(end);
                        if others.starts_with('m') {
                            look = select(look, numbers);
                        }
                        left = others.get(1..).unwrap_or_default();
                    }
                    (c, _) if c.is_control() => {}
                    (c, _) => cells.push((c, look)),
                }
            }
            cells
        });
        let mut lines: Vec<Vec<(char, Look)>> = lines.collect();
        let is_empty = |line: &Vec<(char, Look)>| line.iter().all(|(c, _)| *c == ' ');
        while lines.last().is_some_and(is_empty) {
            lines.pop();
        }
        Self { lines }
    }

    /// Its columns.
    pub(super) fn width(&self) -> usize {
        self.lines.iter().map(Vec::len).max().unwrap_or_default()
    }
}

/// The look after a sequence with these numbers.
fn select(mut look: Look, numbers: &str) -> Look {
    let mut numbers = numbers
        .split([';', ':'])
        .map(|number| number.parse::<u8>().unwrap_or(0));
    while let Some(number) = numbers.next() {
        match number {
            0 => look = Look::default(),
            1 => look.is_bold = true,
            2 => look.is_dim = true,
            7 => look.is_reversed = true,
            22 => (look.is_bold, look.is_dim) = (false, false),
            27 => look.is_reversed = false,
            30..=37 => look.color = Some(number - 30),
            39 => look.color = None,
            40..=47 => look.background = Some(number - 40),
            49 => look.background = None,
            90..=97 => look.color = Some(number - 90 + 8),
            100..=107 => look.background = Some(number - 100 + 8),
            38 | 48 => {
                // By number; others are none of the sixteen.
                let color = match numbers.next() {
                    Some(5) => numbers.next().filter(|&color| color < 16),
                    _ => None,
                };
                match number {
                    38 => look.color = color,
                    _ => look.background = color,
                }
            }
            _ => {}
        }
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_go_on_until_they_are_taken_back() {
        let screen =
            Screen::read("\x1b[1;38;5;1mab\x1b[0mc\n\x1b[7md\x1b[39;27me\x1b[92mf\x1b(B\n \n\n");
        assert_eq!(screen.lines.len(), 2);
        let looks: Vec<Vec<Look>> = screen
            .lines
            .iter()
            .map(|line| line.iter().map(|(_, look)| *look).collect())
            .collect();
        let red = Look {
            color: Some(1),
            is_bold: true,
            ..Look::default()
        };
        assert_eq!(looks[0], [red, red, Look::default()]);
        assert!(looks[1][0].is_reversed && !looks[1][1].is_reversed);
        assert_eq!(looks[1][2].color, Some(10));
        assert_eq!(screen.width(), 5);
    }
}
