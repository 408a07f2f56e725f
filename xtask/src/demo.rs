//! Owns the demo: a host under xdpfw and a peer that scans it, on a veth pair in
//! network namespaces of their own. What is shown is then checked to the packet.
//!
//! The demo leaves nothing behind. Errors and the first interrupt end it by the
//! ordinary way out; what a killed demo left is removed by the next one.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use xdpfw_tests::{
    Lab, Process, Sender, packets,
    servers::{TcpServer, UdpEcho, exchange, fetch},
};

use crate::{build, command::is_root, packages};

/// The port that the policy opens.
const OPEN: u16 = 443;
/// A port with a listener that the policy does not open.
const CLOSED: u16 = 8080;
/// The peer's servers, for the host's own connections.
const PEER_TCP: u16 = 80;
const PEER_UDP: u16 = 53;
/// What the host's servers say.
const GREETING: &str = "hello from the host";

/// The scanner's port: not one that servers answer from.
const SCANNER: u16 = 40_000;
/// UDP ports that are scanned, from 1 on.
const UDP_PORTS: u16 = 1000;
/// TCP ports that scanners come back to; the list is gone through again and again
/// during the scan, a knock for every eighth probe.
const KNOCKS: [u16; 8] = [23, 23, 23, 23, 3389, 3389, 22, 6379];
/// How long the scan takes: several updates of the live statistics.
const SCAN: Duration = Duration::from_secs(5);
/// Packets between two looks at the clock.
const CHUNK: usize = 256;
/// More than an update of the live statistics takes.
const LAST_UPDATE: Duration = Duration::from_millis(1500);
/// How long an answer may take that is expected,
const ANSWER: Duration = Duration::from_secs(5);
/// and one that is not: less than the second after which TCP tries again.
const SILENCE: Duration = Duration::from_millis(300);
/// Ports that are named when numbers are wrong.
const NAMED: usize = 5;

/// Builds xdpfw, shows it at work and checks its numbers.
pub(crate) fn run() -> Result<()> {
    // Before the build, which nobody should wait for in vain.
    ensure!(
        is_root(),
        "the demo needs root; run `sudo -E env \"PATH=$PATH\" cargo xtask demo`"
    );
    packages::install_tools()?;
    let binary = build::run()?.binary;
    let interrupted = Interrupted::watch()?;
    match show(&binary, &interrupted) {
        Err(_) if interrupted.check().is_err() => {
            bail!("interrupted; what the demo made is removed")
        }
        outcome => outcome,
    }
}

fn show(binary: &Path, interrupted: &Interrupted) -> Result<()> {
    let lab = Lab::with_binary(binary)?;
    let demo = Demo {
        lab: &lab,
        interrupted,
    };
    demo.title("A host and a peer, joined by a veth pair, nothing in between");
    let open = TcpServer::start(&lab.host, OPEN, GREETING)?;
    let closed = TcpServer::start(&lab.host, CLOSED, GREETING)?;
    let _web = TcpServer::start(&lab.peer, PEER_TCP, "hello from the peer")?;
    let _dns = UdpEcho::start(&lab.peer, PEER_UDP)?;
    demo.peer_reaches(OPEN)?;
    demo.peer_reaches(CLOSED)?;
    let served_before = closed.served();
    let received_before = demo.received()?;

    demo.title("The host is put under xdpfw, and one port is opened");
    demo.xdpfw(&["up", "eth0"])?;
    demo.xdpfw(&["allow", "tcp", &OPEN.to_string()])?;
    say(format_args!(""));
    demo.peer_reaches(OPEN)?;
    demo.peer_is_shut_out(CLOSED)?;
    demo.host_reaches_peer()?;

    let scan = Scan::plan();
    demo.title(&format!(
        "The peer scans 65,535 TCP and {} UDP ports, and knocks on the usual ones again and \
         again: {} packets in {} s",
        Thousands(UDP_PORTS.into()),
        Thousands(scan.probes.len() as u64),
        SCAN.as_secs()
    ));
    demo.scan(&scan)?;

    demo.title("What was counted");
    demo.xdpfw(&["status"])?;
    demo.xdpfw(&["list"])?;
    demo.echo(&["stats", "--json"]);
    let stats = Stats::read(demo.json(&["stats"])?)?;
    let mut sent = scan.sent();
    // Our attempt to connect, and TCP's own to repeat it should the machine be slow.
    *sent.entry(Port::tcp(CLOSED)).or_default() += 1 + demo.repeated_syns()?;
    let received = demo.received()? - received_before;
    let checked = check(&stats, &sent, received)?;
    let reached = closed.served() - served_before;
    ensure!(
        reached == 0,
        "tcp {CLOSED} is closed but served {reached} connections"
    );
    say(format_args!("{checked}"));

    demo.title("The open port still answers, and the host is left as it was");
    demo.peer_reaches(OPEN)?;
    demo.xdpfw(&["down"])?;
    demo.peer_reaches(CLOSED)?;
    ensure!(open.served() >= 3, "tcp {OPEN} missed connections");
    say(format_args!(
        "\nThe demo succeeded: every packet is accounted for."
    ));
    Ok(())
}

