//! The policy file: read with line and column for every mistake, edited so that
//! comments and order survive, saved so that a power cut leaves the old one or
//! the new one whole.

use std::{
    borrow::Cow,
    fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use toml_edit::{Array, ArrayOfTables, Document, DocumentMut, Item, Table, Value};

use super::{
    Policy, PolicyText, Rule, RuleId,
    text::{Mistake, VERSION},
};
use crate::{
    exit::{Exit, Failure},
    ports::PortSpec,
};

/// Who may read the policy: root, and its group.
const MODE: u32 = 0o640;

/// A policy file, and the policy in it.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: PathBuf,
    /// What the file holds, or `None` where there is none.
    saved: Option<Vec<u8>>,
    /// The text as it was read: what is not edited stays as it is, byte for byte.
    text: String,
    edited: bool,
    document: DocumentMut,
    policy: Policy,
}

impl PolicyFile {
    /// Reads the file; one that does not exist is an empty policy.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no policy; then with line and column.
    pub fn open(path: &Path) -> Result<Self> {
        let source = path.display().to_string();
        let saved = saved(path)?;
        let text = match &saved {
            Some(bytes) => as_text(&source, bytes.clone())?,
            None => format!("version = {VERSION}\n"),
        };
        Self::parse(path, saved, &source, &text)
    }

    /// Takes `text`, read from `source`, as the policy to be saved at `path`,
    /// whatever is there.
    ///
    /// # Errors
    ///
    /// The text is no policy, or the file cannot be read.
    pub fn replacing(path: &Path, source: &str, text: Vec<u8>) -> Result<Self> {
        Self::parse(path, saved(path)?, source, &as_text(source, text)?)
    }

    fn parse(path: &Path, saved: Option<Vec<u8>>, source: &str, text: &str) -> Result<Self> {
        let at = |offset: usize, message: &str| {
            let (line, column) = position(text, offset);
            // A message may quote the text, and an error is one line; TOML calls
            // keys what the parser calls fields.
            let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
            let message = message.replace(" field `", " key `");
            Failure::policy(format!("{source}:{line}:{column}: {message}"))
        };
        let document = Document::parse(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message()))?;
        let written: PolicyText = toml_edit::de::from_str(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message()))?;
        let policy = written
            .read()
            .map_err(|mistake| at(offset_of(&document, &mistake), &mistake.message))?;
        let mut file = Self {
            path: path.to_owned(),
            saved,
            text: text.to_owned(),
            edited: false,
            document: text.parse::<DocumentMut>()?,
            policy,
        };
        file.write_ids(&written);
        Ok(file)
    }

    /// The policy in it.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Adds a rule, at the end or before another.
    pub fn add(&mut self, rule: Rule, before: Option<RuleId>) {
        let table = table_of(&rule);
        let index = before.and_then(|id| self.policy.rules.iter().position(|rule| rule.id == id));
        match index {
            Some(index) => {
                self.rules().insert(index, table);
                self.policy.rules.insert(index, rule);
            }
            None => {
                self.rules().push(table);
                self.policy.rules.push(rule);
            }
        }
    }

    /// Removes rules.
    pub fn remove(&mut self, ids: &[RuleId]) {
        let keep: Vec<bool> = self
            .policy
            .rules
            .iter()
            .map(|rule| !ids.contains(&rule.id))
            .collect();
        let mut kept = keep.iter();
        self.rules()
            .retain(|_| kept.next().copied().unwrap_or(true));
        self.policy.rules.retain(|rule| !ids.contains(&rule.id));
    }

    /// Changes the default.
    pub fn set_default(&mut self, default: super::DefaultAction) {
        self.set("default", Value::from(default.as_str()));
        self.policy.default = default;
    }

    /// Changes the interfaces.
    pub fn set_interfaces(&mut self, interfaces: Vec<String>) {
        self.set(
            "interfaces",
            Value::Array(interfaces.iter().map(String::as_str).collect::<Array>()),
        );
        self.policy.interfaces = interfaces;
    }

    /// Whether saving would change the file.
    pub fn is_changed(&self) -> bool {
        self.saved.as_deref() != Some(self.contents().as_bytes())
    }

    /// Saves the file, if that would change it.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or written to; the old file is then whole.
    pub fn save_if_changed(&self) -> Result<()> {
        if !self.is_changed() {
            return Ok(());
        }
        write_whole(&self.path, self.contents().as_bytes())
            .with_context(|| format!("cannot save {}", self.path.display()))
    }

    /// Puts back what the file held when it was read.
    ///
    /// # Errors
    ///
    /// As for [`PolicyFile::save_if_changed`].
    pub fn restore(&self) -> Result<()> {
        match &self.saved {
            Some(contents) => write_whole(&self.path, contents),
            None => fs::remove_file(&self.path),
        }
        .with_context(|| format!("cannot restore {}", self.path.display()))
    }

    fn contents(&self) -> Cow<'_, str> {
        if self.edited {
            self.document.to_string().into()
        } else {
            self.text.as_str().into()
        }
    }

    /// The rules, to be edited.
    fn rules(&mut self) -> &mut ArrayOfTables {
        self.edited = true;
        let item = self
            .document
            .entry("rule")
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if !item.is_array_of_tables() {
            // Written as `rule = [{ … }]`, which was read before: tables in a list.
            let tables = std::mem::take(item)
                .into_array_of_tables()
                .unwrap_or_default();
            *item = Item::ArrayOfTables(tables);
        }
        match item {
            Item::ArrayOfTables(tables) => tables,
            _ => unreachable!("made an array of tables just above"),
        }
    }

    /// Writes the ids that rules without one were given.
    fn write_ids(&mut self, written: &PolicyText) {
        if written.has_all_ids() {
            return;
        }
        let ids: Vec<RuleId> = self.policy.rules.iter().map(|rule| rule.id).collect();
        for (table, id) in self.rules().iter_mut().zip(ids) {
            if !table.contains_key("id") {
                table.insert("id", Item::Value(id.to_string().into()));
            }
        }
    }

    /// Sets a value and keeps the comment beside it.
    fn set(&mut self, key: &str, mut value: Value) {
        self.edited = true;
        if let Some(old) = self.document.get(key).and_then(Item::as_value) {
            *value.decor_mut() = old.decor().clone();
        }
        self.document.insert(key, Item::Value(value));
    }
}

