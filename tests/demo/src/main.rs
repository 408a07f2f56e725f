//! Shows a host under xdpfw and a peer that scans it, on a veth pair in network namespaces
//! of their own. What is shown is then checked to the packet.
//!
//! The demo leaves nothing behind. Errors and the first interrupt end it by the
//! ordinary way out; what a killed demo left is removed by the next one.

mod check;
mod scan;
mod stage;
mod text;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use xdpfw_tests::{
    Interrupted, Lab,
    servers::{TcpServer, UdpEcho},
    task::exit,
};

use self::{
    check::{Stats, check},
    scan::{Port, SCAN, Scan, UDP_PORTS},
    stage::Stage,
    text::{Thousands, say},
};

/// The port that the policy opens.
const OPEN: u16 = 443;
/// A port with a listener that the policy does not open.
const CLOSED: u16 = 8080;
/// The peer's servers, for the host's own connections.
const PEER_TCP: u16 = 80;
const PEER_UDP: u16 = 53;
/// What the host's servers say.
const GREETING: &str = "hello from the host";

fn main() -> ExitCode {
    exit(Interrupted::watch("demo", show))
}

/// Shows xdpfw at work and checks its numbers.
fn show(interrupted: &Interrupted) -> Result<()> {
    let lab = Lab::new()?;
    let stage = Stage {
        lab: &lab,
        interrupted,
    };
    stage.title("A host and a peer, joined by a veth pair, nothing in between");
    let open = TcpServer::start(&lab.host, OPEN, GREETING)?;
    let closed = TcpServer::start(&lab.host, CLOSED, GREETING)?;
    let _web = TcpServer::start(&lab.peer, PEER_TCP, "hello from the peer")?;
    let _dns = UdpEcho::start(&lab.peer, PEER_UDP)?;
    stage.peer_reaches(OPEN)?;
    stage.peer_reaches(CLOSED)?;
    let served_before = closed.served();
    let received_before = stage.received()?;

    stage.title("The host is put under xdpfw, and one port is opened");
    stage.xdpfw(&["up", "eth0"])?;
    stage.xdpfw(&["allow", "tcp", &OPEN.to_string()])?;
    say(format_args!(""));
    stage.peer_reaches(OPEN)?;
    stage.peer_is_shut_out(CLOSED)?;
    stage.host_reaches_peer()?;

    let scan = Scan::plan();
    stage.title(&format!(
        "The peer scans 65,535 TCP and {} UDP ports, and knocks on the usual ones again and \
         again: {} packets in {} s",
        Thousands(UDP_PORTS.into()),
        Thousands(scan.probes.len() as u64),
        SCAN.as_secs()
    ));
    scan.send(&stage)?;

    stage.title("What was counted");
    stage.xdpfw(&["status"])?;
    stage.xdpfw(&["list"])?;
    stage.echo(&["stats", "--json"]);
    let stats = Stats::read(stage.json(&["stats"])?)?;
    let mut sent = scan.sent();
    // Our attempt to connect, and TCP's own to repeat it should the machine be slow.
    *sent.entry(Port::tcp(CLOSED)).or_default() += 1 + stage.repeated_syns()?;
    let received = stage.received()? - received_before;
    let checked = check(&stats, &sent, received)?;
    let reached = closed.served() - served_before;
    ensure!(
        reached == 0,
        "tcp {CLOSED} is closed but served {reached} connections"
    );
    say(format_args!("{checked}"));

    stage.title("The open port still answers, and the host is left as it was");
    stage.peer_reaches(OPEN)?;
    stage.xdpfw(&["down"])?;
    stage.peer_reaches(CLOSED)?;
    ensure!(open.served() >= 3, "tcp {OPEN} missed connections");
    say(format_args!(
        "\nThe demo succeeded: every packet is accounted for."
    ));
    Ok(())
}