/// The running demo.
struct Demo<'a> {
    lab: &'a Lab,
    interrupted: &'a Interrupted,
}

impl Demo<'_> {
    fn title(&self, title: &str) {
        say(format_args!("\n{}", Bold(format_args!("{title}"))));
    }

    /// Shows a command as a user would type it.
    fn echo(&self, arguments: &[&str]) {
        say(format_args!("$ xdpfw {}", arguments.join(" ")));
    }

    /// Runs xdpfw on the host, for the user to see.
    fn xdpfw(&self, arguments: &[&str]) -> Result<()> {
        self.interrupted.check()?;
        self.echo(arguments);
        let status = self.lab.host.xdpfw(arguments).command()?.status()?;
        ensure!(
            status.success(),
            "`xdpfw {}` failed ({status})",
            arguments.join(" ")
        );
        Ok(())
    }

    /// Runs xdpfw on the host, for us to read.
    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let shown = || format!("xdpfw {} --json", arguments.join(" "));
        let arguments = [&["--json"], arguments].concat();
        let output = self.lab.host.xdpfw(arguments).output()?;
        ensure!(
            output.status.success(),
            "`{}` failed ({}): {}",
            shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("what `{}` wrote is not JSON", shown()))
    }

    fn peer_reaches(&self, port: u16) -> Result<()> {
        self.interrupted.check()?;
        let text = fetch(&self.lab.peer, self.lab.link().near().at(port), ANSWER)?;
        ensure!(text == GREETING, "tcp {port} answered {text:?}");
        say(format_args!("  peer → host  tcp {port:<5} {text:?}"));
        Ok(())
    }

    fn peer_is_shut_out(&self, port: u16) -> Result<()> {
        self.interrupted.check()?;
        if let Ok(text) = fetch(&self.lab.peer, self.lab.link().near().at(port), SILENCE) {
            bail!("tcp {port} is closed but answered {text:?}");
        }
        say(format_args!("  peer → host  tcp {port:<5} no answer"));
        Ok(())
    }

    /// The host's own connections live under default drop.
    fn host_reaches_peer(&self) -> Result<()> {
        self.interrupted.check()?;
        let (host, peer) = (&self.lab.host, self.lab.link().far());
        let text = fetch(host, peer.at(PEER_TCP), ANSWER)?;
        say(format_args!("  host → peer  tcp {PEER_TCP:<5} {text:?}"));
        let text = exchange(host, 0, peer.at(PEER_UDP), "a query, echoed", ANSWER)?;
        say(format_args!("  host → peer  udp {PEER_UDP:<5} {text:?}"));
        Ok(())
    }

    /// Sends the probes from the peer, with live statistics on screen.
    fn scan(&self, scan: &Scan) -> Result<()> {
        let arguments = ["stats", "--watch", "1", "--top", "5"];
        self.echo(&arguments);
        let mut watch = self.lab.host.xdpfw(arguments).spawn()?;
        let (near, far) = (self.lab.link().near(), self.lab.link().far());
        let from = far.at(SCANNER);
        let mut sender = Sender::new(&self.lab.peer, far)?;
        let still_runs = |watch: &mut Process| -> Result<()> {
            match watch.wait(Duration::ZERO)? {
                Some(status) => bail!("`xdpfw {}` ended by itself ({status})", arguments.join(" ")),
                None => Ok(()),
            }
        };
        let start = Instant::now();
        for (index, chunk) in scan.probes.chunks(CHUNK).enumerate() {
            for probe in chunk {
                let to = near.at(probe.number);
                sender.send(&match probe.protocol {
                    Protocol::Tcp => packets::syn(from, to),
                    Protocol::Udp => packets::udp(from, to, b"probe"),
                })?;
            }
            still_runs(&mut watch)?;
            let progress = (index * CHUNK) as f64 / scan.probes.len() as f64;
            self.pause(SCAN.mul_f64(progress).saturating_sub(start.elapsed()))?;
        }
        sender.settle()?;
        self.pause(LAST_UPDATE)?;
        still_runs(&mut watch)?;
        watch.signal(Signal::INT)?;
        ensure!(
            watch.wait(ANSWER)?.is_some(),
            "`xdpfw {}` does not end when interrupted",
            arguments.join(" ")
        );
        Ok(())
    }

    /// Sleeps, unless the user has had enough.
    fn pause(&self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            self.interrupted.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Packets that the host's interface received so far.
    fn received(&self) -> Result<u64> {
        let interface = &self.lab.link().near().interface;
        Ok(self.lab.host.counters(interface)?.rx_packets)
    }

    /// SYNs that the peer's kernel sent again for want of an answer.
    fn repeated_syns(&self) -> Result<u64> {
        let table = self.lab.peer.enter(|| {
            std::fs::read_to_string("/proc/thread-self/net/netstat")
                .context("cannot read /proc/net/netstat")
        })?;
        // A line of names, then a line of values.
        let mut lines = table.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next(), lines.next());
        names
            .zip(values)
            .and_then(|(names, values)| {
                let mut pairs = names.split(' ').zip(values.split(' '));
                pairs.find(|(name, _)| *name == "TCPSynRetrans")
            })
            .and_then(|(_, value)| value.parse().ok())
            .context("no TCPSynRetrans in /proc/net/netstat")
    }
}

