//! A session in a tunnel needs what carries the tunnel, not a rule for SSH.

use std::{fs, path::PathBuf};

use anyhow::Result;
use xdpfw_tests::{Lab, assert_nothing_is_left, state};

/// The private key of the filtered host, and the public one of its peer.
const KEYS: [&str; 2] = [
    "aBrbd7joSlnp54xvQDjcnXgBoYvoIu8xkPef3FvFGlY=",
    "paU2KJUv5PiFI4Vfgp9yeNsC1AYYk81alcWK/VzU9B0=",
];

/// The socket by which wg finds wireguard-go, which ends with its host and leaves it behind.
struct Left(PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn wireguard_is_carried_by_its_port() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let endpoint = lab.link().far().at(4000);
    // wg finds wireguard-go by a name in a place that all hosts share.
    let name = &format!("wgl{}", std::process::id());
    let _left = Left(format!("/run/wireguard/{name}.sock").into());
    let [own, peer] = KEYS;
    let script = format!(
        "wireguard-go {name}\n\
         echo {own} | wg set {name} listen-port 51820 private-key /dev/stdin \
             peer {peer} endpoint {endpoint} allowed-ips 10.7.0.0/24\n\
         ip address add 10.7.0.1/24 dev {name}\n\
         ip link set {name} up\n"
    );
    host.run("sh", ["-ec", &script])?;
    let say = |arguments: &[&str]| {
        host.xdpfw(arguments)
            .env("SSH_CONNECTION", "10.7.0.2 51000 10.7.0.1 22")
    };
    say(&["allow", "ssh"]).ok();
    let said = say(&["up", "eth0"]).fails(6);
    for word in ["10.7.0.2", "`xdpfw allow udp 51820`"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    assert_nothing_is_left(host, &["eth0"])?;
    // SSH itself comes by an interface that is not filtered.
    say(&["delete", "r1"]).ok();
    say(&["allow", "udp", "51820"]).ok();
    say(&["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    let from = endpoint.ip().to_string();
    for cuts in [
        &["delete", "allow", "udp", "51820"][..],
        &["deny", "udp", "any", "--before", "r1"],
        &["deny", "any", "--from", &from, "--before", "r1"],
    ] {
        let said = say(cuts).fails(6);
        assert!(said.contains("udp 51820"), "{cuts:?}: {said}");
        assert_eq!(state(host, &["eth0"])?, before, "{cuts:?}");
    }
    say(&["deny", "tcp", "22"]).ok();
    // Where the tunnel is filtered, too, both are needed.
    let said = say(&["up", "eth0", name]).fails(6);
    assert!(said.contains("tcp 22"), "{said}");
    Ok(())
}

#[test]
fn a_tunnel_of_another_kind_is_not_known() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["tuntap", "add", "tun0", "mode", "tun"])?;
    host.run("ip", ["address", "add", "10.8.0.1/24", "dev", "tun0"])?;
    host.run("ip", ["link", "set", "tun0", "up"])?;
    host.xdpfw(["allow", "ssh"]).ok();
    for session in [
        "10.8.0.2 51000 10.8.0.1 22",
        "fe80::7%tun0 51000 fe80::1%tun0 22",
    ] {
        let up = |arguments: &[&str]| {
            host.xdpfw([&["up", "eth0"], arguments].concat())
                .env("SSH_CONNECTION", session)
        };
        let said = up(&[]).fails(6);
        for word in ["cannot be told", "tunnel tun0", "--force"] {
            assert!(said.contains(word), "no {word}: {said}");
        }
        assert_nothing_is_left(host, &["eth0"])?;
        up(&["--force"]).ok();
        host.xdpfw(["down"]).ok();
    }
    Ok(())
}
