//! Owns what one thing measured in every round amounts to.

use serde::Serialize;

/// One number per round.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(into = "Written")]
pub(super) struct Series(Vec<f64>);

/// How a series is written.
#[derive(Serialize)]
struct Written {
    median: f64,
    rounds: Vec<f64>,
}

impl Series {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The number in the middle; not a number if there is none.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.len() % 2, sorted.get(middle)) {
            (_, None) => f64::NAN,
            (0, Some(upper)) => f64::midpoint(sorted[middle - 1], *upper),
            (_, Some(value)) => *value,
        }
    }

    /// The ratio to another series, round by round: a slow moment of the machine
    /// hits both.
    pub(super) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl From<Series> for Written {
    fn from(series: Series) -> Self {
        // More digits than any clock is worth would only make the file longer.
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        Self {
            median: rounded(series.median()),
            rounds: series.0.into_iter().map(rounded).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_in_the_middle() {
        let median = |values: &[f64]| values.iter().copied().collect::<Series>().median();
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 100.0, 2.0]), 3.0);
    }

    #[test]
    fn ratio_is_of_each_round() {
        let (a, b): (Series, Series) = (
            [2.0, 200.0, 6.0].into_iter().collect(),
            [1.0, 100.0, 2.0].into_iter().collect(),
        );
        assert_eq!(a.over(&b).median(), 2.0);
    }
}
