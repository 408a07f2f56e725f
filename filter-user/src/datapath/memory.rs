//! What maps take of the memory.

use aya::util::nr_cpus;
use xdpfw_common::abi::{BLOCKS, Block, Counter, Overflows, RULE_SLOTS};

use super::{flow_memory, scan};
use crate::policy::Policy;

/// The CPUs that there may be, each of which has counters of its own.
pub fn cpus() -> u32 {
    nr_cpus()
        .ok()
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1)
}

/// Bytes that the maps of a policy take, about. While a change is made, two generations are there,
/// which share the flows.
pub fn memory(policy: &Policy, cpus: u32) -> u64 {
    let of_ports = BLOCKS * (size_of::<Block>() + size_of::<Overflows>());
    let of_rules = RULE_SLOTS * size_of::<Counter>();
    let counters = (of_ports + of_rules) as u64 * u64::from(cpus);
    let flows = policy.records_flows().then_some(policy.flows);
    2 * counters + flow_memory(flows) + scan::memory(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{FlowSizes, Replies};

    #[test]
    fn memory_grows_with_flows_and_cpus() {
        let policy = Policy::default();
        let usual = memory(&policy, 2);
        assert!((10 << 20..100 << 20).contains(&usual), "{usual}");
        assert!(memory(&policy, 64) > usual);
        let flows = FlowSizes {
            tcp: FlowSizes::MOST,
            other: FlowSizes::MOST,
        };
        let large = Policy { flows, ..policy };
        assert!(memory(&large, 2) > 4 << 30);
        let off = Policy {
            replies: Replies::Off,
            ..large
        };
        assert!(memory(&off, 2) < usual);
    }
}
