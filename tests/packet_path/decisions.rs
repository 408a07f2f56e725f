//! Proves on packets that come in by an interface what rules say of addresses,
//! interfaces, protocols, ICMP types and peers' ports, over both families, with and
//! without VLAN tags.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use etherparse::EtherType;
use xdpfw_tests::{
    End, Family, Lab, Sender, Tally,
    packets::{self, flags},
};

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;
/// IP's number for generic routing encapsulation (RFC 2784), and one without a name.
const GRE: u8 = 47;
const NAMELESS: u8 = 200;
/// 802.1Q and 802.1ad.
const TAGS: [EtherType; 2] = [EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING];

/// The ends of a link in one family.
struct Path<'a> {
    near: &'a End,
    far: &'a End,
    family: Family,
}

impl Path<'_> {
    fn from(&self) -> IpAddr {
        self.family.address(self.far)
    }

    fn to(&self) -> IpAddr {
        self.family.address(self.near)
    }

    fn syn(&self, port: u16) -> Vec<u8> {
        self.frame(&packets::syn(
            SocketAddr::new(self.from(), REMOTE),
            SocketAddr::new(self.to(), port),
        ))
    }

    fn udp(&self, remote: u16, local: u16) -> Vec<u8> {
        self.frame(&packets::udp(
            SocketAddr::new(self.from(), remote),
            SocketAddr::new(self.to(), local),
            b"datagram",
        ))
    }

    fn icmp(&self, kind: u8) -> Vec<u8> {
        self.frame(&packets::icmp(self.from(), self.to(), kind))
    }

    fn ip(&self, protocol: u8) -> Vec<u8> {
        self.frame(&packets::ip(self.from(), self.to(), protocol, &[0; 8]))
    }

    fn frame(&self, packet: &[u8]) -> Vec<u8> {
        packets::frame(self.far, self.near, packet)
    }
}

#[test]
fn sources_destinations_and_interfaces_decide() -> Result<()> {
    let lab = filtered(
        2,
        "
        rule = [
            { allow = 'tcp 22', from = ['10.0.0.2', '2001:db8::2'] },
            { deny = 'tcp 23', from = ['10.0.0.0/16', '2001:db8::/32'] },
            { allow = 'tcp 23' },
            { allow = 'tcp 80', on = ['eth1'] },
            { allow = 'udp 53', to = ['10.0.0.1', '2001:db8::1'] },
            { allow = 'tcp 90', from = ['10.0.0.0/8'] },
            { allow = 'tcp 91', from = ['2000::/3'], on = ['eth0'] },
        ]",
    )?;
    for family in Family::ALL {
        let [one, two] = [0, 1].map(|link| path(&lab, link, family));
        let [first, second] = [&one, &two];
        judge(
            &lab,
            first,
            &[first.syn(22)],
            &[("pass rule", 1), ("r1", 1)],
        )?;
        judge(
            &lab,
            second,
            &[second.syn(22)],
            &[("drop default", 1), ("tcp/22", 1)],
        )?;
        for path in [first, second] {
            let denied = [("drop rule", 1), ("r2", 1), ("tcp/23", 1)];
            judge(&lab, path, &[path.syn(23)], &denied)?;
        }
        judge(
            &lab,
            first,
            &[first.syn(80)],
            &[("drop default", 1), ("tcp/80", 1)],
        )?;
        judge(
            &lab,
            second,
            &[second.syn(80)],
            &[("pass rule", 1), ("r4", 1)],
        )?;
        judge(
            &lab,
            first,
            &[first.udp(REMOTE, 53)],
            &[("pass rule", 1), ("r5", 1)],
        )?;
        let elsewhere = [("drop default", 1), ("udp/53", 1)];
        judge(&lab, second, &[second.udp(REMOTE, 53)], &elsewhere)?;
        // A prefix of one family says nothing of the other's packets.
        let (of_v4, of_v6) = if family == Family::Ipv6 {
            (
                [("drop default", 1), ("tcp/90", 1)],
                [("pass rule", 1), ("r7", 1)],
            )
        } else {
            (
                [("pass rule", 1), ("r6", 1)],
                [("drop default", 1), ("tcp/91", 1)],
            )
        };
        judge(&lab, first, &[first.syn(90)], &of_v4)?;
        judge(&lab, first, &[first.syn(91)], &of_v6)?;
    }
    Ok(())
}

#[test]
fn stations_on_the_link_decide() -> Result<()> {
    // Each link has its own.
    let lab = filtered(
        2,
        "rule = [{ allow = 'tcp 22', mac = '02:00:0a:00:00:02' }]",
    )?;
    for family in Family::ALL {
        let [one, two] = [0, 1].map(|link| path(&lab, link, family));
        judge(&lab, &one, &[one.syn(22)], &[("pass rule", 1), ("r1", 1)])?;
        let closed = [("drop default", 1), ("tcp/22", 1)];
        judge(&lab, &two, &[two.syn(22)], &closed)?;
    }
    Ok(())
}

