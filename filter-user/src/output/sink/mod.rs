//! Sends events to the log of this host: to journald or to a syslog daemon.
//!
//! A daemon may be restarted, and may be slow. It must never stop us for long: what it does not
//! take is counted, and it is told how many these were as soon as it takes something again.

mod journal;
mod socket;
mod syslog;

use std::path::Path;

use anyhow::Result;

use self::socket::Socket;
use super::{
    BanNews, Lost, Notice, Seen,
    event::{Field, Logged},
};

/// Who it is.
const NAME: &str = "xdpfw";
/// How much it matters, from 0 to 7: that a packet is dropped is everyday life (`LOG_INFO` in
/// syslog.h).
const SEVERITY: u8 = 6;
/// What kind of program it comes from (`LOG_DAEMON` in syslog.h; that of the kernel is refused
/// or changed by most that take it from others).
const FACILITY: u8 = 3;

/// A log of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// journald, by its own protocol.
    Journald,
    /// Whatever reads `/dev/log`.
    Syslog,
}

impl Log {
    /// Where it listens.
    pub fn path(self) -> &'static Path {
        Path::new(match self {
            Self::Journald => "/run/systemd/journal/socket",
            Self::Syslog => "/dev/log",
        })
    }

    /// What is to be sent of an event.
    fn message(self, event: &impl Logged) -> Vec<u8> {
        match self {
            Self::Journald => journal::message(event),
            Self::Syslog => syslog::message(event),
        }
    }
}

/// Sends events to a log.
#[derive(Debug)]
pub struct Sink {
    log: Log,
    socket: Socket,
    /// Events that the log did not take, and does not know of.
    lost: Lost,
}

impl Sink {
    /// Begins to send to a log where it listens by default.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn open(log: Log) -> Result<Self> {
        Self::open_at(log, log.path())
    }

    /// The same, if it listens elsewhere.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn open_at(log: Log, path: &Path) -> Result<Self> {
        Ok(Self {
            log,
            socket: Socket::open(log, path)?,
            lost: Lost::default(),
        })
    }

    /// Sends what became of a packet.
    pub fn send(&mut self, seen: &Seen) {
        self.send_any(seen);
    }

    /// Sends a ban that begins or ends.
    pub fn send_ban(&mut self, news: &BanNews) {
        self.send_any(news);
    }

    fn send_any(&mut self, event: &impl Logged) {
        if !(self.say_lost() && self.socket.send(&self.log.message(event))) {
            self.lost.add(1, 0);
        }
    }

    /// Sends what came of a packet besides.
    pub fn send_notice(&mut self, notice: &Notice) {
        if !(self.say_lost() && self.socket.send(&self.log.message(notice))) {
            self.lost.add(1, 0);
        }
    }

    /// Says that events were lost on the way to here.
    pub fn lose(&mut self, lost: &Lost) {
        self.lost.take_in(lost);
        self.say_lost();
    }

    /// What the log did not take, and does not know of.
    pub const fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Whether the log knows how many events it did not get.
    fn say_lost(&mut self) -> bool {
        if !self.lost.is_nothing() && self.socket.send(&self.log.message(&self.lost)) {
            self.lost = Lost::default();
        }
        self.lost.is_nothing()
    }
}

/// An event in a line: `drop IN=eth0 SRC=192.0.2.7 …`, in which nothing ends a line or a word.
fn line(event: &impl Logged) -> String {
    let mut line = event.word().to_owned();
    for Field { key, value, .. } in event.fields() {
        let value = match key {
            "PROTO" => protocol(&value),
            _ => value.escape_debug().to_string().replace(' ', "\\u{20}"),
        };
        line.push_str(&format!(" {key}={value}"));
    }
    line
}

/// A protocol as nftables' log lines have it.
fn protocol(word: &str) -> String {
    match word {
        "icmp6" => "ICMPv6".to_owned(),
        _ => word.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests;
