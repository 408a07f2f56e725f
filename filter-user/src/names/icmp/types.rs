//! Lists of ICMP types as a policy keeps them: the words that the user wrote, in their
//! order, names turned into numbers.

use super::{Family, lookup, name_of, suggest};

/// The word for every type.
const ANY: &str = "any";

/// A list of ICMP types as written, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TypeSpec(Vec<TypeWord>);

/// One word of a list of ICMP types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TypeWord {
    /// A type, written as a number or as its name.
    Type(u8),
    /// The types from the first to the second, both included; written as numbers.
    Range(u8, u8),
    /// Every type.
    Any,
}

impl TypeWord {
    /// The first and the last type it means.
    pub const fn range(self) -> (u8, u8) {
        match self {
            Self::Type(number) => (number, number),
            Self::Range(first, last) => (first, last),
            Self::Any => (0, u8::MAX),
        }
    }

    /// As it is shown, and reads back: `echo-request`, `133-137`, `any`.
    pub fn text(self, family: Family) -> String {
        match self {
            Self::Type(number) => match name_of(family, number) {
                Some(name) => name.to_owned(),
                None => number.to_string(),
            },
            Self::Range(first, last) => format!("{first}-{last}"),
            Self::Any => ANY.to_owned(),
        }
    }

    fn parse(word: &str, family: Family) -> Result<Self, TypeError> {
        let number = |digits: &str| {
            digits.parse().map_err(|_| TypeError::OutOfRange {
                family,
                number: digits.to_owned(),
            })
        };
        if is_number(word) {
            return Ok(Self::Type(number(word)?));
        }
        if let Some((first, last)) = word.split_once(['-', ':'])
            && is_number(first)
            && is_number(last)
        {
            let (first, last): (u8, u8) = (number(first)?, number(last)?);
            return match first.cmp(&last) {
                std::cmp::Ordering::Less => Ok(Self::Range(first, last)),
                std::cmp::Ordering::Equal => Ok(Self::Type(first)),
                std::cmp::Ordering::Greater => Err(TypeError::Backwards {
                    family,
                    first,
                    last,
                }),
            };
        }
        if word.eq_ignore_ascii_case(ANY) {
            return Ok(Self::Any);
        }
        lookup(family, word)
            .map(Self::Type)
            .ok_or_else(|| TypeError::Unknown {
                family,
                word: word.escape_debug().to_string(),
                remedy: remedy(family, word),
            })
    }
}

impl TypeSpec {
    /// Every type.
    pub fn any() -> Self {
        Self(vec![TypeWord::Any])
    }

    /// The list that a text means: items separated by commas, each a name (`echo-request`),
    /// a number (`8`), a range (`133-137`) or `any`. Case does not matter.
    ///
    /// # Errors
    ///
    /// One of them is no type of this family.
    pub fn parse(text: &str, family: Family) -> Result<Self, TypeError> {
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        let kept: Vec<&str> = items
            .iter()
            .copied()
            .filter(|item| !item.is_empty())
            .collect();
        if kept.is_empty() {
            return Err(TypeError::Empty(family));
        }
        if kept.len() < items.len() {
            return Err(TypeError::EmptyItem {
                family,
                list: text.escape_debug().to_string(),
                remedy: kept.join(",").escape_debug().to_string(),
            });
        }
        let words = kept.into_iter().map(|item| TypeWord::parse(item, family));
        Ok(Self(words.collect::<Result<_, _>>()?))
    }

    /// The words, in the order they were written.
    pub fn words(&self) -> &[TypeWord] {
        &self.0
    }

    /// Whether it is the one word for every type.
    pub fn is_any(&self) -> bool {
        self.0 == [TypeWord::Any]
    }

    /// Whether a type is among them.
    pub fn contains(&self, number: u8) -> bool {
        self.0.iter().any(|word| {
            let (first, last) = word.range();
            (first..=last).contains(&number)
        })
    }

    /// As it is shown, and reads back: `echo-request,133-137`.
    pub fn text(&self, family: Family) -> String {
        let words: Vec<String> = self.0.iter().map(|word| word.text(family)).collect();
        words.join(",")
    }
}

