//! Proves that TCP learns how narrow its path is: the errors that tell get through, to a
//! client, to a server and to a container behind the filtered host.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{Family, Host, PATIENCE, Tally, servers};

use crate::{
    ANY, filter, run,
    topology::{Row, add_bridge, masquerade},
};

/// How much goes over the narrow path, in bytes: some packets.
const LEN: usize = 12_000;
/// The path's MTU, in bytes.
const NARROW: u32 = 1300;
/// The port that is asked.
const PORT: u16 = 8080;

#[test]
fn a_client_learns_it() -> Result<()> {
    let row = narrow::<3>()?;
    let [host, _, far] = &row.hosts;
    for family in Family::ALL {
        let address = row.last(family)?;
        learns([host, host], "eth0", || upload(host, far, address))?;
    }
    Ok(())
}

#[test]
fn a_server_learns_it() -> Result<()> {
    let row = narrow::<3>()?;
    let [host, _, far] = &row.hosts;
    for family in Family::ALL {
        let address = family.address(row.links[0].near());
        learns([host, host], "eth0", || {
            let listener = listen(host)?;
            let client = servers::connect(far, 0, SocketAddr::new(address, PORT), PATIENCE)?;
            send(&listener.accept()?.0, &client)
        })?;
    }
    Ok(())
}

#[test]
fn a_container_learns_it() -> Result<()> {
    let row = narrow::<4>()?;
    let [container, host, _, far] = &row.hosts;
    add_bridge(host, row.links[0].far())?;
    masquerade(host, "eth1")?;
    for family in Family::ALL {
        let address = row.last(family)?;
        learns([container, host], "eth1", || {
            upload(container, far, address)
        })?;
    }
    Ok(())
}

/// By errors that quote an echo request, or a fragment of one.
#[test]
fn a_ping_learns_it() -> Result<()> {
    let row = narrow::<3>()?;
    let host = &row.hosts[0];
    // The router breaks IPv4's fragments up again, and sends no error.
    for (family, size) in [
        (Family::Ipv4, 1400),
        (Family::Ipv6, 1400),
        (Family::Ipv6, 2000),
    ] {
        let address = row.last(family)?;
        // The first is lost.
        let line = format!("ping -c 5 -i 0.1 -W 1 -s {size} {address}");
        learns([host, host], "eth0", || run(host, &line).map(drop))
            .with_context(|| format!("{size} bytes to {address}"))?;
    }
    Ok(())
}

/// Hosts in a row. The way to the last of them is narrow, as only the one before it knows.
fn narrow<const N: usize>() -> Result<Row<N>> {
    let row = Row::new()?;
    let router = &row.hosts[N - 2];
    for family in Family::ALL {
        let target = row.last(family)?;
        let line = format!("ip route add {target} dev eth1 mtu lock {NARROW}");
        run(router, &line)?;
    }
    Ok(row)
}

/// Claims that what a sender sends arrives, without a filter on the host and with one, and
/// that the errors which made it so got through.
fn learns(
    [sender, host]: [&Host; 2],
    interface: &str,
    transfer: impl Fn() -> Result<()>,
) -> Result<()> {
    let forget = || -> Result<()> {
        for host in [host, sender] {
            for family in ["-4", "-6"] {
                run(host, &format!("ip {family} route flush cache"))?;
            }
        }
        Ok(())
    };
    forget()?;
    transfer().context("without a filter")?;
    filter(
        host,
        &[interface],
        &format!("rule = [{{ allow = 'ssh' }}, {{ allow = 'tcp {PORT}' }}]"),
    );
    forget()?;
    let before = Tally::of(host)?;
    let outcome = transfer();
    let moved = Tally::of(host)?.since(&before);
    outcome.with_context(|| format!("under default drop: {moved:?}"))?;
    ensure!(moved.packets("pass icmp-error") > 0, "{moved:?}");
    ensure!(moved.packets("drop default") == 0, "{moved:?}");
    host.xdpfw(["down"]).ok();
    Ok(())
}

/// Sends from one host to another one.
fn upload(from: &Host, to: &Host, address: IpAddr) -> Result<()> {
    let listener = listen(to)?;
    let client = servers::connect(from, 0, SocketAddr::new(address, PORT), PATIENCE)?;
    send(&client, &listener.accept()?.0)
}

fn listen(host: &Host) -> Result<TcpListener> {
    host.enter(|| Ok(TcpListener::bind((ANY, PORT))?))
}

/// Sends over a connection; all of it must arrive.
fn send(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    from.write_all(&[b'x'; LEN])?;
    from.shutdown(Shutdown::Write)?;
    let mut arrived = Vec::new();
    to.set_read_timeout(Some(PATIENCE))?;
    to.read_to_end(&mut arrived)
        .context("not all has arrived")?;
    ensure!(arrived.len() == LEN, "{} bytes", arrived.len());
    Ok(())
}
