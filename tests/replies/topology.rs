//! Makes what stands around the filtered host: routers, containers, bridges, NAT.

use std::{io::Write as _, net::IpAddr, process::Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use xdpfw_tests::{End, Family, Host, Lab, Link, add_ipv6, link, text};

use crate::run;

/// Hosts in a row, each joined to the next one, with routes between all of them. Every ICMP
/// error that is due is sent.
pub(crate) struct Row<const N: usize> {
    /// From one end to the other.
    pub(crate) hosts: [Host; N],
    /// Those between a host and the next one: the host's end is the near one.
    pub(crate) links: Vec<Link>,
}

impl<const N: usize> Row<N> {
    /// So many hosts.
    pub(crate) fn new() -> Result<Self> {
        let hosts: Vec<Host> = (0..N).map(|_| Host::new()).collect::<Result<_>>()?;
        let Ok(hosts) = <[Host; N]>::try_from(hosts) else {
            bail!("another number of hosts");
        };
        let mut links = Vec::new();
        for pair in hosts.windows(2) {
            let joined = link(&pair[0], &pair[1])?;
            add_ipv6(&joined, &pair[0], &pair[1])?;
            links.push(joined);
        }
        for host in &hosts {
            forward(host)?;
            send_all_errors(host)?;
        }
        let row = Self { hosts, links };
        row.add_routes()?;
        Ok(row)
    }

    /// The address of the last host, as the first one knows it.
    pub(crate) fn last(&self, family: Family) -> Result<IpAddr> {
        let link = self.links.last().context("a host alone")?;
        Ok(family.address(link.far()))
    }

    /// Tells each host the ways to links that are not its own.
    fn add_routes(&self) -> Result<()> {
        for (index, host) in self.hosts.iter().enumerate() {
            for (other, target) in self.links.iter().enumerate() {
                let via = if other > index {
                    self.links[index].far()
                } else if other + 1 < index {
                    self.links[index - 1].near()
                } else {
                    continue;
                };
                add_route(host, target, via)?;
            }
        }
        Ok(())
    }
}

/// Tells a host that both ends of a link are behind a neighbour.
fn add_route(host: &Host, target: &Link, via: &End) -> Result<()> {
    for family in Family::ALL {
        let via = family.address(via);
        for end in [target.near(), target.far()] {
            let target = family.address(end);
            run(host, &format!("ip route add {target} via {via}"))?;
        }
    }
    Ok(())
}

/// Lets a host forward, over both families.
pub(crate) fn forward(host: &Host) -> Result<()> {
    host.sysctl("net/ipv4/ip_forward", "1")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")
}

/// Has a host send each ICMP error that is due.
pub(crate) fn send_all_errors(host: &Host) -> Result<()> {
    host.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    host.sysctl("net/ipv6/icmp/ratelimit", "0")
}

/// A host whose `eth0` is the port of a bridge, `br0`, and its peer. The bridge has the
/// interface's addresses.
pub(crate) fn bridged() -> Result<Lab> {
    let lab = Lab::with_ipv6(1)?;
    add_bridge(&lab.host, lab.link().near())?;
    Ok(lab)
}

/// Puts an interface into a new bridge, `br0`, which gets its addresses.
pub(crate) fn add_bridge(host: &Host, port: &End) -> Result<()> {
    let End { interface, .. } = port;
    let mac = port.mac_text();
    run(host, &format!("ip link add br0 address {mac} type bridge"))?;
    run(host, &format!("ip address flush dev {interface}"))?;
    run(host, &format!("ip link set {interface} master br0"))?;
    add_addresses(host, "br0", port)
}

/// Brings an interface up, with an end's addresses.
pub(crate) fn add_addresses(host: &Host, interface: &str, end: &End) -> Result<()> {
    for (knob, value) in [
        ("addr_gen_mode", "1"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        ("disable_ipv6", "0"),
    ] {
        host.sysctl(&format!("net/ipv6/conf/{interface}/{knob}"), value)?;
    }
    run(host, &format!("ip link set {interface} up"))?;
    for address in [
        format!("{}/24", end.address),
        format!("{}/64 nodad", end.address6),
        format!("{}/64 nodad", end.link_local),
    ] {
        let words = format!("ip address add {address} dev {interface}");
        run(host, &words)?;
    }
    Ok(())
}

/// Gives a host this rule set of nftables.
pub(crate) fn nft(host: &Host, rules: &str) -> Result<()> {
    let mut nft = host
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start nft")?;
    let mut stdin = nft.stdin.take().context("no stdin")?;
    stdin.write_all(rules.as_bytes())?;
    drop(stdin);
    let output = nft.wait_with_output()?;
    ensure!(
        output.status.success(),
        "nft refuses {rules}: {}",
        text(&output.stderr)
    );
    Ok(())
}

/// Gives what leaves by an interface its address, whoever sent it.
pub(crate) fn masquerade(host: &Host, interface: &str) -> Result<()> {
    nft(
        host,
        &format!(
            "table inet nat {{
                chain postrouting {{
                    type nat hook postrouting priority 100
                    oifname {interface} masquerade
                }}
            }}"
        ),
    )
}
