//! What has changed since an earlier review.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{Finding, Service, rules::UNUSED};
use crate::{
    policy::{Policy, Rule},
    text::{clock_time, in_line},
};

/// What a review says that it is.
pub const SCHEMA: &str = "xdpfw.review/1";
/// As long as a rule may well be unused: some things are done once a week.
const LONG: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The command after which a review is the one to compare with.
const ACCEPT: &str = "xdpfw review --save";

/// An earlier review, as far as a later one is compared with it.
#[derive(Clone, Debug, Deserialize)]
pub struct Earlier {
    /// When it was made.
    pub at: Timestamp,
    /// When the counters were zero; `None` if nothing was counted.
    #[serde(default)]
    pub counting_since: Option<Timestamp>,
    /// What became of packets that no rule matches.
    pub default: String,
    /// The rules.
    pub rules: Vec<EarlierRule>,
    /// What listened.
    pub listening: Vec<EarlierService>,
    /// What was found.
    pub findings: Vec<EarlierFinding>,
}

/// A rule of an earlier review.
#[derive(Clone, Debug, Deserialize)]
pub struct EarlierRule {
    /// Its name.
    pub id: String,
    /// The rule in words.
    pub text: String,
}

/// What listened.
#[derive(Clone, Debug, Deserialize)]
pub struct EarlierService {
    /// The protocol.
    pub protocol: String,
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The process, if it was known.
    pub process: Option<String>,
    /// The verdict on what comes to it.
    pub verdict: String,
}

/// What was found.
#[derive(Clone, Debug, Deserialize)]
pub struct EarlierFinding {
    /// Its kind.
    pub kind: String,
    /// What it was about.
    pub object: String,
}

impl Earlier {
    /// Whether a finding of a later review, which counts since a moment, is new.
    pub fn is_news(&self, finding: &Finding, counting: Option<Timestamp>, now: Timestamp) -> bool {
        let mut findings = self.findings.iter();
        let is_known = findings.any(|one| one.kind == finding.kind && one.object == finding.object);
        !is_known && (finding.kind != UNUSED || self.has_counted_less(counting, now))
    }

    /// Whether it had counted no longer than a later review has. At a boot counters begin anew, and
    /// for a while no rule has decided anything.
    fn has_counted_less(&self, counting: Option<Timestamp>, now: Timestamp) -> bool {
        let (Some(then), Some(counting)) = (self.counting_since, counting) else {
            return true;
        };
        now.duration_since(counting) >= self.at.duration_since(then).min(LONG)
    }
}

/// A rule in words that do not depend on what services are called.
pub fn rule_text(rule: &Rule) -> String {
    let words = format!("{} {}", rule.action, rule.matches);
    match &rule.until {
        Some(until) => format!("{words} until {until}"),
        None => words,
    }
}

/// What is otherwise than it was.
pub fn differences(earlier: &Earlier, policy: &Policy, services: &[Service]) -> Vec<Finding> {
    let then = clock_time(earlier.at);
    let mut found = listeners(earlier, services, &then);
    found.extend(rules(earlier, policy, &then));
    if earlier.default != policy.default.as_str() {
        let text = format!(
            "it is {}, and was {} on {then}",
            policy.default.as_str(),
            in_line(&earlier.default)
        );
        found.push(Finding::new("default-changed", "default", text).say(ACCEPT));
    }
    found
}

fn listeners(earlier: &Earlier, services: &[Service], then: &str) -> Vec<Finding> {
    let mut before: HashMap<(String, IpAddr, u16), &EarlierService> = earlier
        .listening
        .iter()
        .filter(|one| one.verdict != "local")
        .map(|one| ((one.protocol.clone(), one.address, one.port), one))
        .collect();
    let mut found = Vec::new();
    for service in services.iter().filter(|service| service.is_exposed()) {
        let (transport, at, verdict) = (service.transport, service.at(), service.reach.as_str());
        let object = format!("{transport} {at}");
        let who = service.who();
        let finding = |kind, text| Finding::new(kind, object.clone(), text).say(ACCEPT);
        let key = (transport.to_string(), service.address, service.port);
        let Some(old) = before.remove(&key) else {
            let text = format!("{who} listens there ({verdict}), and nobody did at {then}");
            found.push(finding("new-listener", text));
            continue;
        };
        if old.verdict != verdict {
            let text = format!(
                "{who}: {verdict} now, and {} at {then}",
                in_line(&old.verdict)
            );
            found.push(finding("verdict-changed", text));
        }
        if let (Some(old), Some(holder)) = (&old.process, &service.holder)
            && *old != holder.process
        {
            let text = format!("{who} listens there, and {} did at {then}", in_line(old));
            found.push(finding("other-process", text));
        }
    }
    let mut gone: Vec<&EarlierService> = before.into_values().collect();
    gone.sort_unstable_by_key(|one| (&one.protocol, one.port, one.address));
    for old in gone {
        let at = SocketAddr::new(old.address, old.port);
        let object = format!("{} {at}", in_line(&old.protocol));
        let who = old
            .process
            .as_deref()
            .map_or("somebody".to_owned(), in_line);
        let text = format!("nobody listens there, and {who} did at {then}");
        found.push(Finding::new("gone-listener", object, text).say(ACCEPT));
    }
    found
}

fn rules(earlier: &Earlier, policy: &Policy, then: &str) -> Vec<Finding> {
    let mut before: HashMap<&str, &str> = earlier
        .rules
        .iter()
        .map(|rule| (rule.id.as_str(), rule.text.as_str()))
        .collect();
    let mut found = Vec::new();
    for rule in &policy.rules {
        let id = rule.id.to_string();
        let kind = match before.remove(id.as_str()) {
            Some(text) if text == rule_text(rule) => continue,
            Some(_) => "changed-rule",
            None => "new-rule",
        };
        let what = match kind {
            "new-rule" => "it was not there at",
            _ => "it said something else at",
        };
        let text = format!("{rule:.3}: {what} {then}");
        found.push(Finding::new(kind, id, text).say(ACCEPT));
    }
    let mut gone: Vec<(&str, &str)> = before.into_iter().collect();
    gone.sort_unstable();
    for (id, text) in gone {
        let text = format!("{}: it was there at {then}", shortened(&in_line(text)));
        found.push(Finding::new("gone-rule", in_line(id), text).say(ACCEPT));
    }
    found
}

/// A rule in words, without the end of long lists.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
