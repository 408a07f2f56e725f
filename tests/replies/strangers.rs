//! Proves that what was asked opens the way to its answer alone. Packets that are dropped stand
//! beside their nearest neighbour that passes, which is the last one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::Result;
use xdpfw_tests::{
    Family, Lab, PATIENCE, Sender, Tally,
    packets::{self, flags},
    servers,
};

use crate::{ANY, POLICY, run};

/// The local port that asks: `udp/5353` or `tcp/5353` among the counters.
const OWN: u16 = 5353;
/// How long to wait for a peer that does not answer.
const IN_VAIN: Duration = Duration::from_millis(50);
/// The port that is asked.
const ASKED: u16 = 53;

#[test]
fn a_datagram_passes_from_whom_was_asked_alone() -> Result<()> {
    for family in Family::ALL {
        let case = Case::new(family)?;
        // Not connected, so that no look-up finds it.
        let socket = servers::bind(&case.lab.host, SocketAddr::new(case.any(), OWN))?;
        let _asked = servers::bind(&case.lab.peer, SocketAddr::new(ANY, ASKED))?;
        let at = |from, port| packets::udp(from, case.near(port), b"answer");
        let answer = at(case.far(ASKED), OWN);
        // Nothing has been asked.
        case.assert_counted(&[("drop default", 1), ("udp/5353", 1)], [&answer])?;
        socket.send_to(b"question", case.far(ASKED))?;

        case.assert_counted(
            &[
                ("drop default", 4),
                ("udp/5353", 2),
                ("udp/5354", 1),
                ("tcp/5353", 1),
                ("pass reply", 1),
            ],
            [
                at(case.stranger(ASKED), OWN),
                at(case.far(ASKED + 1), OWN),
                at(case.far(ASKED), OWN + 1),
                packets::tcp(case.far(ASKED), case.near(OWN), flags::ACK),
                answer,
            ],
        )?;
        assert_eq!(servers::received(&socket)?, "answer");
    }
    Ok(())
}

#[test]
fn a_connection_is_open_to_its_peer_alone_and_not_to_a_new_one() -> Result<()> {
    for family in Family::ALL {
        let case = Case::new(family)?;
        let listener = case
            .lab
            .peer
            .enter(|| Ok(TcpListener::bind((ANY, ASKED))?))?;
        let client = servers::connect(&case.lab.host, OWN, case.far(ASKED), PATIENCE)?;
        let (server, _) = listener.accept()?;

        let at = |from, bits| packets::tcp(from, case.near(OWN), bits);
        case.assert_counted(
            &[("drop default", 3), ("tcp/5353", 3), ("pass reply", 1)],
            [
                at(case.stranger(ASKED), flags::ACK),
                at(case.far(ASKED + 1), flags::ACK),
                at(case.far(ASKED), flags::SYN),
                at(case.far(ASKED), flags::ACK),
            ],
        )?;
        servers::assert_alive(client, server)?;
    }
    Ok(())
}

#[test]
fn a_bare_syn_passes_where_one_was_sent() -> Result<()> {
    for family in Family::ALL {
        let case = Case::new(family)?;
        // Nobody answers, so both may open the connection at once.
        let near = case.near;
        run(&case.lab.peer, &format!("ip route add blackhole {near}"))?;
        let from = |port| packets::syn(case.far(port), case.near(OWN));
        case.assert_counted(&[("drop default", 1), ("tcp/5353", 1)], [from(ASKED)])?;
        let connected = servers::connect(&case.lab.host, OWN, case.far(ASKED), IN_VAIN);
        assert!(connected.is_err(), "{connected:?}");
        case.assert_counted(
            &[("drop default", 1), ("tcp/5353", 1), ("pass reply", 1)],
            [from(ASKED + 1), from(ASKED)],
        )?;
    }
    Ok(())
}

