//! Proves that every packet of a scan is counted exactly once, at its own port,
//! whatever happens to the policy meanwhile, and that what is allowed stays open.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_tests::{
    Host, Lab, Link, PATIENCE, Sender,
    json::{number, reason},
    packets, servers,
};

/// The scanner's port, out of every server's way.
const SCANNER: u16 = 40_000;
/// Length of the Ethernet header, in bytes.
const ETHERNET: u64 = 14;
/// UDP ports that are scanned: the first thousand.
const UDP_PORTS: u16 = 1000;

#[test]
fn every_closed_port_of_a_scan_is_counted_once_and_the_open_one_answers() -> Result<()> {
    let lab = Lab::new()?;
    let server = servers::TcpServer::start(&lab.host, 443, "open")?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    lab.host.xdpfw(["allow", "tcp", "443"]).ok();

    let fetch = || servers::fetch(&lab.peer, lab.link().near().at(443), PATIENCE);
    assert_eq!(fetch()?, "open");
    let tcp: Vec<u16> = (1..=u16::MAX).filter(|&port| port != 443).collect();
    let udp: Vec<u16> = (1..=UDP_PORTS).collect();
    let mut scanner = Sender::new(&lab.peer, lab.link().far())?;
    let sent_tcp = scanner.send_all(tcp.iter().map(|&port| syn(lab.link(), port)))?;
    let sent_udp = scanner.send_all(udp.iter().map(|&port| datagram(lab.link(), port)))?;
    assert_eq!((sent_tcp, sent_udp), (65_534, 1000));
    assert_eq!(fetch()?, "open");
    assert_eq!(server.served(), 2);

    let stats = lab.host.xdpfw(["stats"]).json();
    let expected: BTreeMap<_, _> = tcp
        .iter()
        .map(|&port| (("tcp".to_owned(), port), 1))
        .chain(udp.iter().map(|&port| (("udp".to_owned(), port), 1)))
        .collect();
    assert_drops(&stats, &expected)?;

    let status = lab.host.status();
    let sent = sent_tcp + sent_udp;
    let packets = [
        (sent_tcp, syn(lab.link(), 1)),
        (sent_udp, datagram(lab.link(), 1)),
    ];
    let bytes: u64 = packets
        .iter()
        .map(|(times, packet)| times * (ETHERNET + packet.len() as u64))
        .sum();
    let dropped = &status["totals"]["dropped"];
    assert_eq!(number(&dropped["packets"])?, sent);
    assert_eq!(number(&dropped["bytes"])?, bytes);
    assert_eq!(dropped, &stats["totals"]["dropped"]);
    // All drops are the default's, and what passed is the fetches'.
    assert_eq!(reason(&status, "drop", "default")?, sent);
    let hits = lab.host.xdpfw(["list"]).json();
    let passed = number(&status["totals"]["passed"]["packets"])?;
    assert_eq!(reason(&status, "pass", "rule")?, passed);
    assert_eq!(number(&hits["rules"][0]["packets"])?, passed);
    assert!(passed > 0);

    // Seen from the interface, nothing came in that was not judged.
    let counters = lab.host.counters("eth0")?;
    assert_eq!(counters.rx_dropped, 0);
    assert_eq!(counters.tx_dropped, 0);
    Ok(())
}

