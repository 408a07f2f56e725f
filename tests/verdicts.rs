//! Proves, frame by frame, what becomes of a packet, and that it moves exactly
//! the counters it should and no other.
//!
//! The frames are etherparse's work, or lies told by hand in them; they are run
//! through the program of the generation in force and through the dispatcher.

#[path = "verdicts/filter.rs"]
mod filter;
#[path = "verdicts/frame.rs"]
mod frame;

use anyhow::Result;
use etherparse::{EtherType, IpNumber, TcpHeader, UdpHeader};
use xdpfw_tests::packets::flags;

use crate::{
    filter::{Filter, drops, passes},
    frame::{
        ETHERNET, IPV4, Packet, REMOTE, SHORTEST_FRAME, datagram, ethernet, packet, segment,
        tagged, tagged_with, tcp, tcp_from, udp, udp_from,
    },
};

/// TCP 443 open, UDP 443 and TCP 23 denied, the rest closed.
const PORT_443: &str =
    r#"rule = [{ allow = "tcp 443" }, { deny = "udp 443" }, { deny = "tcp 23" }]"#;

/// Claims, line by line, what becomes of a packet and what is counted of it.
macro_rules! judge {
    ($filter:expr; $($name:literal: $packet:expr => $expected:expr;)+) => {
        $($filter.judge($name, &[$packet.frame()], &$expected)?;)+
    };
}

#[test]
fn local_ports_are_judged_by_the_first_rule_that_matches() -> Result<()> {
    let filter = Filter::with(
        r#"
        rule = [
            { allow = "tcp 443" },
            { deny = "tcp 8000-8010" },
            { allow = "tcp 8000-8100" },
            { deny = "tcp 8050" },
            { allow = "udp 53" },
            { allow = "tcp+udp 5060" },
            { allow = "tcp 65000-65535" },
            { deny = "udp 1-1023" },
        ]
        "#,
    )?;
    let allowed = |id| passes("rule").by(id);
    let denied = |port, id| drops("rule").on(port).by(id);
    let closed = |port| drops("default").on(port);
    judge! { filter;
        "port below a rule's": tcp(442) => closed("tcp/442");
        "port of a rule": tcp(443) => allowed("r1");
        "port above a rule's": tcp(444) => closed("tcp/444");
        "UDP where TCP is allowed": udp(443) => denied("udp/443", "r8");
        "below a range": tcp(7999) => closed("tcp/7999");
        "first port of a denied range": tcp(8000) => denied("tcp/8000", "r2");
        "last port of a denied range": tcp(8010) => denied("tcp/8010", "r2");
        "first port behind a denied range": tcp(8011) => allowed("r3");
        "deny after allow": tcp(8050) => allowed("r3");
        "last port of an allowed range": tcp(8100) => allowed("r3");
        "above a range": tcp(8101) => closed("tcp/8101");
        "UDP to a TCP range": udp(8011) => closed("udp/8011");
        "allow before a range's deny": udp(53) => allowed("r5");
        "its neighbour below": udp(52) => denied("udp/52", "r8");
        "its neighbour above": udp(54) => denied("udp/54", "r8");
        "TCP where UDP is allowed": tcp(53) => closed("tcp/53");
        "a rule for both, TCP": tcp(5060) => allowed("r6");
        "a rule for both, UDP": udp(5060) => allowed("r6");
        "above a rule for both": udp(5061) => closed("udp/5061");
        "below the last range": tcp(64_999) => closed("tcp/64999");
        "first port of the last range": tcp(65_000) => allowed("r7");
        "last port there is": tcp(65_535) => allowed("r7");
        "last port there is, UDP": udp(65_535) => closed("udp/65535");
        "port 0, TCP": tcp(0) => closed("tcp/0");
        "port 0, UDP": udp(0) => closed("udp/0");
        "first port of a range from 1": udp(1) => denied("udp/1", "r8");
        "last port of a range to 1023": udp(1023) => denied("udp/1023", "r8");
        "above a range to 1023": udp(1024) => closed("udp/1024");
    }
    Ok(())
}

