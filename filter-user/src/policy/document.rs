//! The policy as a text in TOML: read with line and column for every mistake, edited so
//! that comments and order survive.
//!
//! A text may hold a hundred thousand prefixes, and most commands only read it: what
//! editing takes, a document with all its blanks and comments, is made when something
//! is edited, and where a mistake stands is looked up when there is one.

use std::{borrow::Cow, collections::HashSet};

use toml_edit::{Array, ArrayOfTables, Document, DocumentMut, Item, Key, Table, Value};
use xdpfw_common::Transport;

use super::{
    Action, Policy, PolicyText, Rule, RuleId, RuleText, Scope, Until,
    text::{Mistake, VERSION},
};
use crate::{names::services, ports::PortWord};

/// A text, and the policy in it.
#[derive(Clone, Debug)]
pub struct PolicyDocument {
    /// The text as it was read: what is not edited stays as it is, byte for byte.
    text: String,
    /// The text as it is to be, once something was edited.
    edited: Option<DocumentMut>,
    policy: Policy,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what would be right: one line.
    pub message: String,
}

/// Why a text that could be read cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is TOML to one parser, and not to the other.
    #[error(transparent)]
    Text(#[from] toml_edit::TomlError),
    /// A rule cannot be written.
    #[error(transparent)]
    Rule(#[from] toml_edit::ser::Error),
}

impl ParseError {
    /// A mistake at this byte of the text.
    fn at(text: &str, offset: usize, message: &str) -> Self {
        let (line, column) = position(text, offset);
        // A message may quote the text, and an error is one line; TOML calls
        // keys what the parser calls fields.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            line,
            column,
            message: message.replace(" field `", " key `"),
        }
    }
}

