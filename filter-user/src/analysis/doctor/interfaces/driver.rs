//! What keeps a driver from native XDP, or makes it slower.

use super::{
    super::{Device, Facts, Finding, command},
    layers::has_vlans,
};
use crate::netlink::{LinkLayer, Mode};

/// About as many bytes as every driver puts into one buffer under XDP. Some take 500 more.
const ONE_BUFFER: u32 = 3000;
/// What an interface has unless somebody changed it.
const USUAL_MTU: &str = "1500";
/// Programs take packets in several buffers since then.
const FRAGS: (u32, u32) = (5, 18);

pub(super) fn findings(facts: &Facts, device: &Device) -> Vec<Finding> {
    let name = &device.interface.name;
    if device.interface.is_loopback || device.interface.unseen.is_some() {
        return Vec::new();
    }
    let mut found = Vec::new();
    found.extend(lro(device));
    if device.native.is_some_and(|native| !native.runs) {
        // Kinds of virtual interfaces have none, and so there is none to miss below them.
        let driver = device.interface.driver.as_deref().unwrap_or("unknown");
        let text = format!(
            "its driver ({driver}) has no native XDP, so packets are dropped later, in the \
             network stack"
        );
        found.push(Finding::note("native-missing", name, text));
        return found;
    }
    if device.interface.link_layer != LinkLayer::Ethernet {
        return found;
    }
    let mtu = mtu(facts, device);
    if mtu.is_none() && device.filtered == Some(Mode::Generic) && device.native.is_some() {
        let text = "filtered in generic mode, though its driver has native XDP; between these two \
                    commands it is open";
        let commands: &[&[&str]] = &[&["xdpfw", "down", name], &["xdpfw", "up", name]];
        found.push(Finding::note("generic-mode", name, text).say_all(commands));
    }
    found.extend(mtu);
    found.extend(queues(facts, device));
    if device.settings.rx_vlan && has_vlans(&device.interface, facts) {
        let text = "its card takes VLAN tags off, so the filter judges tagged packets as if they \
                    had none, and `trace` shows none";
        let off = ["ethtool", "-K", name, "rxvlan", "off"];
        found.push(Finding::note("rx-vlan-offload", name, text).say(&off));
    }
    found
}

/// That the card puts packets together. Under native XDP it does not.
fn lro(device: &Device) -> Option<Finding> {
    if !device.settings.lro || device.filtered == Some(Mode::Native) {
        return None;
    }
    let name = &device.interface.name;
    let text = "large receive offload is on, with which drivers refuse native XDP";
    let set = |state| ["ethtool", "-K", name, "lro", state];
    Some(Finding::fault("lro-on", name, text).repaired_by(&set("off"), &set("on")))
}

/// That packets may be larger than one buffer, and it is not known to work.
fn mtu(facts: &Facts, device: &Device) -> Option<Finding> {
    let (name, mtu) = (&device.interface.name, device.interface.mtu);
    if mtu <= ONE_BUFFER {
        return None;
    }
    let is_native = device.filtered == Some(Mode::Native);
    let is_old = facts
        .kernel
        .version()
        .is_some_and(|version| version < FRAGS);
    let why = match (facts.up, device.native) {
        (Some(up), _) if is_native && up.frags => return None,
        (Some(up), _) if !up.frags => format!(
            "the filter came up for packets in one buffer; say `xdpfw down`, then `{}`, to have \
             it take larger ones",
            command(&["xdpfw", "up", name])
        ),
        (_, Some(native)) if !native.frags => {
            "its driver has native XDP for packets in one buffer only".to_owned()
        }
        _ if is_old => "native XDP of this kernel takes packets in one buffer only".to_owned(),
        _ => format!(
            "native XDP needs several buffers for a packet then, which not every driver has, and \
             which costs each packet more; `{}` tries",
            command(&["xdpfw", "up", name])
        ),
    };
    let text = format!("its MTU of {mtu} is large: {why}");
    let set = ["ip", "link", "set", "dev", name, "mtu", USUAL_MTU];
    Some(Finding::fault("mtu-large", name, text).say(&set))
}

