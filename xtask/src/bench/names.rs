//! Owns how chapters, subjects and cases are called: whoever measures, judges or draws
//! them says it in these words.

use anyhow::{Result, bail};

use super::chapter::{Chapter, Row, Unit};

/// What chapters are called in files and on the command line.
pub(super) mod chapters {
    pub(in super::super) const PACKET: &str = "packet";
    pub(in super::super) const FEATURES: &str = "features";
    pub(in super::super) const LIVE: &str = "live";
    pub(in super::super) const RULES: &str = "rules";
    pub(in super::super) const RULES_HOT: &str = "rules-hot";
    pub(in super::super) const PORTS: &str = "ports";
    pub(in super::super) const PREFIXES: &str = "prefixes";
    pub(in super::super) const PREFIXES_ASKED: &str = "prefixes-asked";
    pub(in super::super) const SOURCES: &str = "sources";
    pub(in super::super) const THROUGHPUT: &str = "throughput";
    pub(in super::super) const LATENCY: &str = "latency";
    pub(in super::super) const LATENCY_P99: &str = "latency-p99";
    pub(in super::super) const APPLY: &str = "apply";
    pub(in super::super) const COMMANDS: &str = "commands";
    pub(in super::super) const MEMORY: &str = "memory";
}

/// Who is measured. What begins with [`subjects::XDPFW`] is this project's.
pub(super) mod subjects {
    /// A program that drops everything unseen.
    pub(in super::super) const NOOP: &str = "no-op";
    /// A program that parses to the ports, counts and drops: what any filter must do.
    pub(in super::super) const FLOOR: &str = "floor";
    pub(in super::super) const XDPFW: &str = "xdpfw";
    pub(in super::super) const WITHOUT_DISPATCHER: &str = "xdpfw without dispatcher";
    pub(in super::super) const XDP_FILTER: &str = "xdp-filter";
    pub(in super::super) const NFT_INGRESS: &str = "nft netdev ingress";
    pub(in super::super) const NFT_RAW: &str = "nft raw prerouting";
    pub(in super::super) const NFT_CONNTRACK: &str = "nft input + conntrack";
    pub(in super::super) const IPTABLES_RAW: &str = "iptables raw";
    pub(in super::super) const NFT_PLAIN: &str = "nft, plain rules";
    pub(in super::super) const NFT_SETS: &str = "nft, sets";
    pub(in super::super) const NO_FILTER: &str = "no filter";
    pub(in super::super) const XDPFW_DROP: &str = "xdpfw drop";
    pub(in super::super) const XDPFW_PASS: &str = "xdpfw pass";
    pub(in super::super) const XDPFW_APPLY: &str = "xdpfw apply";
    pub(in super::super) const NFT_FILE: &str = "nft -f";
    pub(in super::super) const NFT_FILE_SETS: &str = "nft -f, sets";
    pub(in super::super) const IPSET_RESTORE: &str = "ipset restore";
    pub(in super::super) const NFT: &str = "nft";
    pub(in super::super) const XDPFW_MAPS: &str = "xdpfw maps";
    pub(in super::super) const XDPFW_COUNTERS: &str = "xdpfw counters, per CPU";
    pub(in super::super) const XDPFW_APPLY_PEAK: &str = "xdpfw apply, peak";
    pub(in super::super) const NFT_FILE_PEAK: &str = "nft -f, peak";
    /// A policy of one rule, for one port, by which the other features are seen.
    pub(in super::super) const ONE_PORT: &str = "one port";
}

/// In what they are measured.
pub(super) mod cases {
    pub(in super::super) const SYN_HOT: &str = "SYN, closed port, hot";
    pub(in super::super) const SYN_VARIED: &str = "SYN, closed ports, varied";
    pub(in super::super) const UDP_HOT: &str = "UDP, closed port, hot";
    pub(in super::super) const UDP_VARIED: &str = "UDP, closed ports, varied";
    pub(in super::super) const SYN_OPEN: &str = "SYN, open port, hot";
    pub(in super::super) const ACK_HOT: &str = "ACK, closed port, hot";
    pub(in super::super) const SYN_1_CPU: &str = "SYN, 1 CPU";
    pub(in super::super) const SYN_2_CPUS: &str = "SYN, 2 CPUs";
    pub(in super::super) const UDP_1_CPU: &str = "UDP, 1 CPU";
    pub(in super::super) const UDP_2_CPUS: &str = "UDP, 2 CPUs";
    pub(in super::super) const ONE: &str = "1";
    pub(in super::super) const TEN_THOUSAND: &str = "10,000";
    pub(in super::super) const NO_FLOOD: &str = "no flood";
    pub(in super::super) const FLOOD: &str = "flood";
    pub(in super::super) const ONE_RULE: &str = "1 rule";
    pub(in super::super) const TEN_THOUSAND_RULES: &str = "10,000 rules";
    pub(in super::super) const HUNDRED_THOUSAND_PREFIXES: &str = "100,000 prefixes";
}

