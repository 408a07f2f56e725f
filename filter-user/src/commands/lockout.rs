//! The guard against locking oneself out: no change may take from the operator
//! the way in that the command came by.

use std::net::IpAddr;

use anyhow::Result;

use super::ruling::{Assume, Discovery, Match, NEIGHBOURS, Neighbour, Ruling, matches_flow};
use crate::{
    exit::{Exit, Failure},
    host::{self, SshSession},
    kernel::interface_with,
    policy::{DefaultAction, Flow, Kind, Policy, What},
    view::Printer,
};

/// Refuses a policy that would not let the operator's SSH session be opened
/// again, where the one in force (none: everything passes) would.
///
/// # Errors
///
/// It would lock the operator out.
pub(super) fn guard(next: &Policy, in_force: Option<&Policy>, printer: &mut Printer) -> Result<()> {
    let Some(session) = SshSession::current() else {
        return Ok(());
    };
    let interface = interface_of(&session, next);
    let interface = interface.as_deref();
    if let Some((why, remedy)) = cut(&session, interface, next, in_force) {
        printer.warning(&format!(
            "this would cut your SSH session from {} ({why})",
            session.peer
        ));
        return Err(
            Failure::new(Exit::Lockout, format!("refused; {remedy}, or say --force")).into(),
        );
    }
    Ok(())
}

/// The interface the session's packets come in by, as far as it can be told: the one with
/// the address they go to, if it is one that the filter is for. Behind a bridge or a bond,
/// the address is on another than the packets.
fn interface_of(session: &SshSession, policy: &Policy) -> Option<String> {
    if policy.rules.iter().all(|rule| rule.what.on.is_empty()) {
        // No rule asks.
        return None;
    }
    session
        .zone
        .clone()
        .or_else(|| interface_with(session.server).ok().flatten())
        .filter(|name| policy.interfaces.contains(name))
}

/// Why the session could not be opened again, and what to do about it first.
fn cut(
    session: &SshSession,
    interface: Option<&str>,
    next: &Policy,
    in_force: Option<&Policy>,
) -> Option<(String, String)> {
    let port = session.local;
    let ephemeral = host::ephemeral_ports();
    let flow = Flow {
        source: session.peer,
        destination: session.server,
        interface,
        kind: Kind::Tcp {
            local: port,
            remote: session.remote,
        },
    };
    let matches = |what: &What| matches_flow(what, &flow, ephemeral);
    if let Some(ruling) = lost(next, in_force, matches, admits) {
        let mut why = match ruling {
            Ruling::Denied(rule) => format!("{} denies tcp {port}", rule.id),
            _ => format!("no rule allows tcp {port}"),
        };
        if admits(Ruling::of(next, Assume::Best, matches)) {
            why += " on every interface, and which one it uses cannot be told";
        }
        return Some((why, format!("add `{}` first", remedy(port))));
    }
    let (IpAddr::V6(peer), IpAddr::V6(server)) = (session.peer, session.server) else {
        return None;
    };
    for from in [Neighbour::LinkLocal, Neighbour::Known(peer)] {
        for number in NEIGHBOURS {
            let discovery = Discovery {
                number,
                from,
                to: Some(server),
                interface,
            };
            let matches = |what: &What| discovery.matched_by(what);
            if let Some(Ruling::Denied(rule)) = lost(next, in_force, matches, passes) {
                let id = rule.id;
                return Some((
                    format!("{id} denies icmp6 {number}, by which the peer finds this host"),
                    format!("put `allow icmp6 133-137` in front of {id} first"),
                ));
            }
        }
    }
    None
}

/// Whether packets that open a connection get through.
fn admits(ruling: Ruling<'_>) -> bool {
    matches!(
        ruling,
        Ruling::Allowed(_) | Ruling::Default(DefaultAction::Pass)
    )
}

/// Whether packets get through that pass by themselves where no rule matches.
fn passes(ruling: Ruling<'_>) -> bool {
    !matches!(ruling, Ruling::Denied(_))
}

/// What becomes of packets that got through before, if they perhaps do so no longer.
///
/// Where not all is known, the next policy is taken at its worst, and the one in force at
/// its best; but a change that leaves alone the rules that decide takes nothing away.
fn lost<'a>(
    next: &'a Policy,
    in_force: Option<&Policy>,
    matches: impl Fn(&What) -> Match,
    admits: fn(Ruling<'_>) -> bool,
) -> Option<Ruling<'a>> {
    let ruling = Ruling::of(next, Assume::Worst, &matches);
    if admits(ruling) {
        return None;
    }
    if let Some(in_force) = in_force {
        let best = Ruling::of(in_force, Assume::Best, &matches);
        let unchanged = best == Ruling::of(next, Assume::Best, &matches)
            && ruling == Ruling::of(in_force, Assume::Worst, &matches);
        if unchanged || !admits(best) {
            return None;
        }
    }
    Some(ruling)
}

