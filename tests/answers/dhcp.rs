//! Proves that DHCP clients get answers, which no socket look-up finds, unless the policy
//! turns that off.

use anyhow::Result;
use xdpfw_tests::{Sender, Tally, packets};

use crate::{filtered, naming::Naming};

/// The ports of DHCP servers and clients.
const PORTS: (u16, u16) = (67, 68);
/// Those of DHCPv6.
const PORTS6: (u16, u16) = (547, 546);

// No socket takes part, so there is nothing that could name its peer by a mapped address.
mod ipv4 {
    crate::run_for!(Ipv4: dhcp_clients_are_answered_unless_turned_off);
}
// Clients of DHCPv6 use their link-local addresses.
mod link_local {
    crate::run_for!(LinkLocal: dhcp_clients_are_answered_unless_turned_off);
}

fn dhcp_clients_are_answered_unless_turned_off(naming: Naming) -> Result<()> {
    let ((server, client), other) = match naming {
        Naming::Ipv4 | Naming::Mapped => (PORTS, PORTS6),
        Naming::Ipv6 | Naming::LinkLocal => (PORTS6, PORTS),
    };
    for (knob, answered) in [("true", true), ("false", false)] {
        let lab = filtered(naming, &format!("dhcp_client = {knob}"))?;
        let (near, far) = (lab.link().near(), lab.link().far());
        let datagram = |from, to| {
            let (from, to) = (naming.on_wire(far, from), naming.on_wire(near, to));
            packets::frame(far, near, &packets::udp(from, to, b"advertise"))
        };
        Sender::of_frames(&lab.peer, far)?.send_all([
            datagram(server, client),
            datagram(server, client - 1),
            // A server of DHCPv6 may send from any port.
            datagram(client, client),
            // Those of the other family.
            datagram(other.0, other.1),
        ])?;
        let at = |port: u16| format!("udp/{port}");
        let (beside, theirs, own) = (at(client - 1), at(other.1), at(client));
        let mut expected = vec![(&*beside, 1), (&*theirs, 1)];
        let passed = match (answered, naming) {
            (false, _) => 0,
            (true, Naming::Ipv4 | Naming::Mapped) => 1,
            (true, Naming::Ipv6 | Naming::LinkLocal) => 2,
        };
        expected.extend([
            ("pass dhcp-client", passed),
            ("drop default", 4 - passed),
            (&*own, 2 - passed),
        ]);
        Tally::assert_moved(&lab.host, &Tally::default(), &expected)?;
    }
    Ok(())
}
