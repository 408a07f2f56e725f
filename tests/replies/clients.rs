//! Proves that the host's own clients get their answers: of the web, time, files, SNMP.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{
    Family, Lab, PATIENCE, Tally,
    servers::{self, TcpServer},
    text,
};

use crate::{
    ANY, POLICY, assert_answered, assert_says, curl,
    daemons::{self, SYSTEM, TftpPort},
    filter, run, url,
};

/// What TFTP servers have.
const FILE: &str = "kernel";
const CONTENT: &str = "an image";

#[test]
fn curl_fetches_from_any_local_port() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let document = "a document\n".repeat(10_000);
    let _server = TcpServer::http(&lab.peer, SocketAddr::new(ANY, 80), &document)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let line = curl(family.address(lab.link().far()), 80);
            for options in ["", " --local-port 1000-1100", " --local-port 50000-50100"] {
                assert_says(&lab.host, &format!("{line}{options}"), &document)?;
            }
        }
        Ok(())
    })
}

#[test]
fn curl_is_refused_and_answered_an_error_at_once() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let url = url(family.address(lab.link().far()), 81);
            let output = lab
                .host
                .command("curl")
                .args(["-sS", "--noproxy", "*", "--max-time", "5", &url])
                .output()?;
            // CURLE_COULDNT_CONNECT, and not CURLE_OPERATION_TIMEDOUT.
            ensure!(output.status.code() == Some(7), "{}", text(&output.stderr));
        }
        Ok(())
    })
}

#[test]
fn chronyd_gets_the_time() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    daemons::chronyd(&lab.peer)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let server = family.address(lab.link().far());
            // By a socket that is connected, and by one that is bound to NTP's own port and
            // asks whomever it likes.
            for port in ["acquisitionport 0", "acquisitionport 123"] {
                let pid_file = lab.host.directory().join("chronyd.pid");
                let output = lab
                    .host
                    .unpacked("chronyd")?
                    // Tells how wrong the clock is, and leaves it so.
                    .args(["-Q", "-u", "root", "-t", "5", port])
                    .arg(format!("pidfile {}", pid_file.display()))
                    .arg(format!("server {server} iburst maxsamples 1"))
                    .output()
                    .context("cannot start chronyd")?;
                let said = text(&output.stdout) + &text(&output.stderr);
                ensure!(said.contains("System clock wrong by"), "{port}: {said}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_unconnected_socket_gets_the_time_as_that_of_systemd_timesyncd_does() -> Result<()> {
    // Version 4, mode 3: a client that knows nothing (RFC 4330, section 5).
    const REQUEST: [u8; 48] = {
        let mut request = [0; 48];
        request[0] = (4 << 3) | 3;
        request
    };
    let lab = Lab::with_ipv6(1)?;
    daemons::chronyd(&lab.peer)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let server = SocketAddr::new(family.address(lab.link().far()), 123);
            let socket = servers::bind(&lab.host, SocketAddr::new(ANY, 0))?;
            // An IPv6 socket names its IPv4 peers so.
            let name = match server {
                SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), 123),
                SocketAddr::V6(_) => server,
            };
            socket.send_to(&REQUEST, name)?;
            let mut answer = [0; 48];
            let (len, from) = socket.recv_from(&mut answer)?;
            ensure!((len, from) == (48, name), "{len} bytes from {from}");
            // Mode 4: a server.
            ensure!(answer[0] & 7 == 4, "{answer:?}");
        }
        Ok(())
    })
}

#[test]
fn snmpget_gets_its_answer() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    daemons::snmpd(&lab.peer)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let agent = match SocketAddr::new(family.address(lab.link().far()), 161) {
                SocketAddr::V4(v4) => v4.to_string(),
                SocketAddr::V6(v6) => format!("udp6:{v6}"),
            };
            // What it reads and writes is in the host's directory.
            let own = "env SNMP_PERSISTENT_DIR=. SNMPCONFPATH=.";
            // `sysName` of RFC 3418.
            let line = format!("{own} snmpget -v2c -c public -t 5 -r 0 {agent} .1.3.6.1.2.1.1.5.0");
            assert_says(&lab.host, &line, SYSTEM)?;
        }
        Ok(())
    })
}

#[test]
fn tftp_gets_a_file_from_a_server_that_answers_from_its_port() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    daemons::tftp(&lab.peer, FILE, CONTENT, TftpPort::Single)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let server = family.address(lab.link().far());
            assert_tftp(&lab, server)?;
        }
        Ok(())
    })
}

/// A server of this kind answers from a port that nobody asked. Where connection tracking
/// decides, as with ufw and firewalld, that takes a helper (`nf_conntrack_tftp`), which no
/// kernel since 4.7 assigns unasked. Here it takes a rule.
#[test]
fn tftp_from_a_new_port_needs_a_rule() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    daemons::tftp(&lab.peer, FILE, CONTENT, TftpPort::New)?;
    for family in Family::ALL {
        let server = family.address(lab.link().far());
        assert_tftp(&lab, server).context("without a filter")?;

        filter(&lab.host, &["eth0"], POLICY);
        let before = Tally::of(&lab.host)?;
        let address = server.to_string();
        let arguments = [&address, "-m", "binary", "-c", "get", FILE];
        let client = lab.host.spawn("tftp", arguments)?;
        wait_for_drop(&lab, &before)?;
        drop(client);

        let rule = format!("rule = [{{ allow = 'udp ephemeral', from = ['{server}'] }}]");
        filter(&lab.host, &["eth0"], &rule);
        assert_tftp(&lab, server).context("with a rule")?;
        lab.host.xdpfw(["down"]).ok();
    }
    Ok(())
}

/// Claims that the file comes from a TFTP server.
fn assert_tftp(lab: &Lab, server: IpAddr) -> Result<()> {
    let file = lab.host.directory().join(FILE);
    let _ = fs::remove_file(&file);
    run(
        &lab.host,
        &format!("timeout 5 tftp {server} -m binary -c get {FILE}"),
    )?;
    assert_eq!(fs::read_to_string(file)?, CONTENT);
    Ok(())
}

/// Waits until a packet has been dropped by default.
fn wait_for_drop(lab: &Lab, before: &Tally) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Tally::of(&lab.host)?.since(before).packets("drop default") == 0 {
        ensure!(Instant::now() < deadline, "nothing is dropped");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
