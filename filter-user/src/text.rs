//! How numbers and lists are written in messages and tables.

use std::{borrow::Cow, fmt};

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// A number with its thousands apart: `3,120,883`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A moment as the clock on the wall shows it, with its zone: `18:00:05+01:00`, of another day
/// than today with that in front.
pub(crate) fn clock_time(moment: Timestamp) -> String {
    let (moment, now) = (moment.to_zoned(TimeZone::system()), Zoned::now());
    let form = match moment.date() == now.date() {
        true => "%H:%M:%S%:z",
        false => "%Y-%m-%d %H:%M:%S%:z",
    };
    moment.strftime(form).to_string()
}

/// The first `limit` items as the command line takes them, and how many are left out:
/// `a,b,c` or `a,b,c +99,997`.
pub(crate) fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl ExactSizeIterator<Item = T>,
    limit: usize,
) -> fmt::Result {
    let more = items.len().saturating_sub(limit);
    for (index, item) in items.take(limit).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(f, "{comma}{item}")?;
    }
    if more > 0 {
        write!(f, " +{}", thousands(more as u64))?;
    }
    Ok(())
}

/// Items in a sentence, the first `limit` of them: `r2`, `r2 and r3`, `r2, r3 and 4 more`.
pub(crate) fn sentence_list<T: fmt::Display>(items: &[T], limit: usize) -> String {
    let mut shown: Vec<String> = items.iter().take(limit).map(T::to_string).collect();
    if items.len() > shown.len() {
        let more = (items.len() - shown.len()) as u64;
        shown.push(format!("{} more", thousands(more)));
    }
    match shown.pop() {
        Some(last) if !shown.is_empty() => format!("{} and {last}", shown.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// Whether a character does something to a terminal, or to the order of what stands around it,
/// instead of being seen: C0 and C1 controls, and what directs bidirectional text (Unicode
/// Standard Annex 9, section 2) or ends a line.
pub(crate) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text as a terminal can be trusted with: what would not be seen is written as an escape.
/// Blanks and the ends of lines stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let is_escaped = |c| !matches!(c, '\n' | '\t') && is_unseen(c);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        match is_escaped(c) {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// The same in a line of its own: the ends of lines are escaped, too.
pub(crate) fn in_line(text: &str) -> String {
    let escaped = |c: char| match is_unseen(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A checksum: FNV-1a.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_escaped() {
        for (text, seen) in [
            ("caf\u{e9} \u{4e2d}", "caf\u{e9} \u{4e2d}"),
            ("two\nlines\n", "two\nlines\n"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("over\rwritten", "over\\rwritten"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{2067}b\u{2069}", "a\\u{2067}b\\u{2069}"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!(visible(text), seen);
        }
    }

    #[test]
    fn a_name_stays_in_its_line() {
        assert_eq!(in_line("caf\u{e9} \x1b[2J"), "caf\u{e9} \\u{1b}[2J");
        assert_eq!(in_line("a\nb\tc"), "a\\nb\\tc");
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (41022, "41,022"),
            (3_120_883, "3,120,883"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_list_in_a_sentence_is_cut() {
        assert_eq!(sentence_list::<u8>(&[], 3), "");
        assert_eq!(sentence_list(&[1], 3), "1");
        assert_eq!(sentence_list(&[1, 2], 3), "1 and 2");
        assert_eq!(sentence_list(&[1, 2, 3], 3), "1, 2 and 3");
        assert_eq!(sentence_list(&[1, 2, 3, 4, 5], 3), "1, 2, 3 and 2 more");
    }
}
