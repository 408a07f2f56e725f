//! What a review found: what listens, who takes the ports of clients, and what there is to do.

mod rows;

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use self::rows::{CrowdRow, Ephemeral, FindingRow, RuleText, ServiceRow};
use super::table;
use crate::{
    analysis::review::{Crowd, Finding, SCHEMA, Service, rule_text},
    policy::Policy,
    ports::PortRange,
    text::{clock_time, in_line, thousands},
};

/// Most rows of a list that are shown; JSON has all.
const ROWS: usize = 50;
/// Destinations, and sources, that JSON names.
const BUSIEST: usize = 10;

/// The review. What it prints as JSON is also what is saved of it.
#[derive(Debug, Serialize)]
pub struct Review {
    schema: &'static str,
    at: Timestamp,
    /// What judged: the `program` in force, or the `rules`.
    judged_by: &'static str,
    /// The review that this one was compared with.
    since: Option<Timestamp>,
    /// When the counters were zero; `None` where nothing is counted.
    counting_since: Option<Timestamp>,
    default: &'static str,
    findings: Vec<FindingRow>,
    listening: Vec<ServiceRow>,
    /// UDP sockets that most likely wait for answers alone, and are not listed.
    clients: usize,
    ephemeral: Ephemeral,
    rules: Vec<RuleText>,
}

/// What a review is made of.
#[derive(Debug)]
pub struct Reviewed<'a> {
    /// When.
    pub at: Timestamp,
    /// What judged.
    pub judged_by: &'static str,
    /// When the counters were zero.
    pub counting_since: Option<Timestamp>,
    /// The rules.
    pub policy: &'a Policy,
    /// What listens.
    pub services: &'a [Service],
    /// The ports of clients, how many of them are in use, and by whom.
    pub ephemeral: (PortRange, u64, &'a [Crowd]),
}

impl Review {
    /// With these findings, each with whether it is new.
    pub fn new(
        reviewed: &Reviewed<'_>,
        since: Option<Timestamp>,
        findings: Vec<(Finding, Option<bool>)>,
    ) -> Self {
        let (range, in_use, crowds) = reviewed.ephemeral;
        let services = reviewed.services.iter();
        Self {
            schema: SCHEMA,
            at: reviewed.at,
            judged_by: reviewed.judged_by,
            since,
            counting_since: reviewed.counting_since,
            default: reviewed.policy.default.as_str(),
            findings: findings.into_iter().map(FindingRow::of).collect(),
            listening: services
                .clone()
                .filter(|service| !service.is_client)
                .map(ServiceRow::from)
                .collect(),
            clients: services.filter(|service| service.is_client).count(),
            ephemeral: Ephemeral {
                first: range.first,
                last: range.last,
                in_use,
                busiest: crowds.iter().take(BUSIEST).map(CrowdRow::from).collect(),
            },
            rules: reviewed
                .policy
                .rules
                .iter()
                .map(|rule| RuleText {
                    id: rule.id.to_string(),
                    text: rule_text(rule),
                })
                .collect(),
        }
    }

    /// Whether there is anything to do, that the review before did not have.
    pub fn has_news(&self) -> bool {
        self.news().next().is_some()
    }

    fn news(&self) -> impl Iterator<Item = &FindingRow> {
        self.findings.iter().filter(|row| row.new != Some(false))
    }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exposed = self.listening.iter().filter(|row| row.verdict != "local");
        let rows: Vec<&ServiceRow> = exposed.collect();
        let local = self.listening.len() - rows.len();
        if !rows.is_empty() {
            let heads = ["verdict", "listens on", "process", "user", "unit"];
            let mut table = table::table(&heads, &[]);
            table.keep_whole(0);
            for row in rows.iter().take(ROWS) {
                table.add_row(row.cells());
            }
            f.write_str(&table::lines(&table))?;
        }
        let mut others = Vec::new();
        if rows.len() > ROWS {
            others.push(format!("{} more", thousands((rows.len() - ROWS) as u64)));
        }
        if local > 0 {
            others.push(format!("{} for this host alone", thousands(local as u64)));
        }
        if self.clients > 0 {
            others.push(format!("{} UDP clients", thousands(self.clients as u64)));
        }
        if !others.is_empty() {
            writeln!(f, "not shown: {}", others.join(", "))?;
        }
        writeln!(f, "{}\n", self.ephemeral)?;
        self.findings(f)
    }
}

