//! Where packets go: to whoever looks, to a capture, or to the log of this host.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use xdpfw_common::abi::{HEAD, Report};

use crate::{
    netlink::LinkLayer,
    output::{Background, BanNews, Capture, Columns, Log, Lost, Notice, Printer, Seen, Sink},
};

/// How many items wait to be written. What comes in a second of a busy host.
const ROOM: usize = 4096;
/// Least size of a file that another one follows: many packets.
const LEAST: u64 = 64 << 10;

/// Where packets go, if not to whoever looks.
#[derive(Debug, clap::Args)]
pub struct TargetArgs {
    /// Write packets to a new capture, for Wireshark and tcpdump, instead of showing them
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) write: Option<PathBuf>,
    /// Go on in another file (FILE.1.pcapng, …) before one is larger than this: 512K, 10M, 1G
    #[arg(long, value_name = "SIZE", requires = "write", value_parser = size)]
    rotate: Option<u64>,
    /// Send packets to the log of this host instead of showing them
    #[arg(long, value_enum, conflicts_with = "write")]
    to: Option<LogArg>,
}

/// A log of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogArg {
    /// The journal, with a field for each thing that is known
    Journald,
    /// A syslog daemon, with a line for each packet
    Syslog,
}

/// What is written.
pub(super) enum Item {
    Seen(Box<Seen>),
    Notice(Box<Notice>),
    Captured(Box<Captured>),
    Ban(Box<BanNews>),
    Lost(Lost),
    Note(&'static str),
    Detail(String),
}

/// A packet with its first bytes.
pub(super) struct Captured {
    pub(super) seen: Seen,
    pub(super) link_layer: LinkLayer,
    pub(super) report: Report,
}

impl TargetArgs {
    /// Whether packets are shown.
    pub(super) const fn is_screen(&self) -> bool {
        self.write.is_none() && self.to.is_none()
    }

    /// Starts what writes items; messages go to stderr.
    ///
    /// # Errors
    ///
    /// The file cannot be made, or no such log is there.
    pub(super) fn writer(&self, json: bool, printer: &Printer) -> Result<Background<Item>> {
        let printer = printer.another();
        if let Some(path) = &self.write {
            let capture = Capture::create(path, HEAD as u32, self.rotate)?;
            return to_capture(capture, printer);
        }
        let log = match self.to {
            None => return to_screen(json, printer),
            Some(LogArg::Journald) => Log::Journald,
            Some(LogArg::Syslog) => Log::Syslog,
        };
        to_log(Sink::open(log)?, printer)
    }
}

fn to_screen(json: bool, mut printer: Printer) -> Result<Background<Item>> {
    let mut columns = Columns::default();
    Background::start(ROOM, move |item| match item {
        Item::Seen(seen) if json => printer.json(&seen),
        Item::Seen(seen) => printer.verdicts(&columns.line(&seen)),
        Item::Notice(notice) if json => printer.json(&notice),
        Item::Notice(notice) => printer.verdicts(&columns.notice(&notice)),
        Item::Ban(news) if json => printer.json(&news),
        Item::Ban(news) => printer.verdicts(&news.line()),
        Item::Lost(lost) if json => {
            printer.note(&lost.to_string());
            printer.json(&lost)
        }
        other => {
            say(&mut printer, other);
            Ok(())
        }
    })
}

fn to_capture(mut capture: Capture, mut printer: Printer) -> Result<Background<Item>> {
    Background::start(ROOM, move |item| {
        let Item::Captured(one) = item else {
            say(&mut printer, item);
            return Ok(());
        };
        let Captured {
            seen,
            link_layer,
            report,
        } = *one;
        let captured = usize::from(report.captured);
        let bytes = report.head.get(..captured).unwrap_or(&report.head);
        let comment = seen.comment();
        capture.write(&seen.packet(report.event.interface, link_layer, bytes, &comment))
    })
}

fn to_log(mut sink: Sink, mut printer: Printer) -> Result<Background<Item>> {
    Background::start(ROOM, move |item| {
        let was_whole = sink.lost().is_nothing();
        match item {
            Item::Seen(seen) => sink.send(&seen),
            Item::Notice(notice) => sink.send_notice(&notice),
            Item::Ban(news) => sink.send_ban(&news),
            Item::Lost(lost) => {
                sink.lose(&lost);
                say(&mut printer, Item::Lost(lost));
            }
            other => say(&mut printer, other),
        }
        match (was_whole, sink.lost().is_nothing()) {
            (true, false) => printer.warning("the log takes nothing; what it misses is counted"),
            (false, true) => printer.note("the log takes events again"),
            _ => {}
        }
        Ok(())
    })
}

/// Says what is no packet.
fn say(printer: &mut Printer, item: Item) {
    match item {
        Item::Lost(lost) => printer.note(&lost.to_string()),
        Item::Ban(news) => printer.note(&news.line()),
        Item::Note(text) => printer.note(text),
        Item::Detail(text) => printer.detail(|| text),
        Item::Seen(_) | Item::Notice(_) | Item::Captured(_) => {}
    }
}

/// Reads a size in bytes: `65536`, `512K`, `10M`, `1G`.
fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&text[..end], 10),
        Some((end, 'm' | 'M')) => (&text[..end], 20),
        Some((end, 'g' | 'G')) => (&text[..end], 30),
        _ => (text, 0),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = digits.parse::<u64>().ok().filter(|_| is_number);
    let bytes = bytes.and_then(|number| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes >= LEAST => Ok(bytes),
        Some(_) => Err("too small for a file (say at least 64K)".to_owned()),
        None => Err("no size (say for example 10M)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("64k", 65_536),
            ("10M", 10 << 20),
            ("2G", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "-1M",
            "+1M",
            "1.5M",
            "10T",
            "10 M",
            "99999999999G",
            "64ä",
        ] {
            assert!(size(text).unwrap_err().starts_with("no size"), "{text}");
        }
        for text in ["0", "63K", "65535"] {
            assert!(size(text).unwrap_err().starts_with("too small"), "{text}");
        }
    }
}