/// What a chapter is to hold.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) axis: &'static str,
    pub(super) reference: Option<&'static str>,
    pub(super) subjects: &'static [&'static str],
    pub(super) cases: &'static [&'static str],
}

impl Outline {
    /// The chapter, without numbers. Its rows and columns stand in their order already,
    /// whoever is measured first.
    pub(super) fn chapter(&self) -> Chapter {
        let mut chapter = Chapter::new(self.id, self.title, self.unit, self.axis);
        if let Some(reference) = self.reference {
            chapter = chapter.against(reference);
        }
        chapter.cases = self.cases.iter().copied().map(Into::into).collect();
        let row = |subject: &&str| Row {
            subject: (*subject).into(),
            cells: vec![None; self.cases.len()],
        };
        chapter.rows = self.subjects.iter().map(row).collect();
        chapter
    }
}

/// The chapter of this name, without numbers.
pub(super) fn chapter(id: &str) -> Result<Chapter> {
    match OUTLINES.iter().find(|outline| outline.id == id) {
        Some(outline) => Ok(outline.chapter()),
        None => bail!("no chapter `{id}` (there are {})", ids().join(", ")),
    }
}

/// The names of all chapters.
pub(super) fn ids() -> Vec<&'static str> {
    OUTLINES.iter().map(|outline| outline.id).collect()
}

