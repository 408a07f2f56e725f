//! Tests of answers: under default drop the host's own conversations go on, both ways, and
//! nobody gets in by pretending to be part of one.
//!
//! Each test runs once for each way in which a socket can name its peer, see [`Naming`]. It
//! is part of the test's name: `tcp::ipv6::refusals_get_through`.

mod dhcp;
mod naming;
mod rules;
mod tcp;
mod udp;

use anyhow::Result;
use xdpfw_tests::{Lab, Tally};

use self::naming::Naming;

/// Local ports of clients: of the kernel's choice, well-known, registered, and in the
/// ephemeral range.
const CLIENT_PORTS: [u16; 4] = [0, 853, 5353, 50_000];

/// Makes a test of each of these functions, for one naming.
macro_rules! run_for {
    ($naming:ident: $($test:ident)+) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                super::$test(crate::Naming::$naming)
            }
        )+
    };
}
use run_for;

/// Makes a test of each of these functions, for each naming.
macro_rules! run_for_each_naming {
    ($($test:ident)+) => {
        mod ipv4 {
            crate::run_for!(Ipv4: $($test)+);
        }
        mod ipv6 {
            crate::run_for!(Ipv6: $($test)+);
        }
        mod link_local {
            crate::run_for!(LinkLocal: $($test)+);
        }
        mod mapped {
            crate::run_for!(Mapped: $($test)+);
        }
    };
}
use run_for_each_naming;

/// A host with a filter on its interface, under this policy. For IPv4 sockets IPv6 is off.
fn filtered(naming: Naming, policy: &str) -> Result<Lab> {
    let lab = match naming {
        Naming::Ipv4 => Lab::new()?,
        Naming::Ipv6 | Naming::LinkLocal | Naming::Mapped => {
            let lab = Lab::with_ipv6(1)?;
            for host in [&lab.host, &lab.peer] {
                // Each error that is due is sent.
                host.sysctl("net/ipv6/icmp/ratelimit", "0")?;
            }
            lab
        }
    };
    Ok(lab.filtered(policy))
}

/// Asserts that nothing was dropped since the filter came up, and nothing passed but for
/// this reason; how many packets that were.
#[track_caller]
fn all_passed_as(lab: &Lab, reason: &str) -> Result<u64> {
    let counted = Tally::of(&lab.host)?;
    let packets = counted.packets(reason);
    assert_eq!(counted.judged(), packets + counted.mld(), "{counted:?}");
    assert_eq!(lab.host.status()["totals"]["dropped"]["packets"], 0);
    Ok(packets)
}
