//! Proves that answers come by protocols of other kinds: WireGuard, which asks by a socket
//! that is not connected, and protocols that the filter does not know. SCTP is in
//! `interfaces/replies.rs`, since not every kernel has it.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use xdpfw_tests::{Family, Host, Lab, Tally};

use crate::{POLICY, filter, run};

/// The private key of the filtered host's tunnel, and the public one.
const OWN: [&str; 2] = [
    "aBrbd7joSlnp54xvQDjcnXgBoYvoIu8xkPef3FvFGlY=",
    "DDJzCh0YAeY6VFvon6LIzq/IftU5j+MOUrcrLjLRp2I=",
];
/// Those of the peer's.
const THEIRS: [&str; 2] = [
    "oD7Cx1UHXeTRuEZft3X4LS+7PsgzylBa3eh1P8KY/Gc=",
    "paU2KJUv5PiFI4Vfgp9yeNsC1AYYk81alcWK/VzU9B0=",
];

#[test]
fn wireguard_initiates() -> Result<()> {
    for family in Family::ALL {
        let filtered: [&[&str]; 3] = [&[], &["eth0"], &["eth0", "wg0"]];
        for interfaces in filtered {
            initiate(family, interfaces)
                .with_context(|| format!("{family:?}, {interfaces:?} are filtered"))?;
        }
    }
    Ok(())
}

/// Brings up a tunnel from both ends. Filtered is the interface that it goes through, or the
/// tunnel's own, too.
fn initiate(family: Family, filtered: &[&str]) -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let ends = [
        (
            &lab.host,
            "10.7.0.1",
            OWN[0],
            THEIRS[1],
            family.address(far),
        ),
        (
            &lab.peer,
            "10.7.0.2",
            THEIRS[0],
            OWN[1],
            family.address(near),
        ),
    ];
    for (host, address, key, peer, endpoint) in ends {
        let endpoint = SocketAddr::new(endpoint, 51_820);
        // The socket by which wg finds wireguard-go is in a place that all hosts share.
        let script = format!(
            "mount -t tmpfs run /run\n\
             wireguard-go wg0\n\
             echo {key} | wg set wg0 listen-port 51820 private-key /dev/stdin \
                 peer {peer} endpoint {endpoint} allowed-ips 10.7.0.0/24\n\
             ip address add {address}/24 dev wg0\n\
             ip link set wg0 up\n"
        );
        host.run("unshare", ["--mount", "sh", "-ec", &script])?;
    }
    // Under load, wireguard-go loses packets on its own.
    let asks = |host: &Host, address: &str, patience: &str| {
        let line = format!("ping -c 3 -i 0.1 -W {patience} {address}");
        run(host, &line)
    };
    if filtered.is_empty() {
        return asks(&lab.host, "10.7.0.2", "5").map(drop);
    }
    filter(&lab.host, filtered, POLICY);
    // The peer's question goes unanswered until this host has asked its own.
    let before = Tally::of(&lab.host)?;
    let answer = asks(&lab.peer, "10.7.0.1", "0.2");
    assert!(answer.is_err(), "{answer:?}");
    let handshake = [("drop default", 1), ("udp/51820", 1)];
    Tally::assert_moved(&lab.host, &before, &handshake)?;
    let before = Tally::of(&lab.host)?;
    asks(&lab.host, "10.7.0.2", "5")?;
    let moved = Tally::of(&lab.host)?.since(&before);
    assert_eq!(moved.packets("udp/51820"), 0, "{moved:?}");

    // What comes out of the tunnel is another question.
    if filtered.contains(&"wg0") {
        assert!(asks(&lab.peer, "10.7.0.1", "0.2").is_err());
        let moved = Tally::of(&lab.host)?.since(&before);
        assert!(moved.packets("drop default") > 0, "{moved:?}");
        assert_eq!(moved.packets("udp/51820"), 0, "{moved:?}");
    } else {
        asks(&lab.peer, "10.7.0.1", "5")?;
    }
    Ok(())
}

#[test]
fn a_protocol_without_ports_is_answered_after_it_asked() -> Result<()> {
    /// For experiments (RFC 3692).
    const EXPERIMENT: i32 = 253;
    let lab = Lab::with_ipv6(1)?;
    filter(&lab.host, &["eth0"], POLICY);
    for family in Family::ALL {
        let (near, far) = (lab.link().near(), lab.link().far());
        let (near, far) = (family.address(near), family.address(far));
        let own = raw(&lab.host, near, EXPERIMENT)?;
        let theirs = raw(&lab.peer, far, EXPERIMENT)?;
        let to = |address: IpAddr| SocketAddr::new(address, 0).into();

        let before = Tally::of(&lab.host)?;
        theirs.send_to(b"question", &to(near))?;
        Tally::assert_moved(&lab.host, &before, &[("drop default", 1)])?;
        own.send_to(b"question", &to(far))?;
        assert!(received(&theirs)?.ends_with(b"question"));
        let before = Tally::of(&lab.host)?;
        theirs.send_to(b"answer", &to(near))?;
        assert!(received(&own)?.ends_with(b"answer"), "{family:?}");
        Tally::assert_moved(&lab.host, &before, &[("pass reply", 1)])?;
    }
    Ok(())
}

/// A socket for packets of a protocol.
fn raw(host: &Host, address: IpAddr, protocol: i32) -> Result<Socket> {
    let address = SocketAddr::new(address, 0);
    let open = || -> io::Result<_> {
        let protocol = Protocol::from(protocol);
        let socket = Socket::new(Domain::for_address(address), Type::RAW, Some(protocol))?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    host.enter(|| open().context("cannot open a raw socket"))
}

/// What a socket receives next; over IPv4, a raw one gives the packet's header too.
fn received(socket: &Socket) -> Result<Vec<u8>> {
    let mut buffer = [MaybeUninit::uninit(); 256];
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let len = socket.recv(&mut buffer).context("nothing received")?;
    // SAFETY: so many bytes were written.
    Ok(buffer[..len]
        .iter()
        .map(|byte| unsafe { byte.assume_init() })
        .collect())
}