#[test]
fn remote_ports_are_judged_together_with_local_ones() -> Result<()> {
    let filter = Filter::with(
        r#"
        rule = [
            { deny = "tcp any", remote_ports = [6667] },
            { allow = "tcp 80" },
            { allow = "tcp 1024-2000", remote_ports = ["20-21"] },
            { allow = "udp 5000", remote_ports = [123, "200-300"] },
            { deny = "udp any", remote_ports = [1900] },
            { allow = "udp 5000-5001" },
        ]
        "#,
    )?;
    let allowed = |id| passes("rule").by(id);
    let denied = |port, id| drops("rule").on(port).by(id);
    let closed = |port| drops("default").on(port);
    judge! { filter;
        "denied peer": tcp_from(6667, 80) => denied("tcp/80", "r1");
        "denied peer, other port": tcp_from(6667, 81) => denied("tcp/81", "r1");
        "the port below it": tcp_from(6666, 80) => allowed("r2");
        "the port above it": tcp_from(6668, 80) => allowed("r2");
        "denied peer's port as ours": tcp_from(80, 6667) => closed("tcp/6667");
        "UDP from the denied peer": udp_from(6667, 80) => closed("udp/80");
        "both in range": tcp_from(20, 1024) => allowed("r3");
        "both in range, last": tcp_from(21, 2000) => allowed("r3");
        "local below": tcp_from(20, 1023) => closed("tcp/1023");
        "local above": tcp_from(20, 2001) => closed("tcp/2001");
        "remote below": tcp_from(19, 1024) => closed("tcp/1024");
        "remote above": tcp_from(22, 1024) => closed("tcp/1024");
        "both, but the other way": tcp_from(1024, 20) => closed("tcp/20");
        "UDP in both ranges of TCP": udp_from(20, 1024) => closed("udp/1024");
        "first of two remote words": udp_from(123, 5000) => allowed("r4");
        "second of two remote words": udp_from(300, 5000) => allowed("r4");
        "between the words": udp_from(124, 5000) => allowed("r6");
        "remote port alone": udp_from(123, 4999) => closed("udp/4999");
        "deny before allow": udp_from(1900, 5000) => denied("udp/5000", "r5");
        "deny on an unlisted port": udp_from(1900, 9) => denied("udp/9", "r5");
        "its neighbour": udp_from(1901, 5001) => allowed("r6");
        "TCP from the port that UDP denies": tcp_from(1900, 80) => allowed("r2");
    }
    Ok(())
}

#[test]
fn what_no_rule_matches_passes_by_default_pass() -> Result<()> {
    let filter = Filter::with(
        r#"
        default = "pass"
        rule = [{ deny = "tcp 23" }, { allow = "tcp 24" }, { deny = "udp any", remote_ports = [53] }]
        "#,
    )?;
    judge! { filter;
        "below the rule": tcp(22) => passes("default");
        "the rule": tcp(23) => drops("rule").on("tcp/23").by("r1");
        "an allow rule": tcp(24) => passes("rule").by("r2");
        "the other protocol": udp(23) => passes("default");
        "a remote port": udp_from(53, 9) => drops("rule").on("udp/9").by("r3");
        "another remote port": udp_from(54, 9) => passes("default");
        "a DHCP answer": udp_from(67, 68) => passes("default");
        "an answer to nobody": tcp(25).flags(flags::ACK) => passes("default");
        "GRE": packet(IpNumber::GRE, &[0; 4]) => passes("default");
        "impossible flags": tcp(25).flags(0) => drops("bad-flags").on("tcp/25");
        "no IPv4 header": tcp(25).total_len(19) => drops("malformed");
    }
    Ok(())
}

