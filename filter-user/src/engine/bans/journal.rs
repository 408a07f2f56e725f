//! The journal of bans: a file of lines, each a ban or the end of one, to which changes are appended.
//! One more ban costs the same whoever else is banned. What has no effect any more is left out when
//! the file is written anew, which is when it has doubled.
//!
//! A line that a power cut broke off is the last; it is dropped. Damage elsewhere is an error: nobody
//! is to be let in by it.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use jiff::Timestamp;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::{BanError, known::KnownBans};
use crate::{
    engine::{History, history::MODE, whole_file},
    system::Place,
};

/// Its name in the directory of the history.
const NAME: &str = "bans.jsonl";
/// What it says that it is.
const SCHEMA: &str = "xdpfw.banned/1";
/// Bytes that may be appended in any case before the file is written anew.
const SLACK: usize = 1 << 20;
/// From so many bytes on, the lines of a few prefixes are searched for, and the others not read.
const LARGE: usize = 1 << 18;
/// Prefixes that are searched for; to read all lines is faster for more.
const FEW: usize = 8;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    schema: String,
    /// Bytes behind it that say what was so when the file was written anew. Later lines are news.
    compacted: usize,
}

/// A line: a ban, or the end of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanLine {
    /// Which of both.
    pub event: BanEvent,
    /// Who.
    pub prefix: IpNet,
    /// Who wants it: `manual`, or what it is called that bans by itself.
    pub origin: String,
    /// When it was said.
    pub at: Timestamp,
    /// Until when; `None` for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why, in the words of whoever wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether even answers are dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hard: bool,
    /// How many times it was banned, with this one, as far as that is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl BanLine {
    /// The line that ends what this one begins.
    pub(super) fn end(&self, at: Timestamp) -> Self {
        Self {
            event: BanEvent::Unban,
            at,
            until: None,
            why: None,
            hard: false,
            times: None,
            ..self.clone()
        }
    }
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BanEvent {
    /// Somebody is banned.
    Ban,
    /// Somebody is not any more.
    Unban,
}

/// The journal, as it was read.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Whole lines.
    text: Vec<u8>,
    /// Where the lines begin: behind the header.
    begin: usize,
    /// Where the lines begin that were appended since the file was written anew.
    news: usize,
}

/// What was appended, to be taken back if it must.
#[must_use = "the kernel has to follow"]
pub(super) enum Appended {
    /// Nothing.
    Nothing,
    /// The whole file.
    New,
    /// So many bytes were there before.
    Behind(File, u64),
}

impl Journal {
    /// Where it is for a network namespace.
    pub(super) fn path(history: &History) -> PathBuf {
        history.beside(NAME)
    }

    /// Reads that of the network namespace of a history.
    ///
    /// # Errors
    ///
    /// The file cannot be read, others may write it, or it is something else.
    pub(super) fn read(history: &History) -> Result<Self, BanError> {
        let path = Self::path(history);
        let text = Place::find(&path)?.read()?;
        let mut journal = Self {
            path,
            text: text.unwrap_or_default(),
            begin: 0,
            news: 0,
        };
        let whole = memchr::memrchr(b'\n', &journal.text).map_or(0, |end| end + 1);
        if whole < journal.text.len() {
            log::warn!(
                "{}: the last line broke off, as in a power cut, and does not count",
                journal.path.display()
            );
            journal.text.truncate(whole);
        }
        if !journal.text.is_empty() {
            let (begin, header) =
                header_of(&journal.text).map_err(|why| journal.damaged(1, why))?;
            journal.begin = begin;
            journal.news = begin + header.compacted;
        }
        Ok(journal)
    }

    /// Whether it is small enough to be read as a whole for every change.
    fn is_small(&self) -> bool {
        self.text.len() < LARGE
    }

    /// Whether only these need to be known for a change to them.
    pub(super) fn is_searched_for(&self, prefixes: usize) -> bool {
        !self.is_small() && prefixes <= FEW
    }

    /// All that it says.
    ///
    /// # Errors
    ///
    /// A line is damaged.
    pub(super) fn all(&self) -> Result<KnownBans, BanError> {
        let mut known = KnownBans::default();
        let lines = self.text.get(self.begin..).unwrap_or_default();
        for (index, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            // The header is the first.
            let line = parse(line).map_err(|why| self.damaged(index + 2, why))?;
            known.add(line);
        }
        Ok(known)
    }

