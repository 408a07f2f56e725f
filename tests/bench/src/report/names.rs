//! The names of chapters, subjects and cases. Whoever measures, judges or draws them uses
//! these.

use anyhow::{Result, bail};

use crate::report::chapter::{Chapter, Row, Unit};

/// What chapters are called in files and on the command line.
pub(crate) mod chapters {
    pub(crate) const PACKET: &str = "packet";
    pub(crate) const FEATURES: &str = "features";
    pub(crate) const ANSWERS: &str = "answers";
    pub(crate) const EGRESS: &str = "egress";
    pub(crate) const EGRESS_THROUGHPUT: &str = "egress-throughput";
    pub(crate) const EGRESS_PACKETS: &str = "egress-packets";
    pub(crate) const LIVE: &str = "live";
    pub(crate) const RULES: &str = "rules";
    pub(crate) const RULES_HOT: &str = "rules-hot";
    pub(crate) const PORTS: &str = "ports";
    pub(crate) const PREFIXES: &str = "prefixes";
    pub(crate) const PREFIXES_ASKED: &str = "prefixes-asked";
    pub(crate) const SOURCES: &str = "sources";
    pub(crate) const THROUGHPUT: &str = "throughput";
    pub(crate) const LATENCY: &str = "latency";
    pub(crate) const LATENCY_P99: &str = "latency-p99";
    pub(crate) const FLOOD_TAKEN: &str = "flood-taken";
    pub(crate) const APPLY: &str = "apply";
    pub(crate) const COMMANDS: &str = "commands";
    pub(crate) const MEMORY: &str = "memory";
    pub(crate) const DEFENCE_SCANS: &str = "defence-scans";
    pub(crate) const DEFENCE_BANS: &str = "defence-bans";
    pub(crate) const DEFENCE_TIMES: &str = "defence-times";
    pub(crate) const DEFENCE_MEMORY: &str = "defence-memory";
    pub(crate) const DEFENCE_BOUNDS: &str = "defence-bounds";
}

/// Stands for several chapters on the command line: all whose names begin with it.
const DEFENCE: &str = "defence";

/// Who is measured. What begins with [`subjects::XDPFW`] is this project's.
pub(crate) mod subjects {
    /// A program that drops everything unseen.
    pub(crate) const NOOP: &str = "no-op";
    /// A program that reads one field of the packet and drops: what looking costs.
    pub(crate) const TOUCH: &str = "touch";
    /// A program that parses to the ports, counts and drops: what any filter must do.
    pub(crate) const FLOOR: &str = "floor";
    pub(crate) const XDPFW: &str = "xdpfw";
    pub(crate) const WITHOUT_DISPATCHER: &str = "xdpfw without dispatcher";
    /// The same, where sockets tell what is an answer, and nothing is remembered.
    pub(crate) const XDPFW_BY_SOCKETS: &str = "xdpfw, replies by sockets";
    pub(crate) const XDP_FILTER: &str = "xdp-filter";
    pub(crate) const NFT_INGRESS: &str = "nft netdev ingress";
    pub(crate) const NFT_RAW: &str = "nft raw prerouting";
    pub(crate) const NFT_CONNTRACK: &str = "nft input + conntrack";
    pub(crate) const IPTABLES_RAW: &str = "iptables raw";
    pub(crate) const NFT_PLAIN: &str = "nft, plain rules";
    pub(crate) const NFT_SETS: &str = "nft, sets";
    pub(crate) const NO_FILTER: &str = "no filter";
    /// A program that passes everything unseen.
    pub(crate) const XDP_PASS: &str = "no filter, XDP_PASS";
    pub(crate) const XDPFW_DROP: &str = "xdpfw drop";
    pub(crate) const XDPFW_PASS: &str = "xdpfw pass";
    pub(crate) const XDPFW_APPLY: &str = "xdpfw apply";
    pub(crate) const NFT_FILE: &str = "nft -f";
    pub(crate) const NFT_FILE_SETS: &str = "nft -f, sets";
    pub(crate) const IPSET_RESTORE: &str = "ipset restore";
    pub(crate) const NFT: &str = "nft";
    pub(crate) const XDPFW_MAPS: &str = "xdpfw maps";
    pub(crate) const XDPFW_COUNTERS: &str = "xdpfw counters, per CPU";
    pub(crate) const XDPFW_FLOWS: &str = "xdpfw flows";
    pub(crate) const XDPFW_RINGS: &str = "xdpfw rings of listeners";
    pub(crate) const XDPFW_DEFENCE: &str = "xdpfw bans and limits";
    pub(crate) const XDPFW_APPLY_PEAK: &str = "xdpfw apply, peak";
    pub(crate) const NFT_FILE_PEAK: &str = "nft -f, peak";
    /// A policy of one rule, for one port, by which the other features are seen.
    pub(crate) const ONE_PORT: &str = "one port";
    pub(crate) const SCAN: &str = "scans looked for";
    pub(crate) const NOBODY_BANNED: &str = "nobody banned";
    pub(crate) const SCANS_BANNED: &str = "scans looked for and banned";
    pub(crate) const BANS: &str = "100,000 bans";
    pub(crate) const LIST_OF_ADDRESSES: &str = "list of 1,000,000 addresses";
    pub(crate) const LIST_OF_PREFIXES: &str = "list of 100,000 prefixes";
    pub(crate) const ADDRESSES_NEXT_DOOR: &str = "1,000,000 addresses next door";
    pub(crate) const PREFIXES_NEXT_DOOR: &str = "100,000 prefixes next door";
    pub(crate) const IPSET: &str = "ipset";
}

