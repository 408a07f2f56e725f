//! A rule: its name, what it does, and to which packets.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::{Limit, Match, Until};
use crate::text::is_unseen;

/// A comment as rules may have it: one line, all of which is seen.
///
/// # Errors
///
/// Another one would show what is not there.
pub fn parse_comment(text: &str) -> Result<String, String> {
    match text.chars().find(|&c| is_unseen(c)) {
        Some(c) => Err(format!(
            "`{}` cannot be in a comment (say it in plain text)",
            c.escape_default()
        )),
        None => Ok(text.to_owned()),
    }
}

/// What a rule does with the packets it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// They pass.
    Allow,
    /// They pass; where many come, new connections of TCP are answered with SYN cookies.
    AllowWithCookies,
    /// They are dropped.
    Deny,
    /// They pass, unless there are too many.
    Limit(Limit),
}

impl Action {
    /// All of [`Action::as_str`].
    pub const WORDS: [&str; 3] = ["allow", "deny", "limit"];

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow | Self::AllowWithCookies => "allow",
            Self::Deny => "deny",
            Self::Limit(_) => "limit",
        }
    }

    /// Whether packets pass, or those that are not too many.
    pub const fn lets_in(self) -> bool {
        !matches!(self, Self::Deny)
    }

    /// Its limit, if it has one.
    pub const fn limit(self) -> Option<Limit> {
        match self {
            Self::Limit(limit) => Some(limit),
            Self::Allow | Self::AllowWithCookies | Self::Deny => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a rule, which it keeps as long as it exists: `r1`, `r2` …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl FromStr for RuleId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix('r')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|&number: &u32| number > 0 && format!("r{number}") == text)
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "`{}` is not a rule id (say for example r1)",
                    text.escape_debug()
                )
            })
    }
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// What it does.
    pub action: Action,
    /// What it matches.
    pub matches: Match,
    /// When it ends; `None` is never.
    pub until: Option<Until>,
    /// What its author wanted to remember.
    pub comment: Option<String>,
}

impl Rule {
    /// Whether it has ended: it matches nothing any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.as_ref().is_some_and(|until| until.is_over(now))
    }

    /// Whether it ends no sooner than another one.
    pub fn lasts_as_long_as(&self, other: &Self) -> bool {
        match (&self.until, &other.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => ours >= theirs,
        }
    }

    /// All but its end: see its own `Display`.
    pub const fn without_end(&self) -> WithoutEnd<'_> {
        WithoutEnd(self)
    }
}

/// A rule as on the command line, but for its end.
pub struct WithoutEnd<'a>(&'a Rule);

impl fmt::Display for WithoutEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rule) = self;
        write!(f, "{} ", rule.action)?;
        rule.matches.fmt(f)?;
        if let Some(service) = rule.matches.service() {
            write!(f, " ({service})")?;
        }
        match rule.action {
            Action::Allow | Action::Deny => Ok(()),
            Action::AllowWithCookies => f.write_str(" --syn-cookies"),
            Action::Limit(limit) => write!(f, " {limit}"),
        }
    }
}

impl fmt::Display for Rule {
    /// As on the command line, with the service's name and the end: `allow tcp 443 (https) until
    /// 2026-12-24 18:00:00 +01:00`; with a precision, lists are cut as those of [`Match`] are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.without_end().fmt(f)?;
        match &self.until {
            Some(until) => write!(f, " until {}", until.in_words()),
            None => Ok(()),
        }
    }
}
