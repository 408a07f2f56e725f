//! Proves what nmap, the scanner that everybody has, sees of a filtered host, and that
//! each of its probes is counted: by reason, by port and by rule.

use std::net::{IpAddr, Ipv6Addr, TcpListener};

use anyhow::{Context as _, Result};
use xdpfw_tests::{Lab, Tally, servers::UdpEcho};

/// Ports 2001 and 2002 are allowed, and somebody is there at the first one only.
const POLICY: &str = "rule = [{ allow = 'tcp 2001-2002' }, { allow = 'udp 2001-2002' }]";
const PORTS: &str = "2000-2003";
const OPEN: u16 = 2001;

/// A kind of scan.
struct Scan {
    options: &'static [&'static str],
    /// What it finds out about the four ports.
    states: [&'static str; 4],
    /// What is counted of it.
    counted: &'static [(&'static str, u64)],
}

/// What is counted of probes that no stack would send, whatever the port.
const BAD_FLAGS: &[(&str, u64)] = &[
    ("drop bad-flags", 4),
    ("tcp/2000", 1),
    ("tcp/2001", 1),
    ("tcp/2002", 1),
    ("tcp/2003", 1),
];

/// Scans that IPv4 and IPv6 have in common.
const SCANS: [Scan; 7] = [
    // The scanner's kernel resets what it did not open: a third allowed packet.
    Scan {
        options: &["-sS"],
        states: ["filtered", "open", "closed", "filtered"],
        counted: &[
            ("drop default", 2),
            ("tcp/2000", 1),
            ("tcp/2003", 1),
            ("pass rule", 3),
            ("r1", 3),
        ],
    },
    // SYN, ACK and RST to the open port.
    Scan {
        options: &["-sT"],
        states: ["filtered", "open", "closed", "filtered"],
        counted: &[
            ("drop default", 2),
            ("tcp/2000", 1),
            ("tcp/2003", 1),
            ("pass rule", 4),
            ("r1", 4),
        ],
    },
    Scan {
        options: &["-sA"],
        states: ["filtered", "unfiltered", "unfiltered", "filtered"],
        counted: &[
            ("drop default", 2),
            ("tcp/2000", 1),
            ("tcp/2003", 1),
            ("pass rule", 2),
            ("r1", 2),
        ],
    },
    Scan {
        options: &["-sN"],
        states: ["open|filtered"; 4],
        counted: BAD_FLAGS,
    },
    Scan {
        options: &["-sF"],
        states: ["open|filtered"; 4],
        counted: BAD_FLAGS,
    },
    Scan {
        options: &["-sX"],
        states: ["open|filtered"; 4],
        counted: BAD_FLAGS,
    },
    // The scanner's kernel refuses the answer, which is an ICMP error for us.
    Scan {
        options: &["-sU"],
        states: ["open|filtered", "open", "closed", "open|filtered"],
        counted: &[
            ("drop default", 2),
            ("udp/2000", 1),
            ("udp/2003", 1),
            ("pass rule", 2),
            ("r2", 2),
            ("pass icmp-error", 1),
        ],
    },
];

/// Three fragments of eight bytes each: the first does not hold the TCP header, and the
/// others are nothing without it.
const FRAGMENTED: Scan = Scan {
    options: &["-sS", "-f"],
    states: ["filtered"; 4],
    counted: &[("drop malformed", 4), ("pass fragment", 8)],
};

/// Fragments may be had larger: then the header lies in the first one, and the ports
/// are as open as ever.
const ONE_FRAGMENT: Scan = Scan {
    options: &["-sS", "--mtu", "24"],
    states: ["filtered", "open", "closed", "filtered"],
    counted: SCANS[0].counted,
};

#[test]
fn nmap_sees_what_is_allowed_and_every_probe_is_counted() -> Result<()> {
    let (lab, _listeners) = scanned()?;
    let address = lab.link().near().address.into();
    for scan in SCANS.iter().chain([&FRAGMENTED, &ONE_FRAGMENT]) {
        judge(&lab, address, scan)?;
    }
    Ok(())
}

#[test]
fn nmap_sees_the_same_over_ipv6() -> Result<()> {
    let (lab, _listeners) = scanned()?;
    let address = lab.link().near().address6.into();
    for scan in &SCANS {
        judge(&lab, address, scan)?;
    }
    Ok(())
}

#[test]
fn a_policy_against_fragments_drops_the_rest_of_the_fragmented_scan() -> Result<()> {
    let (lab, _listeners) = scanned()?;
    lab.host
        .xdpfw(["apply", "-"])
        .stdin(format!(
            "version = 1\ninterfaces = ['eth0']\nfragments = 'drop'\n{POLICY}"
        ))
        .ok();
    let scan = Scan {
        counted: &[("drop malformed", 4), ("drop fragment", 8)],
        ..FRAGMENTED
    };
    judge(&lab, lab.link().near().address.into(), &scan)
}

/// A filtered host with its listeners, over both families.
fn scanned() -> Result<(Lab, (TcpListener, UdpEcho))> {
    let lab = Lab::with_ipv6(1)?;
    let address = (Ipv6Addr::UNSPECIFIED, OPEN);
    // Nobody accepts: what the kernel answers by itself is always the same.
    let listener = lab.host.enter(|| Ok(TcpListener::bind(address)?))?;
    let echo = UdpEcho::start_at(&lab.host, address.into())?;
    for host in [&lab.host, &lab.peer] {
        // Each error that is due is sent.
        host.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        host.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    }
    Ok((lab.filtered(POLICY), (listener, echo)))
}

/// Scans, and claims what nmap reports, what is counted, and that all that has come in
/// was counted.
#[track_caller]
fn judge(lab: &Lab, address: IpAddr, scan: &Scan) -> Result<()> {
    let case = scan.options.join(" ");
    let (before, received) = Tally::settled(&lab.host, "eth0")?;
    let address = address.to_string();
    let mut arguments = scan.options.to_vec();
    // After a second, the kernel would ask again where nmap has it connect.
    let patience = if case == "-sT" { "400ms" } else { "1000ms" };
    // No names, no search for the host, no address resolution of its own; each probe
    // once, with time enough for the answer.
    arguments.extend(["-n", "-Pn", "--disable-arp-ping", "--max-retries", "0"]);
    arguments.extend(["--min-rtt-timeout", patience, "--initial-rtt-timeout"]);
    arguments.extend([patience, "-p", PORTS, "-oG", "-"]);
    if address.contains(':') {
        arguments.push("-6");
    }
    arguments.push(&address);
    let report = lab.peer.run("nmap", &arguments)?;
    assert_eq!(states(&report)?, scan.states, "{case}: {report}");
    Tally::assert_moved(&lab.host, &before, scan.counted)
        .with_context(|| format!("after nmap {case}"))?;

    let (after, now) = Tally::settled(&lab.host, "eth0")?;
    assert_eq!(
        after.since(&before).judged(),
        now.rx_packets - received.rx_packets,
        "{case}: packets judged and received"
    );
    Ok(())
}

/// The ports' states in nmap's report for programs:
/// `Ports: 2000/filtered/tcp//cisco-sccp///, 2001/open/tcp…`.
fn states(report: &str) -> Result<Vec<&str>> {
    let (_, ports) = report
        .split_once("Ports: ")
        .with_context(|| format!("no ports in {report}"))?;
    let ports = ports.split(['\n', '\t']).next().unwrap_or_default();
    ports
        .split(", ")
        .map(|port| {
            port.split('/')
                .nth(1)
                .with_context(|| format!("no state in {port}"))
        })
        .collect()
}
