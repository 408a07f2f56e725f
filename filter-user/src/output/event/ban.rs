//! A ban that begins or ends.

use ipnet::IpNet;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::fields::{Field, Logged};
use crate::{
    engine::{BanEvent, BanLine},
    text::{clock_time, in_line},
};

/// A ban that begins or ends. In JSON, one object of `xdpfw.event/1` of another kind.
#[derive(Debug, Serialize)]
pub struct BanNews {
    schema: &'static str,
    at: Timestamp,
    event: &'static str,
    prefix: IpNet,
    origin: String,
    until: Option<Timestamp>,
    why: Option<String>,
}

impl From<BanLine> for BanNews {
    fn from(line: BanLine) -> Self {
        Self {
            schema: "xdpfw.event/1",
            at: line.at,
            event: match line.event {
                BanEvent::Ban => "ban",
                BanEvent::Unban => "unban",
            },
            prefix: line.prefix,
            origin: line.origin,
            until: line.until,
            why: line.why,
        }
    }
}

impl BanNews {
    /// It in a line: time, event, prefix, and what else is known.
    pub fn line(&self) -> String {
        let at = self.at.to_zoned(TimeZone::system());
        let mut line = format!(
            "{}  {}  {}  {}",
            at.strftime("%H:%M:%S%.3f%:z"),
            self.event,
            self.prefix,
            in_line(&self.origin)
        );
        if let Some(until) = self.until {
            line.push_str(&format!("  until {}", clock_time(until)));
        }
        if let Some(why) = &self.why {
            line.push_str(&format!("  {}", in_line(why)));
        }
        line
    }
}

impl Logged for BanNews {
    const WORD: &'static str = "XDPFW_EVENT";

    fn word(&self) -> &'static str {
        self.event
    }

    fn fields(&self) -> Vec<Field> {
        let field =
            |key, name, value: Option<String>| value.map(|value| Field { key, name, value });
        let until = self.until.map(|until| until.to_string());
        [
            field("SRC", "XDPFW_SOURCE", Some(self.prefix.to_string())),
            field("ORIGIN", "XDPFW_ORIGIN", Some(self.origin.clone())),
            field("UNTIL", "XDPFW_UNTIL", until),
            field("WHY", "XDPFW_WHY", self.why.clone()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
