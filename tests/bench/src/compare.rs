//! Compares two runs, which may be of different machines. So a number is seen against the
//! reference of its chapter in the same run, and never as a time.

use std::{fmt::Write as _, path::Path};

use anyhow::{Result, bail};
use xdpfw_tests::task::print;

use crate::{
    number::{percent, ratio},
    report::{
        Report,
        chapter::{Chapter, Row, Unit},
        names::{chapters::FEATURES, subjects::XDPFW},
        series::Series,
    },
    terminal,
};

/// Tells what changed since `old`, the report in the file `path`. An error if xdpfw got
/// worse by more than `tolerance` percent.
pub(super) fn run(old: &Report, new: &Report, tolerance: f64, path: &Path) -> Result<()> {
    let comparison = Comparison::new(old, new, tolerance / 100.0);
    print(&comparison.text()?)?;
    let shown = path.display();
    match comparison.regressions().count() {
        0 => Ok(()),
        number => {
            let which: Vec<_> = comparison.regressions().map(Change::name).collect();
            let plural = if number == 1 { "" } else { "s" };
            bail!(
                "{number} regression{plural} of more than {tolerance} % against {shown}: {}",
                which.join("; ")
            )
        }
    }
}

/// Two runs, side by side.
struct Comparison {
    /// What the old run is of.
    since: String,
    /// What made its numbers worse than they need to be.
    warnings: Vec<&'static str>,
    changes: Vec<Change>,
    /// What is in one of them only.
    unmatched: Vec<String>,
    /// 0.1 is 10 %.
    tolerance: f64,
}

/// A number that both runs have.
#[derive(Debug)]
struct Change {
    chapter: String,
    subject: String,
    case: String,
    old: f64,
    new: f64,
    /// 0.1 is 10 % more.
    change: f64,
    /// How much of it is for the worse.
    worse: f64,
    /// How much of it is more than the rounds of each run differ by.
    sure: f64,
    /// Whether it is about this project.
    is_ours: bool,
}

impl Comparison {
    fn new(old: &Report, new: &Report, tolerance: f64) -> Self {
        let mut changes = Vec::new();
        let mut unmatched = Vec::new();
        for chapter in &new.chapters {
            match old.chapter(&chapter.id) {
                None => unmatched.push(format!("the chapter {} is new", chapter.id)),
                Some(earlier) if !is_alike(earlier, chapter) => {
                    unmatched.push(format!("the chapter {} has another form", chapter.id));
                }
                Some(earlier) => {
                    changes.extend(of_cases(earlier, chapter));
                    changes.extend(of_growth(earlier, chapter));
                    unmatched.extend(ours_missing(earlier, chapter));
                }
            }
        }
        let gone = old.chapters.iter().map(|chapter| chapter.id.as_str());
        let gone: Vec<_> = gone.filter(|id| new.chapter(id).is_none()).collect();
        if !gone.is_empty() {
            let gone = gone.join(", ");
            unmatched.push(format!("chapters in the old run only: {gone}"));
        }
        // The worst first.
        changes.sort_by(|a, b| b.worse.total_cmp(&a.worse));
        Self {
            since: old.machine.summary(),
            warnings: old.machine.warnings(),
            changes,
            unmatched,
            tolerance,
        }
    }

    fn regressions(&self) -> impl Iterator<Item = &Change> {
        let worse = self.worse();
        worse.filter(|change| change.worse > self.drift(&change.chapter))
    }

    /// What changed for the worse, ours only, and by how much of it two runs of the same
    /// may differ anyway.
    fn drifts(&self) -> impl Iterator<Item = (&Change, f64)> {
        let worse = self
            .worse()
            .map(|change| (change, self.drift(&change.chapter)));
        worse.filter(|(change, drift)| change.worse <= *drift)
    }

    /// What is worse by more than what is tolerated and what the rounds differ by.
    fn worse(&self) -> impl Iterator<Item = &Change> {
        let ours = self.changes.iter().filter(|change| change.is_ours);
        ours.filter(|change| change.worse > 0.0 && change.sure > self.tolerance)
    }

