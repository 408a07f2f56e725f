//! What came of a packet, which is no verdict: that its source scans or is over a limit, and that it is
//! banned.

use std::{fmt, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use xdpfw_common::{
    abi::{Event, NOTICE_BAN, NOTICE_LIMIT, NOTICE_SCAN, NOTICES, OpenerOrigin, ProtocolKind},
    scan::{Kind, likely_ports},
};

use super::{Endpoint, Field, Logged};
use crate::{datapath::Record, text::clock_time};

/// A notice. In JSON, one object of `xdpfw.event/1` of another kind.
#[derive(Debug, Serialize)]
pub struct Notice {
    schema: &'static str,
    at: Timestamp,
    event: &'static str,
    interface: String,
    source: Endpoint,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum What {
    Scan {
        kind: &'static str,
        /// Distinct ports, about.
        ports: u32,
    },
    Limit {
        /// Whose limit it is; `None` of a rule that is no more.
        rule: Option<String>,
    },
    Ban {
        origin: &'static str,
        until: Timestamp,
    },
}

impl Notice {
    /// What an event tells that is no packet, by the record of its generation; nothing, if it is one.
    pub fn all(event: &Event, at: Timestamp, record: &Record, interface: &str) -> Vec<Self> {
        let Some((address, _)) = event.addresses().filter(|_| event.reason == NOTICES) else {
            return Vec::new();
        };
        let notice = |event, what| Self {
            schema: "xdpfw.event/1",
            at,
            event,
            interface: interface.to_owned(),
            source: Endpoint {
                address,
                port: None,
            },
            what,
        };
        let mut notices = Vec::new();
        if event.notice & NOTICE_SCAN != 0 {
            let kind = match (event.kind(), event.flags()) {
                (Some(ProtocolKind::Tcp), Some(flags)) => Kind::of_segment(flags),
                _ => Kind::Udp,
            };
            let what = What::Scan {
                kind: kind.as_str(),
                ports: likely_ports(event.evidence.into()),
            };
            notices.push(notice("scan", what));
        }
        let is_over = event.notice & NOTICE_LIMIT != 0;
        let rule = event.rule().and_then(|slot| record.rule_in(slot));
        if is_over {
            let rule = rule.map(|rule| rule.id.to_string());
            notices.push(notice("limit", What::Limit { rule }));
        }
        let limit = rule.and_then(|rule| rule.action.limit());
        let (origin, ban) = match limit {
            Some(limit) => (OpenerOrigin::Limit, limit.ban),
            None => (
                OpenerOrigin::Scan,
                record.policy.scan.and_then(|scan| scan.ban),
            ),
        };
        if event.notice & NOTICE_BAN != 0
            && let Some(ban) = ban
        {
            let lasts = SignedDuration::try_from(ban.duration()).unwrap_or_default();
            let what = What::Ban {
                origin: origin.as_str(),
                until: at.saturating_add(lasts).unwrap_or(at),
            };
            notices.push(notice("ban", what));
        }
        notices
    }

    /// When, and on which interface.
    pub(super) const fn place(&self) -> (Timestamp, &String) {
        (self.at, &self.interface)
    }

    const fn source(&self) -> IpAddr {
        self.source.address
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source();
        match &self.what {
            What::Scan { kind, ports } => write!(f, "scan  {source} tried {ports} ports ({kind})"),
            What::Limit { rule } => {
                write!(f, "limit {source} is over the limit")?;
                rule.as_ref().map_or(Ok(()), |rule| write!(f, " of {rule}"))
            }
            What::Ban { origin, until } => {
                write!(f, "ban   {source} until {} ({origin})", clock_time(*until))
            }
        }
    }
}

impl Logged for Notice {
    const WORD: &'static str = "XDPFW_EVENT";

    fn word(&self) -> &'static str {
        self.event
    }

    fn fields(&self) -> Vec<Field> {
        let field = |key, name, value: String| Field { key, name, value };
        let mut fields = vec![
            field("IN", "XDPFW_INTERFACE", self.interface.clone()),
            field("SRC", "XDPFW_SOURCE", self.source().to_string()),
        ];
        match &self.what {
            What::Scan { kind, ports } => {
                fields.push(field("KIND", "XDPFW_KIND", (*kind).to_owned()));
                fields.push(field("PORTS", "XDPFW_PORTS", ports.to_string()));
            }
            What::Limit { rule } => {
                let rule = rule.as_ref();
                let rule = rule.map(|rule| field("RULE", "XDPFW_RULE", rule.clone()));
                fields.extend(rule);
            }
            What::Ban { origin, until } => {
                fields.push(field("ORIGIN", "XDPFW_ORIGIN", (*origin).to_owned()));
                fields.push(field("UNTIL", "XDPFW_UNTIL", until.to_string()));
            }
        }
        fields
    }
}
