use std::{collections::BTreeMap, fs, os::unix::net::UnixDatagram};

use xdpfw_common::{
    Reason,
    abi::{Event, NO_KIND, NO_RULE, ProtocolKind},
};

use super::*;
use crate::datapath::Record;

/// A packet to port 443 that was dropped by a rule, `r7`, on this interface.
fn seen(interface: &str) -> Seen {
    let address = |last| {
        std::net::Ipv4Addr::new(192, 0, 2, last)
            .to_ipv6_mapped()
            .octets()
    };
    let event = Event {
        slot: 3,
        reason: Reason::RuleDeny.slot() as u8,
        source: address(7),
        destination: address(1),
        remote: 40_000_u16.to_be_bytes(),
        local: 443_u16.to_be_bytes(),
        kind: ProtocolKind::Tcp as u8,
        family: 4,
        flags: 0b10,
        len: 60,
        ..bytemuck::Zeroable::zeroed()
    };
    Seen::new(
        &event,
        jiff::Timestamp::now(),
        &Record::of_tests(&[(7, "https", 3)]),
        interface.to_owned(),
    )
    .unwrap()
}

/// A packet that nothing is known about.
fn malformed() -> Seen {
    let event = Event {
        slot: NO_RULE,
        reason: Reason::Malformed.slot() as u8,
        kind: NO_KIND,
        malformation: xdpfw_common::wire::Malformation::Ipv4HeaderLength.code(),
        len: 20,
        ..bytemuck::Zeroable::zeroed()
    };
    Seen::new(
        &event,
        jiff::Timestamp::now(),
        &Record::of_tests(&[]),
        "eth0".to_owned(),
    )
    .unwrap()
}

const LINE: &str = "drop IN=eth0 SRC=192.0.2.7 DST=192.0.2.1 LEN=60 PROTO=TCP SPT=40000 DPT=443 \
                    FLAGS=S REASON=rule RULE=r7";

/// A log that only listens.
struct Fake {
    _directory: tempfile::TempDir,
    path: std::path::PathBuf,
    socket: UnixDatagram,
}

impl Fake {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            _directory: directory,
            path,
            socket,
        }
    }

    /// All that it got.
    fn read(&self) -> Vec<Vec<u8>> {
        let mut room = [0; 4096];
        let next = || {
            let length = self.socket.recv(&mut room).ok()?;
            Some(room[..length].to_vec())
        };
        std::iter::from_fn(next).collect()
    }

    fn texts(&self) -> Vec<String> {
        let texts = self
            .read()
            .into_iter()
            .map(|text| String::from_utf8(text).unwrap());
        texts.collect()
    }
}

/// The fields of an entry, read as journald reads them.
fn entry(mut message: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !message.is_empty() {
        let end = message.iter().position(|&byte| byte == b'\n').unwrap();
        let (line, rest) = (&message[..end], &message[end + 1..]);
        let (name, value, rest) = match line.iter().position(|&byte| byte == b'=') {
            Some(equals) => (&line[..equals], &line[equals + 1..], rest),
            None => {
                let (length, rest) = rest.split_first_chunk().unwrap();
                let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
                (line, value, rest.strip_prefix(b"\n").unwrap())
            }
        };
        let is_name = |&byte: &u8| byte.is_ascii_uppercase() || byte == b'_';
        assert!(name[0].is_ascii_uppercase() && name.len() <= 64 && name.iter().all(is_name));
        let [name, value] = [name, value].map(|text| String::from_utf8(text.to_vec()).unwrap());
        assert!(fields.insert(name, value).is_none());
        message = rest;
    }
    fields
}

