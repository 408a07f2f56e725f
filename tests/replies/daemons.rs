//! Starts the daemons that are asked, or that ask on behalf of others. They end with their
//! host.

use std::{fs, net::IpAddr};

use anyhow::Result;
use xdpfw_tests::{Host, capture};

/// The name that our servers know.
pub(crate) const NAME: &str = "www.example.com";
/// What they say of it.
pub(crate) const ADDRESS: &str = "192.0.2.80";
/// The name of the host, as its SNMP agent says it.
pub(crate) const SYSTEM: &str = "the-peer";

/// Starts a name server at all addresses that knows one name.
pub(crate) fn dnsmasq(host: &Host) -> Result<()> {
    let answer = format!("--address=/{NAME}/{ADDRESS}");
    host.start_dnsmasq(&[&answer])
}

/// Starts a forwarder for this host, which asks another name server.
pub(crate) fn dnsmasq_forwarder(host: &Host, server: IpAddr) -> Result<()> {
    let server = format!("--server={server}");
    let only_here = ["--listen-address=127.0.0.1", "--bind-interfaces"];
    host.start_dnsmasq(&[&only_here[..], &["--cache-size=0", &server]].concat())
}

/// Starts a TFTP server that has one file. It answers from ports of its own choice, as TFTP
/// has it, or from the one that was asked.
pub(crate) fn tftp(host: &Host, file: &str, content: &str, port: TftpPort) -> Result<()> {
    let directory = host.directory();
    fs::write(directory.join(file), content)?;
    let root = format!("--tftp-root={}", directory.display());
    let mut options = vec!["--port=0", "--enable-tftp", &root];
    if port == TftpPort::Single {
        options.push("--tftp-single-port");
    }
    host.start_dnsmasq(&options)
}

/// The port that a TFTP server answers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TftpPort {
    /// The one that was asked.
    Single,
    /// Another one for each transfer (RFC 1350, section 4).
    New,
}

/// Starts a forwarder for this host, which asks another name server.
pub(crate) fn unbound_forwarder(host: &Host, server: IpAddr) -> Result<()> {
    let directory = host.directory();
    let file = directory.join("unbound.conf");
    fs::write(
        &file,
        format!(
            r#"
            server:
                interface: 127.0.0.1
                username: ""
                chroot: ""
                directory: "{directory}"
                pidfile: "{directory}/unbound.pid"
                logfile: "{directory}/unbound.log"
                use-syslog: no
                module-config: "iterator"
            remote-control:
                control-enable: no
            forward-zone:
                name: "."
                forward-addr: {server}
            "#,
            directory = directory.display()
        ),
    )?;
    host.start_daemon("unbound", ["-c".as_ref(), file.as_os_str()])
}

/// Starts a time server at all addresses.
///
/// No chronyd of ours may set the clock, which is the machine's: `-x`, and `-Q` for clients.
pub(crate) fn chronyd(host: &Host) -> Result<()> {
    host.start_daemon(
        "chronyd",
        [
            "-x",
            "-u",
            "root",
            "local stratum 1",
            "allow all",
            "cmdport 0",
            "bindcmdaddress /",
            &format!("pidfile {}", host.directory().join("chronyd.pid").display()),
        ],
    )
}

/// Starts an SNMP agent at all addresses.
pub(crate) fn snmpd(host: &Host) -> Result<()> {
    let directory = host.directory();
    let (file, log) = (directory.join("snmpd.conf"), directory.join("snmpd.log"));
    fs::write(
        &file,
        format!("rocommunity public\nrocommunity6 public\nsysName {SYSTEM}\n"),
    )?;
    let mut command = host.unpacked("snmpd")?;
    command
        .env("SNMP_PERSISTENT_DIR", &directory)
        .args(["-C".as_ref(), "-c".as_ref(), file.as_os_str()])
        .args(["-Lf".as_ref(), log.as_os_str()])
        .args(["udp:161", "udp6:161"]);
    capture(&mut command).map(drop)
}