/// The protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tcp,
    Udp,
}

/// A port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    protocol: Protocol,
    number: u16,
}

impl Port {
    const fn tcp(number: u16) -> Self {
        Self {
            protocol: Protocol::Tcp,
            number,
        }
    }

    const fn udp(number: u16) -> Self {
        Self {
            protocol: Protocol::Udp,
            number,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol} {}", self.number)
    }
}

/// What the peer sends, packet by packet.
struct Scan {
    probes: Vec<Port>,
}

impl Scan {
    fn plan() -> Self {
        // Any odd number makes this a permutation of all ports; one near the golden
        // ratio looks like a scanner's random order.
        const STRIDE: u16 = 40_503;
        let tcp = (0..=u16::MAX)
            .map(|index| index.wrapping_mul(STRIDE))
            .filter(|&port| port != 0)
            .map(Port::tcp);
        let mut udp = (1..=UDP_PORTS).map(Port::udp);
        let mut knocks = KNOCKS.into_iter().cycle().map(Port::tcp);
        let mut probes = Vec::new();
        for (index, probe) in tcp.enumerate() {
            probes.push(probe);
            if index % KNOCKS.len() == 0 {
                probes.extend(knocks.next());
            }
            if index % 64 == 0 {
                probes.extend(udp.next());
            }
        }
        probes.extend(udp);
        Self { probes }
    }

    /// How many packets each port is sent.
    fn sent(&self) -> BTreeMap<Port, u64> {
        let mut sent = BTreeMap::new();
        for &probe in &self.probes {
            *sent.entry(probe).or_default() += 1;
        }
        sent
    }
}

/// What `xdpfw stats --json` says.
struct Stats {
    drops: BTreeMap<Port, u64>,
    passed: u64,
    dropped: u64,
}

impl Stats {
    fn read(stats: Value) -> Result<Self> {
        let number = |value: &Value, pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_u64)
                .with_context(|| format!("no number at {pointer} in what `xdpfw stats` wrote"))
        };
        let mut drops = BTreeMap::new();
        for row in stats["ports"].as_array().into_iter().flatten() {
            let port = u16::try_from(number(row, "/port")?)?;
            let port = match row["protocol"].as_str() {
                Some("tcp") => Port::tcp(port),
                Some("udp") => Port::udp(port),
                _ => bail!(
                    "a port of protocol {} in what `xdpfw stats` wrote",
                    row["protocol"]
                ),
            };
            let before = drops.insert(port, number(row, "/dropped_packets")?);
            ensure!(
                before.is_none(),
                "{port} appears twice in what `xdpfw stats` wrote"
            );
        }
        Ok(Self {
            drops,
            passed: number(&stats, "/totals/passed/packets")?,
            dropped: number(&stats, "/totals/dropped/packets")?,
        })
    }
}

/// Compares what was counted with what was sent, per port, and with what the
/// interface received.
fn check(stats: &Stats, sent: &BTreeMap<Port, u64>, received: u64) -> Result<Checked> {
    let mut expected = sent.clone();
    let to_open = expected.remove(&Port::tcp(OPEN)).unwrap_or_default();
    let count = |of: &BTreeMap<Port, u64>, port| of.get(port).copied().unwrap_or_default();
    let wrong: Vec<String> = expected
        .keys()
        // A port that is in both is looked at once.
        .chain(
            stats
                .drops
                .keys()
                .filter(|port| !expected.contains_key(port)),
        )
        .map(|port| (port, count(&expected, port), count(&stats.drops, port)))
        .filter(|(_, expected, counted)| expected != counted)
        .map(|(port, expected, counted)| format!("{port}: {counted} instead of {expected}"))
        .collect();
    if !wrong.is_empty() {
        let (named, others) = wrong.split_at(wrong.len().min(NAMED));
        bail!(
            "drops per port are wrong: {}, and {} others",
            named.join(", "),
            others.len()
        );
    }

    let of = |protocol| {
        let drops = stats
            .drops
            .iter()
            .filter(move |(port, _)| port.protocol == protocol);
        drops.fold((0, 0), |(ports, packets), (_, drops)| {
            (ports + 1, packets + drops)
        })
    };
    let (tcp, udp) = (of(Protocol::Tcp), of(Protocol::Udp));
    let sum = tcp.1 + udp.1;
    ensure!(
        stats.dropped == sum,
        "{} packets were dropped in total, but {sum} over all ports",
        stats.dropped
    );
    ensure!(
        stats.passed + stats.dropped == received,
        "{} packets passed and {} were dropped, but {received} were received",
        stats.passed,
        stats.dropped
    );
    Ok(Checked {
        tcp,
        udp,
        to_open,
        passed: stats.passed,
        dropped: stats.dropped,
        received,
    })
}

