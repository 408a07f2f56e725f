//! Finds out whether a policy would lock the operator out: no change may close the way in
//! that the command came by.

use std::net::IpAddr;

use super::{
    evaluate::{Assume, Decision, Matches, evaluate, matches_packet},
    neighbours::{self, Discovery, Neighbour},
};
use crate::{
    policy::{Carried, DefaultAction, Match, Packet, Policy},
    ports::PortRange,
    system::SshSession,
};

/// How a policy would cut an SSH session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// What cuts it.
    pub why: String,
    /// What to do first.
    pub remedy: String,
}

/// Why an SSH session could not be opened again under the next policy, where it could under
/// the one in force (none: everything passes). Its packets come in by `interface`, if that
/// is known.
pub fn lock_out(
    session: &SshSession,
    interface: Option<&str>,
    ephemeral: PortRange,
    next: &Policy,
    in_force: Option<&Policy>,
) -> Option<LockOut> {
    let port = session.local;
    let packet = Packet {
        source: session.peer,
        destination: session.server,
        interface,
        mac: None,
        carries: Carried::Tcp {
            local: port,
            remote: session.remote,
        },
    };
    let matches = |matching: &Match| matches_packet(matching, &packet, ephemeral);
    if let Some(decision) = lost(next, in_force, matches, admits) {
        let mut why = match decision {
            Decision::Denied(rule) => format!("{} denies tcp {port}", rule.id),
            _ => format!("no rule allows tcp {port}"),
        };
        if admits(evaluate(next, Assume::Best, matches)) {
            why += match interface {
                None => " on every interface, and which one it uses is not known",
                Some(_) => " from every MAC address, and which one it has is not known",
            };
        }
        return Some(LockOut {
            why,
            remedy: format!("add `{}` first", remedy(port)),
        });
    }
    let (IpAddr::V6(peer), IpAddr::V6(server)) = (session.peer, session.server) else {
        return None;
    };
    for from in [Neighbour::LinkLocal, Neighbour::Known(peer)] {
        for number in neighbours::TYPES {
            let discovery = Discovery {
                number,
                from,
                to: Some(server),
                interface,
            };
            let matches = |matching: &Match| discovery.matched_by(matching);
            if let Some(Decision::Denied(rule)) = lost(next, in_force, matches, passes) {
                let id = rule.id;
                return Some(LockOut {
                    why: format!("{id} denies icmp6 {number}, by which the peer finds this host"),
                    remedy: format!("put `allow icmp6 133-137` in front of {id} first"),
                });
            }
        }
    }
    None
}

/// Whether packets that open a connection get through.
fn admits(decision: Decision<'_>) -> bool {
    matches!(
        decision,
        Decision::Allowed(_) | Decision::Default(DefaultAction::Pass)
    )
}

/// Whether packets get through that pass by themselves where no rule matches.
fn passes(decision: Decision<'_>) -> bool {
    !matches!(decision, Decision::Denied(_))
}

/// What becomes of packets that got through before, if they perhaps do so no longer.
///
/// Where not all is known, the next policy is taken at its worst, and the one in force at
/// its best; but a change that leaves alone the rules that decide takes nothing away.
fn lost<'a>(
    next: &'a Policy,
    in_force: Option<&Policy>,
    matches: impl Fn(&Match) -> Matches,
    admits: fn(Decision<'_>) -> bool,
) -> Option<Decision<'a>> {
    let decision = evaluate(next, Assume::Worst, &matches);
    if admits(decision) {
        return None;
    }
    if let Some(in_force) = in_force {
        let best = evaluate(in_force, Assume::Best, &matches);
        let unchanged = best == evaluate(next, Assume::Best, &matches)
            && decision == evaluate(in_force, Assume::Worst, &matches);
        if unchanged || !admits(best) {
            return None;
        }
    }
    Some(decision)
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
    use crate::analysis::test_policy::policy;

    const EPHEMERAL: PortRange = PortRange {
        first: 32768,
        last: 60999,
    };

    /// A policy for eth0.
    fn eth0(lines: &[&str]) -> Policy {
        policy(lines, &["eth0"])
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
        lock_out(session, interface, EPHEMERAL, &eth0(lines), None).map(|lock_out| lock_out.why)
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
            lock_out(&v4, None, EPHEMERAL, &eth0(after), Some(&eth0(before))).is_some()
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
