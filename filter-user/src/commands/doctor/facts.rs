//! Gathers what `doctor` judges. What cannot be found out is left out.

use std::net::IpAddr;

use anyhow::Result;

use super::super::Context;
use crate::{
    analysis::doctor::{Device, Facts, OtherProgram, Up},
    datapath::{self, Foreign, Live, bpffs_places, cpus, has_tcx_behind, memory},
    engine::{Engine, PolicyFile, PolicySource as _},
    netlink::{
        Interface, default_route_interfaces, interfaces, native_xdp, own_addresses, settings,
        traffic::has_ingress_filters,
    },
    policy::Policy,
    system::{BootUnit, Bpffs, Kernel, ephemeral_ports, firewalls, network_namespace_name},
};

/// All that is known of this host.
///
/// # Errors
///
/// The interfaces cannot be listed, or another command holds the lock.
pub(super) fn gather(context: &Context) -> Result<Facts> {
    let engine = match Engine::shared() {
        Ok(engine) => Ok(engine),
        Err(error) => match error.downcast_ref() {
            Some(datapath::Error::Busy { .. }) => return Err(error),
            _ => Err(format!("{error:#}")),
        },
    };
    let (engine, unreadable) = match engine {
        Ok(engine) => (Some(engine), None),
        Err(why) => (None, Some(why)),
    };
    let live = engine.as_ref().and_then(Engine::live);
    let (policy, invalid) = policy(context, live);
    let cpus = cpus();
    let devices = devices(engine.as_ref())?;
    let up = live.map(|live| {
        let record = live.generation.record();
        Up {
            frags: record.frags,
            ticks_per_second: record.clock.ticks_per_second,
        }
    });
    // Nobody waits for the programs that are asked.
    drop(engine);
    Ok(Facts {
        kernel: Kernel::read(),
        cpus,
        bpffs: bpffs_places()
            .iter()
            .filter_map(|path| Bpffs::at(path))
            .collect(),
        // What systemd brings up is what has no name.
        boot: network_namespace_name().is_none().then(BootUnit::read),
        memory: memory(&policy, cpus),
        policy,
        ephemeral: ephemeral_ports(),
        up,
        unreadable,
        invalid,
        devices,
        chains: firewalls(),
    })
}

/// The policy of the file, else the one in force, with what is wrong with the file.
fn policy(context: &Context, live: Option<&Live>) -> (Policy, Option<(String, String)>) {
    let file = context.policy_file();
    match file.as_ref().map(PolicyFile::policy) {
        Ok(policy) => (policy.clone(), None),
        Err(error) => {
            let in_force = live.map(|live| live.generation.record().policy.clone());
            let path = context.policy_path().display().to_string();
            (
                in_force.unwrap_or_default(),
                Some((path, format!("{error:#}"))),
            )
        }
    }
}

/// Every interface.
fn devices(engine: Option<&Engine>) -> Result<Vec<Device>> {
    let native = native_xdp();
    let public = public_interfaces();
    let store = engine.map(Engine::store);
    let strays = store
        .and_then(|store| store.strays().ok())
        .unwrap_or_default();
    let attached = engine.and_then(Engine::live).map(|live| &live.attached[..]);
    let devices = interfaces()?.into_iter().map(|interface| {
        let Interface { index, .. } = interface;
        let mut attached = attached.unwrap_or_default().iter();
        let filtered = attached.find(|one| one.interface.index == index);
        let is_stray = strays.iter().any(|stray| stray.interface.index == index);
        let is_others = engine.is_some() && filtered.is_none() && !is_stray;
        let other = is_others.then(|| Foreign::of(&interface)).flatten();
        Device {
            native: native.get(&index).copied(),
            settings: settings(&interface.name).unwrap_or_default(),
            filtered: filtered.map(|one| one.mode),
            other: other.map(|foreign| OtherProgram {
                shown: foreign.to_string(),
                pin: foreign.pin.map(|pin| pin.display().to_string()),
            }),
            is_stray,
            has_tc: has_ingress_filters(index).unwrap_or(false),
            has_tcx: has_tcx_behind(index),
            preceded_by: store
                .filter(|_| filtered.is_some())
                .and_then(|store| store.egress_preceded_by(index).ok().flatten()),
            is_public: public.contains(&index),
            interface,
        }
    });
    Ok(devices.collect())
}

/// The interfaces with a public address, and those by which a default route leaves.
fn public_interfaces() -> Vec<u32> {
    let addresses = own_addresses().unwrap_or_default().into_iter();
    let public = addresses.filter_map(|(address, index)| is_global(address).then_some(index));
    let routes = default_route_interfaces().unwrap_or_default();
    public.chain(routes).collect()
}

/// Whether the world may have a way to an address. Those of private networks need a route.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // Of providers behind NAT (RFC 6598).
            let is_shared = first == 100 && second & 0xc0 == 64;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || is_shared)
        }
        // The part of the space that is given out (RFC 4291, section 2.4).
        IpAddr::V6(address) => address.segments()[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_private_networks_are_not_public() {
        for (address, expected) in [
            ("203.0.113.7", true),
            ("100.128.0.1", true),
            ("100.64.0.1", false),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("2001:db8::1", true),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_global(address.parse().unwrap()), expected, "{address}");
        }
    }
}
