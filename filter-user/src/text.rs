//! How numbers and lists are written in messages and tables.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
