//! Interfaces that go and come back: no closed port answers between their coming and the filter's.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use super::reboot::use_networkd;
use crate::{
    guest::NIC,
    hammer::Tally,
    stage::{Scene, Stage},
};

const ROUNDS: u32 = 20;
/// Has ifupdown bring the interface up whenever it appears, and down when it goes: by a unit that is
/// bound to the device.
const ALLOW_HOTPLUG: &str = "ifdown eth0; sed -i 's/auto eth0/allow-hotplug eth0/' \
     /etc/network/interfaces && systemctl start ifup@eth0.service";
/// Waits until the interface has its address, and for its link-local one, which comes later.
const UP: &str = "for i in $(seq 150); do ip -4 address show eth0 2>/dev/null | grep -q inet && sleep 2 && exit; sleep 0.2; done; exit 1";
/// How often the device is plugged in at most, and what waits for it a while.
const PLUGS: u32 = 60;
const THERE: &str =
    "for i in 1 2 3 4 5; do [ -e /sys/class/net/eth0 ] && exit; sleep 0.1; done; exit 1";
/// Waits until it is gone.
const GONE: &str =
    "for i in $(seq 300); do [ -e /sys/class/net/eth0 ] || exit 0; sleep 0.2; done; exit 1";

/// The device unplugged and plugged in; ifupdown.
pub fn ifupdown(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.open_to_unplug("hotplug")?;
    scene.guest.run(ALLOW_HOTPLUG)?;
    unplugged(&scene, "hotplug")
}

/// The same with systemd-networkd.
pub fn networkd(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.open_to_unplug("hotplug-networkd")?;
    use_networkd(&scene.guest)?;
    scene.guest.run("systemctl start systemd-networkd")?;
    unplugged(&scene, "hotplug-networkd")
}

/// A veth pair that is made in the guest. Its other end is on a bridge with the network device, which
/// the filter does not see.
pub fn veth(stage: &Stage<'_>) -> Result<String> {
    const BRIDGE: &str = "ifdown eth0; ip address flush dev eth0 && \
         ip link set eth0 down address 52:54:00:78:64:71 name wire && \
         echo 1 >/proc/sys/net/ipv6/conf/wire/disable_ipv6 && ip link add br0 type bridge && \
         echo 1 >/proc/sys/net/ipv6/conf/br0/disable_ipv6 && \
         ip link set wire master br0 up && ip link set br0 up";
    const ADD: &str = "ip link add eth0 address 52:54:00:78:64:70 type veth peer name end && \
         echo 1 >/proc/sys/net/ipv6/conf/end/disable_ipv6 && ip link set end master br0 up";
    let scene = stage.open("hotplug-veth")?;
    let guest = &scene.guest;
    guest.run(ALLOW_HOTPLUG)?;
    guest.run(BRIDGE)?;
    scene.settle();
    guest.run(ADD)?;
    guest.run(UP)?;
    scene.answers_from_closed_ports("hotplug-veth")?;
    scene.install("eth0")?;
    rounds(&scene, || {
        guest.run("ip link delete eth0")?;
        guest.run(GONE)?;
        guest.run(ADD).map(drop)
    })
}

/// With a unit that udev has systemd start, which nobody waits for: how much is answered then.
pub fn wants(stage: &Stage<'_>) -> Result<String> {
    const RULE: &str = "SUBSYSTEM==\"net\", ACTION==\"add\", TAG+=\"systemd\", \
         ENV{SYSTEMD_WANTS}+=\"xdpfw@$name.service\"\n";
    const UNIT: &str = "[Unit]\nDefaultDependencies=no\n\
         [Service]\nType=oneshot\nExecStart=/usr/bin/xdpfw up --boot %i\n";
    let scene = stage.open_to_unplug("udev-wants")?;
    scene.install("eth0")?;
    let guest = &scene.guest;
    guest.write("/etc/udev/rules.d/79-xdpfw.rules", RULE)?;
    guest.write("/etc/systemd/system/xdpfw@.service", UNIT)?;
    guest.run("systemctl daemon-reload && udevadm control --reload")?;
    guest.run(ALLOW_HOTPLUG)?;
    let seen = played(&scene, || unplug(&scene))?;
    Ok(seen.to_string())
}

/// Unplugs it once without the filter, which shows that the device can, and then with it.
fn unplugged(scene: &Scene<'_>, name: &str) -> Result<String> {
    unplug(scene)?;
    scene.guest.run(UP).context("without the filter")?;
    scene.answers_from_closed_ports(name)?;
    scene.install("eth0")?;
    rounds(scene, || unplug(scene))
}

/// Unplugs the device and plugs it in again, from outside.
fn unplug(scene: &Scene<'_>) -> Result<()> {
    scene.guest.monitor("device_del nic")?;
    scene.guest.run(GONE)?;
    // Refused until the guest has let go of the slot, and once the device is there.
    for _ in 0..PLUGS {
        scene.guest.monitor(&format!("device_add {NIC}"))?;
        if scene.guest.attempt(THERE)?.0 == 0 {
            return Ok(());
        }
    }
    bail!("the device does not come back")
}

/// Lets the interface go and come; no closed port may answer.
fn rounds(scene: &Scene<'_>, replace: impl Fn() -> Result<()>) -> Result<String> {
    let seen = played(scene, replace)?;
    ensure!(seen.leaked == 0, "closed ports answered: {seen}");
    Ok(seen.to_string())
}

/// What was seen in all rounds.
#[derive(Debug, Default)]
struct Seen {
    /// In how many of them closed ports answered.
    leaked: u32,
    /// For how long at most, from the first answer to the last.
    longest: Duration,
    all: Tally,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            leaked,
            longest,
            all,
        } = self;
        let ms = longest.as_millis();
        write!(
            f,
            "{all}; in {leaked} of {ROUNDS} rounds, for {ms} ms at most"
        )
    }
}

/// Lets the interface go and come, again and again.
fn played(scene: &Scene<'_>, replace: impl Fn() -> Result<()>) -> Result<Seen> {
    scene.settle();
    let mut seen = Seen::default();
    for _ in 0..ROUNDS {
        let tally = scene.during(|| {
            replace()?;
            scene.guest.run(UP).map(drop)
        })?;
        if let (Some(first), Some(last)) = (tally.leaks.first(), tally.leaks.last()) {
            seen.leaked += 1;
            seen.longest = seen.longest.max(last.at - first.at);
        }
        ensure!(!tally.open.is_empty(), "the open port did not come back");
        seen.all.add(tally);
    }
    Ok(seen)
}
