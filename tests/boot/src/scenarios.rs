//! What may happen to a filtered host, one after the other, each from a fresh guest.

mod broken;
mod hotplug;
mod quick_start;
mod reboot;
mod service;

use anyhow::Result;

use crate::stage::Stage;

/// Something that may happen.
#[derive(Debug)]
pub struct Scenario {
    /// How it is chosen.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// Whether it passes or fails; otherwise it only measures, and runs if it is named.
    pub verdict: bool,
    /// Lets it happen, and says what was seen.
    pub run: fn(&Stage<'_>) -> Result<String>,
}

const fn scenario(
    name: &'static str,
    about: &'static str,
    run: fn(&Stage<'_>) -> Result<String>,
) -> Scenario {
    Scenario {
        name,
        about,
        verdict: true,
        run,
    }
}

/// All of them.
pub const SCENARIOS: [Scenario; 20] = [
    scenario("reboot", "a reboot with ifupdown", reboot::ifupdown),
    scenario(
        "networkd",
        "a reboot with systemd-networkd",
        reboot::networkd,
    ),
    scenario(
        "network-manager",
        "a reboot with NetworkManager",
        reboot::network_manager,
    ),
    scenario("netplan", "a reboot with netplan", reboot::netplan),
    scenario(
        "renamed",
        "a reboot in which udev renames the interface",
        reboot::renamed,
    ),
    scenario(
        "late-driver",
        "the network driver is loaded long after boot",
        reboot::late_driver,
    ),
    scenario("restart", "systemctl restart, 20 times", service::restart),
    scenario("reload", "systemctl reload, 20 times", service::reload),
    scenario("stop", "systemctl stop", service::stop),
    scenario(
        "upgrade",
        "the package is installed again, and a later one",
        service::upgrade,
    ),
    scenario(
        "hotplug",
        "the device is unplugged and plugged in 20 times; ifupdown",
        hotplug::ifupdown,
    ),
    scenario(
        "hotplug-networkd",
        "the same with systemd-networkd",
        hotplug::networkd,
    ),
    scenario(
        "hotplug-veth",
        "a veth pair is deleted and made 20 times; ifupdown",
        hotplug::veth,
    ),
    scenario("damaged", "a policy that cannot be read", broken::damaged),
    scenario(
        "emptied",
        "a policy file with nothing in it",
        broken::emptied,
    ),
    scenario(
        "unreadable",
        "a policy that belongs to another user, or that all may write",
        broken::unreadable,
    ),
    scenario("missing", "no policy file", broken::missing),
    scenario(
        "disk-full",
        "no room on the disk at boot",
        broken::disk_full,
    ),
    scenario(
        "quick-start",
        "from an empty Debian to a scan of the filtered one; prints the transcript",
        quick_start::quick_start,
    ),
    Scenario {
        name: "udev-wants",
        about: "hotplug with a unit that udev asks for, instead of a program that it waits for",
        verdict: false,
        run: hotplug::wants,
    },
];