#[test]
fn no_packet_goes_uncounted_while_generations_are_swapped() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    // Port 7 is closed under each; the others have their turns.
    let policies = [
        "rule = [{ allow = 'tcp 1000-1999' }, { deny = 'tcp 2000-2999' }]",
        "rule = [{ deny = 'tcp 1000-1999' }, { allow = 'tcp 2000-2999' }]",
        "rule = [{ deny = 'tcp any', remote_ports = [40000] }]",
        "rule = []",
    ]
    .map(|rules| format!("version = 1\ninterfaces = ['eth0']\n{rules}\n"));

    let mut scanner = Sender::new(&lab.peer, lab.link().far())?;
    let (rounds, sent) = while_swapping(&lab.host, &policies, || {
        scanner.send_all((0..=u16::MAX).map(|port| syn(lab.link(), port)))
    })?;
    assert_eq!(sent, rounds * 65_536);

    let stats = lab.host.xdpfw(["stats"]).json();
    let [passed, dropped] =
        ["passed", "dropped"].map(|verdict| number(&stats["totals"][verdict]["packets"]));
    let (passed, dropped) = (passed?, dropped?);
    assert_eq!(passed + dropped, sent);
    let status = lab.host.status();
    let reasons = |verdict| -> Result<u64> {
        Ok(reason(&status, verdict, "rule")? + reason(&status, verdict, "default")?)
    };
    assert_eq!((reasons("pass")?, reasons("drop")?), (passed, dropped));

    let drops = drops(&stats)?;
    assert_eq!(drops.values().sum::<u64>(), dropped);
    for port in 0..=u16::MAX {
        let drops = drops.get(&("tcp".to_owned(), port)).copied();
        let drops = drops.unwrap_or_default();
        if (1000..3000).contains(&port) {
            assert!(drops <= rounds, "port {port}: {drops} drops");
        } else {
            assert_eq!(drops, rounds, "port {port}");
        }
    }
    Ok(())
}

#[test]
fn a_rule_that_stays_counts_on_while_others_come_and_go() -> Result<()> {
    const PACKETS: u64 = 60_000;
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    let staying = "{ id = 'r7', deny = 'tcp 22' }";
    let policies = [
        format!("[{staying}]"),
        format!("[{{ id = 'r1', allow = 'tcp 21' }}, {staying}]"),
        format!("[{staying}, {{ id = 'r9', allow = 'tcp 23' }}]"),
    ]
    .map(|rules| format!("version = 1\ninterfaces = ['eth0']\nrule = {rules}\n"));
    lab.host.xdpfw(["apply", "-"]).stdin(&*policies[0]).ok();

    let mut sender = Sender::new(&lab.peer, lab.link().far())?;
    let packet = syn(lab.link(), 22);
    let (_, sent) = while_swapping(&lab.host, &policies, || {
        sender.send_all((0..PACKETS).map(|_| &packet))
    })?;
    let list = lab.host.xdpfw(["list"]).json();
    let rules = list["rules"].as_array().context("no rules")?;
    let rule = rules.iter().find(|rule| rule["id"] == "r7");
    assert_eq!(number(&rule.context("no r7")?["packets"])?, sent);
    let stats = lab.host.xdpfw(["stats"]).json();
    assert_drops(&stats, &BTreeMap::from([(("tcp".to_owned(), 22), sent)]))
}

#[test]
fn counters_that_are_reset_during_a_scan_lose_no_packet() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    let done = AtomicBool::new(false);
    let (sent, counted) = thread::scope(|scope| -> Result<_> {
        let resets = scope.spawn(|| -> Result<u64> {
            let mut counted = 0;
            while !done.load(Ordering::SeqCst) {
                let stats = lab.host.xdpfw(["stats", "--reset"]).json();
                counted += number(&stats["totals"]["dropped"]["packets"])?;
            }
            Ok(counted)
        });
        let scan = || {
            let mut scanner = Sender::new(&lab.peer, lab.link().far())?;
            scanner.send_all((0..=u16::MAX).map(|port| syn(lab.link(), port)))
        };
        let sent = scan();
        done.store(true, Ordering::SeqCst);
        Ok((sent?, joined(resets)?))
    })?;
    let rest = lab.host.xdpfw(["stats"]).json();
    let rest = number(&rest["totals"]["dropped"]["packets"])?;
    assert_eq!(counted + rest, sent);
    Ok(())
}

