//! What a CrowdSec service has decided: its local API for bouncers, which hands out all decisions at
//! first, then what is new and what is over (`/v1/decisions/stream`).

use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig},
};

use crate::duration::Seconds;

/// How long an answer may take, from the first byte asked to the last one read.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer at most: some million decisions.
const MOST: u64 = 1 << 29;

/// Why there are no decisions.
#[derive(Debug, thiserror::Error)]
pub enum LapiError {
    /// The key is not one of this service's.
    #[error("it does not know the key (make one by `cscli bouncers add xdpfw`)")]
    Key,
    /// It answers something else.
    #[error("it answers with HTTP status {0}")]
    Status(u16),
    /// It does not answer.
    #[error("{}", in_words(.0))]
    Unreachable(ureq::Error),
    /// It says something else.
    #[error("it sends no decisions")]
    NoDecisions(#[from] serde_json::Error),
}

/// What the library says. It has no causes, but says them itself.
fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => format!("no answer within {}s", TIMEOUT.as_secs()),
        error => error.to_string(),
    }
}

/// A service.
#[derive(Clone, Debug)]
pub struct Lapi {
    agent: Agent,
    url: String,
}

/// What is new, and what is over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Bans that begin.
    pub new: Vec<Decision>,
    /// Prefixes whose bans are over.
    pub deleted: Vec<IpNet>,
    /// Decisions that are no bans of addresses.
    pub others: usize,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who.
    pub prefix: IpNet,
    /// How long from now on.
    pub lasts: Seconds,
    /// What for, in printable characters.
    pub scenario: String,
}

#[derive(Deserialize)]
struct Stream {
    new: Option<Vec<Item>>,
    deleted: Option<Vec<Item>>,
}

/// A decision as the API has it.
#[derive(Deserialize)]
struct Item {
    duration: Option<String>,
    scenario: Option<String>,
    scope: String,
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl Lapi {
    /// The service at this URL: `http://127.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// It is none of HTTP.
    pub fn new(url: &str) -> Result<Self, &'static str> {
        if !["http://", "https://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err("no URL of HTTP (say for example http://127.0.0.1:8080)");
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // The key is for this service alone.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls.build())
            .user_agent(concat!("xdpfw/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: agent.into(),
            url: format!("{}/v1/decisions/stream", url.trim_end_matches('/')),
        })
    }

    /// All decisions in force, or those since it was asked last.
    ///
    /// # Errors
    ///
    /// It does not answer, refuses the key, or says something else.
    pub fn decisions(&self, all: bool, key: &str) -> Result<Decisions, LapiError> {
        let request = self.agent.get(format!("{}?startup={all}", self.url));
        let answer = request.header("X-Api-Key", key).call();
        let mut answer = answer.map_err(LapiError::Unreachable)?;
        match answer.status().as_u16() {
            200 => {}
            401 | 403 => return Err(LapiError::Key),
            status => return Err(LapiError::Status(status)),
        }
        let body = answer.body_mut().with_config().limit(MOST).read_to_vec();
        Decisions::parse(&body.map_err(LapiError::Unreachable)?)
    }
}

impl Decisions {
    fn parse(body: &[u8]) -> Result<Self, LapiError> {
        let Stream { new, deleted } = serde_json::from_slice(body)?;
        let mut decisions = Self::default();
        for item in new.unwrap_or_default() {
            match (item.prefix(), item.lasts()) {
                (Some(prefix), Some(lasts)) => decisions.new.push(Decision {
                    prefix,
                    lasts,
                    scenario: item.scenario(),
                }),
                _ => decisions.others += 1,
            }
        }
        // Of several for the same, the longest holds.
        decisions
            .new
            .sort_by_key(|decision| (decision.prefix, std::cmp::Reverse(decision.lasts)));
        decisions.new.dedup_by_key(|decision| decision.prefix);
        let deleted = deleted.unwrap_or_default();
        decisions.deleted = deleted.iter().filter_map(Item::prefix).collect();
        Ok(decisions)
    }
}

impl Item {
    /// Whom it bans; `None` if it does something else, or to something else.
    fn prefix(&self) -> Option<IpNet> {
        let is = |text: &str, word| text.eq_ignore_ascii_case(word);
        if !is(&self.kind, "ban") || !(is(&self.scope, "ip") || is(&self.scope, "range")) {
            return None;
        }
        let net = match self.value.parse() {
            Ok(address) => IpNet::new_assert(address, if address.is_ipv4() { 32 } else { 128 }),
            Err(_) => self.value.parse::<IpNet>().ok()?.trunc(),
        };
        // Nobody bans everybody.
        (net.prefix_len() > 0).then_some(net)
    }

    /// How long it lasts, if it is not over.
    fn lasts(&self) -> Option<Seconds> {
        let duration = duration(self.duration.as_deref()?)?;
        // A second too long rather than over before it is said once more.
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        Seconds::new(seconds.min(Seconds::MOST)).ok()
    }

    fn scenario(&self) -> String {
        let scenario = self.scenario.as_deref().unwrap_or_default().chars();
        let printable = scenario.filter(|c| c.is_ascii_graphic() || *c == ' ');
        printable.take(64).collect()
    }
}

/// A duration as Go writes it: `3h59m58.5s`, `250ms`. One that is past is none.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let behind = &rest[end..];
        let end = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let unit = match &behind[..end] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number * unit;
        rest = &behind[end..];
    }
    Duration::try_from_secs_f64(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in [
            ("3h59m58.5s", Some(14_398_500)),
            ("167h59m59.999s", Some(604_799_999)),
            ("250ms", Some(250)),
            ("12.3us", Some(0)),
            ("0s", Some(0)),
            ("-1h2m", None),
            ("h", None),
            ("4", None),
            ("1h4", None),
            ("4y", None),
            ("1.2.3s", None),
        ] {
            let read = duration(text).map(|duration| duration.as_millis());
            assert_eq!(read, milliseconds, "{text}");
        }
    }

