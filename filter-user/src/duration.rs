//! Durations as the command line takes and shows them: `30s`, `10m`, `2h`, `7d`.

use std::{fmt, str::FromStr, time::Duration};

/// The units, longest first, and how many seconds each has.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A duration in whole seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u64);

/// Why words are no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDuration {
    /// They have another form.
    #[error("a duration is a number and its unit: 30s, 10m, 2h, 7d")]
    Form,
    /// It takes some time until something ends.
    #[error("a duration is at least 1s")]
    Zero,
    /// No clock counts so far.
    #[error("a duration is at most 10 years")]
    Long,
}

impl Seconds {
    /// The most, in seconds: ten years of 365 days.
    pub const MOST: u64 = 3_650 * 86_400;

    /// This many seconds.
    ///
    /// # Errors
    ///
    /// There are none, or too many.
    pub const fn new(seconds: u64) -> Result<Self, NoDuration> {
        match seconds {
            0 => Err(NoDuration::Zero),
            1..=Self::MOST => Ok(Self(seconds)),
            _ => Err(NoDuration::Long),
        }
    }

    /// So many times as long, as far as durations go.
    pub fn times(self, factor: u32) -> Self {
        Self(self.0.saturating_mul(factor.into()).clamp(1, Self::MOST))
    }

    /// The same for the standard library.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl Seconds {
    /// As the command line and files take it: in the longest unit that needs no other.
    pub fn in_one_unit(self) -> String {
        let fits = |(_, seconds): &&(char, u64)| self.0.is_multiple_of(*seconds);
        // Every number is one of seconds.
        let (unit, seconds) = UNITS.iter().find(fits).unwrap_or(&('s', 1));
        format!("{}{unit}", self.0 / seconds)
    }
}

impl FromStr for Seconds {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        let unit = text.chars().next_back().ok_or(NoDuration::Form)?;
        let known = UNITS.iter().find(|(letter, _)| *letter == unit);
        let &(_, seconds) = known.ok_or(NoDuration::Form)?;
        let number = text.trim_end_matches(unit);
        let is_number = number.chars().all(|digit| digit.is_ascii_digit()) && !number.is_empty();
        if !is_number || number.len() + 1 != text.len() {
            return Err(NoDuration::Form);
        }
        // What does not fit is longer than anything that does.
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        Self::new(number.saturating_mul(seconds))
    }
}

impl fmt::Display for Seconds {
    /// In its two longest units: `90s` is `1m 30s`, a day and a second `1d`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = UNITS.iter().position(|(_, seconds)| self.0 >= *seconds);
        let first = first.unwrap_or(UNITS.len() - 1);
        let (letter, seconds) = UNITS[first];
        write!(f, "{}{letter}", self.0 / seconds)?;
        if let Some((letter, smaller)) = UNITS.get(first + 1) {
            let rest = self.0 % seconds / smaller;
            if rest > 0 {
                write!(f, " {rest}{letter}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [
            ("1s", 1),
            ("30s", 30),
            ("10m", 600),
            ("2h", 7_200),
            ("7d", 604_800),
        ] {
            assert_eq!(text.parse(), Ok(Seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn other_words_are_none() {
        for text in [
            "", "s", "30", "30 s", "-1s", "+1s", "1.5h", "30ss", "30S", "1h30m", "1w", "٣s",
        ] {
            assert_eq!(text.parse::<Seconds>(), Err(NoDuration::Form), "{text}");
        }
        assert_eq!("0s".parse::<Seconds>(), Err(NoDuration::Zero));
        for text in ["3651d", "99999999999999999999999d"] {
            assert_eq!(text.parse::<Seconds>(), Err(NoDuration::Long), "{text}");
        }
    }

    #[test]
    fn it_is_shown_in_two_units() {
        for (seconds, shown) in [
            (1, "1s"),
            (60, "1m"),
            (90, "1m 30s"),
            (7_200, "2h"),
            (7_261, "2h 1m"),
            (86_401, "1d"),
            (604_800 + 3_600, "7d 1h"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), shown);
        }
    }
}
