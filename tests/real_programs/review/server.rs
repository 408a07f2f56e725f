//! A host with services, and what its reviews say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Host, Lab};

/// A host with nginx at 80 and 443 of all addresses, redis at all addresses, dnsmasq at one, and a
/// port of a container.
pub(super) fn server() -> Result<Lab> {
    let lab = Lab::new()?;
    let host = &lab.host;
    nginx(host)?;
    redis(host)?;
    let address = format!("--listen-address={}", lab.link().near().address);
    host.start_dnsmasq(&[&address, "--bind-interfaces"])?;
    publish(host)?;
    Ok(lab)
}

fn nginx(host: &Host) -> Result<()> {
    let directory = host.directory();
    let directory = directory.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {directory}/{name};"));
    let file = host.directory().join("nginx.conf");
    fs::write(
        &file,
        format!(
            "user root; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
            worker_processes 2; events {{}}
            http {{
                access_log off; {}
                server {{ listen 80; listen 443; return 200 hello; }}
            }}",
            temporary.join(" ")
        ),
    )?;
    let log = host.directory().join("nginx.log");
    let options = [Path::new("-e"), &log, Path::new("-c"), &file];
    host.start_daemon("nginx", options)
}

pub(super) fn redis(host: &Host) -> Result<()> {
    let directory = host.directory();
    let words = "--bind 0.0.0.0 --protected-mode no --save  --daemonize yes --dir";
    host.start_daemon(
        "redis-server",
        words
            .split(' ')
            .map(AsRef::as_ref)
            .chain([directory.as_os_str()]),
    )
}

/// A port of a container, published as docker does it, but by nft.
fn publish(host: &Host) -> Result<()> {
    let rules = host.directory().join("docker.nft");
    fs::write(
        &rules,
        "table ip nat {
            chain DOCKER {
                iifname != docker0 tcp dport 8080 dnat to 172.17.0.2:80
            }
            chain PREROUTING {
                type nat hook prerouting priority -100
                fib daddr type local jump DOCKER
            }
        }\n",
    )?;
    host.run("nft", [Path::new("-f"), &rules]).map(drop)
}

fn is_to_do(review: &Value) -> bool {
    let findings = review["findings"].as_array();
    findings.is_some_and(|all| all.iter().any(|one| one["new"] != false))
}

/// What a review says, with the exit code that belongs to it.
#[track_caller]
pub(super) fn review(host: &Host, options: &[&str]) -> Value {
    let call = host.xdpfw([&["review"], options].concat());
    call.json_with(|review| if is_to_do(review) { 8 } else { 0 })
}

/// What there is to do, as `kind object`; what was known before is left out.
pub(super) fn to_do(review: &Value) -> BTreeSet<String> {
    let findings = review["findings"].as_array().into_iter().flatten();
    findings
        .filter(|one| one["new"] != false)
        .map(|one| format!("{} {}", word(&one["kind"]), word(&one["object"])))
        .collect()
}

pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What listens, as `protocol address:port process` with its verdict.
pub(super) fn listening(review: &Value) -> BTreeMap<String, String> {
    let listening = review["listening"].as_array().into_iter().flatten();
    let line = |one: &Value| {
        let (protocol, address) = (word(&one["protocol"]), word(&one["address"]));
        let process = one["process"].as_str().unwrap_or("-");
        format!("{protocol} {address} {} {process}", one["port"])
    };
    listening
        .map(|one| (line(one), word(&one["verdict"]).to_owned()))
        .collect()
}

pub(super) fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

/// Runs the remedy of a finding, as a shell does.
pub(super) fn obey(host: &Host, review: &Value, finding: &str) -> Result<()> {
    let findings = review["findings"].as_array().into_iter().flatten();
    let mut findings = findings
        .filter(|one| format!("{} {}", word(&one["kind"]), word(&one["object"])) == finding);
    let finding = findings.next().with_context(|| format!("no {finding}"))?;
    let remedy = finding["remedy"].as_str().context("no remedy")?;
    let script = format!("binary=$1; xdpfw() {{ \"$binary\" \"$@\"; }}\n{remedy}");
    let call = host.xdpfw(["review"]).under(["sh", "-c", &script, "sh"]);
    let output = call.output()?;
    // To save a review is to make one, which may find something.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 8)), "{remedy}: {output:?}");
    Ok(())
}