/// That packets come in by fewer queues than there are CPUs, or by more than XDP leaves room for.
fn queues(facts: &Facts, device: &Device) -> Option<Finding> {
    let queues = device.settings.queues?;
    let name = &device.interface.name;
    let set = |count: u32| {
        let count = count.to_string();
        ["ethtool", "-L", name, queues.word, &count].map(str::to_owned)
    };
    // Half of them must be free to transmit by (`ena_xdp_legal_queue_count` in ena_xdp.h).
    let is_ena = device.interface.driver.as_deref() == Some("ena");
    let usable = if is_ena { queues.most / 2 } else { queues.most };
    let has = queues.receiving;
    if is_ena && usable > 0 && has > usable && device.filtered != Some(Mode::Native) {
        let text =
            format!("has {has} queues, and its driver takes native XDP with {usable} at most");
        let words = set(usable);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        return Some(Finding::fault("queues-many", name, text).say(&words));
    }
    let wanted = facts.cpus.min(usable);
    if has >= wanted {
        return None;
    }
    let text = format!(
        "packets come in by {has} of {usable} queues, and are judged by no more of {} CPUs",
        facts.cpus
    );
    let words = set(wanted);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(Finding::note("queues-few", name, text).say(&words))
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{
            Severity::{Fault, Note},
            Up, examine,
            tests::{UP, assert_finds, device, healthy},
        },
        *,
    };
    use crate::netlink::{NativeXdp, Queues};
    use crate::policy::InterfaceList;

    #[test]
    fn a_large_mtu_is_a_fault_unless_it_is_filtered_natively() {
        let remedy = Some("ip link set dev eth0 mtu 1500");
        for (frags, filtered, is_fault) in [
            (None, None, true),
            (Some(true), Some(Mode::Native), false),
            (Some(true), Some(Mode::Generic), true),
            (Some(false), Some(Mode::Native), true),
            (Some(false), None, true),
        ] {
            let mut facts = healthy();
            facts.devices[0].interface.mtu = 9000;
            facts.devices[0].filtered = filtered;
            facts.up = frags.map(|frags| Up { frags, ..UP });
            match is_fault {
                true => assert_finds(&facts, Fault, "mtu-large", "eth0", remedy),
                false => assert_eq!(examine(&facts), []),
            }
            facts.devices[0].interface.mtu = 2000;
            let found = examine(&facts);
            assert!(found.iter().all(|one| one.kind != "mtu-large"), "{found:?}");
        }
        let mut facts = healthy();
        facts.devices[0].interface.mtu = 9000;
        let text = |facts: &Facts| examine(facts)[0].text.clone();
        assert!(text(&facts).contains("several buffers"));
        facts.kernel.release = "5.15.0".to_owned();
        assert!(text(&facts).contains("of this kernel"));
        facts.devices[0].native = Some(NativeXdp {
            runs: true,
            frags: false,
        });
        assert!(text(&facts).contains("its driver has"));
        // In the network stack, there is no such limit.
        facts.devices[0].native = Some(NativeXdp::default());
        assert_finds(&facts, Note, "native-missing", "eth0", None);
    }

    #[test]
    fn lro_is_a_fault_that_is_safe_to_mend() {
        let mut facts = healthy();
        facts.devices[0].settings.lro = true;
        let remedy = Some("ethtool -K eth0 lro off");
        assert_finds(&facts, Fault, "lro-on", "eth0", remedy);
        let repair = examine(&facts)[0].repair.clone().unwrap();
        assert_eq!(repair.undo, ["ethtool", "-K", "eth0", "lro", "on"]);
        facts.devices[0].filtered = Some(Mode::Native);
        assert_eq!(examine(&facts), []);
    }

    #[test]
    fn generic_mode_is_told_of_where_native_could_be_had() {
        let mut facts = healthy();
        facts.up = Some(UP);
        facts.devices[0].filtered = Some(Mode::Generic);
        let remedy = Some("xdpfw down eth0 && xdpfw up eth0");
        assert_finds(&facts, Note, "generic-mode", "eth0", remedy);
        facts.devices[0].native = None;
        assert_eq!(examine(&facts), []);
        facts.devices[0].interface.link_layer = LinkLayer::None;
        assert_eq!(examine(&facts), []);
    }

    #[test]
    fn queues_are_as_many_as_cpus_where_the_driver_can() {
        for (driver, receiving, most, cpus, expected) in [
            ("virtio_net", 1, 4, 2, Some((Note, "queues-few", 2))),
            ("virtio_net", 1, 2, 8, Some((Note, "queues-few", 2))),
            ("virtio_net", 2, 4, 2, None),
            ("virtio_net", 1, 1, 8, None),
            ("ena", 8, 8, 8, Some((Fault, "queues-many", 4))),
            ("ena", 4, 8, 8, None),
            ("ena", 1, 1, 1, None),
        ] {
            let mut facts = healthy();
            facts.cpus = cpus;
            facts.devices[0].interface.driver = Some(driver.to_owned());
            facts.devices[0].settings.queues = Some(Queues {
                receiving,
                most,
                word: "combined",
            });
            match expected {
                Some((severity, kind, count)) => {
                    let remedy = format!("ethtool -L eth0 combined {count}");
                    assert_finds(&facts, severity, kind, "eth0", Some(&remedy));
                }
                None => assert_eq!(examine(&facts), []),
            }
        }
    }

    #[test]
    fn tags_that_are_taken_off_matter_where_there_are_vlans() {
        let mut facts = healthy();
        facts.devices[0].settings.rx_vlan = true;
        assert_eq!(examine(&facts), []);
        let mut vlan = device(2, "eth0.5");
        vlan.interface.driver = Some("vlan".to_owned());
        vlan.interface.lower = Some(1);
        vlan.native = Some(NativeXdp::default());
        facts.devices.push(vlan);
        facts.policy.interfaces = InterfaceList::of_tests(&["eth0"]);
        facts.devices[0].filtered = Some(Mode::Native);
        let remedy = Some("ethtool -K eth0 rxvlan off");
        assert_finds(&facts, Note, "rx-vlan-offload", "eth0", remedy);
    }
}
