use std::{fs, path::Path};

use super::*;

/// A journal in a directory of its own.
struct Book {
    directory: tempfile::TempDir,
    history: History,
}

impl Book {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let history = History::in_directory(directory.path());
        Self { directory, history }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("bans.jsonl")
    }

    /// Carries out orders, as the engine does while nothing is filtered.
    fn order(&self, unban: Unban<'_>, ban: &[BanWish], at: Timestamp) -> BansChanged {
        let journal = Journal::read(&self.history).unwrap();
        let mut known = journal.all().unwrap();
        let orders = BanOrders {
            origin: BY_HAND,
            unban,
            ban,
            repeat: &[1, 2, 6],
        };
        let (lines, changed) = carry_out(&mut known, &orders, at).unwrap();
        drop(journal.append(&lines).unwrap());
        if journal.is_long() {
            let journal = Journal::read(&self.history).unwrap();
            journal.write_anew(&journal.all().unwrap()).unwrap();
        }
        changed
    }

    fn in_force(&self) -> Vec<String> {
        let known = Journal::read(&self.history).unwrap().all().unwrap();
        let bans = known.in_force(Timestamp::now());
        bans.map(|ban| ban.prefix.to_string()).collect()
    }
}

fn wish(prefix: &str, lasts: Option<&str>) -> BanWish {
    BanWish {
        prefix: prefix.parse().unwrap(),
        lasts: lasts.map(|lasts| lasts.parse().unwrap()),
        why: Some("it \"says\" so".to_owned()),
        hard: false,
    }
}

#[test]
fn a_journal_says_who_is_banned_now() {
    let book = Book::new();
    let now = Timestamp::now();
    assert!(book.in_force().is_empty());
    let bans = [wish("192.0.2.1/32", None), wish("192.0.2.0/24", Some("1h"))];
    book.order(Unban::Nobody, &bans, now);
    assert_eq!(book.in_force(), ["192.0.2.0/24", "192.0.2.1/32"]);
    // The same once more is not written once more.
    let before = fs::read(book.path()).unwrap();
    book.order(Unban::Nobody, &bans[..1], now);
    assert_eq!(before, fs::read(book.path()).unwrap());
    let one = ["192.0.2.1/32".parse().unwrap()];
    assert_eq!(book.order(Unban::These(&one), &[], now).ended.len(), 1);
    assert_eq!(book.in_force(), ["192.0.2.0/24"]);
    book.order(Unban::Others, &[], now);
    assert!(book.in_force().is_empty());
}

#[test]
fn who_comes_back_is_banned_for_longer_unless_it_is_forgotten() {
    let book = Book::new();
    let begin = Timestamp::now() - jiff::SignedDuration::from_hours(24 * 100);
    let wishes = [wish("192.0.2.1/32", Some("1h"))];
    let mut now = begin;
    for (times, hours) in [(1, 1), (2, 2), (3, 6), (4, 6)] {
        let changed = book.order(Unban::Nobody, &wishes, now);
        let lasts = changed.banned[0].until.unwrap().duration_since(now);
        assert_eq!((changed.banned[0].times, lasts.as_hours()), (times, hours));
        // Said again while it lasts, it is the same time.
        now += jiff::SignedDuration::from_mins(10);
        assert_eq!(
            book.order(Unban::Nobody, &wishes, now).banned[0].times,
            times
        );
        now += jiff::SignedDuration::from_hours(24);
    }
    now += jiff::SignedDuration::from_hours(24 * 30);
    assert_eq!(book.order(Unban::Nobody, &wishes, now).banned[0].times, 1);
}

#[test]
fn a_line_that_broke_off_is_dropped_and_damage_is_named() {
    let book = Book::new();
    for number in 1..=3 {
        let wishes = [wish(&format!("192.0.2.{number}/32"), None)];
        book.order(Unban::Nobody, &wishes, Timestamp::now());
    }
    let whole = fs::read(book.path()).unwrap();
    let lines = memchr::memchr_iter(b'\n', &whole).collect::<Vec<_>>();
    // Wherever it breaks off.
    for end in lines[2] + 1..whole.len() {
        fs::write(book.path(), &whole[..end]).unwrap();
        assert_eq!(book.in_force().len(), 2, "{end}");
    }
    // What comes next is behind the last whole line.
    book.order(
        Unban::Nobody,
        &[wish("192.0.2.4/32", None)],
        Timestamp::now(),
    );
    assert_eq!(
        book.in_force(),
        ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.4/32"]
    );
    let mut damaged = whole;
    damaged[lines[1] + 5] = b'x';
    fs::write(book.path(), &damaged).unwrap();
    let error = Journal::read(&book.history).unwrap().all().unwrap_err();
    let said = error.to_string();
    assert!(said.contains("bans.jsonl: line 3 is damaged: "), "{said}");
    assert!(said.contains("remove that line"), "{said}");
    fs::write(book.path(), "something else\n").unwrap();
    assert!(Journal::read(&book.history).is_err());
}

