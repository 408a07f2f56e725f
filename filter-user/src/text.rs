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
}
