//! Proves, frame by frame, what becomes of a packet, and that it moves exactly
//! the counters it should and no other.
//!
//! The frames are etherparse's work, or lies told by hand in them; they are run
//! through the program of the generation in force and through the dispatcher. What is
//! wrong with a malformed packet is not in the counters: that, [`table::Section`] has
//! from `xdpfw_common::verdict::judge`.
//!
//! The tables of `conformance` are published in docs/CONFORMANCE.md. As
//! `TRYCMD=overwrite` does with the snapshots of the command line,
//! `XDPFW_CONFORMANCE=overwrite cargo xtask test -- conformance` writes that page anew.

mod cases;
mod differential;
mod explained;
mod extension;
mod filter;
mod frame;
mod page;
mod rules;
mod stack;
mod table;

/// The sections of docs/CONFORMANCE.md, each proven by a test of its own.
mod conformance {
    use std::collections::BTreeSet;

    use anyhow::Result;
    use xdpfw_common::{Reason, wire::Malformation};

    use crate::{cases, page, table::Section};

    /// By file in `cases`, in the order of the page.
    macro_rules! sections {
        ($($subject:ident: $($section:ident)+;)+) => {
            const SECTIONS: &[fn() -> Section] = &[$($(cases::$subject::$section,)+)+];

            $($(
                #[test]
                fn $section() -> Result<()> {
                    page::prove(&cases::$subject::$section(), SECTIONS)
                }
            )+)+
        };
    }

    sections! {
        ethernet: vlan_tags not_ip not_ip_dropped no_link_layer;
        ipv4: ipv4_header ipv4_options;
        ipv6: ipv6_header mapped_addresses mapped_addresses_denied;
        aggregates: aggregates;
        extensions: extension_chains broken_extensions;
        truncated: cut_frames short_packets;
        transport: tcp_header udp_length;
        flags: tcp_flags;
        fragments: first_fragments later_fragments later_fragments_dropped
            later_fragments_under_rules later_fragments_under_rules_dropped;
        icmp: icmp_types icmp6_types icmp_errors icmp_errors_pass icmp_under_rules icmp_by_default;
        protocols: tunnels igmp other_protocols other_protocols_under_rules other_protocols_by_default;
        ports: remote_ports dhcp dhcp_off;
    }

    #[test]
    fn page_says_what_is_proven() -> Result<()> {
        page::compare(SECTIONS)
    }

    #[test]
    fn every_reason_and_malformation_is_proven() {
        let sections = SECTIONS.iter().map(|section| section());
        let cases: Vec<_> = sections.flat_map(|section| section.cases).collect();
        let expected = || cases.iter().map(|case| case.expected);
        let proven: BTreeSet<_> = expected()
            .map(|expected| (expected.verdict.as_str(), expected.reason))
            .collect();
        let all = Reason::ALL
            .iter()
            .map(|reason| (reason.verdict().as_str(), reason.as_str()));
        // For replies something must have left: see `replies`; bans and limits know what came
        // before: see `defence`. No policy gives the others: see `temporary`.
        let elsewhere = [
            "reply",
            "ban",
            "limit",
            "syn-cookie",
            "bad-cookie",
            "bypass",
            "no-program",
        ];
        let all: BTreeSet<_> = all
            .filter(|(_, reason)| !elsewhere.contains(reason))
            .collect();
        assert_eq!(proven, all);

        let proven: BTreeSet<_> = expected().filter_map(|expected| expected.detail).collect();
        let all: BTreeSet<_> = Malformation::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(proven, all);
    }
}
