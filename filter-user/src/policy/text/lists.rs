//! The lists of a policy file.

use serde::{Deserialize, Serialize};

use super::values::{Words, countries, prefixes};
use crate::policy::{
    Garbage, List, ListSource, PrefixText, check_list_name,
    list::{check_country, check_url},
    parse_prefixes,
};

/// A list as written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListText {
    #[serde(
        default,
        deserialize_with = "prefixes",
        skip_serializing_if = "Option::is_none"
    )]
    prefixes: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    #[serde(
        default,
        deserialize_with = "countries",
        skip_serializing_if = "Option::is_none"
    )]
    country: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    insecure: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    garbage: Option<String>,
}

/// A key, an item of its list, and what is wrong there.
type At = (&'static str, usize, String);

impl ListText {
    /// Understands the words.
    pub(super) fn read(&self, name: &str) -> Result<List, At> {
        let at = |key| move |message: String| (key, 0, message);
        check_list_name(name).map_err(at(""))?;
        let insecure = self.insecure.unwrap_or(false);
        let source = self.source(insecure)?;
        let is_inline = matches!(source, ListSource::Prefixes(_));
        let of_file = [
            ("refresh", self.refresh.is_some()),
            ("column", self.column.is_some()),
            ("country", self.country.is_some()),
            ("garbage", self.garbage.is_some()),
        ];
        if let Some((key, _)) = of_file
            .into_iter()
            .find(|(_, is_there)| *is_there && is_inline)
        {
            let message = "is for a `file` or a `url` (leave it out)".to_owned();
            return Err((key, 0, message));
        }
        if insecure && self.url.is_none() {
            let message = "is for a `url` (leave it out)".to_owned();
            return Err(("insecure", 0, message));
        }
        let refresh = self.refresh.as_deref().map(str::parse).transpose();
        if self.column == Some(0) {
            return Err(("column", 0, "columns are counted from 1".to_owned()));
        }
        let countries = self.country.as_ref().map_or_else(Vec::new, Words::as_strs);
        for (item, word) in countries.iter().enumerate() {
            check_country(word).map_err(|message| ("country", item, message))?;
        }
        if self.country.is_some() && (countries.is_empty() || self.column.is_some()) {
            let message = match countries.is_empty() {
                true => "names no country",
                false => "is for a MaxMind database, which has no columns (leave one out)",
            };
            return Err(("country", 0, message.to_owned()));
        }
        Ok(List {
            name: name.to_owned(),
            source,
            refresh: refresh
                .map_err(|error: crate::duration::NoDuration| ("refresh", 0, error.to_string()))?,
            column: self.column,
            countries: countries.into_iter().map(str::to_owned).collect(),
            ban: self.ban.unwrap_or(false),
            insecure,
            garbage: super::word(&self.garbage, Garbage::from_word, "skip or refuse")
                .map_err(at("garbage"))?,
        })
    }

    fn source(&self, insecure: bool) -> Result<ListSource, At> {
        match (&self.prefixes, &self.file, &self.url) {
            (Some(words), None, None) => {
                let words = words.as_strs();
                if words.is_empty() {
                    return Ok(ListSource::Prefixes(Vec::new()));
                }
                let read = parse_prefixes(&words);
                let prefixes = read.map_err(|(item, message)| ("prefixes", item, message))?;
                match prefixes.is_empty() {
                    true => Err(("prefixes", 0, "`any` is no list (leave it out)".to_owned())),
                    false => Ok(ListSource::Prefixes(prefixes)),
                }
            }
            (None, Some(path), None) if path.starts_with('/') => Ok(ListSource::File(path.into())),
            (None, Some(path), None) => {
                let path = path.escape_debug();
                let message = format!("`{path}` does not begin with / (say the whole path)");
                Err(("file", 0, message))
            }
            (None, None, Some(url)) => {
                check_url(url, insecure).map_err(|message| ("url", 0, message))?;
                Ok(ListSource::Url(url.clone()))
            }
            (None, None, None) => {
                let message = "a list needs `prefixes`, `file` or `url`".to_owned();
                Err(("", 0, message))
            }
            _ => {
                let message = "a list has one of `prefixes`, `file` and `url`".to_owned();
                Err(("", 0, message))
            }
        }
    }
}

impl From<&List> for ListText {
    fn from(list: &List) -> Self {
        let mut text = Self {
            refresh: list
                .refresh
                .map(|refresh| format!("{}s", refresh.duration().as_secs())),
            column: list.column,
            country: (!list.countries.is_empty()).then(|| list.countries.iter().collect()),
            ban: list.ban.then_some(true),
            insecure: list.insecure.then_some(true),
            garbage: (list.garbage != Garbage::default()).then(|| list.garbage.to_string()),
            ..Self::default()
        };
        match &list.source {
            ListSource::Prefixes(prefixes) => {
                text.prefixes = Some(prefixes.iter().map(PrefixText).collect());
            }
            ListSource::File(path) => text.file = Some(path.display().to_string()),
            ListSource::Url(url) => text.url = Some(url.clone()),
        }
        text
    }
}
