//! A packet's verdict, and how it came about.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;
use xdpfw_common::Verdict;

use crate::{
    analysis::Explanation,
    engine::Judgement,
    policy::{Carried, Match},
};

/// A packet, what would become of it, and why. In JSON, one object of `xdpfw.explain/1`.
#[derive(Debug, Serialize)]
pub struct Explained {
    schema: &'static str,
    /// Its number in the capture, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<u64>,
    #[serde(serialize_with = "word")]
    verdict: Verdict,
    reason: &'static str,
    malformation: Option<&'static str>,
    rule: Option<String>,
    path: Vec<String>,
    remedy: Option<String>,
    interface: String,
    /// The packet in words, as far as it could be read.
    packet: Option<String>,
}

fn word<S: serde::Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.as_str())
}

impl Explained {
    /// What was judged on an interface.
    pub fn new(judgement: &Judgement<'_>, interface: &str, explanation: Explanation) -> Self {
        let Explanation { path, remedy } = explanation;
        Self {
            schema: "xdpfw.explain/1",
            frame: None,
            verdict: judgement.reason.verdict(),
            reason: judgement.reason.as_str(),
            malformation: judgement.malformation.map(|one| one.as_str()),
            rule: judgement.rule.map(|rule| rule.id.to_string()),
            path,
            remedy,
            interface: interface.to_owned(),
            packet: judgement.seen.map(|seen| {
                let end = |address: IpAddr, port| match port {
                    Some(port) => SocketAddr::new(address, port).to_string(),
                    None => address.to_string(),
                };
                let (word, remote, local) = match seen.carries {
                    Carried::Tcp { local, remote } => ("tcp".into(), Some(remote), Some(local)),
                    Carried::Udp { local, remote } => ("udp".into(), Some(remote), Some(local)),
                    other => (Match::for_carried(other).words(), None, None),
                };
                let flags = match seen.carries {
                    Carried::Tcp { .. } => format!(" [{}]", seen.flags),
                    _ => String::new(),
                };
                let source = end(seen.source, remote);
                let destination = end(seen.destination, local);
                format!("{word} {source} -> {destination}{flags}")
            }),
        }
    }

    /// The same of a frame of a capture.
    pub fn of_frame(self, number: u64) -> Self {
        let frame = Some(number);
        Self { frame, ..self }
    }

    /// What would become of it.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// In a line.
    pub fn line(&self) -> String {
        let number = self
            .frame
            .map_or_else(String::new, |frame| format!("{frame:>6}  "));
        let what = match (&self.packet, self.malformation) {
            (_, Some(malformation)) => malformation,
            (Some(packet), None) => packet,
            (None, None) => "no IP packet",
        };
        let rule = self
            .rule
            .as_ref()
            .map_or_else(String::new, |rule| format!("  {rule}"));
        let (verdict, reason) = (self.verdict.as_str(), self.reason);
        format!("{number}{verdict:<4}  {reason:<10} {what}{rule}")
    }
}

impl fmt::Display for Explained {
    /// The verdict, and below it how it came about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}", self.line(), self.interface.escape_debug())?;
        for step in &self.path {
            writeln!(f, "      {step}")?;
        }
        match &self.remedy {
            Some(remedy) => writeln!(f, "to let it pass, say `{remedy}`"),
            None => Ok(()),
        }
    }
}
