//! The policy file: read with line and column for every mistake, edited so that
//! comments and order survive, saved so that a power cut leaves the old one or
//! the new one whole.
//!
//! A file may hold a hundred thousand prefixes, and most commands only read it: what
//! editing takes, a document with all its blanks and comments, is made when something
//! is edited, and where a mistake stands is looked up when there is one.

use std::{
    borrow::Cow,
    collections::HashSet,
    fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use toml_edit::{Array, ArrayOfTables, Document, DocumentMut, Item, Table, Value};

use super::{
    Policy, PolicyText, Rule, RuleId, RuleText,
    text::{Mistake, VERSION},
};
use crate::exit::{Exit, Failure};

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
    /// The text as it is to be, once something was edited.
    edited: Option<DocumentMut>,
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
        let written: PolicyText = toml::from_str(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message()))?;
        let policy = written
            .read()
            .map_err(|mistake| at(offset_of(text, &mistake), &mistake.message))?;
        let mut file = Self {
            path: path.to_owned(),
            saved,
            text: text.to_owned(),
            edited: None,
            policy,
        };
        if !written.has_all_ids() {
            file.write_ids()?;
        }
        Ok(file)
    }

    /// The policy in it.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Adds a rule, at the end or before another.
    ///
    /// # Errors
    ///
    /// The text cannot be edited, though it could be read; so for all edits.
    pub fn add(&mut self, rule: Rule, before: Option<RuleId>) -> Result<()> {
        let table = table_of(&rule)?;
        // First what can fail.
        self.rules()?;
        let index = self.policy.insert(rule, before);
        self.rules()?.insert(index, table);
        Ok(())
    }

    /// Removes rules.
    ///
    /// # Errors
    ///
    /// As for [`PolicyFile::add`].
    pub fn remove(&mut self, ids: &[RuleId]) -> Result<()> {
        let ids: HashSet<RuleId> = ids.iter().copied().collect();
        let rules = self.policy.rules.iter();
        let keep: Vec<bool> = rules.map(|rule| !ids.contains(&rule.id)).collect();
        let mut kept = keep.iter();
        self.rules()?
            .retain(|_| kept.next().copied().unwrap_or(true));
        self.policy.rules.retain(|rule| !ids.contains(&rule.id));
        Ok(())
    }

    /// Changes the default.
    ///
    /// # Errors
    ///
    /// As for [`PolicyFile::add`].
    pub fn set_default(&mut self, default: super::DefaultAction) -> Result<()> {
        self.set("default", Value::from(default.as_str()))?;
        self.policy.default = default;
        Ok(())
    }

    /// Changes the interfaces.
    ///
    /// # Errors
    ///
    /// As for [`PolicyFile::add`].
    pub fn set_interfaces(&mut self, interfaces: Vec<String>) -> Result<()> {
        let names = interfaces.iter().map(String::as_str).collect::<Array>();
        self.set("interfaces", Value::Array(names))?;
        self.policy.interfaces = interfaces;
        Ok(())
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
        let contents = self.contents();
        if self.saved.as_deref() == Some(contents.as_bytes()) {
            return Ok(());
        }
        write_whole(&self.path, contents.as_bytes())
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
        match &self.edited {
            Some(document) => document.to_string().into(),
            None => self.text.as_str().into(),
        }
    }

    /// The document, to be edited.
    fn document(&mut self) -> Result<&mut DocumentMut> {
        let document = match self.edited.take() {
            Some(document) => document,
            None => self.text.parse()?,
        };
        Ok(self.edited.insert(document))
    }

    /// The rules, to be edited.
    fn rules(&mut self) -> Result<&mut ArrayOfTables> {
        let item = self
            .document()?
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
            Item::ArrayOfTables(tables) => Ok(tables),
            _ => unreachable!("made an array of tables just above"),
        }
    }

    /// Writes the ids that rules without one were given.
    fn write_ids(&mut self) -> Result<()> {
        let ids: Vec<RuleId> = self.policy.rules.iter().map(|rule| rule.id).collect();
        for (table, id) in self.rules()?.iter_mut().zip(ids) {
            if !table.contains_key("id") {
                table.insert("id", Item::Value(id.to_string().into()));
            }
        }
        Ok(())
    }

    /// Sets a value and keeps the comment beside it.
    fn set(&mut self, key: &str, mut value: Value) -> Result<()> {
        let document = self.document()?;
        if let Some(old) = document.get(key).and_then(Item::as_value) {
            *value.decor_mut() = old.decor().clone();
        }
        document.insert(key, Item::Value(value));
        Ok(())
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
fn offset_of(text: &str, mistake: &Mistake) -> usize {
    let Ok(document) = Document::parse(text) else {
        return 0;
    };
    let table = match mistake.rule {
        None => document.as_item(),
        Some(index) => match document.get("rule").and_then(|rules| rules.get(index)) {
            Some(rule) => rule,
            None => return 0,
        },
    };
    let value = table.get(mistake.key).unwrap_or(table);
    let item = value
        .as_array()
        .and_then(|list| list.get(mistake.item)?.span());
    item.or_else(|| value.span()).map_or(0, |span| span.start)
}

/// A rule's table: the same keys and values as its [`RuleText`].
fn table_of(rule: &Rule) -> Result<Table> {
    let mut table = toml_edit::ser::to_document(&RuleText::from(rule))?
        .as_table()
        .clone();
    table.decor_mut().set_prefix("\n");
    Ok(table)
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