/// In what they are measured.
pub(crate) mod cases {
    pub(crate) const SYN_HOT: &str = "SYN, closed port, hot";
    pub(crate) const SYN_VARIED: &str = "SYN, closed ports, varied";
    pub(crate) const UDP_HOT: &str = "UDP, closed port, hot";
    pub(crate) const UDP_VARIED: &str = "UDP, closed ports, varied";
    pub(crate) const SYN_OPEN: &str = "SYN, open port, hot";
    pub(crate) const ACK_HOT: &str = "ACK, closed port, hot";
    pub(crate) const ACK_VARIED: &str = "ACK, closed ports, varied";
    pub(crate) const UDP_ANSWER: &str = "UDP, answer";
    pub(crate) const TCP_ANSWER: &str = "TCP, answer";
    pub(crate) const UDP_STRANGER: &str = "UDP, port in use, stranger";
    pub(crate) const ACK_STRANGER: &str = "ACK, port in use, stranger";
    pub(crate) const SYN_STRANGER: &str = "SYN, port in use, stranger";
    pub(crate) const ECHO_REPLY: &str = "echo reply, id never used";
    pub(crate) const ICMP_ERROR: &str = "ICMP error, unrelated";
    pub(crate) const UDP_NEW: &str = "UDP, new flow";
    pub(crate) const UDP_KNOWN: &str = "UDP, known flow";
    pub(crate) const TCP_KNOWN: &str = "TCP, known flow";
    pub(crate) const FROM_OPEN_PORT: &str = "TCP, from an open port";
    pub(crate) const UDP_FULL: &str = "UDP, new flow, full table";
    pub(crate) const ONE_CONNECTION: &str = "TCP, one connection";
    pub(crate) const ONE_FLOW: &str = "UDP, one flow";
    pub(crate) const NEW_FLOWS: &str = "UDP, each a new flow";
    pub(crate) const SYN_1_CPU: &str = "SYN, 1 CPU";
    pub(crate) const SYN_2_CPUS: &str = "SYN, 2 CPUs";
    pub(crate) const UDP_1_CPU: &str = "UDP, 1 CPU";
    pub(crate) const UDP_2_CPUS: &str = "UDP, 2 CPUs";
    pub(crate) const ONE: &str = "1";
    pub(crate) const TEN_THOUSAND: &str = "10,000";
    pub(crate) const NO_FLOOD: &str = "no flood";
    pub(crate) const FLOOD: &str = "flood";
    pub(crate) const ONE_RULE: &str = "1 rule";
    pub(crate) const TEN_THOUSAND_RULES: &str = "10,000 rules";
    pub(crate) const HUNDRED_THOUSAND_PREFIXES: &str = "100,000 prefixes";
    pub(crate) const SCAN_ONE_SOURCE: &str = "SYN, 60,000 ports, 1 source";
    pub(crate) const SCAN_MANY_SOURCES: &str = "SYN, 60,000 ports, 1,000,000 sources";
    pub(crate) const SYN_OPEN_VARIED: &str = "SYN, open port, 1,000,000 sources";
    pub(crate) const BAN: &str = "100,000 bans";
    pub(crate) const READ: &str = "lists, first read";
    pub(crate) const NOTHING_NEW: &str = "nothing new";
    pub(crate) const CHANGED: &str = "1 % changed";
    pub(crate) const TAKEN_OUT: &str = "lists taken out";
    pub(crate) const NOBODY: &str = "nobody banned";
    pub(crate) const LISTS: &str = "lists of 1,200,000";
    pub(crate) const BEFORE: &str = "before";
    pub(crate) const AFTER: &str = "10,000,000 sources later";
    pub(crate) const COMMANDS_OF_A_DAY: [&str; 4] = ["start", "add a rule", "list", "counters"];
}