impl PolicyDocument {
    /// The text of a policy without rules.
    pub fn empty() -> String {
        format!("version = {VERSION}\n")
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// The first mistake in it.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ParseError> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
            ParseError::at(&before, valid, "not a text in UTF-8")
        })?;
        let written: PolicyText = toml::from_str(&text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            ParseError::at(&text, offset, error.message())
        })?;
        let policy = written.read().map_err(|mistake| {
            ParseError::at(&text, offset_of(&text, &mistake), &mistake.message)
        })?;
        let mut document = Self {
            text,
            edited: None,
            policy,
        };
        let edited = match written.renamed_replies() {
            Ok(Some(_)) => document.rename_replies(),
            _ => Ok(()),
        };
        let edited = edited.and_then(|()| match written.has_all_ids() {
            true => Ok(()),
            false => document.write_ids(),
        });
        edited.map_err(|error| ParseError::at(&document.text, 0, &error.to_string()))?;
        Ok(document)
    }

    /// The text of a policy that has none.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn of(policy: &Policy) -> Result<Self, EditError> {
        let bare = Policy {
            rules: Vec::new(),
            ..policy.clone()
        };
        let head = toml_edit::ser::to_document(&PolicyText::from(&bare))?;
        let mut document = Self {
            text: head.to_string(),
            edited: Some(head),
            policy: bare,
        };
        for rule in &policy.rules {
            document.add(rule.clone(), None)?;
        }
        Ok(document)
    }

    /// The policy in it.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The ports of this host that rules call by the names of services: the rule, the name as it
    /// is written, the protocol, and the port that it means.
    pub fn named_ports(&self) -> Vec<(RuleId, String, Transport, u16)> {
        let contents = self.contents();
        let Ok(written) = toml::from_str::<PolicyText>(&contents) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (rule, names) in self.policy.rules.iter().zip(written.service_names()) {
            let matching = &rule.matches;
            for name in names {
                for &transport in matching.protocol.transports() {
                    let port = services::port_for(name, transport);
                    let port = port.filter(|&port| {
                        let mut words = matching.local.words().iter();
                        words.any(|word| *word == PortWord::Port(port))
                    });
                    found.extend(port.map(|port| (rule.id, name.to_owned(), transport, port)));
                }
            }
        }
        found
    }

    /// Adds a rule, at the end or before another.
    ///
    /// # Errors
    ///
    /// The text cannot be edited, though it could be read; so for all edits.
    pub fn add(&mut self, rule: Rule, before: Option<RuleId>) -> Result<(), EditError> {
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
    /// As for [`PolicyDocument::add`].
    pub fn remove(&mut self, ids: &[RuleId]) -> Result<(), EditError> {
        let ids: HashSet<RuleId> = ids.iter().copied().collect();
        let rules = self.policy.rules.iter();
        let keep: Vec<bool> = rules.map(|rule| !ids.contains(&rule.id)).collect();
        let mut kept = keep.iter();
        self.rules()?
            .retain(|_| kept.next().copied().unwrap_or(true));
        self.policy.rules.retain(|rule| !ids.contains(&rule.id));
        Ok(())
    }

    /// Moves a rule, with the remarks above it, in front of another.
    ///
    /// # Errors
    ///
    /// As for [`PolicyDocument::add`].
    pub fn move_before(&mut self, id: RuleId, before: RuleId) -> Result<(), EditError> {
        let place = |policy: &Policy, id| policy.rules.iter().position(|rule| rule.id == id);
        let (Some(from), Some(to)) = (place(&self.policy, id), place(&self.policy, before)) else {
            return Ok(());
        };
        // Without the moved rule, those behind it stand one place further to the front.
        let to = if from < to { to - 1 } else { to };
        let tables = self.rules()?;
        let mut table = tables.remove(from);
        // Its place in the text follows from its place in the list.
        table.set_position(None);
        tables.insert(to, table);
        let rule = self.policy.rules.remove(from);
        self.policy.rules.insert(to, rule);
        Ok(())
    }

    /// Changes the comment of a rule.
    ///
    /// # Errors
    ///
    /// As for [`PolicyDocument::add`].
    pub fn set_comment(&mut self, id: RuleId, comment: &str) -> Result<(), EditError> {
        if let Some(rule) = self.set_in_rule(id, "comment", Some(comment.into()))? {
            rule.comment = Some(comment.to_owned());
        }
        Ok(())
    }

    /// Changes when a rule ends; `None` is never.
    ///
    /// # Errors
    ///
    /// As for [`PolicyDocument::add`].
    pub fn set_until(&mut self, id: RuleId, until: Option<Until>) -> Result<(), EditError> {
        let written = until.as_ref().map(Until::to_string);
        if let Some(rule) = self.set_in_rule(id, "until", written.map(Value::from))? {
            rule.until = until;
        }
        Ok(())
    }

    /// Has a rule that lets packets in do so in another way: with another limit, or with SYN cookies.
    ///
    /// # Errors
    ///
    /// As for [`PolicyDocument::add`].
    pub fn set_action(&mut self, id: RuleId, action: Action) -> Result<(), EditError> {
        let limit = action.limit();
        let per = limit.and_then(|limit| limit.per());
        let has_cookies = action == Action::AllowWithCookies;
        for (key, value) in [
            ("syn_cookies", has_cookies.then(|| true.into())),
            ("rate", limit.map(|limit| limit.rate.to_string().into())),
            (
                "burst",
                limit.and_then(|limit| Some(i64::from(limit.own_burst()?).into())),
            ),
            (
                "per",
                per.map(|per| Value::Array(per.map(i64::from).into_iter().collect())),
            ),
            (
                "total",
                limit
                    .filter(|limit| limit.scope == Scope::Total)
                    .map(|_| true.into()),
            ),
            (
                "ban",
                limit.and_then(|limit| Some(limit.ban?.in_one_unit().into())),
            ),
        ] {
            if let Some(rule) = self.set_in_rule(id, key, value)? {
                rule.action = action;
            }
        }
        Ok(())
    }

    /// Sets or removes a value of a rule in the text, and keeps the remark beside it. Returns the
    /// rule itself, if there is such a one.
    fn set_in_rule(
        &mut self,
        id: RuleId,
        key: &str,
        value: Option<Value>,
    ) -> Result<Option<&mut Rule>, EditError> {
        let Some(index) = self.policy.rules.iter().position(|rule| rule.id == id) else {
            return Ok(None);
        };
        if let Some(table) = self.rules()?.get_mut(index) {
            match value {
                Some(mut value) => {
                    if let Some(old) = table.get(key).and_then(Item::as_value) {
                        *value.decor_mut() = old.decor().clone();
                    }
                    table.insert(key, Item::Value(value));
                }
                None => {
                    table.remove(key);
                }
            }
        }
        Ok(self.policy.rules.get_mut(index))
    }

    /// Changes the default.
    ///
    /// # Errors
    ///
    /// As for [`PolicyDocument::add`].
    pub fn set_default(&mut self, default: super::DefaultAction) -> Result<(), EditError> {
        self.set("default", Value::from(default.as_str()))?;
        self.policy.default = default;
        Ok(())
    }

    /// Adds the interface of this name, which the policy is not for yet.
    ///
    /// # Errors
    ///
    /// As for [`PolicyDocument::add`].
    pub fn add_interface(&mut self, name: String) -> Result<(), EditError> {
        let interfaces = self.policy.interfaces.clone().with(name);
        let words = interfaces.words().iter();
        let words = words.map(String::as_str).collect::<Array>();
        self.set("interfaces", Value::Array(words))?;
        self.policy.interfaces = interfaces;
        Ok(())
    }

    /// The text, with all edits.
    pub fn contents(&self) -> Cow<'_, str> {
        match &self.edited {
            Some(document) => document.to_string().into(),
            None => self.text.as_str().into(),
        }
    }

    /// The document, to be edited.
    fn document(&mut self) -> Result<&mut DocumentMut, EditError> {
        let document = match self.edited.take() {
            Some(document) => document,
            None => self.text.parse()?,
        };
        Ok(self.edited.insert(document))
    }

    /// The rules, to be edited.
    fn rules(&mut self) -> Result<&mut ArrayOfTables, EditError> {
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

    /// Writes `replies` in the place of the key that it has replaced.
    fn rename_replies(&mut self) -> Result<(), EditError> {
        const OLD: &str = "udp_replies";
        let replies = self.policy.replies;
        let document = self.document()?;
        let decor = document.get(OLD).and_then(Item::as_value).map(Value::decor);
        let mut value = Value::from(replies.as_str());
        if let Some(decor) = decor {
            *value.decor_mut() = decor.clone();
        }
        let mut key = Key::new("replies");
        if let Some(old) = document.key(OLD) {
            *key.leaf_decor_mut() = old.leaf_decor().clone();
        }
        document.remove(OLD);
        document.insert_formatted(&key, Item::Value(value));
        Ok(())
    }

    /// Writes the ids that rules without one were given.
    fn write_ids(&mut self) -> Result<(), EditError> {
        let ids: Vec<RuleId> = self.policy.rules.iter().map(|rule| rule.id).collect();
        for (table, id) in self.rules()?.iter_mut().zip(ids) {
            if !table.contains_key("id") {
                table.insert("id", Item::Value(id.to_string().into()));
            }
        }
        Ok(())
    }

    /// Sets a value and keeps the comment beside it.
    fn set(&mut self, key: &str, mut value: Value) -> Result<(), EditError> {
        let document = self.document()?;
        if let Some(old) = document.get(key).and_then(Item::as_value) {
            *value.decor_mut() = old.decor().clone();
        }
        document.insert(key, Item::Value(value));
        Ok(())
    }
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
    let list = mistake.list.as_deref();
    let table = match mistake.rule {
        None => match list.and_then(|name| document.get("list")?.get(name)) {
            Some(list) => list,
            None => document.as_item(),
        },
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
fn table_of(rule: &Rule) -> Result<Table, EditError> {
    let mut table = toml_edit::ser::to_document(&RuleText::from(rule))?
        .as_table()
        .clone();
    table.decor_mut().set_prefix("\n");
    Ok(table)
}
