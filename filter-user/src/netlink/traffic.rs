//! Traffic control: the clsact qdisc of an interface, and the filters in it.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::Result;
use rtnetlink::{
    packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NlasIterator},
    packet_route::tc::{TcHandle, TcHeader},
};

use super::exchange::Message;

/// The qdisc whose filters see what comes in and what leaves, and which delays nothing.
pub const CLSACT: &str = "clsact";
/// The kind of a filter that is a BPF program.
const BPF: &str = "bpf";

// linux/rtnetlink.h.
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
// linux/pkt_cls.h.
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's return value is the verdict.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1 << 0;
/// `ETH_P_ALL` in linux/if_ether.h, in network byte order.
const ALL_PROTOCOLS: u16 = 3_u16.to_be();

/// A filter of what leaves by an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Filters with a lower one run first.
    pub priority: u16,
    /// Its number among those of the same priority. The kernel also lists a 0, for all of
    /// these together.
    pub handle: u32,
    /// The kernel's number for its program, if it is one.
    pub program: Option<u32>,
    /// The name that came with the program.
    pub name: Option<String>,
    /// Whether it can stand beside a BPF program for all protocols at the same priority.
    is_bpf: bool,
}

/// The interfaces with a qdisc for filters of what comes in or leaves, and its kind.
///
/// # Errors
///
/// Netlink does not answer.
pub fn filtering_qdiscs() -> Result<Vec<(u32, String)>> {
    let qdiscs = message(RTM_GETQDISC, 0, TcHandle::UNSPEC).dump()?;
    let filtering = qdiscs.iter().filter_map(|qdisc| {
        let index = qdisc.header.index.cast_unsigned();
        let is_filtering = qdisc.header.parent == TcHandle::CLSACT;
        is_filtering.then_some((index, kind(&qdisc.attributes)?))
    });
    Ok(filtering.collect())
}

/// The kind of this qdisc of an interface, if there is one.
///
/// # Errors
///
/// Netlink does not answer.
pub fn filtering_qdisc(index: u32) -> Result<Option<String>> {
    let mut qdiscs = filtering_qdiscs()?.into_iter();
    Ok(qdiscs.find(|(of, _)| *of == index).map(|(_, kind)| kind))
}

