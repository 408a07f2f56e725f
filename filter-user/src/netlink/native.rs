//! Asks the kernel what XDP a driver takes (Documentation/netlink/specs/netdev.yaml, Linux 6.3).

use std::{collections::HashMap, io};

use rtnetlink::{
    packet_core::{DefaultNla, NLM_F_ACK, NLM_F_DUMP, NlasIterator},
    sys::protocols::NETLINK_GENERIC,
};

use super::exchange::{Message, exchange};

/// `GENL_ID_CTRL`, and its command and attributes, in linux/genetlink.h.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET` and its attributes, in linux/netdev.h.
const GET_DEVICE: u8 = 1;
const INDEX: u16 = 1;
const FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC` there: drop, pass, abort, and transmit.
const BASIC: u64 = 1 << 0;
/// `NETDEV_XDP_ACT_RX_SG`: packets in several buffers.
const FRAGS: u64 = 1 << 5;

/// What XDP a driver takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NativeXdp {
    /// Whether it runs programs at all.
    pub runs: bool,
    /// Whether it gives them packets in several buffers.
    pub frags: bool,
}

/// What the drivers of all interfaces take, by number of the interface. Kernels before 6.3 tell
/// of none.
pub fn native_xdp() -> HashMap<u32, NativeXdp> {
    devices().unwrap_or_default()
}

fn devices() -> io::Result<HashMap<u32, NativeXdp>> {
    let name = DefaultNla::new(FAMILY_NAME, b"netdev\0".to_vec());
    let answers = ask(CONTROL, GET_FAMILY, NLM_F_ACK, &[name])?;
    let family = answers
        .iter()
        .find_map(|answer| attribute(answer, FAMILY_ID))
        .and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)))
        .ok_or(io::ErrorKind::NotFound)?;
    let devices = ask(family, GET_DEVICE, NLM_F_DUMP, &[])?;
    Ok(devices.iter().filter_map(|device| read(device)).collect())
}

fn read(attributes: &[u8]) -> Option<(u32, NativeXdp)> {
    let index = u32::from_ne_bytes(attribute(attributes, INDEX)?.try_into().ok()?);
    let features = u64::from_ne_bytes(attribute(attributes, FEATURES)?.try_into().ok()?);
    let native = NativeXdp {
        runs: features & BASIC != 0,
        frags: features & FRAGS != 0,
    };
    Some((index, native))
}

/// Asks a family of generic netlink, and returns the attributes of each answer.
fn ask(
    family: u16,
    command: u8,
    flags: u16,
    attributes: &[DefaultNla],
) -> io::Result<Vec<Vec<u8>>> {
    // `struct genlmsghdr` in linux/genetlink.h: command, version, and two bytes of nothing.
    const HEADER: usize = 4;
    const VERSION: u8 = 1;
    let mut payload = vec![command, VERSION, 0, 0];
    payload.extend(Message::attributes(attributes));
    let answers = exchange(NETLINK_GENERIC, family, flags, &payload)?.into_iter();
    let answers = answers.map(|(_, payload)| payload.get(HEADER..).unwrap_or_default().to_vec());
    Ok(answers.collect())
}

fn attribute(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == kind)
        .map(|attribute| attribute.value().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_their_bits() {
        let device = |features: u64| {
            Message::attributes(&[
                DefaultNla::new(INDEX, 7_u32.to_ne_bytes().to_vec()),
                DefaultNla::new(FEATURES, features.to_ne_bytes().to_vec()),
            ])
        };
        for (features, runs, frags) in [(0, false, false), (1, true, false), (0x7f, true, true)] {
            let expected = Some((7, NativeXdp { runs, frags }));
            assert_eq!(read(&device(features)), expected, "{features}");
        }
        assert_eq!(read(&[]), None);
    }
}
