//! Reads chains from what `nft --json list ruleset` prints (libnftables-json(5)).

use serde_json::Value;

use super::{Chain, Condition, Program, TheirRule, Verdict};
use crate::system::published::nft::{items, range, transport};

/// Where packets enter that come in.
const HOOKS: [&str; 3] = ["ingress", "prerouting", "input"];
/// The families whose chains see IP packets for this host.
const FAMILIES: [&str; 4] = ["ip", "ip6", "inet", "netdev"];

/// The chains of a rule set.
pub(super) fn chains(json: &str) -> Vec<Chain> {
    let Ok(json) = serde_json::from_str::<Value>(json) else {
        return Vec::new();
    };
    let objects = json["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let mut chains: Vec<Chain> = objects
        .iter()
        .filter_map(|object| chain(&object["chain"]))
        .collect();
    for rule in objects.iter().map(|object| &object["rule"]) {
        let is_in = |chain: &&mut Chain| {
            rule["family"] == *chain.family
                && rule["table"] == *chain.table
                && rule["chain"] == *chain.name
        };
        if let Some(chain) = chains.iter_mut().find(is_in)
            && let Some(statements) = rule["expr"].as_array()
        {
            chain.rules.extend(rules(statements));
        }
    }
    chains
}

fn chain(chain: &Value) -> Option<Chain> {
    let family = chain["family"].as_str()?;
    if !FAMILIES.contains(&family) {
        return None;
    }
    let hook = chain["hook"].as_str().filter(|hook| HOOKS.contains(hook));
    Some(Chain {
        program: Program::Nft,
        family: family.to_owned(),
        table: chain["table"].as_str()?.to_owned(),
        name: chain["name"].as_str()?.to_owned(),
        // Those of NAT and routes get no packet to decide about.
        hook: hook
            .filter(|_| chain["type"] == "filter")
            .map(str::to_owned),
        device: chain["dev"].as_str().map(str::to_owned),
        drops: chain["policy"] == "drop",
        rules: Vec::new(),
    })
}

/// The rules that a rule stands for: one for each of its verdicts.
fn rules(statements: &[Value]) -> Vec<TheirRule> {
    let mut conditions = Vec::new();
    let mut rules = Vec::new();
    for statement in statements {
        let Some((kind, content)) = statement.as_object().and_then(|one| one.iter().next()) else {
            continue;
        };
        let verdict = match kind.as_str() {
            "match" => {
                conditions.extend(of_match(content));
                continue;
            }
            "vmap" if content["data"]["set"].is_null() => {
                // A map with a name, whose verdicts are not shown.
                conditions.push(Condition::Unknown);
                Some(Verdict::Accept)
            }
            "vmap" => {
                for pair in items(&content["data"]) {
                    let Some([key, verdict]) = pair.as_array().map(Vec::as_slice) else {
                        continue;
                    };
                    let Some(verdict) = verdict.as_object().and_then(|one| one.iter().next())
                    else {
                        continue;
                    };
                    let Some(verdict) = of_verdict(verdict.0, verdict.1) else {
                        continue;
                    };
                    let mut all = conditions.clone();
                    all.extend(compared(&content["key"], key));
                    rules.push(TheirRule {
                        conditions: all,
                        verdict,
                    });
                }
                continue;
            }
            "xt" if content["type"] == "target" => match content["name"].as_str() {
                Some("REJECT") => Some(Verdict::Drop),
                Some("DNAT" | "REDIRECT" | "NFQUEUE" | "TPROXY") => Some(Verdict::Accept),
                _ => None,
            },
            "counter" | "log" | "comment" | "mangle" | "notrack" => None,
            other => match of_verdict(other, content) {
                Some(verdict) => Some(verdict),
                None => {
                    conditions.push(Condition::Unknown);
                    None
                }
            },
        };
        if let Some(verdict) = verdict {
            rules.push(TheirRule {
                conditions: conditions.clone(),
                verdict,
            });
        }
    }
    rules
}

fn of_verdict(kind: &str, content: &Value) -> Option<Verdict> {
    let target = || content["target"].as_str().map(str::to_owned);
    match kind {
        "accept" | "dnat" | "redirect" | "tproxy" | "queue" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "jump" => target().map(Verdict::Jump),
        "goto" => target().map(Verdict::Goto),
        _ => None,
    }
}

fn of_match(content: &Value) -> Vec<Condition> {
    let conditions = compared(&content["left"], &content["right"]);
    match content["op"].as_str() {
        Some("==" | "in") => conditions,
        Some("!=") => match <[Condition; 1]>::try_from(conditions) {
            Ok([one]) => vec![negated(one)],
            // What the ports are of comes first, and holds all the same.
            Err(several) => several
                .into_iter()
                .map(|one| match one {
                    Condition::Port(_) => negated(one),
                    other => other,
                })
                .collect(),
        },
        _ => vec![Condition::Unknown],
    }
}

fn negated(condition: Condition) -> Condition {
    match condition {
        Condition::Unknown => Condition::Unknown,
        other => Condition::Not(Box::new(other)),
    }
}

/// What it means that the left side is the right one.
fn compared(left: &Value, right: &Value) -> Vec<Condition> {
    let values = right.as_array().map_or_else(|| items(right), Vec::as_slice);
    let payload = &left["payload"];
    if payload["field"] == "dport" {
        let ranges: Option<Vec<_>> = values.iter().map(range).collect();
        let port = ranges.map_or(Condition::Unknown, Condition::Port);
        let of = transport(&payload["protocol"]).map(|one| Condition::Transport(vec![one]));
        return of.into_iter().chain([port]).collect();
    }
    if left["ct"]["key"] == "state" {
        return match values.iter().any(|state| state == "new") {
            true => vec![negated(Condition::Never)],
            false => vec![Condition::Never],
        };
    }
    let key = left["meta"]["key"].as_str().unwrap_or_default();
    let is_protocol = matches!(payload["field"].as_str(), Some("protocol" | "nexthdr"));
    let condition = match key {
        "iif" | "iifname" => {
            let names: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            names.map(|names| Condition::Interface(names.into_iter().map(str::to_owned).collect()))
        }
        "l4proto" => transports(values),
        _ if is_protocol => transports(values),
        _ if is_other_protocol(payload) => Some(Condition::Never),
        _ => None,
    };
    vec![condition.unwrap_or(Condition::Unknown)]
}

/// The protocols of these names; `None` if one is no name.
fn transports(values: &[Value]) -> Option<Condition> {
    let are_names = values.iter().all(Value::is_string);
    are_names.then(|| Condition::Transport(values.iter().filter_map(transport).collect()))
}

/// Whether a field is of a header that no TCP or UDP packet has.
fn is_other_protocol(payload: &Value) -> bool {
    let protocol = payload["protocol"].as_str().unwrap_or_default();
    ["icmp", "icmpv6", "igmp", "esp", "ah", "sctp", "dccp"].contains(&protocol)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xdpfw_common::Transport;

    use super::*;

    fn read(statements: &Value) -> Vec<TheirRule> {
        rules(statements.as_array().unwrap())
    }

    fn rule(conditions: &[Condition], verdict: Verdict) -> TheirRule {
        TheirRule {
            conditions: conditions.to_vec(),
            verdict,
        }
    }

    /// What nft 1.0.6 prints.
    #[test]
    fn rules_are_read_as_nft_prints_them() {
        let dport = json!({"payload": {"protocol": "tcp", "field": "dport"}});
        let ports = json!({"set": [22, {"range": [80, 90]}]});
        let tcp = Condition::Transport(vec![Transport::Tcp]);
        let port = Condition::Port(vec![22..=22, 80..=90]);
        for (statements, expected) in [
            (
                json!([{"match": {"op": "==", "left": dport, "right": ports}}, {"counter": {}}, {"accept": null}]),
                vec![rule(&[tcp.clone(), port.clone()], Verdict::Accept)],
            ),
            (
                json!([{"match": {"op": "!=", "left": dport, "right": ports}}, {"drop": null}]),
                vec![rule(
                    &[tcp.clone(), Condition::Not(Box::new(port.clone()))],
                    Verdict::Drop,
                )],
            ),
            (
                json!([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}]),
                vec![rule(&[Condition::Never], Verdict::Accept)],
            ),
            (
                json!([{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": null}], ["new", {"jump": {"target": "in"}}]]}}}]),
                vec![
                    rule(&[Condition::Never], Verdict::Accept),
                    rule(&[negated(Condition::Never)], Verdict::Jump("in".into())),
                ],
            ),
            (
                json!([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}]),
                vec![rule(
                    &[Condition::Interface(vec!["lo".into()])],
                    Verdict::Accept,
                )],
            ),
            (
                json!([{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.1"}}, {"drop": null}]),
                vec![rule(&[Condition::Unknown], Verdict::Drop)],
            ),
            (
                json!([{"limit": {"rate": 1}}, {"reject": {"type": "tcp reset"}}]),
                vec![rule(&[Condition::Unknown], Verdict::Drop)],
            ),
            (
                json!([{"xt": {"type": "match", "name": "multiport"}}, {"accept": null}]),
                vec![rule(&[Condition::Unknown], Verdict::Accept)],
            ),
            (
                json!([{"vmap": {"key": dport, "data": "@services"}}]),
                vec![rule(&[Condition::Unknown], Verdict::Accept)],
            ),
            (
                json!([{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "icmp"]}}}, {"drop": null}]),
                vec![rule(std::slice::from_ref(&tcp), Verdict::Drop)],
            ),
            (
                json!([{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": [{"elem": {"val": "tcp"}}]}}}, {"accept": null}]),
                vec![rule(&[Condition::Unknown], Verdict::Accept)],
            ),
            (json!([{"counter": {}}, {"log": null}]), vec![]),
            (json!([3, {}, {"match": 3}]), vec![]),
        ] {
            assert_eq!(read(&statements), expected, "{statements}");
        }
    }

    #[test]
    fn only_chains_that_may_drop_what_comes_in_are_entered() {
        let text = json!({"nftables": [
            {"chain": {"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "t", "name": "out", "type": "filter", "hook": "output", "policy": "drop"}},
            {"chain": {"family": "ip", "table": "n", "name": "pre", "type": "nat", "hook": "prerouting", "policy": "accept"}},
            {"chain": {"family": "arp", "table": "a", "name": "in", "type": "filter", "hook": "input", "policy": "drop"}},
            {"rule": {"family": "inet", "table": "t", "chain": "in", "expr": [{"accept": null}]}},
            {"rule": {"family": "inet", "table": "u", "chain": "in", "expr": [{"accept": null}]}},
        ]});
        let chains = chains(&text.to_string());
        let hooks: Vec<_> = chains.iter().map(|one| one.hook.as_deref()).collect();
        assert_eq!(hooks, [Some("input"), None, None]);
        assert!(chains[0].drops);
        assert_eq!(chains[0].rules, [rule(&[], Verdict::Accept)]);
        for text in ["", "[]", "3", r#"{"nftables":[{"chain":3}]}"#] {
            assert_eq!(super::chains(text), [], "{text:?}");
        }
    }
}