    /// What it says of these.
    ///
    /// # Errors
    ///
    /// A line is damaged.
    pub(super) fn of(&self, prefixes: impl Iterator<Item = IpNet>) -> Result<KnownBans, BanError> {
        let mut known = KnownBans::default();
        let lines = self.text.get(self.begin..).unwrap_or_default();
        for prefix in prefixes {
            // No text of others can be taken for it, as JSON has its quotes escaped.
            let wanted = format!("\"prefix\":\"{prefix}\"");
            for found in memmem::find_iter(lines, &wanted) {
                let begin = memchr::memrchr(b'\n', &lines[..found]).map_or(0, |end| end + 1);
                let end =
                    memchr::memchr(b'\n', &lines[found..]).map_or(lines.len(), |end| found + end);
                let line = parse(&lines[begin..end]).map_err(|why| {
                    let number = memchr::memchr_iter(b'\n', &lines[..begin]).count() + 2;
                    self.damaged(number, why)
                })?;
                known.add(line);
            }
        }
        Ok(known)
    }

    fn damaged(&self, line: usize, why: String) -> BanError {
        BanError::Damaged {
            path: self.path.clone(),
            line,
            why,
        }
    }

    /// Appends lines, and waits for the disk.
    ///
    /// # Errors
    ///
    /// The disk fails, or others may write the file. It is as it was.
    pub(super) fn append(&self, lines: &[BanLine]) -> Result<Appended> {
        if lines.is_empty() {
            return Ok(Appended::Nothing);
        }
        let contents = written(lines)?;
        let append = || -> Result<Appended> {
            let place = Place::find(&self.path)?;
            let Some(handle) = place.handle().filter(|_| !self.text.is_empty()) else {
                let mut whole = header(0)?;
                whole.extend(contents);
                whole_file::write(place, &whole, MODE)?;
                return Ok(Appended::New);
            };
            let mut file = OpenOptions::new().append(true).open(handle)?;
            let before = self.text.len() as u64;
            let add = |file: &mut File| -> io::Result<()> {
                // Off with what broke off.
                file.set_len(before)?;
                file.write_all(&contents)?;
                file.sync_data()
            };
            add(&mut file).inspect_err(|_| drop(file.set_len(before)))?;
            Ok(Appended::Behind(file, before))
        };
        append().with_context(|| format!("cannot save the bans in {}", self.path.display()))
    }

    /// Takes back what was appended.
    pub(super) fn take_back(&self, appended: Appended) -> Result<()> {
        match appended {
            Appended::Nothing => {}
            Appended::New => whole_file::remove(Place::find(&self.path)?)?,
            Appended::Behind(file, before) => {
                file.set_len(before)?;
                file.sync_data()?;
            }
        }
        Ok(())
    }

    /// Whether so much was appended that the file is to be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.text.len() > self.news + (self.news - self.begin) + SLACK
    }

    /// Writes the file anew, with what still has an effect.
    ///
    /// # Errors
    ///
    /// The disk fails. The file is as it was.
    pub(super) fn write_anew(&self, known: &KnownBans) -> Result<()> {
        let lines = written(&known.lines(Timestamp::now()))?;
        let mut contents = header(lines.len())?;
        contents.extend(lines);
        let place = Place::find(&self.path)?;
        whole_file::write(place, &contents, MODE)
            .with_context(|| format!("cannot save the bans in {}", self.path.display()))
    }
}

/// Follows what is appended to the journal, and which bans end by themselves.
#[derive(Debug)]
pub struct BanFollower {
    path: PathBuf,
    file: Option<File>,
    /// Where the next line begins.
    at: u64,
    /// The bans in force that have an end, by prefix and origin.
    ending: BTreeMap<(IpNet, String), BanLine>,
    /// None of them ends before this.
    next: Option<Timestamp>,
}

