//! Asks the kernel what XDP a driver takes (Documentation/netlink/specs/netdev.yaml, Linux 6.3).

use std::{collections::HashMap, io};

use rtnetlink::{
    packet_core::{
        DefaultNla, Emitable as _, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
        NetlinkBuffer, NlasIterator,
    },
    sys::{Socket, protocols::NETLINK_GENERIC},
};

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

/// Bytes of `struct nlmsghdr` in linux/netlink.h, and of `struct genlmsghdr` behind it.
const MESSAGE_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
/// Messages begin at multiples of this.
const ALIGNMENT: usize = 4;

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
    let answers = exchange(CONTROL, GET_FAMILY, NLM_F_ACK, &[name])?;
    let family = answers
        .iter()
        .find_map(|answer| attribute(answer, FAMILY_ID))
        .and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)))
        .ok_or(io::ErrorKind::NotFound)?;
    let devices = exchange(family, GET_DEVICE, NLM_F_DUMP, &[])?;
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

/// Asks, and returns the attributes of each answer.
fn exchange(
    family: u16,
    command: u8,
    flags: u16,
    attributes: &[DefaultNla],
) -> io::Result<Vec<Vec<u8>>> {
    const VERSION: u8 = 1;
    let begin = MESSAGE_HEADER + GENERIC_HEADER;
    let mut bytes = vec![0; begin + attributes.buffer_len()];
    let length = bytes.len() as u32;
    attributes.emit(&mut bytes[begin..]);
    bytes[MESSAGE_HEADER] = command;
    bytes[MESSAGE_HEADER + 1] = VERSION;
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_length(length);
    message.set_message_type(family);
    message.set_flags(NLM_F_REQUEST | flags);

    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let payload = message.payload();
            match message.message_type() {
                NLMSG_DONE => return Ok(answers),
                NLMSG_ERROR => {
                    let code = payload.first_chunk().map(|code| i32::from_ne_bytes(*code));
                    return match code {
                        Some(0) => Ok(answers),
                        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                        None => Err(io::ErrorKind::UnexpectedEof.into()),
                    };
                }
                _ => answers.push(payload.get(GENERIC_HEADER..).unwrap_or_default().to_vec()),
            }
            let length = message.length() as usize;
            rest = rest
                .get(length.next_multiple_of(ALIGNMENT)..)
                .unwrap_or_default();
        }
    }
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
    use crate::netlink::exchange::Message;

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