/// What a file holds, `None` if it does not exist.
fn saved(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let exit = match error.kind() {
                io::ErrorKind::PermissionDenied => Exit::Privilege,
                _ => Exit::Policy,
            };
            let message = format!("cannot read {}: {error}", path.display());
            Err(Failure::new(exit, message).into())
        }
    }
}

fn as_text(source: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let (line, column) = position(&before, valid);
        Failure::policy(format!("{source}:{line}:{column}: not a text in UTF-8")).into()
    })
}

/// Line and column, both from 1, of a byte in a text.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

/// Where a mistake was written.
fn offset_of(document: &Document<&str>, mistake: &Mistake) -> usize {
    let start = |item: &Item| item.span().map_or(0, |span| span.start);
    let table = match mistake.rule {
        None => document.as_item(),
        Some(index) => match document.get("rule").and_then(|rules| rules.get(index)) {
            Some(rule) => rule,
            None => return 0,
        },
    };
    start(table.get(mistake.key).unwrap_or(table))
}

fn table_of(rule: &Rule) -> Table {
    let mut table = Table::new();
    table.insert("id", Item::Value(rule.id.to_string().into()));
    table.insert(rule.action.as_str(), Item::Value(rule.what.words().into()));
    if rule.what.remote != PortSpec::any() {
        let words = rule.what.remote.words().iter().map(ToString::to_string);
        table.insert(
            "remote_ports",
            Item::Value(Value::Array(words.collect::<Array>())),
        );
    }
    if let Some(comment) = &rule.comment {
        table.insert("comment", Item::Value(comment.into()));
    }
    table.decor_mut().set_prefix("\n");
    table
}

/// Replaces a file: temporary file beside it, fsync, rename, fsync of the
/// directory. On an error the old file is whole.
///
/// The temporary file has one name, which the lock keeps to one command: what a
/// killed command left is replaced by the next.
fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    // Through a link, so that the link stays and its target is replaced.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(_) => path.to_owned(),
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.new"));
    let written = write_new(&temporary, contents, fs::metadata(&path).ok())
        .and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // The error that is told is the first.
        drop(fs::remove_file(&temporary));
    }
    written?;
    fs::File::open(directory)?.sync_all()
}

/// Writes a file that must not exist, to the disk.
fn write_new(path: &Path, contents: &[u8], old: Option<fs::Metadata>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    if let Some(old) = old {
        // Whose it is, is the administrator's decision.
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(contents)?;
    file.sync_all()
}
