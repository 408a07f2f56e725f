//! What is known of a packet, a name and a value each, for logs that others read.

use xdpfw_common::Verdict;

use super::{Lost, Seen};
use crate::{
    netlink::LinkLayer,
    output::capture::{Packet, comment},
};

impl Seen {
    /// What a capture says of it.
    pub fn comment(&self) -> String {
        comment(self.verdict, &self.reason, self.rule.as_deref())
    }

    /// The same packet for a capture, with these of its bytes.
    pub fn packet<'a>(
        &'a self,
        index: u32,
        link_layer: LinkLayer,
        bytes: &'a [u8],
        comment: &'a str,
    ) -> Packet<'a> {
        Packet {
            at: self.at,
            index,
            interface: &self.interface,
            link_layer,
            length: self.length,
            bytes,
            verdict: Verdict::ALL
                .into_iter()
                .find(|verdict| verdict.as_str() == self.verdict)
                .unwrap_or(Verdict::Drop),
            comment,
        }
    }
}

impl Lost {
    /// How many.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Takes in those that were lost elsewhere.
    pub(in crate::output) fn take_in(&mut self, other: &Self) {
        self.add(other.count - other.suppressed, other.suppressed);
    }
}

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::output) struct Field {
    /// Its name in a line of text: that of nftables' log lines, where these have it.
    pub(in crate::output) key: &'static str,
    /// Its name in the journal.
    pub(in crate::output) name: &'static str,
    pub(in crate::output) value: String,
}

/// What a log says of an event.
pub(in crate::output) trait Logged {
    /// The name of the first word in the journal.
    const WORD: &'static str;

    /// The first word: what became of the packet, or what else it is about.
    fn word(&self) -> &'static str;

    /// What is known, in the order of a line.
    fn fields(&self) -> Vec<Field>;
}

impl Logged for Seen {
    const WORD: &'static str = "XDPFW_VERDICT";

    fn word(&self) -> &'static str {
        self.verdict
    }

    fn fields(&self) -> Vec<Field> {
        let address = |end: &Option<super::Endpoint>| {
            let end = end.as_ref()?;
            Some(end.address.to_string())
        };
        let port = |end: &Option<super::Endpoint>| Some(end.as_ref()?.port?.to_string());
        let vlans: Vec<String> = self.vlan.iter().map(u16::to_string).collect();
        [
            ("IN", "XDPFW_INTERFACE", Some(self.interface.clone())),
            ("SRC", "XDPFW_SOURCE", address(&self.source)),
            ("DST", "XDPFW_DESTINATION", address(&self.destination)),
            ("LEN", "XDPFW_LENGTH", Some(self.length.to_string())),
            ("VLAN", "XDPFW_VLAN", Some(vlans.join("."))),
            ("PROTO", "XDPFW_PROTOCOL", self.protocol.clone()),
            ("SPT", "XDPFW_SOURCE_PORT", port(&self.source)),
            ("DPT", "XDPFW_PORT", port(&self.destination)),
            ("FLAGS", "XDPFW_FLAGS", self.flags.clone()),
            ("TYPE", "XDPFW_TYPE", self.message.clone()),
            ("REASON", "XDPFW_REASON", Some(self.reason.clone())),
            (
                "WHAT",
                "XDPFW_MALFORMATION",
                self.malformation.map(str::to_owned),
            ),
            ("RULE", "XDPFW_RULE", self.rule.clone()),
        ]
        .into_iter()
        .filter_map(|(key, name, value)| {
            let value = value.filter(|value| !value.is_empty())?;
            Some(Field { key, name, value })
        })
        .collect()
    }
}

impl Logged for Lost {
    const WORD: &'static str = "XDPFW_EVENT";

    fn word(&self) -> &'static str {
        self.event
    }

    fn fields(&self) -> Vec<Field> {
        let field = |key, name, number: u64| Field {
            key,
            name,
            value: number.to_string(),
        };
        vec![
            field("COUNT", "XDPFW_COUNT", self.count),
            field("SUPPRESSED", "XDPFW_SUPPRESSED", self.suppressed),
        ]
    }
}