#[test]
fn an_echo_reply_passes_to_the_ping_that_asked() -> Result<()> {
    const ID: u16 = 0x1234;
    for family in Family::ALL {
        let case = Case::new(family)?;
        let (request, reply) = match family {
            Family::Ipv4 => (8, 0),
            Family::Ipv6 => (128, 129),
        };
        let (near, far) = (case.near, case.far);
        let answer = packets::echo(far, near, reply, ID);
        case.assert_counted(&[("drop default", 1)], [&answer])?;
        // The peer's own answer is the first one.
        let before = Tally::of(&case.lab.host)?;
        let (own, peer) = (case.lab.link().near(), case.lab.link().far());
        let question = packets::echo(near, far, request, ID);
        let frame = packets::frame(own, peer, &question);
        Sender::of_frames(&case.lab.host, own)?.send_all([frame])?;
        Tally::assert_moved(&case.lab.host, &before, &[("pass reply", 1)])?;

        case.assert_counted(
            &[("drop default", 3), ("pass reply", 1)],
            [
                packets::echo(far, near, reply, ID + 1),
                packets::echo(case.stranger(0).ip(), near, reply, ID),
                packets::echo(far, near, request, ID),
                answer,
            ],
        )?;
    }
    Ok(())
}

#[test]
fn an_icmp_error_passes_about_what_was_sent() -> Result<()> {
    for family in Family::ALL {
        let case = Case::new(family)?;
        let socket = servers::bind(&case.lab.host, SocketAddr::new(case.any(), OWN))?;
        let _asked = servers::bind(&case.lab.peer, SocketAddr::new(ANY, ASKED))?;
        // Unreachable: the host, over IPv4, and the address, over IPv6.
        let kind = match family {
            Family::Ipv4 => [3, 1],
            Family::Ipv6 => [1, 3],
        };
        let (own, asked) = (case.near(OWN), case.far(ASKED));
        // Whoever is on the way may tell.
        let router = case.stranger(0).ip();
        let about = |packet: &[u8]| packets::icmp_error(router, case.near, kind, packet);
        let udp = |from, to| about(&packets::udp(from, to, b"question"));
        case.assert_counted(&[("drop default", 1)], [udp(own, asked)])?;
        socket.send_to(b"question", asked)?;

        case.assert_counted(
            &[("drop default", 5), ("pass icmp-error", 1)],
            [
                udp(own, case.far(ASKED + 1)),
                udp(case.near(OWN + 1), asked),
                udp(own, case.stranger(ASKED)),
                // What came in is not what went out.
                udp(asked, own),
                about(&packets::syn(own, asked)),
                udp(own, asked),
            ],
        )?;
    }
    Ok(())
}

/// A filtered host and its peer, over one family.
struct Case {
    lab: Lab,
    near: IpAddr,
    far: IpAddr,
}

impl Case {
    fn new(family: Family) -> Result<Self> {
        let lab = Lab::with_ipv6(1)?.filtered(POLICY);
        let (near, far) = (lab.link().near(), lab.link().far());
        let (near, far) = (family.address(near), family.address(far));
        Ok(Self { lab, near, far })
    }

    const fn near(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.near, port)
    }

    const fn far(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.far, port)
    }

    /// Somebody else in the same subnet.
    fn stranger(&self, port: u16) -> SocketAddr {
        let address = match self.far {
            IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 77).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77).into(),
        };
        SocketAddr::new(address, port)
    }

    /// Any local address of the family.
    const fn any(&self) -> IpAddr {
        match self.near {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Sends packets from the peer, and claims that these counters and no others move.
    #[track_caller]
    fn assert_counted<P: AsRef<[u8]>>(
        &self,
        counters: &[(&str, u64)],
        packets: impl IntoIterator<Item = P>,
    ) -> Result<()> {
        let before = Tally::of(&self.lab.host)?;
        let (near, far) = (self.lab.link().near(), self.lab.link().far());
        let frames = packets
            .into_iter()
            .map(|packet| packets::frame(far, near, packet.as_ref()));
        Sender::of_frames(&self.lab.peer, far)?.send_all(frames)?;
        Tally::assert_moved(&self.lab.host, &before, counters).map(drop)
    }
}
