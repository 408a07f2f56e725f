//! Proves what the filter relies on in the kernel that the tests run on: what it does with
//! fragments that overlap, with IPv4 options, and with IPv4 addresses inside IPv6 packets.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use etherparse::{IpNumber, TcpHeader, UdpHeader};
use socket2::{Domain, Protocol, Socket, Type};
use xdpfw_tests::Lab;

use crate::frame::{REMOTE, UDP, Version, packet};

/// How long the last datagram may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// `IPPROTO_RAW`: whole packets, headers included.
const RAW: i32 = 255;
/// Bytes of data in a datagram.
const DATA: usize = 16;
/// All of a datagram, in units of eight bytes.
const WHOLE: u16 = ((UDP + DATA) / 8) as u16;

/// A part of a datagram, in units of eight bytes, and whether its bytes are others.
type Piece = (Range<u16>, bool);

/// The pieces of a datagram in the order in which they come, and whether it arrives.
const TRIALS: [(&str, &[Piece], bool); 6] = [
    ("in order", &[(0..2, false), (2..3, false)], true),
    ("the last first", &[(2..3, false), (0..2, false)], true),
    // The checksum holds for the first fragment's bytes only.
    (
        "within the first fragment, with other bytes",
        &[(0..2, false), (1..2, true), (2..3, false)],
        true,
    ),
    // From here on, all bytes are right: overlapping alone is what is wrong.
    (
        "within the first fragment, and in front of it",
        &[(1..2, false), (0..2, false), (2..3, false)],
        false,
    ),
    (
        "over the first fragment's end",
        &[(0..2, false), (1..3, false)],
        false,
    ),
    (
        "in order, at the end",
        &[(0..2, false), (2..3, false)],
        true,
    ),
];

#[test]
fn linux_takes_nothing_from_fragments_that_overlap() -> Result<()> {
    for version in Version::ALL {
        let lab = lab()?;
        let [near, any]: [IpAddr; 2] = match version {
            Version::V4 => [
                Ipv4Addr::new(10, 0, 0, 1).into(),
                Ipv4Addr::UNSPECIFIED.into(),
            ],
            Version::V6 => [
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Addr::UNSPECIFIED.into(),
            ],
        };
        let server = lab.host.enter(|| Ok(UdpSocket::bind((any, 443))?))?;
        server.set_read_timeout(Some(PATIENCE))?;
        let client = lab.peer.enter(|| raw(version))?;
        for (number, (_, pieces, _)) in (0..).zip(TRIALS) {
            for piece in pieces {
                let bytes = fragment(version, number, near, piece)?;
                client.send_to(&bytes, &SocketAddr::new(near, 0).into())?;
            }
        }
        let mut arrived = Vec::new();
        while arrived.last() != Some(&(TRIALS.len() - 1)) {
            let mut bytes = [0; 2 * DATA];
            let (len, _) = server
                .recv_from(&mut bytes)
                .with_context(|| format!("after {arrived:?} over {version}"))?;
            let number = bytes[0];
            assert_eq!(bytes[..len], [number; DATA], "{version}");
            arrived.push(usize::from(number));
        }
        for (number, (name, _, arrives)) in TRIALS.into_iter().enumerate() {
            assert_eq!(arrived.contains(&number), arrives, "{name} over {version}");
        }

        // The filter had let all of them through.
        let pieces = || TRIALS.into_iter().flat_map(|(_, pieces, _)| pieces);
        let later = pieces().filter(|(range, _)| range.start > 0).count();
        let status = lab.host.status();
        let reasons = status["reasons"].as_array().context("no reasons")?;
        let fragments = reasons
            .iter()
            .find(|reason| reason["reason"] == "fragment" && reason["verdict"] == "pass")
            .context("no fragment passed")?;
        assert_eq!(fragments["packets"], later, "{version}");
        assert_eq!(status["totals"]["dropped"]["packets"], 0, "{version}");
    }
    Ok(())
}

