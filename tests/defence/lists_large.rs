//! Large lists: tables grow to hold them, and nobody is misjudged meanwhile.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use xdpfw_tests::{Lab, is_dropped};

use crate::lists::{banning, file, list};

/// More than a table has room for by default.
const MANY: u32 = 100_000;

/// So many addresses, from one on, as a list.
fn lines(first: u32, count: u32) -> String {
    let mut text = String::new();
    for number in first..first + count {
        // Scattered over what nobody here has.
        let address = Ipv4Addr::from_bits(0x0b00_0000 + number.wrapping_mul(977) % 0x3000_0000);
        let _ = writeln!(text, "{address}");
    }
    text
}

#[test]
fn a_table_grows_with_its_lists_and_keeps_what_it_has() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address.to_string();
    fs::write(file(&lab.host), "192.0.2.1\n")?;
    let policy = banning(&lab.host, "");
    let lab = lab.filtered(&policy);
    let host = &lab.host;
    host.xdpfw(["ban", &source]).ok();
    assert!(is_dropped(&lab, 80)?);
    fs::write(file(host), lines(0, MANY))?;
    host.xdpfw(["lists", "refresh"]).ok();
    let known = list(host, "drop")?;
    assert!(
        known["entries4"].as_u64() > Some(u64::from(MANY) * 9 / 10),
        "{known}"
    );
    assert!(is_dropped(&lab, 80)?);
    let bans = host.xdpfw(["bans"]).json();
    assert_eq!(bans["bans"][0]["packets"], 2, "what was counted goes on");
    host.xdpfw(["unban", &source]).ok();
    assert!(!is_dropped(&lab, 80)?);
    // And at once, when the filter comes up.
    fs::write(file(host), format!("{source}\n{}", lines(0, MANY)))?;
    host.xdpfw(["lists", "refresh"]).ok();
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up"]).ok();
    assert!(is_dropped(&lab, 80)?);
    // All of it goes, too.
    let policy = "version = 1\ninterfaces = ['eth0']\nrule = [{ allow = 'tcp 80' }]\n";
    host.xdpfw(["apply", "-"]).stdin(policy).ok();
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

/// While lists change, one source stays banned, and another one is never.
#[test]
fn nobody_is_misjudged_while_a_list_changes() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let banned = lab.links[0].far().address;
    fs::write(file(&lab.host), format!("{banned}\n{}", lines(0, 20_000)))?;
    let policy = banning(&lab.host, "").replace("tcp 80", "udp 4000");
    let lab = lab.filtered(&policy);
    let received = lab.host.enter(|| Ok(UdpSocket::bind("0.0.0.0:4000")?))?;
    received.set_read_timeout(Some(Duration::from_millis(500)))?;
    let done = AtomicBool::new(false);
    let senders: Vec<(UdpSocket, _)> = lab
        .links
        .iter()
        .map(|link| {
            let socket = lab.peer.enter(|| Ok(UdpSocket::bind(link.far().at(0))?))?;
            Ok((socket, link.near().at(4000)))
        })
        .collect::<Result<_>>()?;
    thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(|| -> Result<u64> {
            let mut sent = 0;
            while !done.load(Ordering::SeqCst) {
                for (socket, to) in &senders {
                    socket.send_to(b"x", to)?;
                }
                sent += 1;
                // Slow enough for whoever receives them.
                thread::sleep(Duration::from_micros(200));
            }
            Ok(sent)
        });
        let receiving = scope.spawn(|| -> Result<u64> {
            let mut count = 0;
            loop {
                match received.recv_from(&mut [0; 8]) {
                    Ok((_, from)) if from.ip() == banned => anyhow::bail!("a banned source got in"),
                    Ok(_) => count += 1,
                    Err(_) if done.load(Ordering::SeqCst) => return Ok(count),
                    Err(_) => {}
                }
            }
        });
        for round in 1..=4_u32 {
            let first = round * 1_000;
            // In the last rounds, the table is made anew.
            let count = 20_000 + (round / 3) * 40_000;
            fs::write(
                file(&lab.host),
                format!("{banned}\n{}", lines(first, count)),
            )?;
            lab.host.xdpfw(["lists", "refresh"]).ok();
        }
        done.store(true, Ordering::SeqCst);
        let sent = sending.join().expect("it sends")?;
        let count = receiving.join().expect("it receives")?;
        ensure!(sent > 0 && count == sent, "{count} of {sent} arrived");
        Ok(())
    })
}
