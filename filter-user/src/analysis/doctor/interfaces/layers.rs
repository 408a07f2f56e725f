//! Interfaces that are not to be filtered, since others have their packets.

use super::super::{Device, Facts, Finding};
use crate::netlink::{Interface, LinkLayer, MasterKind};

/// That `up` refuses an interface of the policy: no packet would be seen there, or none be read.
pub(super) fn refused(facts: &Facts, device: &Device) -> Option<Finding> {
    let interface = &device.interface;
    if !facts.is_wanted(&interface.name) {
        return None;
    }
    let finding = |text: &str| Finding::fault("interface-refused", &interface.name, text);
    if interface.is_loopback {
        return Some(finding(
            "is loopback, which is not filtered; take it out of `interfaces` in the policy",
        ));
    }
    if let LinkLayer::Other(number) = interface.link_layer {
        return Some(finding(&format!(
            "its packets have neither an Ethernet header nor none (link layer {number}), which \
             the filter cannot read; filter the interface that they come in by"
        )));
    }
    let unseen = interface.unseen?;
    let finding = finding(&format!(
        "is {}, by which no packet comes in; take it out of `interfaces` in the policy",
        unseen.as_str()
    ));
    let known = facts.known();
    let below = known.iter().filter(|other| interface.is_above(other));
    let names: Vec<&str> = below.map(|other| other.name.as_str()).collect();
    Some(match names.is_empty() {
        true => finding,
        false => finding.say(&[&["xdpfw", "up"], names.as_slice()].concat()),
    })
}

/// That an interface is a port of another one, where packets belong to that one.
pub(super) fn port(facts: &Facts, device: &Device) -> Option<Finding> {
    let master = device.interface.master?;
    let above = facts.device(master.index)?;
    let (name, above_name) = (&device.interface.name, &above.interface.name);
    let (kind, what) = match (master.kind, above.interface.driver.as_deref()) {
        (MasterKind::Vrf, _) => return None,
        (MasterKind::Bridge, _) => ("bridge-port", "bridge"),
        (MasterKind::Aggregate, Some("bond")) => ("bond-member", "bond"),
        (MasterKind::Aggregate, Some("team")) => ("team-member", "team"),
        (MasterKind::Aggregate, _) => ("member", "interface"),
    };
    if above.filtered.is_some() {
        // What comes in is judged there. Whoever wants it here has to decide.
        return facts.is_wanted(name).then(|| {
            let text = format!(
                "a port of the {what} {above_name}, which is filtered in its place; take one of \
                 them out of `interfaces` in the policy"
            );
            match device.filtered {
                // A bond's members may run the program, too, once it does.
                None => Finding::note(kind, name, text),
                Some(_) => Finding::note(kind, name, text).say(&["xdpfw", "down", name]),
            }
        });
    }
    let text = match master.kind {
        MasterKind::Bridge => format!(
            "a port of the bridge {above_name}: a filter here judges what is for guests behind \
             the bridge, too"
        ),
        _ => format!("a member of the {what} {above_name}, for which rules are written"),
    };
    let up: &[&str] = &["xdpfw", "up", above_name];
    Some(match device.filtered {
        None => Finding::fault(kind, name, text).say(up),
        // It is as somebody wanted it.
        Some(_) => Finding::note(kind, name, text).say_all(&[up, &["xdpfw", "down", name]]),
    })
}

/// Whether packets of an interface carry VLAN tags for others above it.
pub(super) fn has_vlans(interface: &Interface, facts: &Facts) -> bool {
    facts.devices.iter().any(|device| {
        let above = &device.interface;
        above.driver.as_deref() == Some("vlan") && above.is_above(interface)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{
            Severity::{Fault, Note},
            examine,
            tests::{assert_finds, device, healthy},
        },
        *,
    };
    use crate::netlink::{Master, Mode, Unseen};
    use crate::policy::InterfaceList;

    /// A host with a port of a master.
    fn port(kind: MasterKind, driver: &str) -> Facts {
        let mut facts = healthy();
        facts.devices[0].interface.master = Some(Master { index: 2, kind });
        let mut master = device(2, "above0");
        master.interface.driver = Some(driver.to_owned());
        facts.devices.push(master);
        facts
    }

    #[test]
    fn a_port_is_named_until_its_master_is_filtered() {
        for (kind, driver, word) in [
            (MasterKind::Bridge, "bridge", "bridge-port"),
            (MasterKind::Bridge, "openvswitch", "bridge-port"),
            (MasterKind::Aggregate, "bond", "bond-member"),
            (MasterKind::Aggregate, "team", "team-member"),
            (MasterKind::Aggregate, "hv_netvsc", "member"),
        ] {
            let mut facts = port(kind, driver);
            assert_finds(&facts, Fault, word, "eth0", Some("xdpfw up above0"));
            // Filtered all the same, it is as somebody wanted it.
            facts.devices[0].filtered = Some(Mode::Native);
            let remedy = Some("xdpfw up above0 && xdpfw down eth0");
            assert_finds(&facts, Note, word, "eth0", remedy);
            facts.devices[0].filtered = None;
            facts.devices[1].filtered = Some(Mode::Native);
            assert_eq!(examine(&facts), []);
        }
        assert_eq!(examine(&port(MasterKind::Vrf, "vrf")), []);
    }

    #[test]
    fn what_up_refuses_is_found_in_the_policy() {
        let mut facts = healthy();
        facts.devices[0].interface.unseen = Some(Unseen::Vrf);
        assert_eq!(examine(&facts), []);
        facts.policy.interfaces = InterfaceList::of_tests(&["eth0"]);
        assert_finds(&facts, Fault, "interface-refused", "eth0", None);
        let mut member = device(2, "eth1");
        member.interface.master = Some(Master {
            index: 1,
            kind: MasterKind::Vrf,
        });
        facts.devices.push(member);
        let remedy = Some("xdpfw up eth1");
        assert_finds(&facts, Fault, "interface-refused", "eth0", remedy);

        let mut facts = healthy();
        facts.policy.interfaces = InterfaceList::of_tests(&["eth0"]);
        facts.devices[0].interface.link_layer = LinkLayer::Other(778);
        assert_finds(&facts, Fault, "interface-refused", "eth0", None);
        facts.devices[0].interface.link_layer = LinkLayer::Ethernet;
        facts.devices[0].interface.is_loopback = true;
        assert_finds(&facts, Fault, "interface-refused", "eth0", None);
    }
}
