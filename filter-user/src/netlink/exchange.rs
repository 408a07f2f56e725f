//! Exchanges messages with the kernel, most of them about traffic control, over a socket of its
//! own, and decodes no more of the answer than its header.
//!
//! rtnetlink decodes all of a message. One attribute of somebody else's filter that it cannot
//! decode, and it drops what came with it, maybe the end of the answer, for which it then
//! waits forever.

use std::io;

use anyhow::{Context as _, Result};
use rtnetlink::{
    packet_core::{
        DefaultNla, Emitable as _, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
        NetlinkBuffer,
    },
    packet_route::tc::TcHeader,
    sys::{Socket, protocols::NETLINK_ROUTE},
};

/// Bytes of `struct nlmsghdr` in linux/netlink.h.
const MESSAGE_HEADER: usize = 16;
/// Messages and attributes begin at multiples of this.
const ALIGNMENT: usize = 4;

/// A message about a qdisc or a filter.
pub(super) struct Message {
    /// `RTM_*` in linux/rtnetlink.h.
    pub(super) kind: u16,
    /// Which interface it is about, and what there.
    pub(super) header: TcHeader,
    /// Its attributes, not decoded.
    pub(super) attributes: Vec<u8>,
}

impl Message {
    /// Writes attributes behind each other, as a message or another attribute has them.
    pub(super) fn attributes(attributes: &[DefaultNla]) -> Vec<u8> {
        let mut bytes = vec![0; attributes.buffer_len()];
        attributes.emit(&mut bytes);
        bytes
    }

    /// Has the kernel do something; `flags` are those that say how.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub(super) fn order(self, flags: u16) -> io::Result<()> {
        self.exchange(NLM_F_ACK | flags).map(drop)
    }

    /// Asks the kernel for all objects of a kind.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub(super) fn dump(self) -> Result<Vec<Self>> {
        self.exchange(NLM_F_DUMP)
            .context("cannot ask for the traffic control of the interfaces")
    }

    fn exchange(self, flags: u16) -> io::Result<Vec<Self>> {
        let mut payload = vec![0; self.header.buffer_len()];
        self.header.emit(&mut payload);
        payload.extend_from_slice(&self.attributes);
        let answers = exchange(NETLINK_ROUTE, self.kind, flags, &payload)?;
        let answers = answers.iter();
        answers
            .map(|(kind, payload)| Self::read(*kind, payload))
            .collect()
    }

    fn read(kind: u16, payload: &[u8]) -> io::Result<Self> {
        let header = TcHeader::parse(payload).map_err(io::Error::other)?;
        let attributes = payload.get(header.buffer_len()..).unwrap_or_default();
        Ok(Self {
            kind,
            header,
            attributes: attributes.to_vec(),
        })
    }
}

/// Sends a message of this kind to a part of the kernel, and returns what it answers, to the end:
/// the kind of each message, and what is behind its header.
///
/// # Errors
///
/// What the kernel answers.
pub(super) fn exchange(
    protocol: isize,
    kind: u16,
    flags: u16,
    payload: &[u8],
) -> io::Result<Vec<(u16, Vec<u8>)>> {
    let mut request = vec![0; MESSAGE_HEADER];
    request.extend_from_slice(payload);
    let length = request.len() as u32;
    let mut message = NetlinkBuffer::new(&mut request);
    message.set_length(length);
    message.set_message_type(kind);
    message.set_flags(NLM_F_REQUEST | flags);

    let socket = Socket::new(protocol)?;
    socket.send(&request, 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let payload = message.payload();
            match message.message_type() {
                NLMSG_DONE => return Ok(answers),
                NLMSG_ERROR => return outcome(payload).map(|()| answers),
                kind => answers.push((kind, payload.to_vec())),
            }
            let length = message.length() as usize;
            rest = rest
                .get(length.next_multiple_of(ALIGNMENT)..)
                .unwrap_or_default();
        }
    }
}

/// What the kernel says became of an order: 0, or an error below it.
fn outcome(payload: &[u8]) -> io::Result<()> {
    let code = payload.first_chunk().map(|code| i32::from_ne_bytes(*code));
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
