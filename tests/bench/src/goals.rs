//! The goals: ratios of numbers from one run, which hold on any machine or on none.

use std::fmt;

use crate::{
    number::ratio,
    report::{
        Report,
        names::{cases::*, chapters::*, subjects::*},
        series::Series,
    },
};

/// A ratio that has a bound.
#[derive(Debug)]
pub(super) struct Goal {
    /// Its name, which stays.
    pub(super) id: &'static str,
    /// What is divided by what.
    pub(super) what: &'static str,
    pub(super) bound: Bound,
    /// None where the run has no numbers for it.
    pub(super) measured: Option<f64>,
    /// Between which two the middle half of the rounds lies, if there is more than one.
    pub(super) rounds: Option<(f64, f64)>,
    /// What the ratio should be seen with: whose it is, and how much.
    pub(super) beside: Option<(&'static str, f64)>,
    /// Why it is missed, where it is.
    pub(super) why: &'static str,
}

/// Where a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

impl Goal {
    /// Whether the ratio is where it should be. What was not measured is not met.
    pub(super) fn is_met(&self) -> bool {
        self.measured.is_some_and(|measured| match self.bound {
            Bound::AtMost(most) => measured <= most,
            Bound::AtLeast(least) => measured >= least,
        })
    }

    /// The ratio in words, and what it should be seen with.
    pub(super) fn shown(&self) -> String {
        let Some(measured) = self.measured else {
            return "not measured".into();
        };
        let mut shown = ratio(measured);
        if let Some((low, high)) = self.rounds {
            shown += &format!(" [{}–{}]", ratio(low), ratio(high));
        }
        if let Some((whose, beside)) = self.beside {
            shown += &format!(" ({whose} {})", ratio(beside));
        }
        shown
    }

    /// The verdict in a word.
    pub(super) fn verdict(&self) -> &'static str {
        if self.is_met() { "met" } else { "MISSED" }
    }

    /// What comes out for the report.
    fn new(
        id: &'static str,
        what: &'static str,
        bound: Bound,
        measured: Option<Series>,
        why: &'static str,
    ) -> Self {
        Self {
            id,
            what,
            bound,
            measured: measured.as_ref().and_then(median),
            rounds: measured.as_ref().and_then(Series::middle_half),
            beside: None,
            why,
        }
    }

    fn beside(mut self, whose: &'static str, measured: Option<Series>) -> Self {
        self.beside = Some(whose).zip(measured.as_ref().and_then(median));
        self
    }
}

/// How many goals are met, in a sentence.
pub(super) fn summary(goals: &[Goal]) -> String {
    let met = goals.iter().filter(|goal| goal.is_met()).count();
    if met == goals.len() {
        format!("All {met} goals are met.")
    } else {
        format!("{met} of {} goals are met.", goals.len())
    }
}

/// Why goals are missed, where more than one shares the reason.
mod why {
    pub(super) const SHARED: &str = "The generator and veth are part of every frame's time and \
        the same for both, which brings the ratio closer to 1.";
    pub(super) const HOT: &str = "One packet again and again is the case that caches and branch \
        predictors serve best, whoever filters.";
    pub(super) const VARIED: &str = "Beyond what the floor does, xdpfw goes through its \
        dispatcher, checks lengths, reads two bitmaps and counts for the port. Where one packet \
        follows its like, most of this runs beside it; behind the program that changes each \
        packet, all of it takes its time. That the counters are far apart is a small part of it.";
    pub(super) const CHECKS: &str = "Beyond what the floor does, xdpfw checks that the headers do \
        not contradict themselves, goes through its dispatcher and counts the drop for the port.";
    pub(super) const NOTE: &str = "An ACK may be an answer, so xdpfw reads when its port sent \
        something last.";
    pub(super) const FLOW: &str = "A flow is looked up by a key of 44 bytes, since it has room \
        for IPv6, and must be written to the stack first; the kernel finds a connected socket \
        by four fields of its own. What flows let in that no socket shows is the reason for \
        them.";
    pub(super) const SCAN: &str = "Where scans are looked for, a hash of the source is made of each \
        packet that is dropped, and four bytes are read by it, which another source has moved out \
        of the nearest cache.";
    pub(super) const BANS: &str = "A source is looked up in a hash table, which is in no cache if \
        it is large and each packet is from elsewhere.";
    pub(super) const CPU_TIME: &str = "What a flood takes from the allowed traffic is CPU time, \
        most of it before any filter sees the frame, and that is the same for all. From run \
        to run, the share that the same program keeps is anything between 0.62 and 1.2.";
}

