//! Who is to be banned, as other programs say it: lines, or JSON.

use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::{duration::Seconds, engine::BanWish, policy::parse_prefixes};

/// Why nobody bans everybody.
pub(super) const EVERYBODY: &str = "that would ban everybody (say `xdpfw panic`)";
/// Bytes of a reason at most.
const WHY: usize = 64;

/// A line, or an item of a list, that is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// From 1.
    number: usize,
    message: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.message)
    }
}

/// An item of JSON. Fields that other programs have besides are theirs.
#[derive(Deserialize)]
struct Item {
    prefix: String,
    #[serde(rename = "for")]
    lasts: Option<Lasts>,
    why: Option<String>,
}

/// `"10m"`, or seconds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lasts {
    Words(String),
    Seconds(u64),
}

/// Whether text can be the reason of a ban: printable, and short.
pub(super) fn check_why(why: &str) -> Result<(), String> {
    match why.len() <= WHY && why.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => Ok(()),
        false => Err(format!("at most {WHY} printable characters")),
    }
}

/// Those whom an input names, with what it leaves open as `base` has it; and what is not understood.
pub(super) fn wishes(input: &[u8], base: impl Fn(IpNet) -> BanWish) -> (Vec<BanWish>, Vec<Bad>) {
    let text = String::from_utf8_lossy(input);
    match text.trim_start().starts_with('[') {
        true => read_all(items(&text), |item| wish_of(item?, &base)),
        false => read_all(lines(&text), |line| match line.starts_with('{') {
            true => wish_of(
                serde_json::from_str(line).map_err(|error| broken(&error))?,
                &base,
            ),
            false => wish_in(line, &base),
        }),
    }
}

/// The prefixes that an input names, and what is not understood.
pub(super) fn prefixes(input: &[u8]) -> (Vec<IpNet>, Vec<Bad>) {
    let base = |prefix| BanWish {
        prefix,
        lasts: None,
        why: None,
        hard: false,
    };
    let (wishes, bad) = wishes(input, base);
    (wishes.into_iter().map(|wish| wish.prefix).collect(), bad)
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
        .map(|(index, line)| (index + 1, line))
}

/// The items of a list, with their numbers.
fn items(text: &str) -> Vec<(usize, Result<Value, String>)> {
    match serde_json::from_str::<Vec<Value>>(text) {
        Ok(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| (index + 1, Ok(item)))
            .collect(),
        Err(error) => vec![(error.line(), Err(broken(&error)))],
    }
}

fn broken(error: &serde_json::Error) -> String {
    format!("no JSON: {}", error.to_string().escape_debug())
}

fn read_all<T>(
    parts: impl IntoIterator<Item = (usize, T)>,
    read: impl Fn(T) -> Result<BanWish, String>,
) -> (Vec<BanWish>, Vec<Bad>) {
    let (mut wishes, mut bad) = (Vec::new(), Vec::new());
    for (number, part) in parts {
        match read(part) {
            Ok(wish) => wishes.push(wish),
            Err(message) => bad.push(Bad { number, message }),
        }
    }
    (wishes, bad)
}

