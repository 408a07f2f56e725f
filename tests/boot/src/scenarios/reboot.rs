//! Reboots: no closed port answers while the host comes up, whoever brings its network up, and
//! whatever its interface is called.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{
    guest::{Guest, Options},
    stage::{Scene, Stage},
};

/// The address of the guest for systemd-networkd.
const NETWORKD: &str = "[Match]\nName=eth0\n[Network]\nAddress=10.78.0.2/24\n";
const NETWORK_MANAGER: &str = "[connection]\nid=wire\ntype=ethernet\ninterface-name=eth0\n\
     [ipv4]\nmethod=manual\naddress1=10.78.0.2/24\n[ipv6]\nmethod=link-local\naddr-gen-mode=0\n";
const NETPLAN: &str =
    "network:\n  version: 2\n  ethernets:\n    eth0:\n      addresses: [10.78.0.2/24]\n";
/// What ifupdown knows without an interface of ours.
const LOOPBACK: &str = "auto lo\niface lo inet loopback\n";

/// With ifupdown, which the image has.
pub fn ifupdown(stage: &Stage<'_>) -> Result<String> {
    reboot(&stage.filtered("reboot")?)
}

/// With systemd-networkd.
pub fn networkd(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.filtered("networkd")?;
    use_networkd(&scene.guest)?;
    reboot(&scene)
}

/// With NetworkManager.
pub fn network_manager(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.filtered("network-manager")?;
    let guest = &scene.guest;
    guest.run("apt-get install -y --no-install-recommends /opt/network-manager/*.deb")?;
    guest.write("/etc/network/interfaces", LOOPBACK)?;
    let connection = "/etc/NetworkManager/system-connections/wire.nmconnection";
    guest.write(connection, NETWORK_MANAGER)?;
    guest.run(&format!("chmod 600 {connection}"))?;
    reboot(&scene)
}

/// With netplan, which writes what systemd-networkd reads.
pub fn netplan(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.filtered("netplan")?;
    let guest = &scene.guest;
    guest.run("apt-get install -y --no-install-recommends /opt/netplan/*.deb")?;
    guest.write("/etc/network/interfaces", LOOPBACK)?;
    guest.write("/etc/netplan/wire.yaml", NETPLAN)?;
    guest.run("chmod 600 /etc/netplan/wire.yaml && systemctl enable systemd-networkd")?;
    reboot(&scene)
}

/// With the name that udev gives it, `enp0s3` for example.
pub fn renamed(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.boot("renamed", Options::default())?;
    let guest = &scene.guest;
    let names = guest.run("ls /sys/class/net")?;
    let name = names
        .split_whitespace()
        .find(|name| name.starts_with("en"))
        .with_context(|| format!("udev renamed nothing: {names}"))?;
    guest.run(&format!(
        "sed -i s/eth0/{name}/ /etc/network/interfaces && ifup {name}"
    ))?;
    scene.answers_from_closed_ports("renamed")?;
    scene.install(name)?;
    let seen = reboot(&scene)?;
    Ok(format!("{name}: {seen}"))
}

/// With a driver that is loaded long after the boot is over.
pub fn late_driver(stage: &Stage<'_>) -> Result<String> {
    let parameters = "net.ifnames=0 modprobe.blacklist=virtio_net";
    let scene = stage.boot(
        "late-driver",
        Options {
            parameters,
            ..Options::default()
        },
    )?;
    let guest = &scene.guest;
    guest.run("sed -i 's/auto eth0/allow-hotplug eth0/' /etc/network/interfaces")?;
    let come = || -> Result<()> {
        guest.run("modprobe virtio_net")?;
        guest.run("for i in $(seq 100); do ip -4 address show eth0 | grep -q inet && exit; sleep 0.2; done; exit 1").map(drop)
    };
    come()?;
    scene.answers_from_closed_ports("late-driver")?;
    scene.install("eth0")?;
    guest.reboot()?;
    scene.settle();
    let tally = scene.closed_during(come)?;
    Ok(tally.to_string())
}

/// Has systemd-networkd bring the interface up instead of ifupdown, from the next boot on.
pub fn use_networkd(guest: &Guest<'_>) -> Result<()> {
    guest.write("/etc/network/interfaces", LOOPBACK)?;
    guest.write("/etc/systemd/network/wire.network", NETWORKD)?;
    guest.run("systemctl enable systemd-networkd").map(drop)
}

/// Reboots, and says how soon the open port answered.
pub fn reboot(scene: &Scene<'_>) -> Result<String> {
    let begun = Instant::now();
    scene.guest.last_mark();
    let tally = scene.closed_during(|| scene.guest.reboot())?;
    let up = scene
        .guest
        .last_mark()
        .context("sshd did not say that it is up")?;
    let [last, first] = tally
        .longest_silence()
        .context("the open port answered once only")?;
    let after = |at: Instant| at.saturating_duration_since(begun).as_secs_f64();
    Ok(format!(
        "{tally}; the open port was silent from {:.1} to {:.1} s, and sshd up after {:.1} s",
        after(last),
        after(first),
        after(up)
    ))
}