/// All goals, as the report has them.
pub(super) fn evaluate(report: &Report) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};

    let numbers = Numbers(report);
    let live = |other| numbers.ratio((LIVE, XDPFW, SYN_1_CPU), (LIVE, other, SYN_1_CPU));
    let twice = |subject| numbers.ratio((LIVE, subject, SYN_2_CPUS), (LIVE, subject, SYN_1_CPU));
    let beyond = |who, case| {
        let chapter = report.chapter(PACKET)?;
        let theirs = chapter.beyond(XDP_FILTER, case)?;
        Some(chapter.beyond(who, case)?.over(&theirs))
    };
    let floor = |case| numbers.ratio((PACKET, XDPFW, case), (PACKET, FLOOR, case));
    let by_flow = |case| numbers.ratio((ANSWERS, XDPFW, case), (ANSWERS, XDPFW_BY_SOCKETS, case));
    let sends = |other| {
        let place = |who| (EGRESS_THROUGHPUT, who, ONE_CONNECTION);
        numbers.ratio(place(XDPFW), place(other))
    };
    let grown = |id, subject| numbers.ratio((id, subject, TEN_THOUSAND), (id, subject, ONE));
    let apply = |subject| (APPLY, subject, TEN_THOUSAND_RULES);
    let kept = |who| numbers.ratio((THROUGHPUT, who, FLOOD), (THROUGHPUT, who, NO_FLOOD));
    let ahead = |other| Some(kept(XDPFW)?.over(&kept(other)?));
    let scanned =
        |case| numbers.ratio((DEFENCE_SCANS, SCAN, case), (DEFENCE_SCANS, ONE_PORT, case));
    let beside = |defence| {
        let place = |subject| (DEFENCE_BANS, subject, SYN_OPEN_VARIED);
        numbers.ratio(place(defence), place(NOBODY_BANNED))
    };
    let listed = |case| numbers.ratio((DEFENCE_TIMES, XDPFW, case), (DEFENCE_TIMES, XDPFW, READ));
    vec![
        Goal::new(
            "live-no-op",
            "SYN flood dropped, Mpps: xdpfw ÷ no-op",
            AtLeast(0.97),
            live(NOOP),
            "The difference goes to parsing to the ports and to counting, which no filter is \
             spared: see *floor*. *Touch* shows what it takes to look at a packet at all.",
        )
        .beside("÷ floor:", live(FLOOR)),
        Goal::new(
            "live-nft-ingress",
            "SYN flood dropped, Mpps: xdpfw ÷ nft netdev ingress",
            AtLeast(2.4),
            live(NFT_INGRESS),
            why::SHARED,
        ),
        Goal::new(
            "live-nft-conntrack",
            "SYN flood dropped, Mpps: xdpfw ÷ nft input + conntrack",
            AtLeast(6.0),
            live(NFT_CONNTRACK),
            why::SHARED,
        ),
        Goal::new(
            "live-2-cpus",
            "SYN flood dropped, Mpps: 2 CPUs ÷ 1 CPU",
            AtLeast(1.9),
            twice(XDPFW),
            "xdpfw shares nothing between CPUs while it drops; the no-op beside it shows what \
             the machine gives.",
        )
        .beside("no-op:", twice(NOOP)),
        Goal::new(
            "packet-syn-hot",
            "SYN to a closed port, ns beyond no-op: xdpfw ÷ xdp-filter",
            AtMost(0.15),
            beyond(XDPFW, SYN_HOT),
            why::HOT,
        )
        .beside("floor:", beyond(FLOOR, SYN_HOT)),
        Goal::new(
            "packet-syn-varied",
            "SYNs to varied closed ports, ns beyond no-op: xdpfw ÷ xdp-filter",
            AtMost(0.15),
            beyond(XDPFW, SYN_VARIED),
            why::VARIED,
        )
        .beside("floor:", beyond(FLOOR, SYN_VARIED)),
        Goal::new(
            "packet-udp-hot",
            "UDP to a closed port, ns beyond no-op: xdpfw ÷ xdp-filter",
            AtMost(0.15),
            beyond(XDPFW, UDP_HOT),
            why::HOT,
        )
        .beside("floor:", beyond(FLOOR, UDP_HOT)),
        Goal::new(
            "packet-udp-varied",
            "UDP to varied closed ports, ns beyond no-op: xdpfw ÷ xdp-filter",
            AtMost(0.15),
            beyond(XDPFW, UDP_VARIED),
            why::VARIED,
        )
        .beside("floor:", beyond(FLOOR, UDP_VARIED)),
        Goal::new(
            "packet-ack-hot",
            "ACK to a closed port ÷ SYN, ns",
            AtMost(1.3),
            numbers.ratio((PACKET, XDPFW, ACK_HOT), (PACKET, XDPFW, SYN_HOT)),
            why::NOTE,
        ),
        Goal::new(
            "packet-ack-varied",
            "ACKs to varied closed ports ÷ SYNs, ns",
            AtMost(1.3),
            numbers.ratio((ANSWERS, XDPFW, ACK_VARIED), (ANSWERS, XDPFW, SYN_VARIED)),
            why::NOTE,
        ),
        Goal::new(
            "answer-udp",
            "UDP answer passed, ns: by its flow ÷ by its socket",
            AtMost(1.0),
            by_flow(UDP_ANSWER),
            why::FLOW,
        ),
        Goal::new(
            "answer-tcp",
            "TCP answer passed, ns: by its flow ÷ by its socket",
            AtMost(1.0),
            by_flow(TCP_ANSWER),
            why::FLOW,
        ),
        Goal::new(
            "egress-throughput",
            "TCP throughput of what the host sends: xdpfw ÷ no filter",
            AtLeast(0.98),
            sends(NO_FILTER),
            "The acknowledgments come in by XDP, which on veth costs what *XDP_PASS* shows. To \
             remember the flow is the difference to *replies by sockets*.",
        )
        .beside("÷ XDP_PASS:", sends(XDP_PASS)),
        Goal::new(
            "floor-syn-hot",
            "SYN to a closed port, ns: xdpfw ÷ floor",
            AtMost(1.15),
            floor(SYN_HOT),
            why::CHECKS,
        ),
        Goal::new(
            "floor-udp-hot",
            "UDP to a closed port, ns: xdpfw ÷ floor",
            AtMost(1.15),
            floor(UDP_HOT),
            why::CHECKS,
        ),
        Goal::new(
            "rules",
            "Flood dropped under 10,000 rules ÷ under 1 rule, ns",
            AtMost(1.05),
            grown(RULES, XDPFW),
            "The way of a packet is the same under both; what may differ is where its tables \
             lie in memory.",
        )
        .beside("no-op:", grown(RULES, NOOP)),
        Goal::new(
            "rules-hot",
            "One packet dropped under 10,000 rules ÷ under 1 rule, ns",
            AtMost(1.05),
            grown(RULES_HOT, XDPFW_DROP),
            "The way of a packet is the same under both; what may differ is where its program \
             and its tables lie in memory.",
        )
        .beside("no-op:", grown(RULES_HOT, NOOP)),
        Goal::new(
            "apply",
            "10,000 rules put in force, ms: `xdpfw apply` ÷ `nft -f`",
            AtMost(1.0),
            numbers.ratio(apply(XDPFW_APPLY), apply(NFT_FILE)),
            "For every change, xdpfw compiles the rules to tables and has the kernel verify a \
             new program; nft hands the kernel a list.",
        ),
        Goal::new(
            "kept-nft-conntrack",
            "Allowed throughput kept under a flood: xdpfw ÷ nft input + conntrack",
            AtLeast(1.0),
            ahead(NFT_CONNTRACK),
            why::CPU_TIME,
        )
        .beside("xdpfw keeps", kept(XDPFW)),
        Goal::new(
            "kept-nft-raw",
            "Allowed throughput kept under a flood: xdpfw ÷ nft raw prerouting",
            AtLeast(1.0),
            ahead(NFT_RAW),
            why::CPU_TIME,
        )
        .beside("xdpfw keeps", kept(XDPFW)),
        Goal::new(
            "scan-1-source",
            "SYNs of one source's scan dropped, ns: scans looked for ÷ not",
            AtMost(1.3),
            scanned(SCAN_ONE_SOURCE),
            why::SCAN,
        ),
        Goal::new(
            "scan-many-sources",
            "SYNs of 1,000,000 sources dropped, ns: scans looked for ÷ not",
            AtMost(1.6),
            scanned(SCAN_MANY_SOURCES),
            why::SCAN,
        ),
        Goal::new(
            "beside-100000-bans",
            "SYNs let in, 1,000,000 sources, ns: 100,000 others banned ÷ nobody",
            AtMost(1.3),
            beside(BANS),
            why::BANS,
        ),
        Goal::new(
            "beside-a-list",
            "SYNs let in, 1,000,000 sources, ns: 1,000,000 others on a list ÷ nobody",
            AtMost(2.0),
            beside(LIST_OF_ADDRESSES),
            why::BANS,
        ),
        Goal::new(
            "lists-changed",
            "Lists of 1,200,000 read anew, 1 % changed, ms ÷ read for the first time",
            AtMost(0.6),
            listed(CHANGED),
            "The file is read as a whole, and compared; only the difference is written.",
        ),
    ]
}

