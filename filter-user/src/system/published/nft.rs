//! Finds published ports in what `nft --json list ruleset` prints (libnftables-json(5)).

use std::{collections::HashSet, ops::RangeInclusive};

use serde_json::Value;
use xdpfw_common::Transport;

/// The published ports of a rule set.
pub(super) fn published(json: &str) -> Vec<(Transport, u16)> {
    let Ok(json) = serde_json::from_str::<Value>(json) else {
        return Vec::new();
    };
    let objects = json["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    // What this host itself sends is redirected here, too.
    let outputs: HashSet<_> = objects
        .iter()
        .map(|object| &object["chain"])
        .filter(|chain| chain["hook"] == "output")
        .map(|chain| place(chain, "name"))
        .collect();
    let rules = objects.iter().map(|object| &object["rule"]);
    rules
        .filter(|rule| !outputs.contains(&place(rule, "chain")))
        .filter_map(|rule| rule["expr"].as_array())
        .flat_map(|statements| published_by(statements))
        .collect()
}

/// Which chain this is, or is in: its family, table and name.
fn place<'a>(object: &'a Value, name: &str) -> [Option<&'a str>; 3] {
    ["family", "table", name].map(|key| object[key].as_str())
}

/// The ports that one rule publishes.
fn published_by(statements: &[Value]) -> Vec<(Transport, u16)> {
    if !statements.iter().any(is_dnat) {
        return Vec::new();
    }
    let mut transports: Vec<Transport> = Vec::new();
    let mut ports: Vec<u16> = Vec::new();
    for statement in statements {
        let matching = &statement["match"];
        if matching["op"] != "==" && matching["op"] != "in" {
            continue;
        }
        let (left, right) = (&matching["left"], &matching["right"]);
        let payload = &left["payload"];
        if payload["field"] == "daddr" && is_loopback(right) {
            return Vec::new();
        }
        if left["meta"]["key"] == "l4proto" {
            transports = items(right).iter().filter_map(transport).collect();
        }
        if payload["field"] == "dport" {
            // Else `th`, whose protocol an earlier statement names.
            transports.extend(transport(&payload["protocol"]));
            ports = items(right).iter().filter_map(range).flatten().collect();
        }
    }
    let of = |&transport: &Transport| ports.iter().map(move |&port| (transport, port));
    transports.iter().flat_map(of).collect()
}

/// Whether a statement gives packets another destination: nft's own, or iptables's, which nft
/// shows by its name only.
fn is_dnat(statement: &Value) -> bool {
    let xt = &statement["xt"];
    !statement["dnat"].is_null() || xt["type"] == "target" && xt["name"] == "DNAT"
}

/// What is in an anonymous set; or the value alone.
pub(in crate::system) fn items(value: &Value) -> &[Value] {
    match value["set"].as_array() {
        Some(items) => items,
        None => std::slice::from_ref(value),
    }
}

pub(in crate::system) fn transport(name: &Value) -> Option<Transport> {
    Transport::ALL
        .into_iter()
        .find(|transport| name == transport.as_str())
}

pub(in crate::system) fn range(ports: &Value) -> Option<RangeInclusive<u16>> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    match ports["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => Some(port(first)?..=port(last)?),
        _ => port(ports).map(|port| port..=port),
    }
}

fn is_loopback(address: &Value) -> bool {
    let text = address
        .as_str()
        .or_else(|| address["prefix"]["addr"].as_str());
    text.is_some_and(|text| text.starts_with("127.") || text == "::1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nft 1.0.6 prints of rules that iptables-nft 1.8.9 made as docker would.
    const DOCKER: &str = include_str!("docker.json");
    /// What nft 1.0.6 prints of rules as podman makes them, and of some by hand.
    const PODMAN: &str = include_str!("podman.json");

    fn sorted(mut ports: Vec<(Transport, u16)>) -> Vec<(Transport, u16)> {
        ports.sort_unstable();
        ports
    }

    #[test]
    fn ports_that_docker_publishes_by_iptables_are_found() {
        let udp = [6000, 6001, 6002, 6003].map(|port| (Transport::Udp, port));
        // Of iptables's multiport nothing is shown: `iptables-save` has to tell.
        let expected = [&[(Transport::Tcp, 8080)][..], &udp].concat();
        assert_eq!(sorted(published(DOCKER)), expected);
    }

    #[test]
    fn ports_that_podman_publishes_are_found() {
        let tcp = [25, 53, 54, 465, 587, 588, 589, 590, 8080].map(|port| (Transport::Tcp, port));
        let udp = [53, 51820, 51821, 51822].map(|port| (Transport::Udp, port));
        assert_eq!(sorted(published(PODMAN)), [&tcp[..], &udp].concat());
    }

    #[test]
    fn what_is_no_rule_set_publishes_nothing() {
        for text in [
            "",
            "[]",
            "{}",
            "3",
            r#"{"nftables":[{"rule":{"expr":3}},{"rule":null}]}"#,
        ] {
            assert_eq!(published(text), [], "{text:?}");
        }
    }
}
