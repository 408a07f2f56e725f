//! Renders which services a policy closes, in a line.

use std::fmt::Write as _;

use xdpfw_common::Transport;

use crate::{analysis::Closed, text::thousands};

/// Most ports that are named.
const NAMED: usize = 5;
/// Places that listening sockets leave to published ports.
const PUBLISHED: usize = 2;

/// What the default closes and how to open it; `None` if nothing is closed.
pub fn closed_line(closed: &Closed) -> Option<String> {
    let Closed {
        listening,
        published,
    } = closed;
    if closed.is_empty() {
        return None;
    }
    let own = listening.len().min(NAMED - published.len().min(PUBLISHED));
    let mut parts = Vec::new();
    if !listening.is_empty() {
        parts.push(named(listening, own));
    }
    if !published.is_empty() {
        let ports = named(published, NAMED - own);
        parts.push(format!("published container ports {ports}"));
    }
    let parts = parts.join("; ");
    let shown = listening
        .iter()
        .take(own)
        .chain(published.iter().take(NAMED - own));
    Some(format!(
        "closed by the default: {parts} (say {})",
        rules(shown.copied())
    ))
}

/// The commands that open ports: `xdpfw allow tcp 22,80` and `xdpfw allow udp 53`.
fn rules(ports: impl Iterator<Item = (Transport, u16)> + Clone) -> String {
    let of = |wanted: Transport| {
        let ports = ports
            .clone()
            .filter(move |&(transport, _)| transport == wanted);
        let mut ports: Vec<u16> = ports.map(|(_, port)| port).collect();
        ports.sort_unstable();
        ports.dedup();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        (!ports.is_empty()).then(|| format!("`xdpfw allow {wanted} {}`", ports.join(",")))
    };
    let commands: Vec<String> = Transport::ALL.into_iter().filter_map(of).collect();
    commands.join(" and ")
}

/// The first `limit` ports, and how many there are more: `tcp 80, 443, udp 53 and 3 more`.
fn named(ports: &[(Transport, u16)], limit: usize) -> String {
    let mut text = String::new();
    let mut last = None;
    for &(transport, port) in ports.iter().take(limit) {
        let comma = if last.is_none() { "" } else { ", " };
        let word = match last == Some(transport) {
            true => String::new(),
            false => format!("{transport} "),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{word}{port}");
        last = Some(transport);
    }
    if let Some(more) = ports.len().checked_sub(limit).filter(|&more| more > 0) {
        let _ = write!(text, " and {} more", thousands(more as u64));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tcp: &[u16], udp: &[u16], published: &[u16]) -> String {
        let ports = |transport, ports: &[u16]| -> Vec<(Transport, u16)> {
            ports.iter().map(|&port| (transport, port)).collect()
        };
        let closed = Closed {
            listening: [ports(Transport::Tcp, tcp), ports(Transport::Udp, udp)].concat(),
            published: ports(Transport::Tcp, published),
        };
        closed_line(&closed).unwrap_or_default()
    }

    #[test]
    fn ports_are_named_with_a_remedy() {
        assert_eq!(line(&[], &[], &[]), "");
        for (tcp, udp, published, expected) in [
            (
                &[80, 5432][..],
                &[][..],
                &[8080][..],
                "tcp 80, 5432; published container ports tcp 8080 (say `xdpfw allow tcp 80,5432,8080`)",
            ),
            (
                &[80],
                &[53, 123],
                &[],
                "tcp 80, udp 53, 123 (say `xdpfw allow tcp 80` and `xdpfw allow udp 53,123`)",
            ),
            (&[], &[53], &[], "udp 53 (say `xdpfw allow udp 53`)"),
            (
                &[],
                &[],
                &[8080, 8081],
                "published container ports tcp 8080, 8081 (say `xdpfw allow tcp 8080,8081`)",
            ),
        ] {
            let expected = format!("closed by the default: {expected}");
            assert_eq!(line(tcp, udp, published), expected);
        }
    }

    #[test]
    fn a_flood_of_them_is_cut() {
        let many: Vec<u16> = (10_001..=12_000).collect();
        assert_eq!(
            line(&many, &[], &[]),
            "closed by the default: tcp 10001, 10002, 10003, 10004, 10005 and 1,995 more \
             (say `xdpfw allow tcp 10001,10002,10003,10004,10005`)"
        );
        let both = line(&many, &[], &many);
        assert_eq!(
            both,
            "closed by the default: tcp 10001, 10002, 10003 and 1,997 more; published container \
             ports tcp 10001, 10002 and 1,998 more (say `xdpfw allow tcp 10001,10002,10003`)"
        );
        assert_eq!(
            line(&[80], &[], &many[..6]),
            "closed by the default: tcp 80; published container ports tcp 10001, 10002, 10003, \
             10004 and 2 more (say `xdpfw allow tcp 80,10001,10002,10003,10004`)"
        );
    }
}