/// What turned out to be right.
struct Checked {
    /// Closed ports, and packets to them.
    tcp: (u64, u64),
    udp: (u64, u64),
    /// Probes of the open port.
    to_open: u64,
    passed: u64,
    dropped: u64,
    received: u64,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, what: &str, packets: u64, why: &str| {
            writeln!(
                f,
                "  {what:<23} {:>7}  {why}",
                Thousands(packets).to_string()
            )
        };
        let ports = |(ports, _): (u64, u64), protocol| {
            format!("{} closed {protocol} ports", Thousands(ports))
        };
        writeln!(f, "compared with what was sent, port by port:")?;
        row(
            f,
            &ports(self.tcp, "TCP"),
            self.tcp.1,
            "dropped, each port as many as were sent to it",
        )?;
        row(
            f,
            &ports(self.udp, "UDP"),
            self.udp.1,
            "dropped, each port exactly one",
        )?;
        row(
            f,
            &format!("tcp {OPEN}"),
            0,
            &format!("dropped of {} that the scan sent", self.to_open),
        )?;
        row(f, "all dropped", self.dropped, "the sum over all ports")?;
        row(
            f,
            "passed",
            self.passed,
            "connections to the open port, and the host's own",
        )?;
        write!(
            f,
            "  {:<23} {:>7}  what the interface received: passed + dropped",
            "all",
            Thousands(self.received).to_string()
        )
    }
}

/// Notes that the user wants the demo to end. A second signal ends it at once.
struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    fn watch() -> Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_shutdown(signal, 128 + signal, seen.clone())
                .and_then(|_| flag::register(signal, seen.clone()))
                .context("cannot handle signals")?;
        }
        Ok(Self(seen))
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::SeqCst), "interrupted");
        Ok(())
    }
}

/// Writes one line to stdout; nobody reading it is no reason to leave things behind.
fn say(line: fmt::Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Bold on a terminal that wants it.
struct Bold<'a>(fmt::Arguments<'a>);

impl fmt::Display for Bold<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !no_color {
            write!(f, "\x1b[1m{}\x1b[0m", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// A number with commas, as xdpfw writes them.
struct Thousands(u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_leaves_no_port_out() {
        let sent = Scan::plan().sent();
        assert_eq!(sent.len(), 65_535 + usize::from(UDP_PORTS));
        assert!(!sent.contains_key(&Port::tcp(0)));
        assert_eq!(sent[&Port::tcp(OPEN)], 1);
        assert_eq!(sent[&Port::tcp(CLOSED)], 1);
        assert_eq!(sent[&Port::tcp(3389)], 1 + 2048);
        assert!((1..=UDP_PORTS).all(|port| sent[&Port::udp(port)] == 1));
    }

    #[test]
    fn one_packet_more_or_less_is_an_error() {
        let sent = Scan::plan().sent();
        let mut drops = sent.clone();
        drops.remove(&Port::tcp(OPEN));
        let dropped: u64 = drops.values().sum();
        let stats = |drops: &BTreeMap<Port, u64>| Stats {
            drops: drops.clone(),
            passed: 10,
            dropped,
        };
        assert!(check(&stats(&drops), &sent, dropped + 10).is_ok());
        assert!(check(&stats(&drops), &sent, dropped + 11).is_err());
        for (port, count) in [
            (Port::tcp(23), 1),
            (Port::tcp(OPEN), 1),
            (Port::udp(9999), 1),
        ] {
            let mut drops = drops.clone();
            drops.insert(port, count);
            let error = check(&stats(&drops), &sent, dropped + 10).err().unwrap();
            assert!(error.to_string().contains(&port.to_string()), "{error}");
        }
    }

    #[test]
    fn thousands_have_commas() {
        let shown = [0, 999, 1000, 65_535, 1_234_567].map(|number| Thousands(number).to_string());
        assert_eq!(shown, ["0", "999", "1,000", "65,535", "1,234,567"]);
    }
}
