//! Proves that a change goes back in the kernel, with every process of ours dead.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::Signal;
use xdpfw_tests::{Lab, PATIENCE};

use super::{Ground, NEXT, NONE, OPEN, text};

#[test]
fn what_nobody_confirms_goes_back_though_every_process_is_dead() -> Result<()> {
    goes_back(&Ground::new()?)
}

#[test]
fn the_same_for_packets_in_several_buffers() -> Result<()> {
    let lab = Lab::new()?;
    for (host, end) in [
        (&lab.host, lab.link().near()),
        (&lab.peer, lab.link().far()),
    ] {
        host.run("ip", ["link", "set", &end.interface, "mtu", "9000"])?;
    }
    goes_back(&Ground::over(lab)?)
}

fn goes_back(ground: &Ground) -> Result<()> {
    let host = &ground.lab.host;
    let before = ground.saved()?;
    assert_eq!(ground.open(), [OPEN]);
    // It drops everything.
    let policy = tempfile::NamedTempFile::new()?;
    fs::write(policy.path(), text(""))?;
    let path = policy.path().to_string_lossy().into_owned();
    let mut waits = host
        .xdpfw(["apply", &path, "--confirm", "2s", "--wait"])
        .spawn()?;
    let patience = Instant::now() + PATIENCE;
    while ground.open() != NONE {
        assert!(Instant::now() < patience, "nothing is closed");
    }
    waits.signal(Signal::KILL)?;
    assert!(waits.wait(PATIENCE)?.is_some());

    // No process of ours is left. The file was never another one.
    assert_eq!(ground.saved()?, before);
    ground.wait_until_open(&[OPEN])?;
    assert_eq!(ground.saved()?, before);

    // The next command tells it, and tidies up; the counters went on.
    let output = host.xdpfw(["list"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("went back: `apply ") && said.contains("` was not confirmed by "),
        "{said}"
    );
    let hits = host.xdpfw(["list"]).json()["rules"][0]["packets"].as_u64();
    assert!(hits >= Some(2), "{hits:?}");
    assert!(ground.packets("default")? > 0);
    assert_eq!(ground.warning(), None);
    assert_eq!(ground.status()["generation"], 2);
    assert_eq!(ground.open(), [OPEN]);
    Ok(())
}

#[test]
fn the_operator_has_as_long_as_was_said() -> Result<()> {
    let ground = Ground::new()?;
    let begin = Instant::now();
    ground.apply("3s");
    assert_eq!(ground.open(), [NEXT]);
    ground.wait_until_open(&[OPEN])?;
    // Not before: what comes later may be this machine's fault.
    assert!(
        begin.elapsed() >= Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}
