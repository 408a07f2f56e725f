//! Sends one packet and reads from the totals whether the filter passed or dropped it.

use anyhow::{Result, bail};

use crate::{
    Lab, Sender,
    json::{number, rows, word},
    packets,
};

/// Why a SYN never passes; what does may come at any time, from a conversation before it for example.
const OTHERS: [&str; 8] = [
    "reply",
    "arp",
    "neighbour-discovery",
    "mld",
    "igmp",
    "icmp-error",
    "dhcp-client",
    "non-ip",
];

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;

/// Whether a SYN from the peer to this port is dropped.
pub fn is_dropped(lab: &Lab, port: u16) -> Result<bool> {
    is_dropped_on(lab, 0, port)
}

/// Whether a SYN that comes in by this link of the lab is dropped.
pub fn is_dropped_on(lab: &Lab, link: usize, port: u16) -> Result<bool> {
    let (near, far) = (lab.links[link].near(), lab.links[link].far());
    let totals = || -> Result<[u64; 2]> {
        let (mut passed, mut dropped) = (0, 0);
        for row in rows(&lab.host.status()["reasons"])? {
            let packets = number(&row["packets"])?;
            match (word(&row["verdict"])?, word(&row["reason"])?) {
                ("drop", _) => dropped += packets,
                (_, reason) if OTHERS.contains(&reason) => {}
                _ => passed += packets,
            }
        }
        Ok([passed, dropped])
    };
    let [passed, dropped] = totals()?;
    let syn = packets::syn(far.at(REMOTE), near.at(port));
    Sender::new(&lab.peer, far)?.send_all([syn])?;
    match totals()? {
        [now, _] if now > passed => Ok(false),
        [_, now] if now > dropped => Ok(true),
        _ => bail!(
            "port {port}: neither passed nor dropped; nothing filters {}",
            near.interface
        ),
    }
}
