//! Lists of addresses that a policy names: rules may be for them, and they may ban.

use std::path::PathBuf;

use ipnet::IpNet;
use ureq::http::Uri;

use super::{ItemError, prefix::parse_prefixes};
use crate::{duration::Seconds, text::fnv};

/// Longest name of a list, in bytes.
const NAME_LEN: usize = 32;
/// What bans have for an origin that is no list.
const ORIGINS: [&str; 3] = ["manual", "scan", "limit"];
/// Lists that ban at most: a ban has a bit for each, beside the operator's own.
pub const MAX_BANNING: usize = 31;
/// How often lists are fetched that do not say it.
const REFRESH: u64 = 86_400;

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Its name, which rules have behind an `@`.
    pub name: String,
    /// Where its prefixes come from.
    pub source: ListSource,
    /// How long they are good; `None` if the policy does not say it.
    pub refresh: Option<Seconds>,
    /// Of a file in CSV, the column that they are in, counted from 1.
    pub column: Option<u32>,
    /// Of a MaxMind database, the countries that they are of (ISO 3166).
    pub countries: Vec<String>,
    /// Whether they are banned.
    pub ban: bool,
    /// Whether plain HTTP will do.
    pub insecure: bool,
    /// What becomes of a list with lines that are none of a list.
    pub garbage: Garbage,
}

/// Where the prefixes of a list come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListSource {
    /// The policy itself.
    Prefixes(Vec<IpNet>),
    /// A file of this host.
    File(PathBuf),
    /// A server.
    Url(String),
}

/// What becomes of a list with lines that are none of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Garbage {
    /// They are skipped, counted and named.
    #[default]
    Skip,
    /// The list is refused; the one before stays.
    Refuse,
}

impl List {
    /// How long its prefixes are good.
    pub fn interval(&self) -> std::time::Duration {
        let default = std::time::Duration::from_secs(REFRESH);
        self.refresh.map_or(default, Seconds::duration)
    }

    /// What tells whether prefixes that were read before are its own: as short for all lists.
    pub fn fingerprint(&self) -> String {
        let source = match &self.source {
            ListSource::Prefixes(prefixes) => {
                let words: Vec<String> = prefixes.iter().map(IpNet::to_string).collect();
                words.join(",")
            }
            ListSource::File(path) => format!("file {}", path.display()),
            ListSource::Url(url) => format!("url {url}"),
        };
        let column = self
            .column
            .map_or_else(String::new, |n| format!(" column {n}"));
        let countries = self.countries.join(",");
        let text = format!("{source}{column} country {countries}");
        format!("{:016x}", fnv(text.as_bytes()))
    }
}

/// Whether a list may have this name.
///
/// # Errors
///
/// It may not: what would be right.
pub fn check_list_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let said = name.escape_debug();
    if name.is_empty() || name.len() > NAME_LEN || !name.bytes().all(is_plain) {
        return Err(format!(
            "`{said}` cannot name a list (say 1 to {NAME_LEN} letters, digits, - and _)"
        ));
    }
    match ORIGINS.contains(&name) {
        true => Err(format!(
            "`{said}` cannot name a list: bans of another origin are called so"
        )),
        false => Ok(()),
    }
}

/// A URL that a list may be fetched from.
pub(super) fn check_url(url: &str, insecure: bool) -> Result<(), String> {
    let said = url.escape_debug();
    if url.starts_with("file:") {
        return Err(format!("`{said}` is a file (say `file = …`)"));
    }
    let parsed: Uri = url
        .parse()
        .map_err(|_| format!("`{said}` is not a URL (say https://…)"))?;
    let has_host = parsed.host().is_some_and(|host| !host.is_empty());
    match parsed.scheme_str() {
        Some("https") if has_host => Ok(()),
        Some("http") if has_host && insecure => Ok(()),
        Some("http") if has_host => Err(format!(
            "`{said}` can be changed by anybody on the way (say https://…, or `insecure = true`)"
        )),
        _ => Err(format!("`{said}` is not a URL of a server (say https://…)")),
    }
}

/// A country as databases have it: `NL`.
pub(super) fn check_country(word: &str) -> Result<(), String> {
    match word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_uppercase()) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is not a country (say its two letters, as in NL)",
            word.escape_debug()
        )),
    }
}

/// Reads where a rule's packets come from: prefixes, and names of lists behind an `@`. `any` alone
/// is everywhere.
pub(super) fn parse_sources(words: &[&str]) -> Result<(Vec<IpNet>, Vec<String>), ItemError> {
    if !words.iter().any(|word| word.contains('@')) {
        return Ok((parse_prefixes(words)?, Vec::new()));
    }
    let (mut prefixes, mut lists) = (Vec::new(), Vec::new());
    let last = words.len().saturating_sub(1);
    for (index, word) in words.iter().enumerate() {
        let word = word.trim();
        let word = match word.strip_suffix(',') {
            Some(rest) if index < last => rest,
            _ => word,
        };
        for item in word.split(',').map(str::trim) {
            match item.strip_prefix('@') {
                Some(name) => {
                    check_list_name(name).map_err(|message| (index, message))?;
                    if !lists.iter().any(|known| known == name) {
                        lists.push(name.to_owned());
                    }
                }
                // In a list of several, `any` and nothing at all are mistakes.
                None if item.is_empty() || item.eq_ignore_ascii_case("any") => {
                    let what = if item.is_empty() {
                        "an empty item"
                    } else {
                        "`any`"
                    };
                    let message = format!("a list of sources with {what} in it (leave it out)");
                    return Err((index, message));
                }
                None => {
                    let read = parse_prefixes(&[item]).map_err(|(_, message)| (index, message))?;
                    prefixes.extend(read);
                }
            }
        }
    }
    Ok((prefixes, lists))
}