/// A few prefixes are found without reading the rest, and say the same.
#[test]
fn what_is_searched_for_is_what_is_read() {
    let book = Book::new();
    let wishes: Vec<_> = (0..=255)
        .map(|number| wish(&format!("192.0.2.{number}/32"), Some("1h")))
        .collect();
    book.order(Unban::Nobody, &wishes, Timestamp::now());
    let ended = ["192.0.2.7/32".parse().unwrap()];
    book.order(Unban::These(&ended), &[], Timestamp::now());
    let journal = Journal::read(&book.history).unwrap();
    let (all, now) = (journal.all().unwrap(), Timestamp::now());
    for prefix in [
        "192.0.2.0/32",
        "192.0.2.7/32",
        "192.0.2.255/32",
        "192.0.2.0/24",
    ] {
        let prefix: IpNet = prefix.parse().unwrap();
        let found = journal.of(std::iter::once(prefix)).unwrap();
        let bans = |known: &KnownBans| known.of(&prefix, now).cloned().collect::<Vec<_>>();
        assert_eq!(bans(&all), bans(&found), "{prefix}");
        assert_eq!(
            all.times(&prefix, BY_HAND, now),
            found.times(&prefix, BY_HAND, now)
        );
    }
}

#[test]
fn a_long_journal_is_written_anew_and_a_follower_misses_nothing() {
    let book = Book::new();
    let mut follower = BanFollower::new(&book.history);
    let mut heard = Vec::new();
    let (mut longest, mut rewritten) = (0, 0);
    let mut begin = Timestamp::now() - jiff::SignedDuration::from_hours(24 * 365);
    for round in 0..24 {
        let wishes: Vec<_> = (0..512)
            .map(|number| {
                wish(
                    &format!("10.0.{}.{}/32", number >> 8, number & 255),
                    Some("1s"),
                )
            })
            .collect();
        begin += jiff::SignedDuration::from_hours(1);
        book.order(Unban::Nobody, &wishes, begin);
        let length = fs::metadata(book.path()).unwrap().len();
        rewritten += u32::from(length < longest);
        longest = longest.max(length);
        // It looks at times only.
        if round % 3 == 0 {
            heard.extend(follower.news());
        }
    }
    heard.extend(follower.news());
    assert!(rewritten > 0 && longest < 4 << 20, "{longest}");
    let of = |event| heard.iter().filter(|line| line.event == event).count();
    assert_eq!(of(BanEvent::Ban), 24 * 512);
    // Each was over when it was heard of; of those that were said again before, the last one ends.
    assert_eq!(of(BanEvent::Unban), 9 * 512);
    assert!(follower.news().is_empty());
    assert!(is_private(&book.path()));
}

#[test]
fn a_follower_hears_of_bans_that_end_by_themselves_once() {
    let book = Book::new();
    let begin = Timestamp::now();
    book.order(Unban::Nobody, &[wish("192.0.2.1/32", Some("1m"))], begin);
    let mut follower = BanFollower::new(&book.history);
    let wishes = [
        wish("192.0.2.2/32", Some("2m")),
        wish("192.0.2.3/32", Some("1m")),
        wish("192.0.2.4/32", None),
    ];
    book.order(Unban::Nobody, &wishes, begin);
    book.order(Unban::These(&[wishes[1].prefix]), &[], begin);
    assert_eq!(follower.news().len(), 4);
    let mut ended = |minutes: i64| -> Vec<String> {
        let now = begin + jiff::SignedDuration::from_mins(minutes);
        let ended = follower.ended(now).into_iter();
        ended
            .map(|line| format!("{:?} {} {:#}", line.event, line.prefix, line.at - begin))
            .collect()
    };
    assert_eq!(ended(0), [""; 0]);
    assert_eq!(ended(1), ["Unban 192.0.2.1/32 60s"]);
    assert_eq!(ended(1), [""; 0]);
    assert_eq!(ended(9), ["Unban 192.0.2.2/32 120s"]);
    assert_eq!(ended(9), [""; 0]);
}

fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}