    /// By how much the numbers of others changed in a chapter, at most. They are what they
    /// were, so that is what two runs, perhaps of two machines, differ by.
    fn drift(&self, chapter: &str) -> f64 {
        let changes = self.changes.iter();
        let others = changes.filter(|change| !change.is_ours && change.chapter == chapter);
        others.map(|change| change.change.abs()).fold(0.0, f64::max)
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let ours: Vec<_> = self
            .changes
            .iter()
            .filter(|change| change.is_ours)
            .collect();
        writeln!(text, "\nSince {}", self.since)?;
        for warning in &self.warnings {
            writeln!(text, "warning: there, {warning}")?;
        }
        writeln!(
            text,
            "xdpfw's numbers as multiples of each chapter's reference, the worst first"
        )?;
        text += &table(&ours);
        // Where these changed, it is the peers or the machine that are others.
        let others: Vec<_> = self
            .changes
            .iter()
            .filter(|change| !change.is_ours && change.sure > self.tolerance)
            .collect();
        if !others.is_empty() {
            writeln!(text, "\nOthers that changed by more, which are not judged")?;
            text += &table(&others);
        }
        writeln!(text)?;
        for unmatched in &self.unmatched {
            writeln!(text, "not compared: {unmatched}")?;
        }
        for (change, drift) in self.drifts() {
            let others = percent(drift);
            writeln!(text, "not judged: {} (others: {others})", change.name())?;
        }
        let percent = self.tolerance * 100.0;
        for change in self.regressions() {
            writeln!(text, "REGRESSION: {}", change.name())?;
        }
        match self.regressions().count() {
            0 => writeln!(text, "No regression of more than {percent} %.")?,
            1 => writeln!(text, "1 regression of more than {percent} %.")?,
            many => writeln!(text, "{many} regressions of more than {percent} %.")?,
        }
        Ok(text)
    }
}

impl Change {
    fn new(
        chapter: &Chapter,
        subject: &str,
        case: String,
        old: &Series,
        new: &Series,
    ) -> Option<Self> {
        let change = new.median() / old.median() - 1.0;
        change.is_finite().then(|| Self {
            chapter: chapter.id.clone(),
            subject: subject.into(),
            case,
            old: old.median(),
            new: new.median(),
            change,
            worse: if chapter.unit.more_is_better() {
                -change
            } else {
                change
            },
            sure: new.apart_from(old),
            is_ours: is_ours(chapter, subject),
        })
    }

    /// Which number it is, and how much of it.
    fn name(&self) -> String {
        let by = percent(self.change);
        format!("{}, {}, {}: {by}", self.chapter, self.subject, self.case)
    }
}

/// Whether a row is about this project. Of features, all are.
fn is_ours(chapter: &Chapter, subject: &str) -> bool {
    subject.starts_with(XDPFW) || chapter.id == FEATURES
}

/// Whether the numbers of both mean the same.
fn is_alike(old: &Chapter, new: &Chapter) -> bool {
    old.unit == new.unit && old.reference == new.reference
}

/// What can be compared between machines: a multiple of the reference, or, of what is no
/// time, the number itself.
fn comparable(chapter: &Chapter, subject: &str, case: &str) -> Option<Series> {
    match (&chapter.reference, chapter.unit) {
        (Some(reference), _) if reference == subject => None,
        (Some(_), _) => chapter.relative(subject, case),
        (None, Unit::Mebibytes) => chapter.series(subject, case).cloned(),
        (None, _) => None,
    }
}

/// The changes in all cells.
fn of_cases(old: &Chapter, new: &Chapter) -> Vec<Change> {
    let change = |row: &Row, case: &String| {
        let subject = &row.subject;
        let before = comparable(old, subject, case)?;
        let after = comparable(new, subject, case)?;
        Change::new(new, subject, case.clone(), &before, &after)
    };
    let changes = new
        .rows
        .iter()
        .flat_map(|row| new.cases.iter().filter_map(move |case| change(row, case)));
    changes.collect()
}

/// The changes in how much each subject's numbers grow from one end of a scale to the
/// other.
fn of_growth(old: &Chapter, new: &Chapter) -> Vec<Change> {
    let (Some(_), [first, .., last]) = (new.scale(), new.cases.as_slice()) else {
        return Vec::new();
    };
    let growth = |chapter: &Chapter, subject: &str| {
        let first = chapter.series(subject, first)?;
        Some(chapter.series(subject, last)?.over(first))
    };
    let change = |row: &Row| {
        let subject = &row.subject;
        let before = growth(old, subject)?;
        let after = growth(new, subject)?;
        Change::new(new, subject, format!("{last} ÷ {first}"), &before, &after)
    };
    new.rows.iter().filter_map(change).collect()
}