/// What to say so that `up` and its like let the session in.
fn remedy(port: u16) -> String {
    if port == 22 {
        "xdpfw allow ssh".to_owned()
    } else {
        format!("xdpfw allow tcp {port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, Rule, RuleId, WhatText};

    /// A policy for eth0 whose rules are `allow …` and `deny …`, `from …` and `on …` last.
    fn policy(lines: &[&str]) -> Policy {
        let rule = |(index, line): (usize, &&str)| {
            let (action, words) = line.split_once(' ').unwrap();
            let (words, on) = words.split_once(" on ").unwrap_or((words, ""));
            let (words, from) = words.split_once(" from ").unwrap_or((words, ""));
            Rule {
                id: RuleId(index as u32 + 1),
                action: if action == "allow" {
                    Action::Allow
                } else {
                    Action::Deny
                },
                what: What::parse(&WhatText {
                    from: (!from.is_empty()).then(|| vec![from]),
                    on: (!on.is_empty()).then(|| vec![on]),
                    ..WhatText::of_words(words)
                })
                .unwrap(),
                comment: None,
            }
        };
        Policy {
            interfaces: vec!["eth0".to_owned()],
            rules: lines.iter().enumerate().map(rule).collect(),
            ..Policy::default()
        }
    }

    fn session(peer: &str, server: &str) -> SshSession {
        SshSession {
            peer: peer.parse().unwrap(),
            server: server.parse().unwrap(),
            zone: None,
            remote: 51000,
            local: 22,
        }
    }

    /// Whether a policy is refused where everything passed before.
    fn why(session: &SshSession, interface: Option<&str>, lines: &[&str]) -> Option<String> {
        cut(session, interface, &policy(lines), None).map(|(why, _)| why)
    }

    #[test]
    fn addresses_and_interfaces_decide() {
        let v4 = session("203.0.113.5", "192.0.2.1");
        let eth0 = Some("eth0");
        for (interface, lines, cut) in [
            (eth0, &["allow tcp 22 from 203.0.113.0/24"][..], false),
            (eth0, &["allow tcp 22 from 203.0.112.0/24"], true),
            (eth0, &["allow tcp 22 from 2001:db8::/32"], true),
            (eth0, &["deny any from 203.0.113.5", "allow tcp 22"], true),
            (eth0, &["deny any from 203.0.113.6", "allow tcp 22"], false),
            (eth0, &["allow tcp 22 on eth0"], false),
            (eth0, &["allow tcp 22 on eth1"], true),
            (eth0, &["deny tcp 22 on eth1", "allow tcp 22"], false),
            // Not known: an allow does not count, a deny does.
            (None, &["allow tcp 22 on eth0"], true),
            (None, &["deny tcp 22 on eth1", "allow tcp 22"], true),
            (None, &["allow tcp 22", "deny tcp 22 on eth1"], false),
            // IPv6 rules are nothing to it.
            (eth0, &["deny icmp6 any", "allow tcp 22"], false),
        ] {
            assert_eq!(
                why(&v4, interface, lines).is_some(),
                cut,
                "{interface:?} {lines:?}"
            );
        }
    }

    #[test]
    fn an_ipv6_session_needs_its_neighbours() {
        let v6 = session("2001:db8::5", "2001:db8::1");
        for (lines, cut) in [
            (&["allow tcp 22"][..], None),
            (&["allow tcp 22 from 192.0.2.0/24"], Some("no rule")),
            (&["allow tcp 22 from 2001:db8::/64"], None),
            (&["allow tcp 22", "deny icmp6 any"], Some("r2")),
            (&["allow tcp 22", "deny any"], Some("r2")),
            (&["allow tcp 22", "deny icmp6 135"], Some("r2")),
            (&["allow tcp 22", "deny icmp6 133-134,137"], None),
            (&["allow tcp 22", "deny any from 2001:db8::/32"], Some("r2")),
            (&["allow tcp 22", "deny any from 2001:db8:1::/48"], None),
            (&["allow tcp 22", "deny any from fe80::/64"], Some("r2")),
            (&["allow tcp 22", "allow icmp6 133-137", "deny any"], None),
            (
                &[
                    "allow tcp 22",
                    "allow icmp6 135-136 from fe80::/10",
                    "deny any",
                ],
                Some("r3"),
            ),
            (
                &[
                    "allow tcp 22",
                    "allow icmp6 any from fe80::/10,2001:db8::/64",
                    "deny any",
                ],
                None,
            ),
            (&["allow tcp 22", "deny icmp any"], None),
            (&["allow tcp 22", "deny any from 192.0.2.0/24"], None),
        ] {
            let why = why(&v6, None, lines);
            match cut {
                None => assert_eq!(why, None, "{lines:?}"),
                Some(rule) => assert!(
                    why.as_ref().is_some_and(|why| why.starts_with(rule)),
                    "{lines:?}: {why:?}"
                ),
            }
        }
    }

    #[test]
    fn who_loses_nothing_is_not_refused() {
        let v4 = session("203.0.113.5", "192.0.2.1");
        let refused = |before: &[&str], after: &[&str]| {
            cut(&v4, None, &policy(after), Some(&policy(before))).is_some()
        };
        // There was no way in.
        assert!(!refused(
            &["allow tcp 443"],
            &["allow tcp 443", "deny tcp 22"]
        ));
        // There was perhaps one, and it stays as it is …
        assert!(!refused(
            &["allow tcp 22 on eth0"],
            &["allow tcp 22 on eth0", "allow tcp 443"]
        ));
        // … or does not.
        assert!(refused(&["allow tcp 22 on eth0"], &["allow tcp 443"]));
        assert!(refused(
            &["allow tcp 22 on eth0"],
            &["deny tcp 22 on eth1", "allow tcp 22 on eth0"]
        ));
        assert!(refused(&["allow tcp 22"], &["allow tcp 22 on eth0"]));
    }
}
