//! The values that a policy file has in several forms: one word or several, text or time.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess},
};

/// A list in a policy file: a word, a number, or several of both.
#[derive(Debug, Serialize)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// They, to be read.
    pub(super) fn as_strs(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

impl<T: fmt::Display> FromIterator<T> for Words {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().map(|item| item.to_string()).collect())
    }
}

/// Ports of a rule.
pub(super) fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Words>, D::Error> {
    words(
        deserializer,
        "a port, a range, a service name, or a list of them",
    )
}

/// Prefixes of a rule.
pub(super) fn prefixes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Words>, D::Error> {
    words(deserializer, "a prefix, or a list of them")
}

/// Interfaces of a rule.
pub(super) fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Words>, D::Error> {
    words(deserializer, "the name of an interface, or a list of them")
}

/// Countries of a list.
pub(super) fn countries<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Words>, D::Error> {
    words(
        deserializer,
        "the two letters of a country, or a list of them",
    )
}

/// Link-layer addresses of a rule.
pub(super) fn macs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Words>, D::Error> {
    words(deserializer, "a MAC address, or a list of them")
}

/// Lengths of prefixes.
pub(super) fn lengths<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Words>, D::Error> {
    words(deserializer, "two lengths of prefixes, IPv4's and IPv6's")
}

/// A time, as TOML has it or as a string.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(TimeVisitor).map(Some)
}

struct TimeVisitor;

impl<'de> de::Visitor<'de> for TimeVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time as in 2026-12-24T18:00:00+01:00")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<String, A::Error> {
        let time = toml::value::Datetime::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(time.to_string())
    }
}

fn words<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<Option<Words>, D::Error> {
    deserializer
        .deserialize_any(WordsVisitor(expected))
        .map(Some)
}

/// What is expected.
struct WordsVisitor(&'static str);

impl<'de> de::Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Words, E> {
        Ok(Words::from_iter([number]))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Words, E> {
        Ok(Words::from_iter([number]))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Words, E> {
        Ok(Words::from_iter([word]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
        let mut words = Vec::with_capacity(items.size_hint().unwrap_or(0));
        while let Some(Word(word)) = items.next_element()? {
            words.push(word);
        }
        Ok(Words(words))
    }
}

/// An item of a list.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
    }
}

struct WordVisitor;

impl de::Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a number")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Word, E> {
        Ok(Word(number.to_string()))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Word, E> {
        Ok(Word(word.to_owned()))
    }

    fn visit_string<E: de::Error>(self, word: String) -> Result<Word, E> {
        Ok(Word(word))
    }
}