/// Options of an IPv4 header, and whether the packet arrives.
const OPTIONS: [(&str, &[u8], bool); 12] = [
    ("no operation, and the end", &[1, 1, 1, 0], true),
    ("record route", &[7, 7, 4, 0, 0, 0, 0, 0], true),
    ("timestamps", &[68, 8, 5, 0, 0, 0, 0, 0], true),
    ("router alert", &[148, 4, 0, 0], true),
    ("one that nobody knows", &[30, 4, 0, 0], true),
    ("loose source route", &[131, 7, 4, 10, 0, 0, 9, 0], false),
    (
        "loose source route, at its end",
        &[131, 7, 8, 10, 0, 0, 9, 0],
        false,
    ),
    ("strict source route", &[137, 7, 4, 10, 0, 0, 9, 0], false),
    ("shorter than its own header", &[7, 1, 0, 0], false),
    ("longer than the header", &[7, 40, 4, 0], false),
    (
        "a pointer into its own header",
        &[7, 7, 3, 0, 0, 0, 0, 0],
        false,
    ),
    ("none", &[], true),
];

#[test]
fn linux_takes_no_source_routes_and_no_broken_options() -> Result<()> {
    let lab = lab()?;
    let (near, far) = (lab.link().near().address, lab.link().far().address);
    let any = (Ipv4Addr::UNSPECIFIED, 443);
    let server = lab.host.enter(|| Ok(UdpSocket::bind(any)?))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let client = lab.peer.enter(|| raw(Version::V4))?;
    for (number, (_, options, _)) in (0..).zip(OPTIONS) {
        let datagram = datagram(far.into(), near.into(), &[number; DATA])?;
        let packet = packet(Version::V4, IpNumber::UDP, &datagram).options(options);
        client.send_to(&packet.bytes(), &SocketAddr::from((near, 0)).into())?;
    }
    let mut arrived = Vec::new();
    while arrived.last() != Some(&(OPTIONS.len() - 1)) {
        let mut bytes = [0; DATA];
        let received = server.recv_from(&mut bytes);
        received.with_context(|| format!("after {arrived:?}"))?;
        arrived.push(usize::from(bytes[0]));
    }
    for (number, (name, _, arrives)) in OPTIONS.into_iter().enumerate() {
        assert_eq!(arrived.contains(&number), arrives, "{name}");
    }
    // The filter had let all of them through.
    let list = lab.host.xdpfw(["list"]).json();
    assert_eq!(list["rules"][0]["packets"], OPTIONS.len());
    Ok(())
}

#[test]
fn datagrams_from_mapped_addresses_are_delivered_unless_denied() -> Result<()> {
    const BOTH: &[u8] = &[1, 2];
    let mapped = Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped();
    let honest = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    let near = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    for (is_denied, arrive) in [(false, BOTH), (true, &BOTH[1..])] {
        let lab = lab()?;
        if is_denied {
            let rule = ["deny", "any", "--from", "::ffff:0:0/96", "--before", "r1"];
            lab.host.xdpfw(rule).ok();
        }
        let any = Ipv6Addr::UNSPECIFIED;
        let server = lab.host.enter(|| Ok(UdpSocket::bind((any, 443))?))?;
        server.set_read_timeout(Some(PATIENCE))?;
        let client = lab.peer.enter(|| raw(Version::V6))?;
        for (from, number) in [mapped, honest].into_iter().zip(BOTH) {
            let datagram = datagram(from.into(), near.into(), &[*number; DATA])?;
            let packet = packet(Version::V6, IpNumber::UDP, &datagram).source(from);
            client.send_to(&packet.bytes(), &SocketAddr::from((near, 0)).into())?;
        }
        let mut arrived = Vec::new();
        while arrived.last() != BOTH.last() {
            let mut bytes = [0; DATA];
            server.recv_from(&mut bytes)?;
            arrived.push(bytes[0]);
        }
        assert_eq!(arrived, arrive, "denied: {is_denied}");
    }
    Ok(())
}

