//! How rates and counts are written where there is little room.

use crate::text::thousands;

/// Packets per second: `1,234`, `0.2`.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 0.05 => "<0.1".to_owned(),
        rate if rate < 9.95 && (rate - rate.round()).abs() > 0.05 => format!("{rate:.1}"),
        rate => thousands(rate.round() as u64),
    }
}

/// The same in at most so many columns: `12.3M` where `12,345,678` does not fit.
pub(super) fn short(text: String, number: f64, width: usize) -> String {
    if text.len() <= width {
        return text;
    }
    let (number, unit) = match number {
        number if number < 1e6 => (number / 1e3, "k"),
        number if number < 1e9 => (number / 1e6, "M"),
        number if number < 1e12 => (number / 1e9, "G"),
        number if number < 1e15 => (number / 1e12, "T"),
        number => (number / 1e15, "P"),
    };
    format!("{number:.1}{unit}")
}

/// How long something goes on: `42 s`, `4 min 59 s`, `2 h 5 min`.
pub(super) fn left(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_as_exact_as_they_are_small() {
        for (number, text) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.2, "0.2"),
            (1.0, "1"),
            (2.5, "2.5"),
            (12.4, "12"),
            (1234.6, "1,235"),
        ] {
            assert_eq!(rate(number), text);
        }
    }

    #[test]
    fn what_does_not_fit_has_a_unit() {
        for (number, width, text) in [
            (12_345_678.0, 10, "12,345,678"),
            (12_345_678.0, 9, "12.3M"),
            (12_345.0, 5, "12.3k"),
        ] {
            assert_eq!(short(rate(number), number, width), text);
        }
    }
}
