//! How interfaces lie on each other, and by which of them packets come in.

use super::Interface;

/// The interface that others are ports of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Master {
    /// The kernel's number for it.
    pub index: u32,
    /// What it makes of its ports.
    pub kind: MasterKind,
}

/// What a master makes of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKind {
    /// Packets go from port to port.
    Bridge,
    /// The ports share a routing table, and are links of their own.
    Vrf,
    /// The ports are one link: a bond, a team, or a network card with the virtual function that
    /// serves it. Native XDP of a bond, and of such a card, runs on the ports.
    Aggregate,
}

/// An interface by which no packet comes in, so that nothing could be filtered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// Packets come in by the ports; only the routing knows of the VRF.
    Vrf,
    /// What is sent by it is gone; packets for its addresses come in by others.
    Dummy,
    /// Packets come out of it by the interface that they came in by before.
    Ifb,
    /// Only the routing gives it its packets (`IPVLAN_MODE_L3S` in linux/if_link.h).
    IpvlanL3s,
}

impl Unseen {
    /// What kind of interface it is.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vrf => "a VRF",
            Self::Dummy => "a dummy interface",
            Self::Ifb => "an ifb",
            Self::IpvlanL3s => "an ipvlan in mode l3s",
        }
    }
}

impl Interface {
    /// One with nothing above or below it, for tests.
    #[cfg(test)]
    pub fn plain(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.to_owned(),
            link_layer: super::LinkLayer::Ethernet,
            is_loopback: false,
            is_up: true,
            mac: None,
            mtu: 1500,
            driver: None,
            is_virtual: false,
            lower: None,
            namespace_of_lower: None,
            xdp: None,
            master: None,
            unseen: None,
        }
    }

    /// Whether another interface is one of those that carry this one's packets: a port of this
    /// bridge, bond, team or VRF, or the parent of this VLAN or macvlan.
    pub fn is_above(&self, other: &Self) -> bool {
        // The ends of a veth pair name each other.
        let is_pair = self.lower == Some(other.index) && other.lower == Some(self.index);
        let is_port = other
            .master
            .is_some_and(|master| master.index == self.index);
        is_port || self.lower == Some(other.index) && !is_pair
    }

    /// Whether another interface is a member of this one, so that what comes in by the one comes
    /// in by the other: a port of a bond, team or VRF. The ports of a bridge are none: what comes
    /// in there may be for another port.
    fn has_member(&self, other: &Self) -> bool {
        other
            .master
            .is_some_and(|master| master.index == self.index && master.kind != MasterKind::Bridge)
    }
}

/// An interface, and those that carry its packets, however far below: the bond under the bridge
/// under its VLAN.
pub fn with_all_below<'a>(top: &'a Interface, known: &'a [Interface]) -> Vec<&'a Interface> {
    reached(top, known, Interface::is_above)
}

/// The numbers that packets of an interface may carry, in their order: its own first, then those
/// of its members, and of theirs.
pub fn carriers(index: u32, known: &[Interface]) -> Vec<u32> {
    let Some(top) = known.iter().find(|one| one.index == index) else {
        return vec![index];
    };
    let reached = reached(top, known, Interface::has_member);
    let mut carriers: Vec<u32> = reached.into_iter().map(|one| one.index).collect();
    carriers[1..].sort_unstable();
    carriers
}

/// An interface, and all that can be reached from it in steps from one to the next, each once.
fn reached<'a>(
    start: &'a Interface,
    known: &'a [Interface],
    is_step: impl Fn(&Interface, &Interface) -> bool,
) -> Vec<&'a Interface> {
    let mut reached = vec![start];
    let mut next = 0;
    while let Some(&one) = reached.get(next) {
        next += 1;
        for other in known.iter().filter(|other| is_step(one, other)) {
            if reached.iter().all(|seen| seen.index != other.index) {
                reached.push(other);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, master: Option<(u32, MasterKind)>) -> Interface {
        Interface {
            master: master.map(|(index, kind)| Master { index, kind }),
            ..Interface::plain(index, &format!("i{index}"))
        }
    }

    #[test]
    fn a_vrf_stands_for_its_bond_and_that_for_its_members_and_a_bridge_for_itself() {
        let known = [
            interface(1, None),
            interface(9, Some((1, MasterKind::Vrf))),
            interface(5, Some((9, MasterKind::Aggregate))),
            interface(3, Some((9, MasterKind::Aggregate))),
            interface(4, Some((7, MasterKind::Bridge))),
            interface(7, Some((1, MasterKind::Vrf))),
        ];
        for (index, expected) in [
            (1, &[1, 3, 5, 7, 9][..]),
            (9, &[9, 3, 5]),
            (3, &[3]),
            (7, &[7]),
            (99, &[99]),
        ] {
            assert_eq!(carriers(index, &known), expected, "{index}");
        }
    }

    #[test]
    fn a_circle_ends() {
        let known = [
            interface(1, Some((2, MasterKind::Vrf))),
            interface(2, Some((1, MasterKind::Vrf))),
        ];
        assert_eq!(carriers(1, &known), [1, 2]);
    }
}