    #[test]
    fn bans_of_addresses_are_read_and_the_rest_is_counted() {
        let item = |scope, kind, value, duration: &str| {
            format!(
                r#"{{"id":7,"origin":"cscli","scenario":"a\u001b b","scope":"{scope}","type":"{kind}","value":"{value}","duration":"{duration}"}}"#
            )
        };
        let new = [
            item("Ip", "ban", "203.0.113.7", "1h0m0.2s"),
            item("ip", "ban", "203.0.113.7", "10m"),
            item("Range", "ban", "2001:db8:7::1/64", "5m"),
            item("Ip", "captcha", "203.0.113.8", "5m"),
            item("Country", "ban", "XX", "5m"),
            item("Range", "ban", "0.0.0.0/0", "5m"),
            item("Ip", "ban", "nobody", "5m"),
            item("Ip", "ban", "203.0.113.9", "-5m"),
        ];
        let text = format!(
            r#"{{"new":[{}],"deleted":[{}]}}"#,
            new.join(","),
            item("Ip", "ban", "198.51.100.7", "-1s")
        );
        let decisions = Decisions::parse(text.as_bytes()).unwrap();
        let read: Vec<_> = decisions
            .new
            .iter()
            .map(|one| {
                format!(
                    "{} {} {}",
                    one.prefix,
                    one.lasts.duration().as_secs(),
                    one.scenario
                )
            })
            .collect();
        assert_eq!(read, ["203.0.113.7/32 3601 a b", "2001:db8:7::/64 300 a b"]);
        assert_eq!(decisions.deleted, ["198.51.100.7/32".parse().unwrap()]);
        assert_eq!(decisions.others, 5);
        let nothing = Decisions::parse(br#"{"new":null,"deleted":null}"#).unwrap();
        assert_eq!(nothing, Decisions::default());
        assert!(Decisions::parse(b"<html>").is_err());
    }
}
