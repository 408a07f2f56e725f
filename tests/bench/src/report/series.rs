//! One number per round, and what they amount to.

use serde::{Deserialize, Serialize};

/// One number per round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub(crate) struct Series(Vec<f64>);

/// How a series is written.
#[derive(Serialize, Deserialize)]
struct Written {
    median: f64,
    rounds: Vec<f64>,
}

impl Series {
    /// Adds what the next round measured.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(rounded(value));
    }

    /// The number in the middle; not a number if there is none.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The quartiles, if there is more than one round.
    pub(crate) fn middle_half(&self) -> Option<(f64, f64)> {
        (self.0.len() > 1).then(|| (self.quantile(0.25), self.quantile(0.75)))
    }

    /// How far the middle half of the rounds lies above or below that of `other`, of whose
    /// nearer end it is a part; 0 if the two overlap.
    pub(crate) fn apart_from(&self, other: &Self) -> f64 {
        let quartiles = |series: &Self| [0.25, 0.75].map(|part| series.quantile(part));
        let ([low, high], [other_low, other_high]) = (quartiles(self), quartiles(other));
        let above = low / other_high - 1.0;
        let below = 1.0 - high / other_low;
        above.max(below).max(0.0)
    }

    /// The number that this part of all numbers are not above, taking the line between
    /// two neighbours; not a number if there is none.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return f64::NAN;
        };
        let place = part * last as f64;
        let (below, above) = (sorted[place as usize], sorted[place.ceil() as usize]);
        // Two that are infinite have no distance.
        if below == above {
            below
        } else {
            below + (above - below) * place.fract()
        }
    }

    /// The ratio to another series, round by round: a slow moment of the machine
    /// hits both.
    pub(crate) fn over(&self, other: &Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    /// The difference to another series, round by round.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    /// `whole` in parts of each number: from packets per time to time per packet.
    pub(crate) fn inverse(&self, whole: f64) -> Self {
        self.0.iter().map(|value| whole / value).collect()
    }

    fn with(&self, other: &Self, join: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| join(*a, *b)).collect()
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl From<Series> for Written {
    fn from(series: Series) -> Self {
        Self {
            median: rounded(series.median()),
            rounds: series.0,
        }
    }
}

impl From<Written> for Series {
    fn from(written: Written) -> Self {
        // The median follows from the rounds.
        Self(written.rounds)
    }
}

/// Without the digits that no clock is worth and that would only make files longer. What
/// is read again is what was measured, to the digit.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        values.iter().copied().collect()
    }

    #[test]
    fn median_is_in_the_middle() {
        assert!(series(&[]).median().is_nan());
        assert_eq!(series(&[3.0]).median(), 3.0);
        assert_eq!(series(&[3.0, 1.0, 100.0]).median(), 3.0);
        assert_eq!(series(&[4.0, 1.0, 100.0, 2.0]).median(), 3.0);
    }

    #[test]
    fn middle_halves_are_apart_or_overlap() {
        let other = series(&[1.0, 2.0, 2.0, 2.0, 100.0]);
        assert_eq!(series(&[3.0, 3.0, 3.0, 0.0, 0.0]).apart_from(&other), 0.0);
        assert_eq!(series(&[3.0, 3.0, 3.0, 3.0, 0.0]).apart_from(&other), 0.5);
        assert_eq!(series(&[1.0, 1.0, 1.0, 1.0, 9.0]).apart_from(&other), 0.5);
        assert_eq!(other.apart_from(&other), 0.0);
    }

    #[test]
    fn series_are_compared_round_by_round() {
        let (a, b) = (series(&[2.0, 200.0, 6.0]), series(&[1.0, 100.0, 2.0]));
        assert_eq!(a.over(&b), series(&[2.0, 2.0, 3.0]));
        assert_eq!(a.minus(&b), series(&[1.0, 100.0, 4.0]));
    }

    #[test]
    fn series_are_read_as_written() -> anyhow::Result<()> {
        let text = serde_json::to_string(&series(&[1.0, 2.5]))?;
        assert_eq!(text, r#"{"median":1.75,"rounds":[1.0,2.5]}"#);
        assert_eq!(serde_json::from_str::<Series>(&text)?, series(&[1.0, 2.5]));
        Ok(())
    }
}
