//! Proves that what a service may not look at is not taken for nothing: sessions, namespaces,
//! filters.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{Gid, Uid, set_thread_res_gid, set_thread_res_uid};
use xdpfw_tests::{
    CAPABILITIES, Lab, PATIENCE, Process, assert_nothing_is_left, is_dropped, servers, text,
};

/// A user who is not root.
const NOBODY: u32 = 65_534;

/// A connection from the peer that a server of this user has accepted; the server's end last.
fn accepted(lab: &Lab, port: u16, user: u32) -> Result<(TcpListener, TcpStream, TcpStream)> {
    let server = lab.link().near().at(port);
    let listener = lab.host.enter(|| Ok(TcpListener::bind(server)?))?;
    let client = servers::connect(&lab.peer, 0, server, PATIENCE)?;
    let (accepted, _) = lab.host.enter(|| {
        // For this thread alone.
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(listener.accept()?)
    })?;
    Ok((listener, client, accepted))
}

/// A process of root's whose name is sshd's, which has a connection open.
fn sshd(lab: &Lab, connection: &TcpStream) -> Result<Process> {
    let program = lab.host.directory().join("sshd");
    fs::copy("/bin/sh", &program)?;
    let stdin = OwnedFd::from(connection.try_clone()?);
    lab.host.spawn_with(&program, ["-c", "read line"], stdin)
}

/// It takes CAP_SYS_PTRACE to see which connections are sshd's.
#[test]
fn no_session_is_cut_that_cannot_be_seen() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let (_listener, _client, session) = accepted(&lab, 22, 0)?;
    let sshd = sshd(&lab, &session)?;
    let up = || host.xdpfw(["up", "eth0"]).with_capabilities(&CAPABILITIES);
    let said = up().fails(6);
    let far = lab.link().far().address.to_string();
    for word in [&far, "tcp 22", "CAP_SYS_PTRACE", "--force"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    // Nor where sshd itself is out of sight (`ProtectProc=`).
    for hidden in ["ptraceable", "invisible", "noaccess"] {
        let script = format!("mount -t proc -o hidepid={hidden} proc /proc && exec \"$@\"");
        let output = up().in_private_mounts(&script).output()?;
        assert_eq!(output.status.code(), Some(6), "{hidden}: {output:?}");
        assert!(text(&output.stderr).contains(&far), "{hidden}: {output:?}");
    }
    assert_nothing_is_left(host, &["eth0"])?;
    host.xdpfw(["allow", "tcp", "22", "--from", &far]).ok();
    up().ok();
    assert!(is_dropped(&lab, 23)?);
    let delete = || {
        host.xdpfw(["delete", "r1"])
            .with_capabilities(&CAPABILITIES)
    };
    let said = delete().fails(6);
    assert!(said.contains(&far), "{said}");
    drop(sshd);
    lab.peer.xdpfw(["down"]).ok();
    Ok(())
}

/// Servers that run as somebody else serve no SSH.
#[test]
fn what_another_user_serves_is_no_session() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let (_listener, _client, web) = accepted(&lab, 8080, NOBODY)?;
    let _sshd = sshd(&lab, &web)?;
    host.xdpfw(["up", "eth0"])
        .with_capabilities(&CAPABILITIES)
        .ok();
    assert!(is_dropped(&lab, 8080)?);
    lab.peer.xdpfw(["down"]).ok();
    Ok(())
}

/// A process in a network namespace of its own, which has no name and ends with it.
struct Holder(Child);

impl Holder {
    /// Where the pins of its namespace would be, below those of all.
    fn pins(&self, all: &Path) -> Result<PathBuf> {
        let of = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|net| net.ino());
        let begin = Instant::now();
        loop {
            let inode = of(&self.0.id().to_string())?;
            if inode != of("self")? {
                return Ok(all.join(inode.to_string()));
            }
            ensure!(begin.elapsed() < PATIENCE, "no namespace of its own");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It takes CAP_SYS_PTRACE to see which namespaces have processes.
#[test]
fn no_namespace_is_taken_for_dead_that_cannot_be_seen() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let holder = Holder(
        Command::new("unshare")
            .args(["--net", "sleep", "600"])
            .spawn()?,
    );
    let directory = holder.pins(host.pins().parent().context("no parent")?)?;
    let make = || fs::DirBuilder::new().mode(0o700).create(&directory);
    make()?;
    for words in [&["up", "eth0"][..], &["allow", "tcp", "80"], &["down"]] {
        host.xdpfw(words).with_capabilities(&CAPABILITIES).ok();
        assert!(directory.exists(), "{words:?}");
        host.xdpfw(words).ok();
        assert!(directory.exists(), "{words:?}");
    }
    drop(holder);
    lab.peer.xdpfw(["down"]).ok();
    Ok(())
}

/// It takes CAP_SYS_PTRACE to see init's namespace by its number. That has the policy of the host,
/// whatever name somebody gave it.
#[test]
fn the_policy_of_the_host_is_that_of_inits_namespace() -> Result<()> {
    let lab = Lab::new()?;
    // The init of this system is in the namespace that has a name.
    let script = "mount -t tmpfs tmpfs /etc && mkdir /etc/xdpfw || exit 90
        echo 'no policy' > /etc/xdpfw/policy.toml
        \"$@\"; exit $?";
    let list = || lab.host.xdpfw(["list"]).without_env("XDPFW_POLICY");
    for call in [list(), list().with_capabilities(&CAPABILITIES)] {
        let output = call.in_private_system(script).output()?;
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(" /etc/xdpfw/policy.toml"), "{said}");
    }
    Ok(())
}
