//! Tests of replies, with the programs that ask for them: under default drop this host, its
//! containers and those for which it forwards get the answers to what they asked, and nobody
//! else gets in.
//!
//! Each set-up is tried without a filter first: what does not work there, no filter broke.

mod clients;
mod containers;
mod daemons;
mod devices;
mod discovery;
mod fragments;
mod nat;
mod older;
mod path_mtu;
mod paths;
mod probes;
mod protocols;
mod resolvers;
mod router;
mod strangers;
mod tables;
mod topology;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{Host, Tally, capture};

/// Nobody gets in but administrators.
const POLICY: &str = "rule = [{ allow = 'ssh' }]";
/// Any address of both families.
const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Claims that what is asked gets its answer: without a filter, and with one on these
/// interfaces that lets in nothing but SSH. Nothing is dropped then.
fn assert_answered(host: &Host, interfaces: &[&str], ask: impl Fn() -> Result<()>) -> Result<()> {
    ask().context("without a filter")?;
    filter(host, interfaces, POLICY);
    ask().with_context(|| match Tally::of(host) {
        Ok(counted) => format!("under default drop: {:?}", counted.since(&Tally::default())),
        Err(error) => format!("under default drop, and {error:#}"),
    })?;
    let status = host.status();
    assert_eq!(status["totals"]["dropped"]["packets"], 0, "{status}");
    Ok(())
}

/// Brings the filter up on these interfaces, under this policy: TOML without `version` and
/// `interfaces`.
#[track_caller]
fn filter(host: &Host, interfaces: &[&str], policy: &str) {
    host.xdpfw(["up"].iter().chain(interfaces)).ok();
    host.xdpfw(["apply", "-"])
        .stdin(format!(
            "version = 1\ninterfaces = {interfaces:?}\n{policy}"
        ))
        .ok();
}

/// Runs a command line on a host, in the host's directory; what it writes to stdout. No word
/// has a blank in it.
fn run(host: &Host, line: &str) -> Result<String> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let mut command = host.command(program);
    capture(command.args(words).current_dir(host.directory()))
}

/// Runs a command line, which must write this.
fn assert_says(host: &Host, line: &str, expected: &str) -> Result<()> {
    let said = run(host, line)?;
    ensure!(said.contains(expected), "`{line}` says {said:?}");
    Ok(())
}

/// The address of a document on a web server.
fn url(address: IpAddr, port: u16) -> String {
    format!("http://{}/", SocketAddr::new(address, port))
}

/// The command line that fetches a document, within some seconds.
fn curl(address: IpAddr, port: u16) -> String {
    let url = url(address, port);
    format!("curl -sS --noproxy * --max-time 5 {url}")
}
