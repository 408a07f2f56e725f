//! A policy of the history with what is known of the change that made it: a policy file whose
//! first line is a comment that says it.

use jiff::Timestamp;

use crate::{
    datapath::Change,
    engine::guard::asked,
    policy::{ParseError, PolicyDocument},
    system::{Operator, UNKNOWN},
};

/// What the first line begins with; behind it is the change, in JSON, which knows no line ends.
const HEAD: &str = "# xdpfw.history/1 ";
/// Most characters that are kept of what an operator typed.
const LONGEST: usize = 1000;

/// A policy of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// The change that made it.
    pub change: Change,
    /// The whole text of the policy.
    pub text: String,
}

impl Change {
    /// The change that this process makes now, by its own command line.
    pub fn of_this_command(summary: String) -> Self {
        let Operator {
            user,
            from,
            session,
        } = Operator::current();
        let words = std::env::args_os().skip(1);
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into()).collect();
        Self {
            at: Timestamp::now(),
            user,
            from,
            command: cut(&quoted(&words)),
            summary: cut(&summary),
            port: session.map(|session| match asked(&session) {
                Ok(asked) => asked.port(),
                Err(_) => session.local,
            }),
        }
    }

    /// One that nobody recorded when it was made.
    pub(super) fn unknown(summary: &str) -> Self {
        Self {
            at: Timestamp::now(),
            user: UNKNOWN.to_owned(),
            from: UNKNOWN.to_owned(),
            command: UNKNOWN.to_owned(),
            summary: summary.to_owned(),
            port: None,
        }
    }
}

impl Entry {
    /// The policy.
    ///
    /// # Errors
    ///
    /// Another version wrote what this one cannot read.
    pub fn document(&self) -> Result<PolicyDocument, ParseError> {
        PolicyDocument::parse(self.text.clone().into_bytes())
    }

    /// What its file holds.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let change = serde_json::to_string(&self.change)?;
        Ok(format!("{HEAD}{change}\n{}", self.text).into_bytes())
    }

    /// Reads what its file holds; `None` if that is something else.
    pub(super) fn from_bytes(number: u64, bytes: Vec<u8>) -> Option<Self> {
        let contents = String::from_utf8(bytes).ok()?;
        let (head, text) = contents.split_once('\n')?;
        let change = serde_json::from_str(head.strip_prefix(HEAD)?).ok()?;
        Some(Self {
            number,
            change,
            text: text.to_owned(),
        })
    }
}

/// Words as a shell takes them, quoted where they must be.
fn quoted(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-./:@_,".contains(c);
    let quoted = words.iter().map(|word| match word.chars().all(is_plain) {
        true if !word.is_empty() => word.into(),
        // An argument holds no NUL, the one thing that no shell takes.
        _ => shlex::try_quote(word).unwrap_or_default(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A text without its end, if it is too long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let words = [
            "allow",
            "--comment",
            "a\nb \x1b[2J # it's",
            "tcp",
            "80,443",
            "",
        ];
        let entry = Entry {
            number: 7,
            change: Change {
                at: "2026-11-28T10:00:00.25Z".parse().unwrap(),
                user: "alice (sudo)".to_owned(),
                from: "2001:db8::1".to_owned(),
                command: quoted(&words.map(str::to_owned)),
                summary: "+ r1 allow tcp 80,443".to_owned(),
                port: Some(2222),
            },
            text: "# mine\nversion = 1\n".to_owned(),
        };
        let bytes = entry.to_bytes().unwrap();
        assert_eq!(Entry::from_bytes(7, bytes.clone()).unwrap(), entry);
        // It is a policy file, too.
        assert!(PolicyDocument::parse(bytes).is_ok());
        assert_eq!(entry.text, entry.document().unwrap().contents());
        // And the command is what was typed.
        assert_eq!(shlex::split(&entry.change.command).unwrap(), words);
        assert!(entry.change.command.contains(" tcp 80,443 "));
    }

    #[test]
    fn what_is_no_entry_is_not_taken_for_one() {
        for bytes in [
            &b""[..],
            b"version = 1\n",
            b"# xdpfw.history/1 {}\n",
            b"\xff\n",
        ] {
            assert_eq!(Entry::from_bytes(1, bytes.to_vec()), None);
        }
    }

    #[test]
    fn a_long_command_is_cut() {
        let long = "é".repeat(LONGEST);
        assert_eq!(cut(&long), long);
        assert_eq!(cut(&format!("{long}x")), format!("{long}…"));
    }
}