/// Numbers of this project that one of the chapters lacks.
fn ours_missing(old: &Chapter, new: &Chapter) -> Vec<String> {
    let mut missing = Vec::new();
    for (one, other, word) in [(old, new, "old"), (new, old, "new")] {
        for row in one.rows.iter().filter(|row| is_ours(one, &row.subject)) {
            let subject = &row.subject;
            for case in &one.cases {
                let has = |chapter| comparable(chapter, subject, case).is_some();
                if has(one) && !has(other) {
                    let id = &one.id;
                    missing.push(format!("{id}, {subject}, {case} is in the {word} run only"));
                }
            }
        }
    }
    missing
}

fn table(changes: &[&Change]) -> String {
    let heads = ["chapter", "subject", "case", "old", "new", "change"].map(String::from);
    let rows = changes.iter().map(|change| {
        vec![
            change.chapter.clone(),
            change.subject.clone(),
            change.case.clone(),
            ratio(change.old),
            ratio(change.new),
            percent(change.change),
        ]
    });
    terminal::table(heads, 3, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::machine::Machine;

    fn machine() -> Machine {
        let published = Report::published().unwrap();
        Machine {
            stolen: 0.0,
            ..published.machine
        }
    }

    /// A report of one chapter, in which xdpfw and nft measured these, and no-op 100 ns.
    fn report(unit: Unit, xdpfw: [f64; 3], nft: [f64; 3]) -> Report {
        let mut chapter = Chapter::new("rules", "", unit, "rules").against("no-op");
        for (xdpfw, nft) in xdpfw.into_iter().zip(nft) {
            for case in ["1", "10"] {
                chapter.push("no-op", case, 100.0);
                chapter.push("xdpfw", case, xdpfw);
                chapter.push("nft", case, nft);
            }
        }
        Report::new(machine(), vec![chapter])
    }

    fn steady(unit: Unit, xdpfw: f64, nft: f64) -> Report {
        report(unit, [xdpfw; 3], [nft; 3])
    }

    fn verdict(old: &Report, new: &Report) -> Result<()> {
        run(old, new, 10.0, Path::new("OLD.json"))
    }

    #[test]
    fn what_got_worse_is_a_regression() {
        let unit = Unit::NanosecondsPerPacket;
        let old = steady(unit, 110.0, 300.0);
        assert!(verdict(&old, &steady(unit, 120.0, 300.0)).is_ok());
        let error = verdict(&old, &steady(unit, 132.0, 300.0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 regressions of more than 10 % against OLD.json: \
             rules, xdpfw, 1: +20.0 %; rules, xdpfw, 10: +20.0 %"
        );
        // Of frames per second, fewer are worse.
        let unit = Unit::MegapacketsPerSecond;
        let old = steady(unit, 90.0, 30.0);
        assert!(verdict(&old, &steady(unit, 70.0, 30.0)).is_err());
        assert!(verdict(&old, &steady(unit, 99.0, 30.0)).is_ok());
    }

    #[test]
    fn a_disturbed_old_run_is_told() -> Result<()> {
        let mut old = steady(Unit::NanosecondsPerPacket, 110.0, 300.0);
        let new = old.clone();
        let warning = "warning: there, others on the same hardware";
        assert!(!Comparison::new(&old, &new, 0.1).text()?.contains(warning));
        old.machine.stolen = 0.14;
        assert!(Comparison::new(&old, &new, 0.1).text()?.contains(warning));
        Ok(())
    }

    #[test]
    fn what_got_better_is_none() -> Result<()> {
        let unit = Unit::NanosecondsPerPacket;
        let (old, new) = (steady(unit, 110.0, 300.0), steady(unit, 80.0, 300.0));
        verdict(&old, &new)?;
        let text = Comparison::new(&old, &new, 0.1).text()?;
        assert!(text.contains("−27.3 %"), "{text}");
        assert!(text.contains("No regression of more than 10 %."), "{text}");
        Ok(())
    }

    #[test]
    fn other_machines_and_others_are_no_regression() -> Result<()> {
        let unit = Unit::NanosecondsPerPacket;
        let mut slow = steady(unit, 220.0, 900.0);
        // All but nft take twice the time.
        for cell in &mut slow.chapters[0].rows[0].cells {
            *cell = Some([200.0; 3].into_iter().collect());
        }
        let old = steady(unit, 110.0, 300.0);
        verdict(&old, &slow)?;
        let text = Comparison::new(&old, &slow, 0.1).text()?;
        assert!(text.contains("which are not judged"), "{text}");
        assert!(text.contains("+50.0 %"), "{text}");
        Ok(())
    }

    #[test]
    fn scatter_is_no_regression() {
        let unit = Unit::NanosecondsPerPacket;
        let old = report(unit, [80.0, 110.0, 140.0], [300.0; 3]);
        let new = report(unit, [100.0, 132.0, 160.0], [300.0; 3]);
        assert!(verdict(&old, &new).is_ok());
        let new = report(unit, [150.0, 154.0, 158.0], [300.0; 3]);
        assert!(verdict(&old, &new).is_err());
    }

    #[test]
    fn what_others_changed_by_is_no_regression() -> Result<()> {
        let unit = Unit::NanosecondsPerPacket;
        let old = steady(unit, 110.0, 300.0);
        // Theirs is the same program as before, and takes a third more.
        let new = steady(unit, 132.0, 400.0);
        verdict(&old, &new)?;
        let text = Comparison::new(&old, &new, 0.1).text()?;
        assert!(
            text.contains("not judged: rules, xdpfw, 1: +20.0 % (others: +33.3 %)"),
            "{text}"
        );
        assert!(verdict(&old, &steady(unit, 154.0, 400.0)).is_err());
        Ok(())
    }

    #[test]
    fn features_are_ours() {
        let report = |feature| {
            let mut chapter = Chapter::new(FEATURES, "", Unit::NanosecondsPerPacket, "packet")
                .against("one port");
            chapter.push("one port", "SYN", 30.0);
            chapter.push("frags", "SYN", feature);
            Report::new(machine(), vec![chapter])
        };
        assert!(verdict(&report(50.0), &report(52.0)).is_ok());
        assert!(verdict(&report(50.0), &report(60.0)).is_err());
    }

    #[test]
    fn growth_is_compared() {
        let unit = Unit::NanosecondsPerPacket;
        let old = steady(unit, 100.0, 300.0);
        let mut new = old.clone();
        let more = |times| move |series: &Series| series.inverse(1.0).inverse(times);
        for row in &mut new.chapters[0].rows {
            row.cells[1] = row.cells[1].as_ref().map(more(1.5));
        }
        // Everyone's does: that is the machine.
        assert!(verdict(&old, &new).is_ok());
        let ours = &mut new.chapters[0].rows[1];
        ours.cells[1] = ours.cells[1].as_ref().map(more(1.2));
        let error = verdict(&old, &new).unwrap_err().to_string();
        assert!(error.contains("1 regression of"), "{error}");
        assert!(error.contains("rules, xdpfw, 10 ÷ 1: +80.0 %"), "{error}");
    }

    #[test]
    fn what_is_no_time_is_compared_as_it_is() {
        let report = |mebibytes| {
            let mut chapter = Chapter::new("memory", "", Unit::Mebibytes, "policy");
            chapter.push("xdpfw maps", "1 rule", mebibytes);
            Report::new(machine(), vec![chapter])
        };
        assert!(verdict(&report(1.0), &report(1.05)).is_ok());
        assert!(verdict(&report(1.0), &report(2.0)).is_err());
    }

    #[test]
    fn what_cannot_be_compared_is_said() -> Result<()> {
        let unit = Unit::NanosecondsPerPacket;
        let (old, mut new) = (steady(unit, 110.0, 300.0), steady(unit, 110.0, 300.0));
        new.chapters[0].id = "ports".into();
        let text = Comparison::new(&old, &new, 0.1).text()?;
        assert!(
            text.contains("not compared: the chapter ports is new"),
            "{text}"
        );
        let gone = "not compared: chapters in the old run only: rules";
        assert!(text.contains(gone), "{text}");

        let mut new = old.clone();
        new.chapters[0].reference = Some("nft".into());
        let text = Comparison::new(&old, &new, 0.1).text()?;
        assert!(
            text.contains("the chapter rules has another form"),
            "{text}"
        );

        let mut new = old.clone();
        new.chapters[0].rows[1].cells[0] = None;
        let text = Comparison::new(&old, &new, 0.1).text()?;
        assert!(
            text.contains("rules, xdpfw, 1 is in the old run only"),
            "{text}"
        );
        Ok(())
    }
}