/// All chapters, in the order in which they are told.
pub(super) const OUTLINES: [Outline; 15] = {
    use self::{cases::*, chapters::*, subjects::*};
    use Unit::*;

    const FLOODED: &[&str] = &[NO_FILTER, XDPFW, NFT_RAW, NFT_CONNTRACK];
    const GROWN: &[&str] = &[NOOP, XDPFW, NFT_PLAIN, NFT_SETS];
    const TO_TEN_THOUSAND: &[&str] = &[ONE, "10", "100", "1,000", TEN_THOUSAND];
    const TO_100_000: &[&str] = &[ONE, "10", "100", "1,000", TEN_THOUSAND, "100,000"];
    [
        Outline {
            id: PACKET,
            title: "One packet through one program",
            unit: NanosecondsPerPacket,
            axis: "packet",
            reference: Some(NOOP),
            subjects: &[NOOP, FLOOR, XDPFW, WITHOUT_DISPATCHER, XDP_FILTER],
            cases: &[SYN_HOT, SYN_VARIED, UDP_HOT, UDP_VARIED, SYN_OPEN, ACK_HOT],
        },
        Outline {
            id: FEATURES,
            title: "What each feature of a policy costs",
            unit: NanosecondsPerPacket,
            axis: "packet",
            reference: Some(ONE_PORT),
            subjects: &[
                "no rules",
                ONE_PORT,
                "remote port",
                "source prefix",
                "destination prefix",
                "interface",
                "any from a prefix",
                "default allow",
                "frags",
                "traced",
            ],
            cases: &[SYN_HOT, SYN_VARIED, UDP_HOT, SYN_OPEN],
        },
        Outline {
            id: LIVE,
            title: "A flood, dropped",
            unit: MegapacketsPerSecond,
            axis: "traffic",
            reference: Some(NOOP),
            subjects: &[
                NOOP,
                FLOOR,
                XDPFW,
                XDP_FILTER,
                NFT_INGRESS,
                NFT_RAW,
                NFT_CONNTRACK,
                IPTABLES_RAW,
            ],
            cases: &[SYN_1_CPU, SYN_2_CPUS, UDP_1_CPU, UDP_2_CPUS],
        },
        Outline {
            id: RULES,
            title: "A flood, under more and more rules",
            unit: NanosecondsPerPacket,
            axis: "rules in force",
            reference: Some(NOOP),
            subjects: GROWN,
            cases: TO_TEN_THOUSAND,
        },
        Outline {
            id: RULES_HOT,
            title: "One packet, under more and more rules",
            unit: NanosecondsPerPacket,
            axis: "rules in force",
            reference: Some(NOOP),
            subjects: &[NOOP, XDPFW_DROP, XDPFW_PASS],
            cases: TO_TEN_THOUSAND,
        },
        Outline {
            id: PORTS,
            title: "A flood, with more and more ports open",
            unit: NanosecondsPerPacket,
            axis: "ports open",
            reference: Some(NOOP),
            subjects: GROWN,
            cases: &[ONE, "10", "100", "1,000", TEN_THOUSAND, "65,534"],
        },
        Outline {
            id: PREFIXES,
            title: "A flood to a closed port, with more and more source prefixes",
            unit: NanosecondsPerPacket,
            axis: "source prefixes",
            reference: Some(NOOP),
            subjects: GROWN,
            cases: TO_100_000,
        },
        Outline {
            id: PREFIXES_ASKED,
            title: "A flood to the port that is open to the prefixes only",
            unit: NanosecondsPerPacket,
            axis: "source prefixes",
            reference: Some(NOOP),
            subjects: GROWN,
            cases: TO_100_000,
        },
        Outline {
            id: SOURCES,
            title: "A flood from more and more sources",
            unit: NanosecondsPerPacket,
            axis: "sources of the flood",
            reference: Some(NOOP),
            subjects: &[NOOP, XDPFW, XDP_FILTER, NFT_INGRESS, NFT_CONNTRACK],
            cases: &[
                ONE,
                "10",
                "100",
                "1,000",
                TEN_THOUSAND,
                "100,000",
                "1,000,000",
            ],
        },
        Outline {
            id: THROUGHPUT,
            title: "Throughput of what is allowed, under a flood",
            unit: GigabitsPerSecond,
            axis: "flood",
            reference: Some(NO_FILTER),
            subjects: FLOODED,
            cases: &[NO_FLOOD, FLOOD],
        },
        Outline {
            id: LATENCY,
            title: "Time to connect, under a flood: median",
            unit: Microseconds,
            axis: "flood",
            reference: Some(NO_FILTER),
            subjects: FLOODED,
            cases: &[NO_FLOOD, FLOOD],
        },
        Outline {
            id: LATENCY_P99,
            title: "Time to connect, under a flood: the slowest hundredth",
            unit: Microseconds,
            axis: "flood",
            reference: Some(NO_FILTER),
            subjects: FLOODED,
            cases: &[NO_FLOOD, FLOOD],
        },
        Outline {
            id: APPLY,
            title: "Putting a policy in force",
            unit: Milliseconds,
            axis: "policy",
            reference: Some(NFT_FILE),
            subjects: &[XDPFW_APPLY, NFT_FILE, NFT_FILE_SETS, IPSET_RESTORE],
            cases: &[TEN_THOUSAND_RULES, HUNDRED_THOUSAND_PREFIXES],
        },
        Outline {
            id: COMMANDS,
            title: "Commands",
            unit: Milliseconds,
            axis: "command",
            reference: Some(NFT),
            subjects: &[XDPFW, NFT],
            cases: &["start", "add a rule", "list", "counters"],
        },
        Outline {
            id: MEMORY,
            title: "Memory",
            unit: Mebibytes,
            axis: "policy",
            reference: None,
            subjects: &[XDPFW_MAPS, XDPFW_COUNTERS, XDPFW_APPLY_PEAK, NFT_FILE_PEAK],
            cases: &[ONE_RULE, TEN_THOUSAND_RULES, HUNDRED_THOUSAND_PREFIXES],
        },
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_chapter_has_its_reference() {
        let ids: BTreeSet<_> = ids().into_iter().collect();
        assert_eq!(ids.len(), OUTLINES.len());
        for outline in &OUTLINES {
            assert!(
                outline
                    .reference
                    .is_none_or(|known| outline.subjects.contains(&known))
            );
        }
    }

    #[test]
    fn rows_stand_in_their_order() -> Result<()> {
        let mut chapter = chapter(chapters::LIVE)?;
        chapter.push(subjects::XDPFW, cases::SYN_2_CPUS, 1.0);
        chapter.push(subjects::NOOP, cases::SYN_1_CPU, 2.0);
        assert_eq!(chapter.rows[0].subject, subjects::NOOP);
        assert_eq!(chapter.rows.len(), 8);
        assert_eq!(chapter.cases[0], cases::SYN_1_CPU);
        let error = super::chapter("life").unwrap_err();
        assert!(error.to_string().contains("`life` (there are packet, "));
        Ok(())
    }
}