#[test]
fn protocols_without_ports_follow_rules_for_any_and_else_the_default() -> Result<()> {
    let protocols = || {
        [
            IpNumber::GRE,
            IpNumber::IGMP,
            IpNumber::SCTP,
            IpNumber(50),
            IpNumber(255),
        ]
        .map(|protocol| packet(protocol, &segment(REMOTE, 443, flags::SYN)).frame())
    };
    for (rules, expected) in [
        ("", drops("default")),
        (
            r#"{ allow = "tcp any" }, { allow = "udp any" }"#,
            drops("default"),
        ),
        (r#"{ allow = "tcp+udp any" }"#, drops("default")),
        (r#"{ allow = "any" }"#, passes("rule").by("r1")),
        (
            r#"{ deny = "tcp 443" }, { allow = "any" }"#,
            passes("rule").by("r2"),
        ),
        (
            r#"{ deny = "any" }, { allow = "any" }"#,
            drops("rule").by("r1"),
        ),
    ] {
        let filter = Filter::with(&format!("rule = [{rules}]"))?;
        filter.judge(rules, &protocols(), &expected)?;
        // Judged apart from rules, as long as they are not judged at all.
        judge! { filter;
            "ICMP": packet(IpNumber::ICMP, &[8, 0, 0, 0]) => passes("icmp");
            "empty ICMP": packet(IpNumber::ICMP, &[]) => passes("icmp");
        }
    }
    let filter =
        Filter::with(r#"rule = [{ deny = "tcp 23" }, { allow = "any" }, { deny = "udp 53" }]"#)?;
    judge! { filter;
        "deny before any": tcp(23) => drops("rule").on("tcp/23").by("r1");
        "any, TCP": tcp(24) => passes("rule").by("r2");
        "any, UDP": udp(23) => passes("rule").by("r2");
        "deny after any": udp(53) => passes("rule").by("r2");
    }
    Ok(())
}

#[test]
fn ip_options_do_not_shift_the_ports() -> Result<()> {
    let filter = Filter::with(PORT_443)?;
    for words in 0..=10 {
        // Where the ports would be without options, options that look like one.
        let options = 23_u16.to_be_bytes().repeat(2 * words);
        let name = |what: &str| format!("{what} behind {} bytes of options", options.len());
        for (what, packet, expected) in [
            ("open TCP", tcp(443), passes("rule").by("r1")),
            ("closed TCP", tcp(22), drops("default").on("tcp/22")),
            ("denied UDP", udp(443), drops("rule").on("udp/443").by("r2")),
            ("ICMP", packet(IpNumber::ICMP, &[8, 0]), passes("icmp")),
        ] {
            let frame = packet.options(&options)?.frame();
            filter.judge(&name(what), &[frame], &expected)?;
        }
    }
    Ok(())
}

#[test]
fn ip_headers_that_lie_are_malformed() -> Result<()> {
    let filter = Filter::with(PORT_443)?;
    let with_first_byte = |version: u8, words: u8| {
        let mut frame = tcp(443).frame();
        frame[ETHERNET] = version << 4 | words;
        frame
    };
    let short_headers: Vec<_> = (0..5).map(|words| with_first_byte(4, words)).collect();
    filter.judge(
        "header length below 20",
        &short_headers,
        &drops("malformed"),
    )?;
    // The whole packet is ten words: the header may not be longer, and a header
    // of six to ten words leaves TCP too short.
    let long_headers: Vec<_> = (6..16).map(|words| with_first_byte(4, words)).collect();
    filter.judge("header length beyond", &long_headers, &drops("malformed"))?;
    let versions: Vec<_> = (0..16)
        .filter(|&version| version != 4)
        .map(|version| with_first_byte(version, 5))
        .collect();
    filter.judge("other versions", &versions, &drops("malformed"))?;
    filter.judge(
        "the truth",
        &[with_first_byte(4, 5)],
        &passes("rule").by("r1"),
    )?;

    let whole = IPV4 + TcpHeader::MIN_LEN;
    let below: Vec<_> = (0..whole)
        .map(|len| tcp(443).total_len(len as u16).frame())
        .collect();
    filter.judge(
        "total length below the headers",
        &below,
        &drops("malformed"),
    )?;
    let beyond: Vec<_> = [whole + 1, whole + 2, 1500, 65_535]
        .map(|len| tcp(443).total_len(len as u16).frame())
        .into();
    filter.judge(
        "total length beyond the frame",
        &beyond,
        &drops("malformed"),
    )?;
    let icmp: Vec<_> = (0..IPV4)
        .map(|len| {
            packet(IpNumber::ICMP, &[8, 0])
                .total_len(len as u16)
                .frame()
        })
        .collect();
    filter.judge("ICMP of no length", &icmp, &drops("malformed"))
}

#[test]
fn frames_cut_anywhere_are_malformed() -> Result<()> {
    let filter = Filter::with(PORT_443)?;
    let vlan = |packet: Packet| tagged(&[EtherType::VLAN_TAGGED_FRAME], &packet.bytes());
    for (name, frame, expected) in [
        ("TCP", tcp(443).data(7).frame(), passes("rule").by("r1")),
        (
            "UDP",
            udp(443).data(7).frame(),
            drops("rule").on("udp/443").by("r2"),
        ),
        ("TCP with a tag", vlan(tcp(443)), passes("rule").by("r1")),
        (
            "TCP with IP options",
            tcp(443).options(&[1; 8])?.frame(),
            passes("rule").by("r1"),
        ),
    ] {
        let cut: Vec<_> = (ETHERNET..frame.len())
            .map(|len| frame[..len].to_vec())
            .collect();
        filter.judge(&format!("{name}, cut"), &cut, &drops("malformed"))?;

        // The same by the packet's own word: all is there, but not the packet's.
        let padded: Vec<_> = (frame.len()..frame.len() + 20)
            .map(|len| [&frame[..], &vec![0xff; len - frame.len()]].concat())
            .collect();
        filter.judge(&format!("{name}, padded"), &padded, &expected)?;
    }
    // The shortest frame has room for more than the headers.
    let mut frame = udp(443).frame();
    let len = frame.len();
    frame.resize(SHORTEST_FRAME, 0);
    let cut: Vec<_> = (len..SHORTEST_FRAME)
        .map(|len| frame[..len].to_vec())
        .collect();
    filter.judge(
        "cut within padding",
        &cut,
        &drops("rule").on("udp/443").by("r2"),
    )?;
    // A transport header that lies in the padding is none.
    let mut frames = Vec::new();
    for len in 0..TcpHeader::MIN_LEN {
        frames.push(tcp(443).total_len((IPV4 + len) as u16).frame());
    }
    for len in 0..UdpHeader::LEN {
        frames.push(udp(443).total_len((IPV4 + len) as u16).frame());
    }
    for frame in &mut frames {
        frame.resize(SHORTEST_FRAME, 0);
    }
    filter.judge(
        "transport header in the padding",
        &frames,
        &drops("malformed"),
    )
}

#[test]
fn transport_lengths_that_lie_are_malformed() -> Result<()> {
    let filter = Filter::with(PORT_443)?;
    let open = passes("rule").by("r1");
    // The data offset, in words, of a segment with so many bytes behind the
    // shortest header.
    let tcp_with = |words: u8, behind: usize| tcp(443).data(behind).patched(12, &[words << 4]);
    let below: Vec<_> = (0..5).map(|words| tcp_with(words, 40).frame()).collect();
    filter.judge("TCP header below 20 bytes", &below, &drops("malformed"))?;
    let exact: Vec<_> = (5..16)
        .map(|words| tcp_with(words, usize::from(words - 5) * 4).frame())
        .collect();
    filter.judge("TCP header as long as the packet", &exact, &open)?;
    let beyond: Vec<_> = (6..16)
        .map(|words| tcp_with(words, usize::from(words - 5) * 4 - 1).frame())
        .collect();
    filter.judge("TCP header one byte beyond", &beyond, &drops("malformed"))?;

    let udp_with = |len: u16| udp(443).data(4).patched(4, &len.to_be_bytes());
    let below: Vec<_> = (0..8).map(|len| udp_with(len).frame()).collect();
    filter.judge("UDP length below 8", &below, &drops("malformed"))?;
    let within: Vec<_> = (8..=12).map(|len| udp_with(len).frame()).collect();
    filter.judge(
        "UDP length within",
        &within,
        &drops("rule").on("udp/443").by("r2"),
    )?;
    let beyond: Vec<_> = [13, 14, 1500, u16::MAX]
        .map(|len| udp_with(len).frame())
        .into();
    filter.judge("UDP length beyond", &beyond, &drops("malformed"))?;
    // What follows the packet in the frame does not make up for it.
    let padded = [udp_with(13).frame(), vec![0; 20]].concat();
    filter.judge(
        "UDP length into the padding",
        &[padded],
        &drops("malformed"),
    )
}

#[test]
fn impossible_tcp_flags_are_dropped_even_where_the_port_is_open() -> Result<()> {
    let filter = Filter::with(PORT_443)?;
    let is_impossible = |bits: u8| {
        let set = |flag| bits & flag != 0;
        let none = bits & 0x3f == 0;
        none || set(flags::SYN) && (set(flags::FIN) || set(flags::RST))
            || set(flags::FIN) && !set(flags::ACK)
    };
    // All 64 sets, without and with the two bits of congestion notification.
    let (impossible, possible): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).partition(|&b| is_impossible(b));
    assert_eq!((impossible.len(), possible.len()), (4 * 33, 4 * 31));
    let frames = |port: u16, sets: &[u8]| -> Vec<_> {
        sets.iter()
            .map(|&bits| tcp(port).flags(bits).frame())
            .collect()
    };
    for (name, port, sets, expected) in [
        (
            "impossible, open",
            443,
            &impossible,
            drops("bad-flags").on("tcp/443"),
        ),
        (
            "impossible, closed",
            22,
            &impossible,
            drops("bad-flags").on("tcp/22"),
        ),
        (
            "impossible, denied",
            23,
            &impossible,
            drops("bad-flags").on("tcp/23"),
        ),
        ("possible, open", 443, &possible, passes("rule").by("r1")),
        (
            "possible, closed",
            22,
            &possible,
            drops("default").on("tcp/22"),
        ),
        (
            "possible, denied",
            23,
            &possible,
            drops("rule").on("tcp/23").by("r3"),
        ),
    ] {
        filter.judge(name, &frames(port, sets), &expected)?;
    }
    Ok(())
}

#[test]
fn only_first_fragments_have_ports() -> Result<()> {
    for (knob, later) in [("pass", passes("fragment")), ("drop", drops("fragment"))] {
        let filter = Filter::with(&format!("fragments = \"{knob}\"\n{PORT_443}"))?;
        let big_udp = |packet: Packet| packet.patched(4, &4000_u16.to_be_bytes());
        judge! { filter;
            "first, open": tcp(443).fragment(0, true)? => passes("rule").by("r1");
            "first, closed": tcp(22).fragment(0, true)? => drops("default").on("tcp/22");
            "first, denied UDP, most of it still to come":
                big_udp(udp(443).fragment(0, true)?) => drops("rule").on("udp/443").by("r2");
            "first, TCP options still to come":
                tcp(443).patched(12, &[15 << 4]).fragment(0, true)? => passes("rule").by("r1");
            "first, impossible flags":
                tcp(443).flags(0).fragment(0, true)? => drops("bad-flags").on("tcp/443");
            "first, UDP length below 8":
                udp(443).patched(4, &7_u16.to_be_bytes()).fragment(0, true)? => drops("malformed");
            "first, TCP header below 20 bytes":
                tcp(443).patched(12, &[4 << 4]).fragment(0, true)? => drops("malformed");
            "first, GRE": packet(IpNumber::GRE, &[0; 8]).fragment(0, true)? => drops("default");
            "later, as if open": tcp(443).fragment(1, true)? => later.clone();
            "later, as if closed": tcp(22).fragment(185, true)? => later.clone();
            "later, as if denied": udp(443).fragment(185, true)? => later.clone();
            "last": tcp(443).fragment(2, false)? => later.clone();
            "furthest": tcp(443).fragment(8191, false)? => later.clone();
            "later, as if flags were impossible":
                tcp(443).flags(0).fragment(2, false)? => later.clone();
            "later, a byte": packet(IpNumber::TCP, &[1]).fragment(2, false)? => later.clone();
            "later, nothing": packet(IpNumber::UDP, &[]).fragment(2, false)? => later.clone();
            "later, GRE": packet(IpNumber::GRE, &[0; 8]).fragment(2, false)? => later.clone();
            "later, behind options":
                tcp(443).options(&[1; 40])?.fragment(2, true)? => later.clone();
            "later, beyond the frame":
                tcp(443).fragment(2, true)?.total_len(41) => drops("malformed");
        }
        let tiny: Vec<_> = (0..TcpHeader::MIN_LEN)
            .map(|len| packet(IpNumber::TCP, &segment(REMOTE, 443, flags::SYN)[..len]))
            .chain(
                (0..UdpHeader::LEN).map(|len| packet(IpNumber::UDP, &datagram(REMOTE, 443)[..len])),
            )
            .map(|packet| Ok(packet.fragment(0, true)?.frame()))
            .collect::<Result<_>>()?;
        filter.judge(
            "first, too short for the header",
            &tiny,
            &drops("malformed"),
        )?;
        // "Do not fragment" and the reserved bit make no fragment.
        let whole: Vec<_> = [0x40, 0x80, 0xc0]
            .map(|bits| {
                let mut frame = tcp(443).frame();
                frame[ETHERNET + 6] = bits;
                frame
            })
            .into();
        filter.judge("whole", &whole, &passes("rule").by("r1"))?;
    }
    Ok(())
}

#[test]
fn two_vlan_tags_are_looked_behind() -> Result<()> {
    const Q: EtherType = EtherType::VLAN_TAGGED_FRAME;
    const AD: EtherType = EtherType::PROVIDER_BRIDGING;

    let filter = Filter::with(PORT_443)?;
    for tags in [&[Q][..], &[AD], &[AD, Q], &[Q, Q], &[Q, AD]] {
        for (name, packet, expected) in [
            ("open", tcp(443), passes("rule").by("r1")),
            ("closed", tcp(22), drops("default").on("tcp/22")),
            ("denied", udp(443), drops("rule").on("udp/443").by("r2")),
            ("malformed", tcp(443).total_len(41), drops("malformed")),
        ] {
            let frame = tagged(tags, &packet.bytes());
            filter.judge(&format!("{name} behind {tags:?}"), &[frame], &expected)?;
        }
        for (inner, expected) in [
            (EtherType::ARP, passes("arp")),
            (EtherType::IPV6, passes("ipv6")),
            (EtherType(0x88cc), passes("non-ip")),
        ] {
            let frame = tagged_with(tags, inner, &[0; 46]);
            filter.judge(&format!("{inner:?} behind {tags:?}"), &[frame], &expected)?;
        }
        let frame = tagged(tags, &tcp(443).bytes());
        let cut: Vec<_> = (ETHERNET..ETHERNET + 4 * tags.len())
            .map(|len| frame[..len].to_vec())
            .collect();
        filter.judge(&format!("cut in {tags:?}"), &cut, &drops("malformed"))?;
    }
    let deep: Vec<_> = [&[Q, Q, Q][..], &[AD, Q, Q], &[AD, AD, AD], &[Q, Q, Q, Q]]
        .map(|tags| tagged(tags, &tcp(443).bytes()))
        .into();
    filter.judge("three tags and more", &deep, &drops("vlan-depth"))
}

#[test]
fn what_is_not_ipv4_passes_under_a_reason_of_its_own() -> Result<()> {
    for default in ["drop", "pass"] {
        let filter = Filter::with(&format!(
            "default = \"{default}\"\nrule = [{{ deny = \"any\" }}]"
        ))?;
        // Not even IPv4 behind these types would be looked at.
        let bytes = tcp(443).bytes();
        for (name, ether_type, expected) in [
            ("ARP", EtherType::ARP, passes("arp")),
            ("IPv6", EtherType::IPV6, passes("ipv6")),
            ("LLDP", EtherType(0x88cc), passes("non-ip")),
            (
                "a length, as of spanning tree's",
                EtherType(38),
                passes("non-ip"),
            ),
            ("no type", EtherType(0), passes("non-ip")),
            ("an IPv4 neighbour", EtherType(0x0801), passes("non-ip")),
            ("the swapped type", EtherType(0x0008), passes("non-ip")),
        ] {
            let frames = [ethernet(ether_type, &bytes), ethernet(ether_type, &[])];
            filter.judge(name, &frames, &expected)?;
        }
    }
    Ok(())
}

#[test]
fn answers_to_the_dhcp_client_pass_unless_the_knob_or_a_rule_says_no() -> Result<()> {
    let closed = |port| drops("default").on(port);
    for (policy, answer) in [
        ("", passes("dhcp-client")),
        ("dhcp_client = true", passes("dhcp-client")),
        (
            "dhcp_client = true\nudp_replies = \"off\"",
            passes("dhcp-client"),
        ),
        ("dhcp_client = false", closed("udp/68")),
        (
            "rule = [{ deny = \"udp 68\" }]",
            drops("rule").on("udp/68").by("r1"),
        ),
        (
            "dhcp_client = false\nrule = [{ allow = \"udp 68\" }]",
            passes("rule").by("r1"),
        ),
    ] {
        let filter = Filter::with(policy)?;
        filter.judge(policy, &[udp_from(67, 68).frame()], &answer)?;
        judge! { filter;
            "another local port": udp_from(67, 67) => closed("udp/67");
            "another local port above": udp_from(67, 69) => closed("udp/69");
            "the other way": udp_from(68, 67) => closed("udp/67");
            "TCP": tcp_from(67, 68) => closed("tcp/68");
        }
    }
    let filter = Filter::with("")?;
    judge! { filter;
        "another remote port": udp_from(66, 68) => closed("udp/68");
        "another remote port above": udp_from(68, 68) => closed("udp/68");
    }
    Ok(())
}