#[test]
fn linux_accepts_no_connection_from_mapped_addresses() -> Result<()> {
    let lab = lab()?;
    lab.host.xdpfw(["allow", "tcp", "443"]).ok();
    let near = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    let _listener = lab
        .host
        .enter(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 443))?))?;
    let client = lab.peer.enter(|| raw(Version::V6))?;
    // Who is at none of these addresses refuses no connection, either.
    let mapped = Ipv4Addr::new(10, 0, 0, 102).to_ipv6_mapped();
    let honest = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 102);
    for from in [mapped, honest] {
        let mut header = TcpHeader::new(REMOTE, 443, 1, 65_535);
        header.syn = true;
        header.checksum = header.calc_checksum_ipv6_raw(from.octets(), near.octets(), &[])?;
        let packet = packet(Version::V6, IpNumber::TCP, &header.to_bytes()).source(from);
        client.send_to(&packet.bytes(), &SocketAddr::from((near, 0)).into())?;
    }
    // As the table has addresses: words in the host's byte order.
    let word = |address: Ipv6Addr| {
        let words = address.octets();
        let words = words.chunks_exact(4).map(|word| word.try_into().unwrap());
        words
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word)))
            .collect::<String>()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let table = || Ok(fs::read_to_string("/proc/thread-self/net/tcp6")?);
        let sockets = lab.host.enter(table)?;
        assert!(!sockets.contains(&word(mapped)), "{sockets}");
        if sockets.contains(&word(honest)) {
            break;
        }
        ensure!(Instant::now() < deadline, "no connection: {sockets}");
    }
    // The filter had let both through.
    let list = lab.host.xdpfw(["list"]).json();
    assert_eq!(list["rules"][1]["packets"], 2);
    Ok(())
}

/// UDP 443 is open, over both versions of IP.
fn lab() -> Result<Lab> {
    let lab = Lab::new()?;
    for (host, address) in [(&lab.host, "fd00::1/64"), (&lab.peer, "fd00::2/64")] {
        host.set_ipv6(true)?;
        host.run("ip", ["address", "add", address, "dev", "eth0", "nodad"])?;
    }
    let mac = lab.link().near().mac_text();
    lab.peer.run(
        "ip",
        [
            "neigh",
            "replace",
            "fd00::1",
            "lladdr",
            &mac,
            "nud",
            "permanent",
            "dev",
            "eth0",
        ],
    )?;
    lab.host.xdpfw(["allow", "udp", "443"]).ok();
    lab.host.xdpfw(["up", "eth0"]).ok();
    Ok(lab)
}

fn raw(version: Version) -> Result<Socket> {
    let domain = match version {
        Version::V4 => Domain::IPV4,
        Version::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))
        .context("cannot open a raw socket")?;
    if version == Version::V4 {
        socket.set_header_included_v4(true)?;
    }
    Ok(socket)
}

/// A piece of the datagram with this number, which comes from an address of its own,
/// so that its fragments belong to no other.
fn fragment(version: Version, number: u8, to: IpAddr, piece: &Piece) -> Result<Vec<u8>> {
    let (range, is_other) = piece;
    let host = 100 + number;
    let from: IpAddr = match version {
        Version::V4 => Ipv4Addr::new(10, 0, 0, host).into(),
        Version::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into(),
    };
    let mut datagram = datagram(from, to, &[number; DATA])?;
    if *is_other {
        for byte in &mut datagram {
            *byte = !*byte;
        }
    }
    let bytes = usize::from(range.start) * 8..usize::from(range.end) * 8;
    let mut packet = packet(version, IpNumber::UDP, &datagram[bytes])
        .source(from)
        .fragment(range.start, range.end < WHOLE)
        .bytes();
    if version == Version::V4 {
        // Else the kernel gives each an identification of its own.
        packet[4..6].copy_from_slice(&[1, 1]);
    }
    Ok(packet)
}

/// With a checksum.
fn datagram(from: IpAddr, to: IpAddr, data: &[u8]) -> Result<Vec<u8>> {
    let mut header = UdpHeader {
        source_port: REMOTE,
        destination_port: 443,
        length: (UDP + data.len()) as u16,
        checksum: 0,
    };
    header.checksum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)?
        }
        _ => anyhow::bail!("{from} sends nothing to {to}"),
    };
    Ok([&header.to_bytes()[..], data].concat())
}
