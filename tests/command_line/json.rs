//! Proves what `list`, `status` and `stats` say: the fields that are promised, and
//! counts that go on through every change of the policy.

use std::{fs, net::TcpStream};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xdpfw_tests::{Host, Lab, Sender, is_dropped, packets, policy_text, sample::POLICY};

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;

#[test]
fn a_rule_that_stays_keeps_its_hits() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "80"]).ok();
    host.xdpfw(["deny", "tcp", "81"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let mut expected = vec![("r1", 0), ("r2", 0)];
    let send = |ports: &[u16]| -> Result<()> {
        let (near, far) = (lab.link().near(), lab.link().far());
        let syns = ports
            .iter()
            .map(|&port| packets::syn(far.at(REMOTE), near.at(port)));
        Sender::new(&lab.peer, far)?.send_all(syns)?;
        Ok(())
    };
    send(&[80, 80, 80, 81])?;
    (expected[0].1, expected[1].1) = (3, 1);
    assert_eq!(hits(host), expected);

    host.xdpfw(["allow", "tcp", "82"]).ok();
    send(&[82, 82])?;
    expected.push(("r3", 2));
    assert_eq!(hits(host), expected);

    host.xdpfw(["deny", "udp", "any", "--before", "r1"]).ok();
    host.xdpfw(["default", "pass"]).ok();
    send(&[80])?;
    expected.insert(0, ("r4", 0));
    expected[1].1 += 1;
    assert_eq!(hits(host), expected);

    // Gone and come back, it is another rule.
    host.xdpfw(["delete", "r3"]).ok();
    host.xdpfw(["allow", "tcp", "82"]).ok();
    expected[3] = ("r5", 0);
    assert_eq!(hits(host), expected);

    // A comment is no other rule; another action is.
    let text = policy_text(host)?;
    let edited = text
        .replace(
            "allow = \"tcp 80\"\n",
            "allow = \"tcp 80\"\ncomment = \"web\"\n",
        )
        .replace("deny = \"tcp 81\"", "allow = \"tcp 81\"");
    assert_ne!(text, edited);
    fs::write(host.policy(), edited)?;
    host.xdpfw(["apply"]).ok();
    expected[2].1 = 0;
    assert_eq!(hits(host), expected);
    send(&[80, 81])?;
    expected[1].1 += 1;
    expected[2].1 += 1;
    assert_eq!(hits(host), expected);
    Ok(())
}

#[test]
fn totals_and_ports_go_on_through_every_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut dropped = 0;
    let changes: &[&[&str]] = &[
        &["allow", "tcp", "443"],
        &["default", "pass"],
        &["default", "drop"],
        &["deny", "tcp", "23"],
        &["delete", "r1", "r2"],
    ];
    for &change in changes {
        assert!(is_dropped(&lab, 23)?);
        dropped += 1;
        host.xdpfw(change).ok();
        if change == ["default", "pass"] {
            continue;
        }
        let stats = host.xdpfw(["stats", "--port", "tcp/23"]).json();
        assert_eq!(stats["ports"][0]["dropped_packets"], dropped, "{change:?}");
        if change == ["allow", "tcp", "443"] {
            host.xdpfw(["deny", "tcp", "23", "--before", "r1"]).ok();
        }
    }
    Ok(())
}

/// Claims the fields of how full the tables of flows are.
fn assert_fill(fill: &Value) {
    for table in ["tcp", "other", "brief"] {
        for usage in [&fill[table], &fill["forwarded"][table]] {
            assert_keys(usage, "entries capacity inserted evicted");
        }
    }
    assert!(fill["memory_bytes"].as_u64() > Some(1 << 20), "{fill}");
}