#[test]
fn two_interfaces_under_one_policy_are_counted_together() -> Result<()> {
    let lab = Lab::with_links(2)?;
    lab.host.xdpfw(["up", "eth0", "eth1"]).ok();
    lab.host.xdpfw(["deny", "tcp", "22"]).ok();
    thread::scope(|scope| {
        let scans: Vec<_> = lab
            .links
            .iter()
            .map(|link| {
                scope.spawn(|| -> Result<u64> {
                    let mut scanner = Sender::new(&lab.peer, link.far())?;
                    let tcp = scanner.send_all((1..=u16::MAX).map(|port| syn(link, port)))?;
                    let udp = scanner.send_all((1..=UDP_PORTS).map(|port| datagram(link, port)))?;
                    Ok(tcp + udp)
                })
            })
            .collect();
        for scan in scans {
            assert_eq!(joined(scan)?, 65_535 + u64::from(UDP_PORTS));
        }
        anyhow::Ok(())
    })?;
    let expected = (1..=u16::MAX)
        .map(|port| (("tcp".to_owned(), port), 2))
        .chain((1..=UDP_PORTS).map(|port| (("udp".to_owned(), port), 2)))
        .collect();
    assert_drops(&lab.host.xdpfw(["stats"]).json(), &expected)?;
    let status = lab.host.status();
    assert_eq!(reason(&status, "drop", "rule")?, 2);
    let list = lab.host.xdpfw(["list"]).json();
    assert_eq!(number(&list["rules"][0]["packets"])?, 2);
    Ok(())
}

/// Applies one policy after the other as fast as they load, while `turn` sends
/// packets again and again, until the policy has changed a few times in between;
/// how many turns that took, and how many packets they sent.
fn while_swapping(
    host: &Host,
    policies: &[String],
    mut turn: impl FnMut() -> Result<u64>,
) -> Result<(u64, u64)> {
    const SWAPS: u64 = 4;
    let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            for policy in policies.iter().cycle() {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                host.xdpfw(["apply", "-"]).stdin(policy.as_str()).ok();
                swaps.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut send = || -> Result<(u64, u64)> {
            let (mut turns, mut sent) = (0, 0);
            // A swap that failed has ended its thread, and will end the test.
            while swaps.load(Ordering::SeqCst) < SWAPS && !swapping.is_finished() {
                sent += turn()?;
                turns += 1;
            }
            Ok((turns, sent))
        };
        let sent = send();
        done.store(true, Ordering::SeqCst);
        joined(swapping);
        sent
    })
}

/// What a thread has to say; its panic is ours.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn syn(link: &Link, port: u16) -> Vec<u8> {
    packets::syn(link.far().at(SCANNER), link.near().at(port))
}

fn datagram(link: &Link, port: u16) -> Vec<u8> {
    packets::udp(link.far().at(SCANNER), link.near().at(port), b"scan")
}

/// Drops by protocol and port.
type Drops = BTreeMap<(String, u16), u64>;

fn drops(stats: &Value) -> Result<Drops> {
    let ports = stats["ports"].as_array().context("no ports")?;
    let mut drops = Drops::new();
    for port in ports {
        let protocol = port["protocol"].as_str().context("no protocol")?;
        let key = (protocol.to_owned(), number(&port["port"])?.try_into()?);
        let packets = number(&port["dropped_packets"])?;
        ensure!(drops.insert(key, packets).is_none(), "{port} stands twice");
    }
    Ok(drops)
}

/// Claims these drops and no others, and shows but the difference.
#[track_caller]
fn assert_drops(stats: &Value, expected: &Drops) -> Result<()> {
    let found = drops(stats)?;
    let wrong: Vec<_> = found
        .keys()
        .chain(expected.keys())
        .filter(|&port| found.get(port) != expected.get(port))
        .map(|port| (port, found.get(port), expected.get(port)))
        .take(10)
        .collect();
    assert!(wrong.is_empty(), "port, found, expected: {wrong:?}");
    Ok(())
}