#[test]
fn protocols_icmp_types_and_peers_ports_decide() -> Result<()> {
    let lab = filtered(
        1,
        "
        rule = [
            { allow = 'icmp echo-request' },
            { allow = 'icmp6 echo-request' },
            { deny = 'icmp destination-unreachable' },
            { deny = 'icmp6 packet-too-big' },
            { allow = 'proto gre' },
            { allow = 'udp 1024-65535', remote_ports = [123] },
        ]",
    )?;
    for family in Family::ALL {
        let path = path(&lab, 0, family);
        let (echo, reply, denied, error, ids) = if family == Family::Ipv6 {
            (128, 129, 2, 3, ["r2", "r4"])
        } else {
            (8, 0, 3, 11, ["r1", "r3"])
        };
        judge(
            &lab,
            &path,
            &[path.icmp(echo)],
            &[("pass rule", 1), (ids[0], 1)],
        )?;
        judge(
            &lab,
            &path,
            &[path.icmp(denied)],
            &[("drop rule", 1), (ids[1], 1)],
        )?;
        judge(&lab, &path, &[path.icmp(reply)], &[("drop default", 1)])?;
        // It quotes nothing that left from here.
        judge(&lab, &path, &[path.icmp(error)], &[("drop default", 1)])?;
        judge(&lab, &path, &[path.ip(GRE)], &[("pass rule", 1), ("r5", 1)])?;
        judge(&lab, &path, &[path.ip(NAMELESS)], &[("drop default", 1)])?;
        let answer = [("pass rule", 1), ("r6", 1)];
        judge(&lab, &path, &[path.udp(123, 5000)], &answer)?;
        let others = [("drop default", 2), ("udp/1023", 1), ("udp/5000", 1)];
        judge(
            &lab,
            &path,
            &[path.udp(123, 1023), path.udp(124, 5000)],
            &others,
        )?;
    }
    Ok(())
}

#[test]
fn tags_are_no_way_around_a_rule() -> Result<()> {
    let lab = filtered(1, "rule = [{ allow = 'tcp 443' }]")?;
    let [q, ad] = TAGS;
    for family in Family::ALL {
        let path = path(&lab, 0, family);
        for tags in [&[][..], &[q], &[ad], &[ad, q], &[q, q]] {
            let [open, closed] = [443, 80].map(|port| packets::tagged(&path.syn(port), tags));
            let moved = judge(
                &lab,
                &path,
                &[open.clone(), closed.clone(), closed.clone()],
                &[
                    ("pass rule", 1),
                    ("r1", 1),
                    ("drop default", 2),
                    ("tcp/80", 2),
                ],
            )?;
            assert_eq!(moved.bytes("pass rule"), open.len() as u64, "{tags:?}");
            assert_eq!(
                moved.bytes("drop default"),
                2 * closed.len() as u64,
                "{tags:?}"
            );
        }
        let three = packets::tagged(&path.syn(443), &[ad, q, q]);
        judge(&lab, &path, &[three], &[("drop vlan-depth", 1)])?;
        let flagged = packets::tcp(
            SocketAddr::new(path.from(), REMOTE),
            SocketAddr::new(path.to(), 443),
            flags::SYN | flags::FIN,
        );
        let tagged = packets::tagged(&path.frame(&flagged), &[ad, q]);
        judge(
            &lab,
            &path,
            &[tagged],
            &[("drop bad-flags", 1), ("tcp/443", 1)],
        )?;
    }
    Ok(())
}

/// A host with a filter on so many interfaces, under this policy.
fn filtered(links: u8, policy: &str) -> Result<Lab> {
    let lab = Lab::with_ipv6(links)?;
    for link in &lab.links {
        // The tags stay where XDP sees them.
        lab.peer
            .set_feature(&link.far().interface, "txvlan", false)?;
    }
    Ok(lab.filtered(policy))
}

fn path(lab: &Lab, link: usize, family: Family) -> Path<'_> {
    Path {
        near: lab.links[link].near(),
        far: lab.links[link].far(),
        family,
    }
}

/// Sends frames and claims all that is counted of them.
#[track_caller]
fn judge(
    lab: &Lab,
    path: &Path<'_>,
    frames: &[Vec<u8>],
    expected: &[(&str, u64)],
) -> Result<Tally> {
    let before = Tally::of(&lab.host)?;
    Sender::of_frames(&lab.peer, path.far)?.send_all(frames)?;
    Tally::assert_moved(&lab.host, &before, expected)
}
