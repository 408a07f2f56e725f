//! Which interface is counted where: each of the first ones in a slot of its own, by name.

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use xdpfw_common::abi::{
    INTERFACE_NAME, INTERFACE_PLACES, INTERFACE_SLOTS, INTERFACES_COUNTED, InterfaceSlots,
    OTHER_INTERFACES,
};

use super::pins::PinDirectory;

const BYTES: usize = size_of::<InterfaceSlots>();

/// Gives each of these interfaces, by index and name, a slot in the generation in this directory, as far as there are
/// any. Those that have one keep it.
pub(super) fn add(directory: &PinDirectory, interfaces: &[(u32, String)]) -> Result<()> {
    let mut map = open(directory)?;
    let before: InterfaceSlots = bytemuck::pod_read_unaligned(&map.get(&0, 0)?);
    let slots = with(before, interfaces);
    if slots != before {
        let bytes: [u8; BYTES] = bytemuck::cast(slots);
        map.set(0, bytes, 0)
            .context("cannot write the slots of interfaces")?;
    }
    Ok(())
}

/// The same slots, and one for each of these interfaces, as far as there are any.
fn with(mut slots: InterfaceSlots, interfaces: &[(u32, String)]) -> InterfaceSlots {
    for (index, name) in interfaces {
        let place = *index as usize % INTERFACE_PLACES;
        let name = padded(name);
        // A name that another interface had before goes on where that was counted.
        let is_alone = interfaces
            .iter()
            .all(|(other, _)| other == index || *other as usize % INTERFACE_PLACES != place);
        let own = slots.names.iter().position(|other| *other == name);
        let free =
            || (OTHER_INTERFACES + 1..INTERFACE_SLOTS).find(|&slot| slots.names[slot][0] == 0);
        // Two that share a place cannot be told apart.
        let slot = own.or_else(free).filter(|_| is_alone);
        let slot = slot.unwrap_or(OTHER_INTERFACES);
        slots.slots[place] = slot as u8;
        if slot != OTHER_INTERFACES {
            slots.names[slot] = name;
        }
    }
    slots
}

/// The name that is counted in a slot; `None` for that of all others, and for one that is free.
pub(super) fn name(slots: &InterfaceSlots, slot: usize) -> Option<String> {
    let name = slots.names[slot].split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn padded(name: &str) -> [u8; INTERFACE_NAME] {
    let mut padded = [0; INTERFACE_NAME];
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    padded
}

/// Opens them.
pub(super) fn open(directory: &PinDirectory) -> Result<Array<MapData, [u8; BYTES]>> {
    let map = MapData::from_pin(directory.pin(INTERFACES_COUNTED.pin))
        .context("cannot open the slots of interfaces")?;
    Ok(Map::Array(map).try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(index: u32, name: &str) -> (u32, String) {
        (index, name.to_owned())
    }

    fn slot_of(slots: &InterfaceSlots, index: u32) -> usize {
        slots.slots[index as usize % INTERFACE_PLACES].into()
    }

    #[test]
    fn a_name_keeps_its_slot_and_the_rest_share_one() {
        let first = with(InterfaceSlots::EMPTY, &[one(2, "eth0"), one(7, "eth1")]);
        assert_eq!([slot_of(&first, 2), slot_of(&first, 7)], [1, 2]);
        assert_eq!(name(&first, 1).as_deref(), Some("eth0"));
        assert_eq!(name(&first, OTHER_INTERFACES), None);
        // Plugged in again, with another index.
        let again = with(first, &[one(19, "eth0")]);
        assert_eq!(slot_of(&again, 19), 1);
        let many: Vec<_> = (100..120).map(|n| one(n, &format!("tap{n}"))).collect();
        let full = with(again, &many);
        assert_eq!(slot_of(&full, 112), 15);
        assert_eq!(slot_of(&full, 113), OTHER_INTERFACES);
        assert_eq!(slot_of(&full, 19), 1);
    }

    #[test]
    fn two_that_share_a_place_are_counted_with_the_others() {
        let slots = with(
            InterfaceSlots::EMPTY,
            &[one(2, "eth0"), one(1026, "eth1"), one(3, "eth2")],
        );
        assert_eq!(slot_of(&slots, 2), OTHER_INTERFACES);
        assert_eq!(slot_of(&slots, 3), 1);
        assert_eq!(name(&slots, 1).as_deref(), Some("eth2"));
    }
}
