//! Measures what answers cost, and what only looks like them: one packet through the program
//! of a host that has asked something, which remembers flows or looks up sockets.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result};
use aya::programs::Xdp;
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketType, bind, connect, socket},
};
use xdpfw_tests::packets::{self, flags};

use crate::{
    measure::{
        Run,
        packet::{self, Callee, DROP, PASS, Packet},
    },
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        filter::attached,
        policy::{CLOSED, Policy},
        yardsticks::{NOOP, Spread},
    },
};

/// The ports of the host that ask, and the ones of the peer that are asked.
const UDP: u16 = 40_001;
const TCP: u16 = 40_003;
const SERVER: u16 = 50_053;
/// A port of the peer that was never asked.
const STRANGER: u16 = 50_000;
/// An echo identifier that the host never used.
const ID: u16 = 40_005;
/// ICMP types: echo reply; destination unreachable, and its code for ports (RFC 792).
const ECHO_REPLY: u8 = 0;
const PORT_UNREACHABLE: [u8; 2] = [3, 3];

/// How xdpfw finds out what is an answer.
const REPLIES: [(&str, &str); 2] = [
    (subjects::XDPFW, "flows"),
    (subjects::XDPFW_BY_SOCKETS, "sockets"),
];

/// A host that has asked the peer something, over UDP and TCP.
struct Asker {
    name: &'static str,
    stage: Stage,
    program: Xdp,
    _udp: UdpSocket,
    _tcp: OwnedFd,
    _server: TcpListener,
}

impl Asker {
    fn new(run: &Run<'_>, (name, replies): (&'static str, &str)) -> Result<Self> {
        let stage = Stage::new(&run.build, 0)?;
        stage.up()?;
        let text = Policy::OnePort.xdpfw(stage.interfaces());
        stage.apply_text(&text.replacen(
            "default",
            &format!("replies = \"{replies}\"\ndefault"),
            1,
        ))?;
        let link = stage.lab.link();
        let (near, far) = (link.near(), link.far());
        let server = SocketAddr::from(far.at(SERVER));
        let listener = stage.lab.peer.enter(|| {
            TcpListener::bind(server).with_context(|| format!("cannot listen on {server}"))
        })?;
        let (udp, tcp) = stage.lab.host.enter(|| {
            let udp = UdpSocket::bind(near.at(UDP))?;
            udp.connect(server)?;
            udp.send(b"is there anyone?")?;
            let tcp = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            bind(&tcp, &SocketAddr::from(near.at(TCP)))?;
            connect(&tcp, &server).context("cannot connect to the peer")?;
            Ok((udp, tcp))
        })?;
        let program = attached(&stage)?;
        Ok(Self {
            name,
            stage,
            program,
            _udp: udp,
            _tcp: tcp,
            _server: listener,
        })
    }

    fn callee(&self) -> (&'static str, Callee<'_>) {
        let callee = Callee {
            stage: &self.stage,
            program: &self.program,
            verdict: None,
        };
        (self.name, callee)
    }
}

/// Measures every packet in every round.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::ANSWERS)?;
    for _ in 0..run.rounds {
        run.check()?;
        // Anew in each round, for the same reason as the features.
        let askers = REPLIES
            .into_iter()
            .map(|replies| Asker::new(run, replies))
            .collect::<Result<Vec<_>>>()?;
        let Some(first) = askers.first() else { break };
        let mut varier = first.stage.yardsticks(Spread::SCAN)?;
        let yardsticks = first.stage.yardsticks(Spread::SCAN)?;
        let noop = Callee {
            stage: &first.stage,
            program: yardsticks.get(NOOP)?,
            verdict: Some(DROP),
        };
        let mut callees = vec![(subjects::NOOP, noop)];
        callees.extend(askers.iter().map(Asker::callee));
        packet::compare(
            &mut chapter,
            &packets(&first.stage),
            &callees,
            &mut varier,
            run,
        )?;
    }
    Ok(vec![chapter])
}

/// From the peer to the host: what was never asked for, what was, and what comes to the
/// ports that have asked, from another port.
fn packets(stage: &Stage) -> [Packet; 10] {
    let (near, far) = (stage.lab.link().near(), stage.lab.link().far());
    let tcp = |from, to, bits| packets::tcp(far.at(from), near.at(to), bits);
    let udp = |from, to| packets::udp(far.at(from), near.at(to), b"is there anyone?");
    let hot = |case, bytes: Vec<u8>, verdict| Packet::new(stage, case, &bytes, verdict);
    let varied = |case, bytes: Vec<u8>| Packet::varied(stage, case, &bytes);
    let reply = packets::echo(far.address, near.address, ECHO_REPLY, ID);
    let never_sent = packets::udp(near.at(CLOSED), far.at(SERVER), b"");
    let error = packets::icmp_error(far.address, near.address, PORT_UNREACHABLE, &never_sent);
    [
        varied(cases::SYN_VARIED, tcp(STRANGER, CLOSED, flags::SYN)),
        varied(cases::ACK_VARIED, tcp(STRANGER, CLOSED, flags::ACK)),
        varied(cases::UDP_VARIED, udp(STRANGER, CLOSED)),
        hot(cases::UDP_ANSWER, udp(SERVER, UDP), PASS),
        hot(cases::TCP_ANSWER, tcp(SERVER, TCP, flags::ACK), PASS),
        hot(cases::UDP_STRANGER, udp(STRANGER, UDP), DROP),
        hot(cases::ACK_STRANGER, tcp(STRANGER, TCP, flags::ACK), DROP),
        hot(cases::SYN_STRANGER, tcp(STRANGER, TCP, flags::SYN), DROP),
        hot(cases::ECHO_REPLY, reply, DROP),
        hot(cases::ICMP_ERROR, error, DROP),
    ]
}
