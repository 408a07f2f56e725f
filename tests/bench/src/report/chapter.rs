//! The form of all results: a chapter is a table with a row for everyone who was
//! measured, a column for each case, and a series in each cell.

use serde::{Deserialize, Serialize};

use crate::report::series::Series;

/// What was measured in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Chapter {
    /// Its name in files and on the command line.
    pub(crate) id: String,
    /// One line on what is measured.
    pub(crate) title: String,
    pub(crate) unit: Unit,
    /// What the cases differ in: "packet", "rules in force".
    pub(crate) axis: String,
    /// The row that all others are seen against, so that machines can be compared. None
    /// where the numbers are no times.
    pub(crate) reference: Option<String>,
    /// The heads of the columns. Where all of them are numbers ("1,000"), they are a
    /// scale, and the numbers grow with it or not.
    pub(crate) cases: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// What was measured of one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Who was measured: "xdpfw", "nft netdev ingress".
    pub(crate) subject: String,
    /// One for each case; none where the subject cannot do it.
    pub(crate) cells: Vec<Option<Series>>,
}

/// What the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    #[serde(rename = "ns/packet")]
    NanosecondsPerPacket,
    #[serde(rename = "Mpps")]
    MegapacketsPerSecond,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "µs")]
    Microseconds,
    #[serde(rename = "Gbit/s")]
    GigabitsPerSecond,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "%")]
    Percent,
}

impl Unit {
    /// How it is written.
    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::NanosecondsPerPacket => "ns/packet",
            Self::MegapacketsPerSecond => "Mpps",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::Mebibytes => "MiB",
            Self::Percent => "%",
        }
    }

    /// Whether more of it is better.
    pub(crate) const fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::MegapacketsPerSecond | Self::GigabitsPerSecond | Self::Percent
        )
    }
}

impl Chapter {
    /// A chapter without numbers.
    pub(crate) fn new(id: &str, title: &str, unit: Unit, axis: &str) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            unit,
            axis: axis.into(),
            reference: None,
            cases: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The same, with everyone seen against the row of `reference`.
    pub(crate) fn against(mut self, reference: &str) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// Adds what a subject measured in a case in this round. Rows and columns stand in
    /// the order in which they come first.
    pub(crate) fn push(&mut self, subject: &str, case: &str, value: f64) {
        let column = self.column(case);
        let width = self.cases.len();
        for row in &mut self.rows {
            row.cells.resize(width, None);
        }
        let at = self.rows.iter().position(|row| row.subject == subject);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row {
                subject: subject.into(),
                cells: vec![None; width],
            });
            self.rows.len() - 1
        });
        self.rows[at].cells[column]
            .get_or_insert_default()
            .push(value);
    }

    /// What a subject measured in a case.
    pub(crate) fn series(&self, subject: &str, case: &str) -> Option<&Series> {
        let column = self.cases.iter().position(|known| known == case)?;
        let row = self.rows.iter().find(|row| row.subject == subject)?;
        row.cells.get(column)?.as_ref()
    }

    /// A series as a multiple of the reference's in the same case.
    pub(crate) fn relative(&self, subject: &str, case: &str) -> Option<Series> {
        let reference = self.series(self.reference.as_deref()?, case)?;
        Some(self.series(subject, case)?.over(reference))
    }

    /// The time that a packet takes beyond what it takes of the reference, in ns.
    pub(crate) fn beyond(&self, subject: &str, case: &str) -> Option<Series> {
        let reference = self.series(self.reference.as_deref()?, case)?;
        let series = self.series(subject, case)?;
        match self.unit {
            Unit::NanosecondsPerPacket => Some(series.minus(reference)),
            Unit::MegapacketsPerSecond => Some(series.inverse(1e3).minus(&reference.inverse(1e3))),
            _ => None,
        }
    }

    /// The cases as numbers, if they are a scale.
    pub(crate) fn scale(&self) -> Option<Vec<f64>> {
        let number = |case: &String| case.replace(',', "").parse().ok();
        self.cases.iter().map(number).collect()
    }

    fn column(&mut self, case: &str) -> usize {
        let known = self.cases.iter().position(|known| known == case);
        known.unwrap_or_else(|| {
            self.cases.push(case.into());
            self.cases.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chapter() -> Chapter {
        let mut chapter =
            Chapter::new("rules", "", Unit::NanosecondsPerPacket, "rules").against("no-op");
        chapter.push("no-op", "1", 10.0);
        chapter.push("xdpfw", "1", 12.0);
        chapter.push("xdpfw", "1,000", 13.0);
        chapter.push("xdpfw", "1", 14.0);
        chapter
    }

    #[test]
    fn cells_are_where_they_belong() {
        let chapter = chapter();
        assert_eq!(chapter.cases, ["1", "1,000"]);
        let median = |subject, case| Some(chapter.series(subject, case)?.median());
        assert_eq!(median("xdpfw", "1"), Some(13.0));
        assert_eq!(median("xdpfw", "1,000"), Some(13.0));
        assert_eq!(median("no-op", "1,000"), None);
        assert_eq!(chapter.rows[0].cells.len(), 2);
    }

    #[test]
    fn numbers_are_seen_against_the_reference() {
        let chapter = chapter();
        let relative = |case| Some(chapter.relative("xdpfw", case)?.median());
        assert_eq!(relative("1"), Some(1.2));
        assert_eq!(relative("1,000"), None);
    }

    #[test]
    fn what_is_beyond_the_reference_is_a_time() {
        let mut chapter = chapter();
        let beyond = |chapter: &Chapter| Some(chapter.beyond("xdpfw", "1")?.median());
        assert_eq!(beyond(&chapter), Some(2.0));
        chapter.unit = Unit::MegapacketsPerSecond;
        // 12 Mpps are 83.3 ns, 10 Mpps are 100.
        assert!(beyond(&chapter).is_some_and(|ns| (ns + 16.67).abs() < 0.01));
        chapter.unit = Unit::Milliseconds;
        assert_eq!(beyond(&chapter), None);
    }

    #[test]
    fn scale_is_made_of_numbers() {
        let mut chapter = chapter();
        assert_eq!(chapter.scale(), Some(vec![1.0, 1000.0]));
        chapter.push("xdpfw", "SYN", 1.0);
        assert_eq!(chapter.scale(), None);
    }
}
