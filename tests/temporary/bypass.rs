//! Proves that everything passes for a while, counted, and that this ends by itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use xdpfw_tests::{Sender, assert_is_one_error, packets};

use super::{Ground, NEXT, OPEN};

#[test]
fn everything_passes_for_a_while_and_is_counted() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let before = ground.saved()?;
    host.xdpfw(["bypass", "--for", "3s"]).ok();
    let begin = Instant::now();
    assert_eq!(ground.open(), [OPEN, NEXT]);
    assert_eq!(ground.warning().as_deref(), Some("bypass"));
    // Flags that no stack sends, which no policy lets in.
    let passed = ground.packets("bypass")?;
    let mut sender = Sender::new(&ground.lab.peer, ground.lab.link().far())?;
    let far = ground.lab.link().far().at(40_000);
    sender.send(&packets::tcp(far, ground.at(NEXT), 0))?;
    sender.settle()?;
    assert_eq!(ground.packets("bypass")?, passed + 1);
    assert_eq!(ground.packets("bad-flags")?, 0);
    ground.wait_until_open(&[OPEN])?;
    assert!(begin.elapsed() > Duration::from_secs(2));
    assert_eq!(ground.warning(), None);
    assert_eq!(ground.saved()?, before);
    Ok(())
}

#[test]
fn it_can_be_ended_and_made_longer() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let said = host.xdpfw(["bypass", "--off"]).fails(1);
    assert_is_one_error(&said, "no bypass goes on");
    host.xdpfw(["bypass", "--for", "2s"]).ok();
    host.xdpfw(["bypass", "--for", "1m"]).ok();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ground.open(), [OPEN, NEXT]);
    let said = host.xdpfw(["allow", "tcp", "22"]).fails(1);
    assert_is_one_error(&said, "everything passes until ");
    assert_is_one_error(&host.xdpfw(["confirm"]).fails(1), "no change is pending");
    host.xdpfw(["bypass", "--off"]).ok();
    assert_eq!(ground.open(), [OPEN]);
    assert_eq!(ground.warning(), None);
    let said = host.xdpfw(["bypass"]).fails(2);
    assert_is_one_error(&said, "required arguments were not provided: --for <DUR>");
    host.xdpfw(["bypass", "--for", "0s"]).fails(2);
    host.xdpfw(["down"]).ok();
    assert_is_one_error(&host.xdpfw(["bypass", "--for", "1m"]).fails(1), "not up");
    Ok(())
}