/// `PREFIX [DUR] [WHY…]`.
fn wish_in(line: &str, base: impl Fn(IpNet) -> BanWish) -> Result<BanWish, String> {
    let line = line.split(" #").next().unwrap_or_default().trim_end();
    let (prefix, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let mut wish = base(prefix_of(prefix)?);
    let rest = rest.trim_start();
    let (first, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let why = match first.parse::<Seconds>() {
        Ok(lasts) => {
            wish.lasts = Some(lasts);
            behind.trim_start()
        }
        Err(_) => rest,
    };
    if !why.is_empty() {
        check_why(why)?;
        wish.why = Some(why.to_owned());
    }
    Ok(wish)
}

fn wish_of(item: Value, base: impl Fn(IpNet) -> BanWish) -> Result<BanWish, String> {
    let Item { prefix, lasts, why } = match item {
        Value::String(prefix) => Item {
            prefix,
            lasts: None,
            why: None,
        },
        item => serde_json::from_value(item)
            .map_err(|error| error.to_string().escape_debug().to_string())?,
    };
    let mut wish = base(prefix_of(&prefix)?);
    match lasts {
        Some(Lasts::Words(words)) => {
            wish.lasts = Some(
                words
                    .parse::<Seconds>()
                    .map_err(|error| error.to_string())?,
            );
        }
        Some(Lasts::Seconds(seconds)) => {
            wish.lasts = Some(Seconds::new(seconds).map_err(|error| error.to_string())?);
        }
        None => {}
    }
    if let Some(why) = why {
        check_why(&why)?;
        wish.why = Some(why);
    }
    Ok(wish)
}

fn prefix_of(word: &str) -> Result<IpNet, String> {
    // Other programs say 203.0.113.7/24 for the network around an address.
    let whole = word.parse::<IpNet>().map(|net| net.trunc().to_string());
    let word = whole.as_deref().unwrap_or(word);
    match parse_prefixes(&[word]).map_err(|(_, message)| message)?[..] {
        [prefix] if prefix.prefix_len() > 0 => Ok(prefix),
        [] | [_] => Err(EVERYBODY.to_owned()),
        _ => Err("one prefix a line".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> (Vec<String>, Vec<String>) {
        let base = |prefix| BanWish {
            prefix,
            lasts: None,
            why: None,
            hard: false,
        };
        let (wishes, bad) = wishes(input.as_bytes(), base);
        let shown = |wish: BanWish| {
            let lasts = wish
                .lasts
                .map_or_else(String::new, |lasts| format!(" {lasts}"));
            let why = wish.why.map_or_else(String::new, |why| format!(" `{why}`"));
            format!("{}{lasts}{why}", wish.prefix)
        };
        let bad = bad.iter().map(Bad::to_string).collect();
        (wishes.into_iter().map(shown).collect(), bad)
    }

    #[test]
    fn lines_have_a_prefix_and_may_have_a_duration_and_a_reason() {
        let (wishes, bad) = read(
            "# a list\n\n203.0.113.7\r\n198.51.100.0/24 10m\n  2001:db8:7::/64\t1h ssh  guesses\n\
             192.0.2.9/25 SBL12 # of theirs\n; more\n192.0.2.10",
        );
        assert_eq!(
            wishes,
            [
                "203.0.113.7/32",
                "198.51.100.0/24 10m",
                "2001:db8:7::/64 1h `ssh  guesses`",
                "192.0.2.0/25 `SBL12`",
                "192.0.2.10/32",
            ]
        );
        assert!(bad.is_empty(), "{bad:?}");
    }

    #[test]
    fn json_is_an_object_a_line_or_a_list() {
        let one = r#"{"prefix": "203.0.113.7", "for": "10m", "why": "x", "id": 7}"#;
        let other = r#"{"prefix": "2001:db8:7::/64", "for": 90}"#;
        let wanted = ["203.0.113.7/32 10m `x`", "2001:db8:7::/64 1m 30s"];
        assert_eq!(read(&format!("{one}\n{other}\n")).0, wanted);
        assert_eq!(read(&format!("[\n{one},\n{other}]\n")).0, wanted);
        assert_eq!(read("[]"), (vec![], vec![]));
        assert_eq!(read(r#"["192.0.2.7"]"#).0, ["192.0.2.7/32"]);
    }

    #[test]
    fn what_is_not_understood_is_named_and_the_rest_is_read() {
        let (wishes, bad) = read(
            "192.0.2.1\nexample.org\n192.0.2.0/33\nany\n::/0\n192.0.2.2,192.0.2.3\n\u{1b}[2J\n\
             {\"prefix\":\n192.0.2.4 10m \u{1b}[2J\n{\"prefix\":\"192.0.2.5\",\"for\":\"soon\"}\n192.0.2.6\n",
        );
        assert_eq!(wishes, ["192.0.2.1/32", "192.0.2.6/32"]);
        let numbers: Vec<_> = bad
            .iter()
            .map(|line| line.split(':').next().unwrap())
            .collect();
        assert_eq!(
            numbers,
            [
                "line 2", "line 3", "line 4", "line 5", "line 6", "line 7", "line 8", "line 9",
                "line 10"
            ]
        );
        assert!(!bad.concat().contains('\u{1b}'), "{bad:?}");
        assert_eq!(read("[{\"prefix\": 7}, \"192.0.2.7\"]").1.len(), 1);
        assert_eq!(read("[{\"prefix\"").1.len(), 1);
    }
}
