//! Which session is the operator's: the one that the environment names, if it is open; else
//! all that SSH servers have open. Where it cannot be told, the guard says so.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::Result;
use xdpfw_tests::{Lab, Process, assert_nothing_is_left, is_dropped, servers, state};

use super::SSH;

const PATIENCE: Duration = Duration::from_secs(5);

/// A connection from the peer to the filtered host; the server's end last.
fn connected(lab: &Lab, port: u16) -> Result<(TcpListener, TcpStream, TcpStream)> {
    let server = lab.link().near().at(port);
    let listener = lab.host.enter(|| Ok(TcpListener::bind(server)?))?;
    let client = servers::connect(&lab.peer, 0, server, PATIENCE)?;
    let (accepted, _) = listener.accept()?;
    Ok((listener, client, accepted))
}

/// A process whose name is sshd's, which has a connection open.
fn sshd(lab: &Lab, connection: TcpStream) -> Result<Process> {
    let program = lab.host.directory().join("sshd");
    fs::copy("/bin/sh", &program)?;
    let stdin = OwnedFd::from(connection);
    lab.host.spawn_with(&program, ["-c", "read line"], stdin)
}

/// What sshd would put into the environment.
fn variable(client: &TcpStream, server: SocketAddr) -> Result<String> {
    let peer = client.local_addr()?;
    Ok(format!(
        "{} {} {} {}",
        peer.ip(),
        peer.port(),
        server.ip(),
        server.port()
    ))
}

#[test]
fn a_redirected_port_is_the_one_that_the_peer_asks() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let near = lab.link().near();
    let rules = "table ip nat { chain in { type nat hook prerouting priority -100; \
                 tcp dport 2222 redirect to :22; }; }";
    host.run("nft", [rules])?;
    let listener = host.enter(|| Ok(TcpListener::bind(near.at(22))?))?;
    let client = servers::connect(&lab.peer, 0, near.at(2222), PATIENCE)?;
    let _accepted = listener.accept()?;
    let session = variable(&client, near.at(22).into())?;
    let say = |arguments: &[&str]| host.xdpfw(arguments).env("SSH_CONNECTION", &session);
    // On the wire, nothing goes to port 22.
    say(&["allow", "ssh"]).ok();
    let said = say(&["up", "eth0"]).fails(6);
    assert!(said.contains("`xdpfw allow tcp 2222`"), "{said}");
    assert_nothing_is_left(host, &["eth0"])?;
    say(&["allow", "tcp", "2222"]).ok();
    say(&["up", "eth0"]).ok();
    say(&["delete", "allow", "ssh"]).ok();
    let said = say(&["delete", "allow", "tcp", "2222"]).fails(6);
    assert!(said.contains("tcp 2222"), "{said}");
    Ok(())
}

#[test]
fn a_rule_for_the_port_of_this_session_lets_no_other_in() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let say = |arguments: &[&str]| host.xdpfw(arguments).env("SSH_CONNECTION", SSH);
    say(&["allow", "ssh", "--remote-port", "51000"]).ok();
    let said = say(&["up", "eth0"]).fails(6);
    assert!(said.contains("tcp 22"), "{said}");
    assert_nothing_is_left(host, &["eth0"])?;
    say(&["allow", "ssh", "--remote-port", "1024-65535"]).ok();
    say(&["up", "eth0"]).ok();
    Ok(())
}

#[test]
fn who_comes_through_a_local_proxy_is_not_known() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let say = |arguments: &[&str]| {
        host.xdpfw(arguments)
            .env("SSH_CONNECTION", "127.0.0.1 51000 127.0.0.1 22")
    };
    say(&["allow", "ssh"]).ok();
    let said = say(&["up", "eth0"]).fails(6);
    for word in ["cannot be told", "127.0.0.1", "--force"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    assert_nothing_is_left(host, &["eth0"])?;
    say(&["up", "eth0", "--force"]).ok();
    // What takes nothing away needs no word.
    say(&["allow", "tcp", "443"]).ok();
    let before = state(host, &["eth0"])?;
    for cuts in [
        &["delete", "r2"][..],
        &["deny", "tcp", "443", "--before", "r1"],
    ] {
        let said = say(cuts).fails(6);
        assert!(said.contains("cannot be told"), "{cuts:?}: {said}");
        assert_eq!(state(host, &["eth0"])?, before, "{cuts:?}");
    }
    say(&["delete", "r2", "--force"]).ok();
    Ok(())
}

#[test]
fn a_session_that_names_nothing_is_not_known() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let up = || {
        host.xdpfw(["up", "eth0"])
            .env("SSH_CONNECTION", "UNKNOWN 65535 UNKNOWN 65535")
    };
    let said = up().fails(6);
    for word in ["cannot be told", "UNKNOWN", "--force"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    assert_nothing_is_left(host, &["eth0"])?;
    // A server that has one session open has that one.
    let (_listener, _client, accepted) = connected(&lab, 22)?;
    let _sshd = sshd(&lab, accepted)?;
    let said = up().fails(6);
    let far = lab.link().far().address.to_string();
    assert!(said.contains(&far), "{said}");
    host.xdpfw(["allow", "ssh"]).ok();
    up().ok();
    Ok(())
}

#[test]
fn a_job_without_a_session_cuts_none() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (_listener, _client, accepted) = connected(&lab, 2222)?;
    let sshd = sshd(&lab, accepted)?;
    let said = host.xdpfw(["up", "eth0"]).fails(6);
    let far = lab.link().far().address.to_string();
    for word in [&far, "`xdpfw allow tcp 2222`"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    assert_nothing_is_left(host, &["eth0"])?;
    // Another server's connection is nobody's way in.
    drop(sshd);
    host.xdpfw(["up", "eth0"]).ok();
    assert!(is_dropped(&lab, 2222)?);
    Ok(())
}

#[test]
fn a_session_that_is_over_is_not_the_only_one() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (_listener, _client, accepted) = connected(&lab, 22)?;
    let _sshd = sshd(&lab, accepted)?;
    let far = lab.link().far().address.to_string();
    // As in tmux: whoever started it came from elsewhere, and is gone.
    let up = || host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", SSH);
    host.xdpfw(["allow", "ssh", "--from", "192.0.2.0/24"]).ok();
    let said = up().fails(6);
    assert!(said.contains(&far), "{said}");
    assert_nothing_is_left(host, &["eth0"])?;
    host.xdpfw(["allow", "ssh", "--from", &far]).ok();
    up().ok();
    Ok(())
}
