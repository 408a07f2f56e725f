//! Drops per second over the last minutes.

use std::collections::VecDeque;

/// How far back the picture goes, in seconds.
pub(in crate::commands::top) const SPAN: f64 = 300.0;

/// Drops per second, from one look to the next.
#[derive(Clone, Debug, Default)]
pub(in crate::commands::top) struct History {
    stretches: VecDeque<Stretch>,
    /// How long all of it is, in seconds.
    length: f64,
    peak: f64,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// From when to when, in seconds since the history began.
    from: f64,
    to: f64,
    /// `None` while nothing could be compared.
    dropped: Option<f64>,
}

impl History {
    /// So many packets per second were dropped in so many seconds.
    pub(super) fn push(&mut self, dropped: Option<f64>, seconds: f64) {
        let (from, to) = (self.length, self.length + seconds);
        self.length = to;
        self.stretches.push_back(Stretch { from, to, dropped });
        // Somewhat more than is shown, since columns are not cut.
        while self
            .stretches
            .front()
            .is_some_and(|one| one.to < to - 2.0 * SPAN)
        {
            self.stretches.pop_front();
        }
        self.peak = self.peak.max(dropped.unwrap_or_default());
    }

    /// The most drops per second that were seen.
    pub(super) const fn peak(&self) -> f64 {
        self.peak
    }

    /// So many columns of [`SPAN`], the latest last, each with the most drops per second of its
    /// time. Columns have fixed beginnings: what was drawn moves, and does not change.
    pub(in crate::commands::top) fn columns(&self, width: usize) -> Vec<Option<f64>> {
        let mut columns: Vec<Option<f64>> = vec![None; width];
        let each = SPAN / width.max(1) as f64;
        let number = |moment: f64| (moment / each) as usize;
        // What ends where a column begins is none of its.
        let end = |moment: f64| (moment / each).ceil() as usize;
        let past = end(self.length);
        for stretch in &self.stretches {
            for number in number(stretch.from)..end(stretch.to) {
                let Some(place) = (number + width).checked_sub(past) else {
                    continue;
                };
                if let Some(column) = columns.get_mut(place) {
                    *column = match (*column, stretch.dropped) {
                        (Some(one), Some(other)) => Some(one.max(other)),
                        (one, other) => one.or(other),
                    };
                }
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_stays_in_its_column() {
        let mut history = History::default();
        // Columns of 3 s.
        for tick in 0..7 {
            history.push(Some(f64::from(tick)), 1.0);
        }
        let columns = history.columns(100);
        assert_eq!(columns[97..], [Some(2.0), Some(5.0), Some(6.0)]);
        assert!(columns[..97].iter().all(Option::is_none));
        for _ in 0..2 {
            history.push(Some(0.0), 1.0);
            assert_eq!(
                history.columns(100)[97..],
                [Some(2.0), Some(5.0), Some(6.0)]
            );
        }
        history.push(Some(0.0), 1.0);
        assert_eq!(
            history.columns(100)[97..],
            [Some(5.0), Some(6.0), Some(0.0)]
        );
        assert_eq!(history.peak(), 6.0);
    }

    #[test]
    fn a_long_stretch_fills_all_its_columns() {
        let mut history = History::default();
        history.push(Some(4.0), 200.0);
        history.push(None, 100.0);
        assert_eq!(history.columns(3), [Some(4.0), Some(4.0), None]);
        history.push(Some(2.0), 100.0);
        assert_eq!(history.columns(3), [Some(4.0), None, Some(2.0)]);
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut history = History::default();
        for _ in 0..10_000 {
            history.push(Some(1.0), 1.0);
        }
        assert!(history.stretches.len() as f64 <= 2.0 * SPAN + 2.0);
        assert!(
            history
                .columns(64)
                .iter()
                .all(|column| *column == Some(1.0))
        );
    }
}