/// Gives an interface a clsact qdisc.
///
/// # Errors
///
/// The interface has a qdisc in this place already (`EEXIST`), or the kernel refuses.
pub fn add_clsact(index: u32) -> io::Result<()> {
    clsact(RTM_NEWQDISC, index).order(NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes the clsact qdisc of an interface, and all filters in it.
///
/// # Errors
///
/// There is none, or the kernel refuses.
pub fn remove_clsact(index: u32) -> io::Result<()> {
    clsact(RTM_DELQDISC, index).order(0)
}

/// The filters of what leaves by an interface, in the order in which they run. Only a clsact
/// qdisc has any: others would show those of what comes in.
///
/// # Errors
///
/// Netlink does not answer.
pub fn egress_filters(index: u32) -> Result<Vec<Filter>> {
    let filters = message(RTM_GETTFILTER, index, EGRESS).dump()?;
    Ok(filters.iter().map(Filter::read).collect())
}

/// Whether a clsact qdisc has a filter, of what comes in or of what leaves.
///
/// # Errors
///
/// Netlink does not answer.
pub fn has_filters(index: u32) -> Result<bool> {
    let of = |parent| message(RTM_GETTFILTER, index, parent).dump();
    Ok(!of(INGRESS)?.is_empty() || !of(EGRESS)?.is_empty())
}

/// Whether something of others' filters what comes in by an interface, behind XDP.
///
/// # Errors
///
/// Netlink does not answer.
pub fn has_ingress_filters(index: u32) -> Result<bool> {
    if filtering_qdisc(index)?.is_none() {
        return Ok(false);
    }
    Ok(!message(RTM_GETTFILTER, index, INGRESS).dump()?.is_empty())
}

/// Adds a program to the filters of what leaves by an interface, in front of those with the
/// same or a higher priority.
///
/// # Errors
///
/// There is a filter with these numbers, or the kernel refuses.
pub fn add_egress_program(
    index: u32,
    priority: u16,
    handle: u32,
    name: &str,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let options = [
        DefaultNla::new(TCA_BPF_FD, program.as_raw_fd().to_ne_bytes().to_vec()),
        DefaultNla::new(TCA_BPF_NAME, text(name)),
        DefaultNla::new(
            TCA_BPF_FLAGS,
            TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes().to_vec(),
        ),
    ];
    let mut add = egress_program(RTM_NEWTFILTER, index, priority, handle);
    add.attributes.extend(Message::attributes(&[DefaultNla::new(
        TCA_OPTIONS,
        Message::attributes(&options),
    )]));
    add.order(NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a program from the filters of what leaves by an interface.
///
/// # Errors
///
/// There is none with these numbers, or the kernel refuses.
pub fn remove_egress_program(index: u32, priority: u16, handle: u32) -> io::Result<()> {
    egress_program(RTM_DELTFILTER, index, priority, handle).order(0)
}

/// The lowest priority at which a program for all protocols can be added to these filters:
/// at one priority, all are of one kind and for the same protocol.
pub fn first_priority(filters: &[Filter]) -> Option<u16> {
    let is_free = |priority: &u16| {
        let mut others = filters.iter().filter(|other| other.priority == *priority);
        others.all(|other| other.is_bpf)
    };
    (1..=u16::MAX).find(is_free)
}

impl Filter {
    fn read(message: &Message) -> Self {
        let TcHandle { major, minor } = message.header.info.into();
        let is_bpf = kind(&message.attributes).as_deref() == Some(BPF);
        // What options mean depends on the kind.
        let options = match is_bpf {
            true => attribute(&message.attributes, TCA_OPTIONS),
            false => None,
        };
        let option = |kind| attribute(options.as_deref()?, kind);
        let program: Option<[u8; 4]> = option(TCA_BPF_ID).and_then(|id| id.try_into().ok());
        Self {
            priority: major,
            handle: message.header.handle.into(),
            program: program.map(u32::from_ne_bytes),
            name: option(TCA_BPF_NAME).map(|name| from_text(&name)),
            is_bpf: is_bpf && minor == ALL_PROTOCOLS,
        }
    }
}

/// Where a clsact qdisc has the filters of what comes in.
const INGRESS: TcHandle = TcHandle {
    major: TcHandle::CLSACT.major,
    minor: TcHandle::MIN_INGRESS,
};
/// Where it has those of what leaves.
const EGRESS: TcHandle = TcHandle {
    major: TcHandle::CLSACT.major,
    minor: TcHandle::MIN_EGRESS,
};

fn message(kind: u16, index: u32, parent: TcHandle) -> Message {
    let header = TcHeader {
        index: index.cast_signed(),
        parent,
        ..TcHeader::default()
    };
    Message {
        kind,
        header,
        attributes: Vec::new(),
    }
}

fn clsact(kind: u16, index: u32) -> Message {
    let mut message = message(kind, index, TcHandle::CLSACT);
    message.header.handle = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: 0,
    };
    message.attributes = Message::attributes(&[DefaultNla::new(TCA_KIND, text(CLSACT))]);
    message
}

fn egress_program(kind: u16, index: u32, priority: u16, handle: u32) -> Message {
    let mut message = message(kind, index, EGRESS);
    message.header.handle = handle.into();
    message.header.info = TcHandle {
        major: priority,
        minor: ALL_PROTOCOLS,
    }
    .into();
    message.attributes = Message::attributes(&[DefaultNla::new(TCA_KIND, text(BPF))]);
    message
}

fn kind(attributes: &[u8]) -> Option<String> {
    attribute(attributes, TCA_KIND).map(|kind| from_text(&kind))
}

fn attribute(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == kind)
        .map(|attribute| attribute.value().to_vec())
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn from_text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(priority: u16, is_bpf: bool) -> Filter {
        Filter {
            priority,
            handle: 1,
            program: None,
            name: None,
            is_bpf,
        }
    }

    #[test]
    fn a_program_goes_in_front_of_all_that_it_can_stand_beside() {
        assert_eq!(first_priority(&[]), Some(1));
        assert_eq!(
            first_priority(&[filter(1, true), filter(7, false)]),
            Some(1)
        );
        assert_eq!(
            first_priority(&[filter(1, false), filter(2, false), filter(3, true)]),
            Some(3)
        );
        // One that cannot is enough.
        assert_eq!(
            first_priority(&[filter(1, true), filter(1, false)]),
            Some(2)
        );
    }

    #[test]
    fn a_filter_is_read_as_it_is_written() {
        let mut message = egress_program(RTM_NEWTFILTER, 7, 3, 0x78_64_70_66);
        let options = [
            DefaultNla::new(TCA_BPF_NAME, text("xdpfw")),
            DefaultNla::new(TCA_BPF_ID, 77_u32.to_ne_bytes().to_vec()),
        ];
        let options = DefaultNla::new(TCA_OPTIONS, Message::attributes(&options));
        message.attributes.extend(Message::attributes(&[options]));
        let expected = Filter {
            priority: 3,
            handle: 0x78_64_70_66,
            program: Some(77),
            name: Some("xdpfw".into()),
            is_bpf: true,
        };
        assert_eq!(Filter::read(&message), expected);

        // Of another kind, options mean something else.
        message.attributes[4..7].copy_from_slice(b"abc");
        assert_eq!(
            Filter::read(&message),
            Filter {
                program: None,
                name: None,
                is_bpf: false,
                ..expected
            }
        );
    }
}