#[test]
fn json_has_the_fields_that_are_promised() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    assert!(is_dropped(&lab, 23)?);

    let status = host.status();
    assert_keys(
        &status,
        "schema default generation traced listeners since pending shadow then scan interfaces flows bans bans_by_program lists trusted totals reasons warnings",
    );
    assert_eq!(status["schema"], "xdpfw.status/1");
    assert_eq!(status["default"], "drop");
    assert_eq!(status["generation"], 1);
    assert_eq!(status["pending"], Value::Null);
    assert_eq!(status["shadow"], Value::Null);
    assert_keys(
        &status["interfaces"][0],
        "name ifindex mode egress passed dropped",
    );
    assert_fill(&status["flows"]);
    host.xdpfw(["ban", "203.0.113.7", "--for", "1h"]).ok();
    let bans = host.xdpfw(["bans"]).json();
    assert_keys(&bans, "schema bans trusted");
    assert_eq!(bans["schema"], "xdpfw.bans/1");
    assert_keys(
        &bans["bans"][0],
        "prefix origin since until why hard times packets",
    );
    host.xdpfw(["unban", "--all"]).ok();
    assert_totals(&status["totals"]);
    for reason in status["reasons"].as_array().context("no reasons")? {
        assert_keys(reason, "reason verdict packets bytes");
        assert!(["pass", "drop", "answered"].contains(&reason["verdict"].as_str().unwrap_or("")));
    }

    // The peer's refusal comes in as an answer.
    let peer = lab.link().far().address;
    drop(lab.host.enter(|| Ok(TcpStream::connect((peer, 9))?)));
    let flows = host.xdpfw(["flows", "--top", "1"]).json();
    assert_keys(
        &flows,
        "schema tcp other brief forwarded memory_bytes total flows",
    );
    assert_eq!(flows["schema"], "xdpfw.flows/1");
    assert_fill(&flows);
    let flow = &flows["flows"][0];
    assert_keys(flow, "protocol local remote idle_seconds forwarded state");
    assert_eq!(flow["protocol"], "tcp");
    assert_eq!(flow["remote"]["address"], peer.to_string());
    assert_eq!(flow["remote"]["port"], 9);
    assert_eq!(flow["state"], "opening");
    assert_eq!(flow["forwarded"], false);

    let list = host.xdpfw(["list"]).json();
    assert_keys(&list, "schema default scan rules");
    assert_eq!(list["schema"], "xdpfw.list/1");
    let rule = |id, action, protocol, local: &[&str], remote: &[&str], comment: Value| {
        json!({
            "id": id, "action": action, "protocol": protocol, "local_ports": local, "types": [],
            "remote_ports": remote, "from": [], "to": [], "interfaces": [], "mac": [], "rate": null,
            "syn_cookies": false,
            "burst": null, "per": null, "ban": null,
            "expires": null, "seconds_left": null, "comment": comment, "unreachable": null, "packets": 0, "bytes": 0,
        })
    };
    assert_eq!(
        list["rules"],
        json!([
            rule("r1", "allow", "tcp", &["443"], &[], json!("web")),
            rule(
                "r2",
                "allow",
                "udp",
                &["53"],
                &["53", "1024-65535"],
                Value::Null
            ),
            rule("r5", "deny", "tcp", &["8000-8100"], &[], Value::Null),
        ])
    );

    let stats = host.xdpfw(["stats"]).json();
    assert_keys(
        &stats,
        "schema at since ports classes reasons interfaces totals rates",
    );
    assert_eq!(stats["since"], status["since"]);
    assert_eq!(stats["schema"], "xdpfw.stats/1");
    assert_totals(&stats["totals"]);
    let mut port = stats["ports"][0].clone();
    assert!(port["dropped_per_second"].take().as_f64() > Some(0.0));
    assert_eq!(
        port,
        json!({
            "protocol": "tcp", "port": 23, "service": "telnet", "class": "well-known",
            "dropped_packets": 1, "dropped_per_second": null,
        })
    );
    assert_eq!(stats["ports"][1], Value::Null);
    assert_keys(&stats["rates"], "passed dropped");
    assert_keys(
        &stats["classes"][0],
        "class ports dropped_packets dropped_per_second",
    );
    assert_keys(
        &stats["reasons"][0],
        "verdict reason packets bytes packets_per_second",
    );
    assert_keys(
        &stats["interfaces"][0],
        "interface passed dropped passed_per_second dropped_per_second",
    );
    // RFC 3339: `2025-01-31T12:00:00.5Z`.
    let at = stats["at"].as_str().context("no time")?;
    assert!(
        at.len() >= 20 && at.as_bytes()[10] == b'T' && at.ends_with('Z'),
        "{at}"
    );
    Ok(())
}

#[test]
fn lists_are_whole_in_json_and_for_scripts() -> Result<()> {
    let host = Host::new()?;
    let prefixes: Vec<String> = (0..2_000)
        .map(|number| format!("10.{}.{}.0/24", number / 256, number % 256))
        .collect();
    fs::write(
        host.policy(),
        format!("version = 1\n[[rule]]\ndeny = \"any\"\nfrom = {prefixes:?}\n"),
    )?;
    host.xdpfw([
        "allow",
        "icmp",
        "ping",
        "--from",
        "192.0.2.0/24",
        "--on",
        "eth0,eth1",
    ])
    .ok();
    host.xdpfw([
        "allow",
        "icmp6",
        "133-137,packet-too-big",
        "--to",
        "2001:db8::1",
    ])
    .ok();
    host.xdpfw(["allow", "proto", "gre"]).ok();
    host.xdpfw(["allow", "proto", "252"]).ok();
    let list = host.xdpfw(["list"]).json();
    let rule = |place: usize| &list["rules"][place];
    assert_eq!(rule(0)["from"], json!(prefixes));
    for (place, protocol, types, from, to, interfaces) in [
        (
            1,
            "icmp",
            json!(["echo-request"]),
            json!(["192.0.2.0/24"]),
            json!([]),
            json!(["eth0", "eth1"]),
        ),
        (
            2,
            "icmp6",
            json!(["133-137", "packet-too-big"]),
            json!([]),
            json!(["2001:db8::1"]),
            json!([]),
        ),
        (3, "gre", json!([]), json!([]), json!([]), json!([])),
        (4, "252", json!([]), json!([]), json!([]), json!([])),
    ] {
        let rule = rule(place);
        assert_eq!(rule["protocol"], protocol);
        assert_eq!(rule["types"], types, "{protocol}");
        assert_eq!(rule["from"], from, "{protocol}");
        assert_eq!(rule["to"], to, "{protocol}");
        assert_eq!(rule["interfaces"], interfaces, "{protocol}");
        assert_eq!(rule["local_ports"], json!([]), "{protocol}");
    }
    let table = host.xdpfw(["list"]).ok();
    // A script gets it all, and a long list makes no other row longer.
    let line = format!("r1  deny any --from {} ", prefixes.join(","));
    assert!(table.lines().any(|row| row.starts_with(&line)), "{table}");
    let mut others = table.lines().filter(|row| !row.starts_with("r1 "));
    assert!(others.all(|row| row.len() < 150), "{table}");

    // What differs behind the cut is told all the same, and whole in JSON.
    let text =
        policy_text(&host)?.replace("\"10.7.200.0/24\"", "\"10.99.0.0/24\", \"10.99.1.0/24\"");
    let check = || host.xdpfw(["apply", "--check", "-"]).stdin(text.as_str());
    let output = check().output()?;
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(
        said,
        "~ r1  deny any --from 10.0.0.0/24,10.0.1.0/24,10.0.2.0/24 +1,997   2 more, 1 fewer\n    \
         +  --from 10.99.0.0/24,10.99.1.0/24\n    -  --from 10.7.200.0/24\n"
    );
    let output = host
        .xdpfw(["--json", "apply", "--check", "-"])
        .stdin(text.as_str())
        .output()?;
    let difference: Value = serde_json::from_slice(&output.stdout)?;
    let removed = difference["removed"][0].as_str().context("no rule")?;
    assert_eq!(
        removed,
        format!("r1  deny any --from {}", prefixes.join(","))
    );
    Ok(())
}