/// What a chapter is to hold.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) axis: &'static str,
    pub(crate) reference: Option<&'static str>,
    pub(crate) subjects: &'static [&'static str],
    pub(crate) cases: &'static [&'static str],
}

impl Outline {
    /// The chapter, without numbers. Its rows and columns stand in their order already,
    /// whoever is measured first.
    pub(crate) fn chapter(&self) -> Chapter {
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
pub(crate) fn chapter(id: &str) -> Result<Chapter> {
    match OUTLINES.iter().find(|outline| outline.id == id) {
        Some(outline) => Ok(outline.chapter()),
        None => bail!("no chapter `{id}` (there are {})", ids().join(", ")),
    }
}

/// The names of all chapters.
pub(crate) fn ids() -> Vec<&'static str> {
    OUTLINES.iter().map(|outline| outline.id).collect()
}

/// What `--only` takes.
pub(crate) fn choices() -> Vec<&'static str> {
    let mut choices = ids();
    choices.push(DEFENCE);
    choices
}

/// Whether a chapter is meant by a word on the command line.
pub(crate) fn belongs(id: &str, word: &str) -> bool {
    id == word || word == DEFENCE && id.starts_with(DEFENCE)
}

/// All chapters, in the order of the page.
pub(crate) const OUTLINES: [Outline; 25] = {
    use self::{cases::*, chapters::*, subjects::*};
    use Unit::*;

    const FLOODED: &[&str] = &[NO_FILTER, XDP_PASS, XDPFW, NFT_RAW, NFT_CONNTRACK];
    const SENDING: &[&str] = &[NO_FILTER, XDP_PASS, XDPFW_BY_SOCKETS, XDPFW];
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
                ONE_PORT,
                "no rules",
                "remote port",
                "source prefix",
                "destination prefix",
                "interface",
                "any from a prefix",
                "replies by sockets",
                "no replies",
                "no later fragments",
                "no DHCP client",
                "default pass",
                "frags",
                "one packet in 1,000 is listened to",
                "all packets are listened to",
                "stats, log and top look on",
            ],
            cases: &[SYN_HOT, SYN_VARIED, UDP_HOT, UDP_VARIED, SYN_OPEN, ACK_HOT],
        },
        Outline {
            id: ANSWERS,
            title: "Answers, and what looks like them",
            unit: NanosecondsPerPacket,
            axis: "packet",
            reference: Some(NOOP),
            subjects: &[NOOP, XDPFW, XDPFW_BY_SOCKETS],
            cases: &[
                SYN_VARIED,
                ACK_VARIED,
                UDP_VARIED,
                UDP_ANSWER,
                TCP_ANSWER,
                UDP_STRANGER,
                ACK_STRANGER,
                SYN_STRANGER,
                ECHO_REPLY,
                ICMP_ERROR,
            ],
        },
        Outline {
            id: EGRESS,
            title: "One packet that leaves",
            unit: NanosecondsPerPacket,
            axis: "packet",
            reference: Some(NOOP),
            subjects: &[NOOP, XDPFW],
            cases: &[UDP_KNOWN, TCP_KNOWN, FROM_OPEN_PORT, UDP_NEW, UDP_FULL],
        },
        Outline {
            id: EGRESS_THROUGHPUT,
            title: "Throughput of what the host sends",
            unit: GigabitsPerSecond,
            axis: "traffic",
            reference: Some(NO_FILTER),
            subjects: SENDING,
            cases: &[ONE_CONNECTION],
        },
        Outline {
            id: EGRESS_PACKETS,
            title: "Small packets that the host sends",
            unit: MegapacketsPerSecond,
            axis: "traffic",
            reference: Some(NO_FILTER),
            subjects: SENDING,
            cases: &[ONE_FLOW, NEW_FLOWS],
        },
        Outline {
            id: LIVE,
            title: "A flood, dropped",
            unit: MegapacketsPerSecond,
            axis: "traffic",
            reference: Some(NOOP),
            subjects: &[
                NOOP,
                TOUCH,
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
            reference: Some(NFT_RAW),
            subjects: FLOODED,
            cases: &[NO_FLOOD, FLOOD],
        },
        Outline {
            id: LATENCY,
            title: "Time to connect, under a flood: median",
            unit: Microseconds,
            axis: "flood",
            reference: Some(NFT_RAW),
            subjects: FLOODED,
            cases: &[NO_FLOOD, FLOOD],
        },
        Outline {
            id: LATENCY_P99,
            title: "Time to connect, under a flood: the slowest hundredth",
            unit: Microseconds,
            axis: "flood",
            reference: Some(NFT_RAW),
            subjects: FLOODED,
            cases: &[NO_FLOOD, FLOOD],
        },
        Outline {
            id: FLOOD_TAKEN,
            title: "How much of the flood the host takes meanwhile",
            unit: Percent,
            axis: "flood",
            reference: None,
            subjects: FLOODED,
            cases: &[FLOOD],
        },
        Outline {
            id: APPLY,
            title: "Putting a policy in force",
            unit: Milliseconds,
            axis: "policy",
            reference: Some(NFT_FILE),
            subjects: &[XDPFW_APPLY, NFT_FILE, NFT_FILE_SETS, IPSET_RESTORE],
            cases: &[ONE_RULE, TEN_THOUSAND_RULES, HUNDRED_THOUSAND_PREFIXES],
        },
        Outline {
            id: COMMANDS,
            title: "Commands",
            unit: Milliseconds,
            axis: "command",
            reference: Some(NFT),
            subjects: &[XDPFW, NFT],
            cases: &COMMANDS_OF_A_DAY,
        },
        Outline {
            id: MEMORY,
            title: "Memory",
            unit: Mebibytes,
            axis: "policy",
            reference: None,
            subjects: &[
                XDPFW_MAPS,
                XDPFW_COUNTERS,
                XDPFW_FLOWS,
                XDPFW_RINGS,
                XDPFW_DEFENCE,
                XDPFW_APPLY_PEAK,
                NFT_FILE_PEAK,
            ],
            cases: &[ONE_RULE, TEN_THOUSAND_RULES, HUNDRED_THOUSAND_PREFIXES],
        },
        Outline {
            id: DEFENCE_SCANS,
            title: "What it costs to look for scans",
            unit: NanosecondsPerPacket,
            axis: "packet",
            reference: Some(ONE_PORT),
            subjects: &[ONE_PORT, SCAN, SCANS_BANNED],
            cases: &[SYN_HOT, SCAN_ONE_SOURCE, SCAN_MANY_SOURCES],
        },
        Outline {
            id: DEFENCE_BANS,
            title: "What bans of others cost a packet that is let in",
            unit: NanosecondsPerPacket,
            axis: "packet",
            reference: Some(NOBODY_BANNED),
            subjects: &[
                NOBODY_BANNED,
                SCANS_BANNED,
                BANS,
                LIST_OF_ADDRESSES,
                LIST_OF_PREFIXES,
                ADDRESSES_NEXT_DOOR,
                PREFIXES_NEXT_DOOR,
            ],
            cases: &[SYN_OPEN, SYN_OPEN_VARIED],
        },
        Outline {
            id: DEFENCE_TIMES,
            title: "Banning many",
            unit: Milliseconds,
            axis: "command",
            reference: None,
            subjects: &[XDPFW, IPSET],
            cases: &[BAN, READ, NOTHING_NEW, CHANGED, TAKEN_OUT],
        },
        Outline {
            id: DEFENCE_MEMORY,
            title: "Memory of bans",
            unit: Mebibytes,
            axis: "banned",
            reference: None,
            subjects: &[XDPFW_DEFENCE, IPSET],
            cases: &[NOBODY, BAN, LISTS],
        },
        Outline {
            id: DEFENCE_BOUNDS,
            title: "Memory under ten million sources",
            unit: Mebibytes,
            axis: "limits and scans",
            reference: None,
            subjects: &[XDPFW_DEFENCE],
            cases: &[BEFORE, AFTER],
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
    fn one_word_means_all_of_the_defence() {
        let meant = |word: &str| ids().iter().filter(|id| belongs(id, word)).count();
        assert_eq!(meant(DEFENCE), 5);
        assert_eq!(meant(chapters::RULES), 1);
        assert!(choices().contains(&DEFENCE));
    }

    #[test]
    fn rows_stand_in_their_order() -> Result<()> {
        let mut chapter = chapter(chapters::LIVE)?;
        chapter.push(subjects::XDPFW, cases::SYN_2_CPUS, 1.0);
        chapter.push(subjects::NOOP, cases::SYN_1_CPU, 2.0);
        assert_eq!(chapter.rows[0].subject, subjects::NOOP);
        assert_eq!(chapter.rows.len(), 9);
        assert_eq!(chapter.cases[0], cases::SYN_1_CPU);
        let error = super::chapter("life").unwrap_err();
        assert!(error.to_string().contains("`life` (there are packet, "));
        Ok(())
    }
}