impl BanFollower {
    /// From here on. Without a journal yet, from its beginning.
    pub fn new(history: &History) -> Self {
        let path = Journal::path(history);
        let file = open(&path);
        let at = file.as_ref().map_or(0, length);
        let mut follower = Self {
            path,
            file,
            at,
            ending: BTreeMap::new(),
            next: None,
        };
        if let Ok(known) = Journal::read(history).and_then(|journal| journal.all()) {
            for ban in known.in_force(Timestamp::now()) {
                follower.note(&ban.line());
            }
        }
        follower
    }

    /// What was appended since the last call, and what has ended by itself. What cannot be read says
    /// nothing: it is for those who ban to complain.
    pub fn news(&mut self) -> Vec<BanLine> {
        let mut news = self.appended();
        for line in &news {
            self.note(line);
        }
        news.extend(self.ended(Timestamp::now()));
        news
    }

    /// Remembers the end of a ban, or that there is none to wait for.
    fn note(&mut self, line: &BanLine) {
        let key = (line.prefix, line.origin.clone());
        match (line.event, line.until) {
            (BanEvent::Ban, Some(until)) => {
                self.next = Some(self.next.map_or(until, |next| next.min(until)));
                self.ending.insert(key, line.clone());
            }
            _ => drop(self.ending.remove(&key)),
        }
    }

    /// The ends of those that are over by now, in their order.
    pub(super) fn ended(&mut self, now: Timestamp) -> Vec<BanLine> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let mut ended = Vec::new();
        self.next = None;
        self.ending.retain(|_, line| {
            let Some(until) = line.until else {
                return false;
            };
            if until <= now {
                ended.push(line.end(until));
                return false;
            }
            self.next = Some(self.next.map_or(until, |next| next.min(until)));
            true
        });
        ended.sort_by_key(|line| line.at);
        ended
    }

    fn appended(&mut self) -> Vec<BanLine> {
        let mut news = self.rest();
        // Written anew: the file that was open holds all that came before.
        if let Some(now) = open(&self.path)
            && self.file.as_ref().is_none_or(|file| !is_same(file, &now))
        {
            news.extend(self.rest());
            self.at = news_begin(&now);
            self.file = Some(now);
            news.extend(self.rest());
        }
        news
    }

    fn rest(&mut self) -> Vec<BanLine> {
        use std::os::unix::fs::FileExt as _;
        let Some(file) = &self.file else {
            return Vec::new();
        };
        let end = length(file);
        // What was taken back was no news.
        let Some(more) = end.checked_sub(self.at).filter(|more| *more > 0) else {
            self.at = end;
            return Vec::new();
        };
        let mut bytes = vec![0; usize::try_from(more).unwrap_or(0)];
        if file.read_exact_at(&mut bytes, self.at).is_err() {
            return Vec::new();
        }
        let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
        self.at += whole as u64;
        let lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
        lines.filter_map(|line| parse(line).ok()).collect()
    }
}

fn open(path: &Path) -> Option<File> {
    File::open(Place::find(path).ok()?.handle()?).ok()
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

fn is_same(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let number = |file: &File| Some(file.metadata().ok()?.ino());
    number(one) == number(other)
}

/// Where the news begin in a file that was just written anew.
fn news_begin(file: &File) -> u64 {
    use std::{io::BufRead as _, io::BufReader};
    let mut line = Vec::new();
    let read = BufReader::new(file).read_until(b'\n', &mut line);
    match (read, header_of(&line)) {
        (Ok(_), Ok((begin, header))) => (begin + header.compacted) as u64,
        _ => length(file),
    }
}

/// Where the header ends, and what it says.
fn header_of(text: &[u8]) -> Result<(usize, Header), String> {
    let end = memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1);
    let header: Header = serde_json::from_slice(&text[..end])
        .map_err(|_| "it says nothing of its format".to_owned())?;
    if header.schema != SCHEMA {
        return Err(format!("it is `{}`", header.schema.escape_debug()));
    }
    Ok((end, header))
}

fn header(compacted: usize) -> Result<Vec<u8>> {
    let schema = SCHEMA.to_owned();
    let mut line = serde_json::to_vec(&Header { schema, compacted })?;
    line.push(b'\n');
    Ok(line)
}

fn written(lines: &[BanLine]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    Ok(text)
}

fn parse(line: &[u8]) -> Result<BanLine, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}