#[test]
fn the_journal_has_each_thing_in_a_field() {
    let log = Fake::start();
    let mut sink = Sink::open_at(Log::Journald, &log.path).unwrap();
    sink.send(&seen("eth0"));
    sink.send(&seen("two\nlines"));
    let [first, second] = log.read().try_into().unwrap();
    let expected = [
        ("MESSAGE", LINE),
        ("PRIORITY", "6"),
        ("SYSLOG_FACILITY", "3"),
        ("SYSLOG_IDENTIFIER", "xdpfw"),
        ("XDPFW_VERDICT", "drop"),
        ("XDPFW_INTERFACE", "eth0"),
        ("XDPFW_SOURCE", "192.0.2.7"),
        ("XDPFW_SOURCE_PORT", "40000"),
        ("XDPFW_DESTINATION", "192.0.2.1"),
        ("XDPFW_PORT", "443"),
        ("XDPFW_LENGTH", "60"),
        ("XDPFW_PROTOCOL", "tcp"),
        ("XDPFW_FLAGS", "S"),
        ("XDPFW_REASON", "rule"),
        ("XDPFW_RULE", "r7"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(entry(&first), BTreeMap::from(expected));
    let second = entry(&second);
    assert_eq!(second["XDPFW_INTERFACE"], "two\nlines");
    assert!(second["MESSAGE"].starts_with("drop IN=two\\nlines SRC="));
}

#[test]
fn syslog_has_a_line_with_keys() {
    let log = Fake::start();
    let mut sink = Sink::open_at(Log::Syslog, &log.path).unwrap();
    for seen in [seen("eth0"), seen("a b\n<0>x"), malformed()] {
        sink.send(&seen);
    }
    let mut lines = log.texts().into_iter();
    let mut next = || {
        let line = lines.next().unwrap();
        // Month, day and time: 16 characters.
        let (head, tail) = line.split_at("<30>Nov  8 18:00:00 ".len());
        assert!(head.starts_with("<30>") && head.ends_with(' '), "{head}");
        let tag = format!("xdpfw[{}]: ", std::process::id());
        tail.strip_prefix(&tag).unwrap().to_owned()
    };
    assert_eq!(next(), LINE);
    assert!(next().starts_with("drop IN=a\\u{20}b\\n<0>x SRC="));
    assert_eq!(
        next(),
        "drop IN=eth0 LEN=20 REASON=malformed WHAT=ipv4-header-length"
    );
}

#[test]
fn a_log_that_comes_back_gets_what_is_new_and_how_much_it_missed() {
    let log = Fake::start();
    let mut sink = Sink::open_at(Log::Syslog, &log.path).unwrap();
    sink.send(&seen("eth0"));
    let path = log.path.clone();
    fs::remove_file(&path).unwrap();
    sink.send(&seen("eth0"));
    let again = UnixDatagram::bind(&path).unwrap();
    drop(again);
    // The file is there, and nobody reads.
    sink.send(&seen("eth0"));
    sink.lose(&Lost::new(1, 2));
    assert_eq!(sink.lost().count(), 5);
    fs::remove_file(&path).unwrap();
    let again = Fake {
        socket: UnixDatagram::bind(&path).unwrap(),
        ..log
    };
    again.socket.set_nonblocking(true).unwrap();
    sink.send(&seen("eth1"));
    assert_eq!(sink.lost().count(), 0);
    let [lost, next] = again.texts().try_into().unwrap();
    assert!(lost.ends_with("]: lost COUNT=5 SUPPRESSED=2"), "{lost}");
    assert!(next.contains(" IN=eth1 "), "{next}");
}

#[test]
fn a_log_that_reads_nothing_is_waited_for_once() {
    let log = Fake::start();
    let mut sink = Sink::open_at(Log::Journald, &log.path).unwrap();
    let sent = 10_000;
    for _ in 0..sent {
        sink.send(&seen("eth0"));
    }
    // Were each waited for, it would be most of an hour.
    let taken = log.read().len() as u64;
    assert_eq!(taken + sink.lost().count(), sent);
    sink.send(&seen("eth0"));
    let [lost, _] = log.read().try_into().unwrap();
    assert_eq!(entry(&lost)["XDPFW_COUNT"], (sent - taken).to_string());
    assert_eq!(entry(&lost)["XDPFW_EVENT"], "lost");
}

#[test]
fn a_log_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let error = |log| Sink::open_at(log, &path).unwrap_err().to_string();
    let shown = path.display();
    assert_eq!(
        error(Log::Syslog),
        format!("{shown}: nobody listens; no syslog daemon is running (try --to journald)")
    );
    drop(UnixDatagram::bind(&path).unwrap());
    assert_eq!(
        error(Log::Journald),
        format!("{shown}: nobody listens; journald is not running (try --to syslog)")
    );
    fs::remove_file(&path).unwrap();
    let _stream = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(error(Log::Syslog).starts_with("cannot send to "));
}