/// Chapter, subject and case.
type Place = (&'static str, &'static str, &'static str);

/// The numbers of a report, by their places.
struct Numbers<'a>(&'a Report);

impl<'a> Numbers<'a> {
    fn at(&self, (chapter, subject, case): Place) -> Option<&'a Series> {
        self.0.chapter(chapter)?.series(subject, case)
    }

    fn ratio(&self, of: Place, to: Place) -> Option<Series> {
        Some(self.at(of)?.over(self.at(to)?))
    }
}

/// The median, if there is one.
fn median(series: &Series) -> Option<f64> {
    let median = series.median();
    (!median.is_nan()).then_some(median)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn goals_are_met_or_not() {
        let met = |measured: Option<f64>, bound| {
            let measured = measured.map(|value| Series::from_iter([value]));
            Goal::new("", "", bound, measured, "").is_met()
        };
        assert!(met(Some(1.15), Bound::AtMost(1.15)));
        assert!(!met(Some(1.16), Bound::AtMost(1.15)));
        assert!(met(Some(0.95), Bound::AtLeast(0.95)));
        assert!(!met(Some(0.94), Bound::AtLeast(0.95)));
        // Under the flood, nothing of theirs came through.
        assert!(met(Some(f64::INFINITY), Bound::AtLeast(1.0)));
        for nothing in [None, Some(f64::NAN)] {
            assert!(!met(nothing, Bound::AtMost(1.0)));
            assert!(!met(nothing, Bound::AtLeast(1.0)));
        }
    }

    #[test]
    fn every_goal_is_measured() -> anyhow::Result<()> {
        let goals = evaluate(&Report::published()?);
        for goal in &goals {
            assert!(goal.measured.is_some(), "{}", goal.id);
            assert!(!goal.why.is_empty(), "{}", goal.id);
        }
        let ids: BTreeSet<_> = goals.iter().map(|goal| goal.id).collect();
        assert_eq!(ids.len(), goals.len());
        Ok(())
    }

    #[test]
    fn what_was_not_measured_is_said_so() -> anyhow::Result<()> {
        let mut report = Report::published()?;
        report.chapters.clear();
        for goal in evaluate(&report) {
            assert_eq!(goal.shown(), "not measured");
            assert_eq!(goal.verdict(), "MISSED");
        }
        Ok(())
    }
}
