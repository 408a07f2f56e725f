//! Hosts in few words, and what a review finds on them.

mod findings;

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use xdpfw_common::{Reason, Transport};

use super::*;
use crate::{
    analysis::{test_policy::policy, unreachable},
    policy::{Action, DefaultAction},
    system::{Socket, SocketState},
};

const EPHEMERAL: PortRange = PortRange {
    first: 32768,
    last: 60999,
};
const SINCE: Timestamp = Timestamp::UNIX_EPOCH;

/// A socket that listens: `tcp 0.0.0.0:80`; with a peer behind it, one of a client.
fn socket(line: &str) -> Socket {
    let words: Vec<&str> = line.split(' ').collect();
    let remote = words.get(2).map(|remote| remote.parse().unwrap());
    Socket {
        transport: match words[0] {
            "tcp" => Transport::Tcp,
            _ => Transport::Udp,
        },
        local: words[1].parse().unwrap(),
        remote,
        state: match remote {
            Some(_) => SocketState::Connected,
            None => SocketState::Listening,
        },
        uid: 0,
        inode: 1,
    }
}

/// A host whose eth0 is filtered; eth1, which has 172.17.0.1, is not.
fn host() -> Host {
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let way = |text: &str| Way {
        index: 1,
        interface: "eth0".to_owned(),
        address: address(text),
    };
    Host {
        filtered: vec![(1, "eth0".to_owned())],
        ways: ["192.0.2.1", "2001:db8::1", "fe80::1"].map(way).into(),
        own: [
            "127.0.0.1",
            "::1",
            "192.0.2.1",
            "2001:db8::1",
            "fe80::1",
            "172.17.0.1",
        ]
        .map(address)
        .into(),
    }
}

/// What listens on that host under these rules, with the verdicts of the rules.
fn served(policy: &Policy, sockets: &[&str], published: &[(Transport, u16)]) -> Vec<Service> {
    let sockets: Vec<Socket> = sockets.iter().map(|line| socket(line)).collect();
    let mut found = services(policy, EPHEMERAL, &sockets, &HashMap::new(), published);
    let host = host();
    let asking = Asking::new(policy, EPHEMERAL, &host);
    for service in &mut found {
        let judge = &mut |question: &Question<'_>| {
            let rule = policy.first_match(&question.packet(), EPHEMERAL);
            Ok(match (rule.map(|rule| rule.action), policy.default) {
                (Some(Action::Allow | Action::AllowWithCookies | Action::Limit(_)), _) => {
                    Reason::RuleAllow
                }
                (Some(Action::Deny), _) => Reason::RuleDeny,
                (None, DefaultAction::Pass) => Reason::DefaultPass,
                (None, DefaultAction::Drop) => Reason::DefaultDrop,
            })
        };
        service.reach = asking.reach(service, judge).unwrap();
    }
    found
}

/// What is found on that host, as `kind object => remedy`; `hit` are the rules that decided packets.
fn found(lines: &[&str], sockets: &[&str], hit: &[u32]) -> Vec<String> {
    let policy = policy(lines, &["eth0"]);
    let services = served(&policy, sockets, &[]);
    let findings = examine(&Facts {
        hits: Some(Hits {
            of_rules: policy
                .rules
                .iter()
                .map(|rule| (rule.id, u64::from(hit.contains(&rule.id.0))))
                .collect(),
            since: SINCE,
            rules_since: HashMap::new(),
        }),
        shadowed: unreachable(&policy, EPHEMERAL),
        ..facts(&policy, &services, &host(), &[])
    });
    shown(&findings)
}

fn facts<'a>(
    policy: &'a Policy,
    services: &'a [Service],
    host: &'a Host,
    crowds: &'a [Crowd],
) -> Facts<'a> {
    Facts {
        policy,
        ephemeral: EPHEMERAL,
        hits: None,
        services,
        host,
        forwards: false,
        shadowed: Vec::new(),
        names: Vec::new(),
        host_services: HostServices::default(),
        renamed: Vec::new(),
        crowds,
        now: SINCE,
    }
}

fn shown(findings: &[Finding]) -> Vec<String> {
    let line = |one: &Finding| {
        let remedy = one.remedy.as_deref().unwrap_or("-");
        format!("{} {} => {remedy}", one.kind, one.object)
    };
    findings.iter().map(line).collect()
}

#[test]
fn who_reaches_a_service_is_told() {
    for (lines, socket, expected) in [
        (&["allow tcp 80"][..], "tcp 0.0.0.0:80", Reach::All),
        (&["allow tcp 80"], "tcp [::]:80", Reach::All),
        (&["allow tcp 81"], "tcp 0.0.0.0:80", Reach::Closed),
        (&["deny tcp 80"], "tcp 0.0.0.0:80", Reach::Denied),
        (
            &["allow tcp 80 from 10.0.0.0/8"],
            "tcp 0.0.0.0:80",
            Reach::Some,
        ),
        // IPv4 comes to a socket for both, and IPv6 does not.
        (
            &["allow tcp 80 from 10.0.0.0/8"],
            "tcp [::]:80",
            Reach::Some,
        ),
        (
            &["allow tcp 80 from 10.0.0.0/8"],
            "tcp [2001:db8::1]:80",
            Reach::Closed,
        ),
        (&["allow tcp 80 on eth1"], "tcp 0.0.0.0:80", Reach::Closed),
        (&["allow tcp 80 on eth0"], "tcp 0.0.0.0:80", Reach::All),
        (
            &["allow any from 203.0.113.0/24"],
            "tcp 0.0.0.0:80",
            Reach::Some,
        ),
        (
            &["deny any from 203.0.113.0/24", "allow tcp 80"],
            "tcp 0.0.0.0:80",
            Reach::All,
        ),
        (&[], "tcp 127.0.0.1:80", Reach::Local),
        (&[], "tcp [::1]:80", Reach::Local),
        (&[], "tcp 172.17.0.1:80", Reach::Unfiltered),
        (&["allow udp 5353"], "udp 224.0.0.251:5353", Reach::All),
        (&[], "udp 224.0.0.251:5353", Reach::Closed),
    ] {
        let services = served(&policy(lines, &["eth0"]), &[socket], &[]);
        assert_eq!(services[0].reach, expected, "{lines:?} {socket}");
    }
}

#[test]
fn each_port_is_listed_once_and_clients_are_told_from_services() {
    let none = policy(&[], &[]);
    let tcp = Transport::Tcp;
    let sockets = [
        "tcp 0.0.0.0:80",
        "tcp 0.0.0.0:80",
        "tcp [::]:80",
        "tcp 192.0.2.1:40000 203.0.113.1:443",
        "udp 0.0.0.0:40001",
        "udp 0.0.0.0:51820",
        "udp 0.0.0.0:68",
    ];
    let services = served(&none, &sockets, &[(tcp, 80), (tcp, 8080)]);
    let shown: Vec<String> = services
        .iter()
        .map(|one| {
            let client = if one.is_client { " client" } else { "" };
            let published = if one.is_published { " published" } else { "" };
            format!("{} {}{client}{published}", one.transport, one.at())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "tcp 0.0.0.0:80 published",
            "tcp [::]:80 published",
            "tcp [::]:8080 published",
            "udp 0.0.0.0:68 client",
            "udp 0.0.0.0:40001 client",
            "udp 0.0.0.0:51820",
        ]
    );
    assert!(!services[1].takes_ipv4 && services[2].takes_ipv4);
}