/// Why a text is not a list of ICMP types; its `Display` is one line that ends with the
/// remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// There is no such type; the number as written, since it may not fit any integer.
    #[error("{family} type {number} is out of range (0-255)")]
    OutOfRange {
        /// Which ICMP.
        family: Family,
        /// The number.
        number: String,
    },

    /// The range's first type is above its last.
    #[error("{family} type range {first}-{last} is backwards (say {last}-{first})")]
    Backwards {
        /// Which ICMP.
        family: Family,
        /// The higher one.
        first: u8,
        /// The lower one.
        last: u8,
    },

    /// Neither a number, nor a range, nor a name.
    #[error("`{word}` is not an {family} type ({remedy})")]
    Unknown {
        /// Which ICMP.
        family: Family,
        /// The word as written, control characters escaped.
        word: String,
        /// What was perhaps meant.
        remedy: String,
    },

    /// Nothing between two commas, or after the last or before the first one.
    #[error("list of {family} types `{list}` has an empty item (say {remedy})")]
    EmptyItem {
        /// Which ICMP.
        family: Family,
        /// The list as written, control characters escaped.
        list: String,
        /// The list without the empty items.
        remedy: String,
    },

    /// No word at all.
    #[error("list of {0} types is empty (say a name, a number, a range or any)")]
    Empty(Family),
}

/// What to say instead of a word that is no type.
fn remedy(family: Family, word: &str) -> String {
    let other = family.other();
    if lookup(other, word).is_some() {
        return format!(
            "it is an {other} type; say `{} {}`",
            other.as_str(),
            word.to_ascii_lowercase()
        );
    }
    match suggest(family, word) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "say for example echo-request, a number or any".to_owned(),
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::Family::{Icmp, Icmp6};
    use super::*;

    #[test]
    fn names_become_numbers_and_are_shown_as_names() {
        for (family, text, shown) in [
            (Icmp, "echo-request", "echo-request"),
            (Icmp, "ping", "echo-request"),
            (Icmp, "8", "echo-request"),
            (Icmp, "008", "echo-request"),
            (Icmp, "200", "200"),
            (Icmp, " Echo-Reply , 3-5,any", "echo-reply,3-5,any"),
            (Icmp, "3:5", "3-5"),
            (Icmp, "8-8", "echo-request"),
            (Icmp6, "ping", "echo-request"),
            (Icmp6, "133-137", "133-137"),
            (Icmp6, "neighbour-solicitation", "neighbor-solicitation"),
            (Icmp6, "any", "any"),
        ] {
            let spec = TypeSpec::parse(text, family).unwrap();
            assert_eq!(spec.text(family), shown, "{text}");
            assert_eq!(TypeSpec::parse(shown, family), Ok(spec), "{text}");
        }
    }

    #[test]
    fn a_list_contains_its_types_and_no_others() {
        let spec = TypeSpec::parse("echo-request,3-5,255", Icmp).unwrap();
        let found: Vec<u8> = (0..=u8::MAX).filter(|&n| spec.contains(n)).collect();
        assert_eq!(found, [3, 4, 5, 8, 255]);
        assert!((0..=u8::MAX).all(|n| TypeSpec::any().contains(n)));
    }

    #[test]
    fn errors_end_with_the_remedy() {
        for (family, text, message) in [
            (Icmp, "256", "ICMP type 256 is out of range (0-255)"),
            (
                Icmp6,
                "133-999999999999999999999",
                "ICMPv6 type 999999999999999999999 is out of range (0-255)",
            ),
            (Icmp, "9-3", "ICMP type range 9-3 is backwards (say 3-9)"),
            (
                Icmp,
                "echo-reqest",
                "`echo-reqest` is not an ICMP type (did you mean `echo-request`?)",
            ),
            (
                Icmp,
                "packet-too-big",
                "`packet-too-big` is not an ICMP type (it is an ICMPv6 type; say `icmp6 packet-too-big`)",
            ),
            (
                Icmp6,
                "timestamp",
                "`timestamp` is not an ICMPv6 type (it is an ICMP type; say `icmp timestamp`)",
            ),
            (
                Icmp,
                "8/0",
                "`8/0` is not an ICMP type (say for example echo-request, a number or any)",
            ),
            (
                Icmp,
                "8,,0",
                "list of ICMP types `8,,0` has an empty item (say 8,0)",
            ),
            (
                Icmp6,
                " ",
                "list of ICMPv6 types is empty (say a name, a number, a range or any)",
            ),
        ] {
            let error = TypeSpec::parse(text, family).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
