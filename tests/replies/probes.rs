//! Proves that what operators probe others with sees them from a filtered host: ping, mtr,
//! traceroute, nmap. Routers on the way answer with ICMP errors.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{Family, Host, servers::UdpEcho};

use crate::{ANY, assert_answered, assert_says, run, topology::Row};

#[test]
fn ping_is_answered() -> Result<()> {
    let row = Row::<3>::new()?;
    assert_answered(&row.hosts[0], &["eth0"], || {
        for family in Family::ALL {
            ping(&row.hosts[0], row.last(family)?)?;
        }
        Ok(())
    })
}

#[test]
fn mtr_sees_every_hop() -> Result<()> {
    let report = "mtr --report --no-dns --report-cycles 2 --interval 0.2 --gracetime 1";
    probe_hops(&["", " --udp", " --tcp --port 80"].map(|options| format!("{report}{options}")))
}

#[test]
fn traceroute_sees_every_hop() -> Result<()> {
    let options = ["", " -I", " -T -p 80", " -T -p 81", " -U"];
    probe_hops(&options.map(|options| format!("traceroute -n -q 1 -w 2{options}")))
}

#[test]
fn nmap_sees_open_and_closed_ports() -> Result<()> {
    let row = Row::<2>::new()?;
    let [host, peer] = &row.hosts;
    let _servers = (
        listen(peer, 80)?,
        UdpEcho::start_at(peer, SocketAddr::new(ANY, 80))?,
    );
    assert_answered(host, &["eth0"], || {
        for family in Family::ALL {
            let target = row.last(family)?;
            let option = match family {
                Family::Ipv4 => "",
                Family::Ipv6 => " -6",
            };
            for scan in ["-sS", "-sT", "-sU"] {
                // Each probe once, with time enough for the answer.
                let line = format!(
                    "nmap {scan}{option} -n -Pn -p 80,81 -oG - --max-retries 0 \
                     --min-rtt-timeout 1s --initial-rtt-timeout 1s {target}"
                );
                let report = run(host, &line)?;
                let states = ["80/open/", "81/closed/"];
                ensure!(
                    states.iter().all(|state| report.contains(state)),
                    "{line}: {report}"
                );
            }
        }
        Ok(())
    })
}

/// Claims that each command line names the router and the target, in this order. They run side
/// by side, since they wait most of the time.
fn probe_hops(lines: &[String]) -> Result<()> {
    let row = Row::<3>::new()?;
    let [host, _, target] = &row.hosts;
    let _listener = listen(target, 80)?;
    assert_answered(host, &["eth0"], || {
        thread::scope(|scope| {
            let mut probes = Vec::new();
            for family in Family::ALL {
                let expected = [family.address(row.links[0].far()), row.last(family)?];
                probes.extend(lines.iter().map(|line| {
                    scope.spawn(move || {
                        let said = run(host, &format!("{line} {}", expected[1]))?;
                        ensure!(hops(&said) == expected, "{line}: {said}");
                        Ok(())
                    })
                }));
            }
            probes.into_iter().try_for_each(|probe| {
                probe
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    })
}

/// Listens on a port. Nobody accepts: what the kernel answers by itself is always the same.
fn listen(host: &Host, port: u16) -> Result<TcpListener> {
    host.enter(|| Ok(TcpListener::bind((ANY, port))?))
}

/// The hops that mtr or traceroute lists: `1.|-- 10.0.0.2 0.0% …` or `1  10.0.0.2  0.1 ms`.
fn hops(said: &str) -> Vec<IpAddr> {
    said.lines()
        .filter(|line| !line.contains("100.0%"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .collect()
}

/// Claims that an address answers three echo requests.
pub(crate) fn ping(host: &Host, address: impl ToString) -> Result<()> {
    let address = address.to_string();
    let line = format!("ping -c 3 -i 0.1 -W 5 {address}");
    assert_says(host, &line, " 3 received,").with_context(|| address)
}
