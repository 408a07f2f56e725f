//! Proves that in a panic nothing gets in but the operator and what is under way.

use std::time::Duration;

use anyhow::Result;
use xdpfw_tests::{Lab, assert_is_one_error, servers};

use super::{Ground, NEXT, NONE, OPEN, SOON};

/// Where the operator's SSH server is.
const SSH: u16 = 22;

fn inserted(ground: &Ground) -> Option<u64> {
    let flows = ground.lab.host.xdpfw(["flows"]).json();
    Some(flows["tcp"]["inserted"].as_u64()? + flows["other"]["inserted"].as_u64()?)
}

#[test]
fn only_the_operator_and_what_is_under_way_get_in() -> Result<()> {
    let ground = Ground::over(Lab::with_links(2)?)?;
    let Lab { host, peer, links } = &ground.lab;
    let _ssh = servers::UdpEcho::start(host, SSH)?;
    // This host asked before, over both protocols.
    let (near, far) = (links[1].near(), links[1].far());
    let echo = servers::UdpEcho::start(peer, 53)?;
    let asked = servers::bind(host, near.at(40_000))?;
    asked.send_to(b"before", far.at(53))?;
    assert_eq!(servers::received(&asked)?, "before");

    // The operator sits behind the first link, with all his ports.
    let session = format!(
        "{} 51000 {} 22",
        links[0].far().address,
        links[0].near().address
    );
    let said = host
        .xdpfw(["panic", "--for", "1m"])
        .env("SSH_CONNECTION", &session)
        .ok();
    let who = format!("and {} may come in until ", links[0].far().address);
    assert!(said.contains(&who), "{said}");
    assert_eq!(ground.warning().as_deref(), Some("panic"));
    let served = |link: usize, port: u16| {
        let near = links[link].near().at(port);
        servers::exchange(peer, 0, near, "x", SOON).is_ok()
    };
    assert!(served(0, SSH) && served(0, OPEN));
    assert!(!served(1, SSH) && !served(1, OPEN));
    asked.send_to(b"still", far.at(53))?;
    assert_eq!(servers::received(&asked)?, "still");

    // What this host begins now is not answered, and leaves nothing behind.
    let before = inserted(&ground);
    let late = servers::bind(host, near.at(40_001))?;
    late.send_to(b"late", far.at(53))?;
    assert!(servers::is_silent(&late, SOON)?);
    assert_eq!(inserted(&ground), before);
    let server = servers::TcpServer::start(peer, 80, "hello")?;
    assert!(servers::fetch(host, far.at(80), SOON).is_err());
    assert_eq!(inserted(&ground), before);

    host.xdpfw(["panic", "--off"]).ok();
    assert_eq!(ground.warning(), None);
    assert!(served(1, OPEN) && !served(1, SSH));
    assert_eq!(servers::fetch(host, far.at(80), SOON)?, "hello");
    drop((echo, server));
    Ok(())
}

#[test]
fn it_comes_over_a_pending_change_which_goes_on_behind_it() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    for confirms in [true, false] {
        ground.apply("1m");
        host.xdpfw(["panic"]).ok();
        assert_eq!(ground.open(), NONE);
        let said = host.xdpfw(["allow", "tcp", "22"]).fails(1);
        assert_is_one_error(&said, "the panic goes on until ");
        let (word, open) = match confirms {
            true => ("confirm", NEXT),
            false => ("rollback", OPEN),
        };
        host.xdpfw([word]).ok();
        assert_eq!(ground.open(), NONE);
        host.xdpfw(["panic", "--off"]).ok();
        assert_eq!(ground.open(), [open], "{word}");
        assert_eq!(ground.warning(), None, "{word}");
        assert_eq!(ground.saved()?.contains(&NEXT.to_string()), confirms);
        if confirms {
            host.xdpfw(["delete", "r1"]).ok();
            host.xdpfw(["allow", "udp", &OPEN.to_string()]).ok();
        }
    }
    Ok(())
}

#[test]
fn both_end_by_themselves_one_after_the_other() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    ground.apply("4s");
    host.xdpfw(["panic", "--for", "1s"]).ok();
    ground.wait_until_open(&[NEXT])?;
    ground.wait_until_open(&[OPEN])?;
    assert_eq!(ground.warning(), None);
    // A panic that lasts longer than the change under it.
    ground.apply("1s");
    host.xdpfw(["panic", "--for", "3s"]).ok();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(ground.open(), NONE);
    ground.wait_until_open(&[OPEN])?;
    assert_eq!(ground.warning(), None);
    // And over a bypass.
    host.xdpfw(["bypass", "--for", "1m"]).ok();
    host.xdpfw(["panic", "--for", "1m"]).ok();
    assert_eq!(ground.open(), NONE);
    host.xdpfw(["panic", "--off"]).ok();
    assert_eq!(ground.open(), [OPEN, NEXT]);
    host.xdpfw(["down"]).ok();
    assert!(!host.pins().exists());
    Ok(())
}