#[test]
fn stats_show_what_was_asked_for_in_the_order_of_drops() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["up", "eth0"]).ok();
    let mut sender = Sender::new(&lab.peer, far)?;
    for (port, times) in [(23, 3), (3389, 1), (80, 2), (60_000, 1)] {
        let syn = packets::syn(far.at(REMOTE), near.at(port));
        sender.send_all(std::iter::repeat_n(syn, times))?;
    }
    sender.send_all([packets::udp(far.at(REMOTE), near.at(53), b"query")])?;
    let ports = |arguments: &[&str]| -> Vec<String> {
        let stats = host.xdpfw([&["stats"], arguments].concat()).json();
        let ports = stats["ports"].as_array().cloned().unwrap_or_default();
        let shown = |port: &Value| {
            let (protocol, number) = (&port["protocol"], &port["port"]);
            format!(
                "{}/{number} {}",
                protocol.as_str().unwrap_or("?"),
                port["dropped_packets"]
            )
        };
        ports.iter().map(shown).collect()
    };
    let all = [
        "tcp/23 3",
        "tcp/80 2",
        "tcp/3389 1",
        "tcp/60000 1",
        "udp/53 1",
    ];
    assert_eq!(ports(&[]), all);
    assert_eq!(ports(&["--top", "2"]), all[..2]);
    assert_eq!(ports(&["--top", "0"]), [""; 0]);
    assert_eq!(ports(&["--top", "99"]), all);
    assert_eq!(ports(&["--port", "tcp/80"]), ["tcp/80 2"]);
    assert_eq!(
        ports(&["--port", "80/tcp,udp/dns,tcp/443"]),
        ["tcp/80 2", "udp/53 1", "tcp/443 0"]
    );
    assert_eq!(
        ports(&["--port", "tcp/80", "--port", "tcp/23", "--top", "1"]),
        ["tcp/23 3"]
    );

    let table = host.xdpfw(["stats", "--top", "2"]).ok();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("drops/s"), "{table}");
    assert!(lines[1].ends_with("23/tcp telnet  well-known"), "{table}");
    assert!(lines[2].ends_with("80/tcp http    well-known"), "{table}");
    assert!(lines[3].contains("3 more ports"), "{table}");
    assert!(!table.contains("3389"), "{table}");
    Ok(())
}

/// Ids and hits of the rules.
fn hits(host: &Host) -> Vec<(&'static str, u64)> {
    let list = host.xdpfw(["list"]).json();
    let rules = list["rules"].as_array().cloned().unwrap_or_default();
    let known = ["r1", "r2", "r3", "r4", "r5"];
    rules
        .iter()
        .filter_map(|rule| {
            let id = known.into_iter().find(|&id| rule["id"] == id)?;
            Some((id, rule["packets"].as_u64()?))
        })
        .collect()
}

#[track_caller]
fn assert_keys(object: &Value, keys: &str) {
    let mut found: Vec<&str> = object
        .as_object()
        .map(|object| object.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let mut expected: Vec<&str> = keys.split(' ').collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{object}");
}

#[track_caller]
fn assert_totals(totals: &Value) {
    assert_keys(totals, "passed dropped");
    for way in ["passed", "dropped"] {
        assert_keys(&totals[way], "packets bytes");
        assert!(totals[way]["packets"].is_u64() && totals[way]["bytes"].is_u64());
    }
}