impl Review {
    fn findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let news: Vec<&FindingRow> = self.news().collect();
        let known = self.findings.len() - news.len();
        let since = self.since.map(clock_time);
        if news.is_empty() {
            return match (since, known) {
                (None, _) => writeln!(f, "nothing to do"),
                (Some(since), 0) => writeln!(f, "nothing new since {since}"),
                (Some(since), known) => writeln!(
                    f,
                    "nothing new since {since}; {} to do as before (see `xdpfw review`)",
                    thousands(known as u64)
                ),
            };
        }
        for row in news.iter().take(ROWS) {
            let text = format!("{}: {}", in_line(&row.object), in_line(&row.text));
            writeln!(f, "{}", table::under_itself(row.kind, &text))?;
            if let Some(remedy) = &row.remedy {
                writeln!(f, "    {}", in_line(remedy))?;
            }
        }
        if news.len() > ROWS {
            writeln!(
                f,
                "and {} more (see `xdpfw --json review`)",
                thousands((news.len() - ROWS) as u64)
            )?;
        }
        if let Some(since) = since.filter(|_| known > 0) {
            writeln!(
                f,
                "{} to do as before {since} (see `xdpfw review`)",
                thousands(known as u64)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use xdpfw_common::Transport;

    use super::*;
    use crate::{
        analysis::review::{Earlier, Reach, differences},
        system::Holder,
    };

    fn service() -> Service {
        Service {
            transport: Transport::Tcp,
            address: Ipv4Addr::UNSPECIFIED.into(),
            port: 80,
            holder: Some(Holder {
                pid: 7,
                process: "a\x1b[2J\nb".to_owned(),
                user: "root".to_owned(),
                unit: Some("web\\x2dserver.service".to_owned()),
            }),
            uid: Some(0),
            user: Some("root".to_owned()),
            is_published: false,
            is_client: false,
            takes_ipv4: true,
            reach: Reach::Closed,
            asks: false,
            dropped: 3,
            sources: Vec::new(),
        }
    }

    fn review(services: &[Service], since: Option<Timestamp>, new: Option<bool>) -> Review {
        let range = PortRange {
            first: 32768,
            last: 60999,
        };
        let finding = Finding {
            kind: "listening-dropped",
            object: "tcp 80".to_owned(),
            text: "a\nb".to_owned(),
            remedy: Some("xdpfw allow tcp 80".to_owned()),
        };
        let reviewed = Reviewed {
            at: Timestamp::UNIX_EPOCH,
            judged_by: "rules",
            counting_since: None,
            policy: &Policy::default(),
            services,
            ephemeral: (range, 0, &[]),
        };
        Review::new(&reviewed, since, vec![(finding, new)])
    }

    #[test]
    fn what_is_printed_as_json_is_what_a_later_review_reads() {
        let services = [service()];
        let printed = serde_json::to_string(&review(&services, None, None)).unwrap();
        let earlier: Earlier = serde_json::from_str(&printed).unwrap();
        assert_eq!(differences(&earlier, &Policy::default(), &services), []);
        assert_eq!(earlier.findings[0].object, "tcp 80");
    }

    #[test]
    fn names_of_others_stay_in_their_lines() {
        let text = review(&[service()], None, None).to_string();
        assert!(text.contains("a\\u{1b}[2J\\nb (7)"), "{text}");
        assert!(text.contains(r"web\x2dserver.service"), "{text}");
        assert!(
            text.contains("tcp 80: a\\nb\n    xdpfw allow tcp 80\n"),
            "{text}"
        );
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn what_was_known_is_counted_and_not_shown() {
        let since = Some(Timestamp::UNIX_EPOCH);
        let known = review(&[], since, Some(false));
        assert!(!known.has_news());
        let text = known.to_string();
        assert!(text.contains("nothing new since "), "{text}");
        assert!(text.contains("1 to do as before"), "{text}");
        assert!(!text.contains("xdpfw allow"), "{text}");
        assert!(review(&[], since, Some(true)).has_news());
        assert!(review(&[], None, None).has_news());
    }
}
