//! What is the matter with the interfaces: what keeps them from native XDP, or from being filtered
//! at all, and which are open.

mod driver;
mod layers;
mod programs;

use super::{Device, Facts, Finding, Severity};
use crate::netlink::{LinkLayer, with_all_below};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = missing(facts);
    for device in facts.looked_at() {
        let mut of_this: Vec<Finding> = Vec::new();
        of_this.extend(layers::refused(facts, device));
        of_this.extend(programs::other(device));
        of_this.extend(layers::port(facts, device));
        let is_blocked = of_this.iter().any(|one| one.severity == Severity::Fault);
        if !is_blocked {
            of_this.extend(not_filtered(facts, device));
        }
        of_this.extend(driver::findings(facts, device));
        of_this.extend(programs::beside(facts, device));
        found.extend(of_this);
    }
    found.extend(open(facts));
    found
}

/// The interfaces of the policy that there are not.
fn missing(facts: &Facts) -> Vec<Finding> {
    let is_there = |name: &&str| {
        let mut devices = facts.devices.iter();
        devices.any(|device| device.interface.name == **name)
    };
    let names = facts.policy.interfaces.names();
    let finding = |name: &str| {
        let text = "in the policy, but there is no such interface; once it is there, filter it";
        Finding::fault("interface-missing", name, text).say(&["xdpfw", "up", name])
    };
    names.filter(|name| !is_there(name)).map(finding).collect()
}

/// That an interface of the policy is open.
fn not_filtered(facts: &Facts, device: &Device) -> Option<Finding> {
    let name = &device.interface.name;
    if device.filtered.is_some() || !facts.is_wanted(name) || facts.unreadable.is_some() {
        return None;
    }
    let text = "in the policy, but not filtered";
    Some(Finding::fault("interface-not-filtered", name, text).say(&["xdpfw", "up", name]))
}

/// The interfaces that the world reaches, and nothing filters.
fn open(facts: &Facts) -> Vec<Finding> {
    let known = facts.known();
    let is_closed = |device: &Device| {
        let is_ours = device.filtered.is_some() || facts.is_wanted(&device.interface.name);
        is_ours && !device.interface.is_loopback
    };
    let is_covered = |device: &Device| {
        // What comes in by it has come in by those below; or it is a member of one.
        let below = with_all_below(&device.interface, &known);
        let master = device.interface.master.map(|master| master.index);
        below
            .iter()
            .map(|one| one.index)
            .chain(master)
            .filter_map(|index| facts.device(index))
            .any(is_closed)
    };
    let is_used = facts.up.is_some() || !facts.policy.interfaces.is_empty();
    let finding = |device: &Device| {
        let name = &device.interface.name;
        let text = "up and public, but not in the policy, so whoever reaches it reaches all";
        let finding = match is_used {
            true => Finding::fault("interface-open", name, text),
            false => Finding::note("interface-open", name, text),
        };
        finding.say(&["xdpfw", "up", name])
    };
    let is_open = |device: &&Device| {
        let interface = &device.interface;
        interface.is_up
            && !interface.is_loopback
            && interface.unseen.is_none()
            && !matches!(interface.link_layer, LinkLayer::Other(_))
            && device.is_public
            && !device.is_stray
            && facts.unreadable.is_none()
            && !is_covered(device)
    };
    facts.devices.iter().filter(is_open).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{
        Severity::{Fault, Note},
        examine,
        tests::{UP, assert_finds, device, healthy},
    };
    use crate::netlink::{Master, MasterKind, Mode};
    use crate::policy::InterfaceList;

    #[test]
    fn interfaces_of_the_policy_are_there_and_filtered() {
        let mut facts = healthy();
        facts.policy.interfaces = InterfaceList::of_tests(&["eth0", "eth9"]);
        facts.devices[0].filtered = Some(Mode::Native);
        let remedy = Some("xdpfw up eth9");
        assert_finds(&facts, Fault, "interface-missing", "eth9", remedy);
        facts.policy.interfaces = InterfaceList::of_tests(&["eth0"]);
        facts.devices[0].filtered = None;
        let remedy = Some("xdpfw up eth0");
        assert_finds(&facts, Fault, "interface-not-filtered", "eth0", remedy);
        facts.unreadable = Some("the kernel does not permit it".to_owned());
        assert_finds(&facts, Fault, "filter-unreadable", "xdpfw", None);
    }

    #[test]
    fn a_public_interface_beside_the_policy_is_open() {
        let mut facts = healthy();
        facts.devices[0].filtered = Some(Mode::Native);
        facts.up = Some(UP);
        facts.devices.push(device(2, "eth1"));
        assert_eq!(examine(&facts), []);
        facts.devices[1].is_public = true;
        let remedy = Some("xdpfw up eth1");
        assert_finds(&facts, Fault, "interface-open", "eth1", remedy);
        let mut down = facts.clone();
        down.devices[1].interface.is_up = false;
        assert_eq!(examine(&down), []);

        // What is below it is filtered, or what it is a member of.
        let mut above = facts.clone();
        above.devices[1].interface.lower = Some(1);
        assert_eq!(examine(&above), []);
        let mut member = facts.clone();
        let kind = MasterKind::Aggregate;
        member.devices[1].interface.master = Some(Master { index: 1, kind });
        assert_eq!(examine(&member), []);

        // Who filters nothing has not forgotten one.
        facts.devices[0].filtered = None;
        facts.up = None;
        assert_finds(&facts, Note, "interface-open", "eth1", remedy);
    }
}
