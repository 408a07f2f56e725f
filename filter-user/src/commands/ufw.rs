//! Reads rules as ufw writes them, where they can mean one thing only:
//! `allow from 192.0.2.1 to any port 22 proto tcp`, `deny 192.0.2.66`, `allow ssh from 192.0.2.1`.

use std::net::IpAddr;

use ipnet::IpNet;

/// A rule's words and options, as the command line of this program has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) words: Vec<String>,
    pub(super) from: Option<Vec<String>>,
    pub(super) to: Option<Vec<String>>,
    pub(super) on: Option<Vec<String>>,
    pub(super) remote: Option<Vec<String>>,
}

/// Words that only ufw has among those of a rule.
const KEYWORDS: [&str; 10] = [
    "from", "to", "port", "on", "in", "out", "comment", "log", "log-all", "app",
];

/// What words in ufw's language mean; `None` for other words.
///
/// # Errors
///
/// They mean several things, or nothing that a rule can say; with the remedy.
pub(super) fn read(words: &[String]) -> Result<Option<Said>, String> {
    let all = |from: Option<&String>| Said {
        words: vec!["any".to_owned()],
        from: from.map(|word| vec![word.clone()]),
        ..Said::default()
    };
    match words {
        [word] if is_address(word) => return Ok(Some(all(Some(word)))),
        [word] if word.eq_ignore_ascii_case("all") => return Ok(Some(all(None))),
        _ => {}
    }
    let is_keyword = |word: &&String| KEYWORDS.contains(&word.as_str());
    if !words.iter().any(|word| is_keyword(&word)) {
        return Ok(None);
    }
    let mut said = Said::default();
    let (mut protocol, mut local) = (None, None);
    let mut of_peer = false;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || {
            let value = rest.next().filter(|value| !is_keyword(value));
            value.ok_or_else(|| format!("`{word}` needs a word behind it"))
        };
        match word.as_str() {
            "from" => {
                of_peer = true;
                once(&mut said.from, vec![value()?.clone()], word)?;
            }
            "to" => {
                of_peer = false;
                once(&mut said.to, vec![value()?.clone()], word)?;
            }
            "port" if of_peer => once(&mut said.remote, vec![value()?.clone()], word)?,
            "port" => once(&mut local, value()?.clone(), word)?,
            "on" => once(&mut said.on, vec![value()?.clone()], word)?,
            "proto" => once(&mut protocol, value()?.clone(), word)?,
            "in" => {}
            "out" => {
                return Err(
                    "`out`: what leaves is not filtered (leave it out; rules are for what \
                            comes in)"
                        .to_owned(),
                );
            }
            "comment" => {
                let text = shell_word(value().map_or("TEXT", String::as_str));
                return Err(format!("`comment` is an option (say `--comment {text}`)"));
            }
            "log" | "log-all" => {
                return Err(format!(
                    "`{word}` is no word of a rule (leave it out; `xdpfw trace` shows packets)"
                ));
            }
            "app" => {
                return Err(
                    "`app`: ufw's profiles are not known here (say the ports, as in `tcp 80,443`)"
                        .to_owned(),
                );
            }
            word if said.from.is_none() && said.to.is_none() && local.is_none() => {
                said.words.push(word.to_owned());
            }
            word => {
                return Err(format!(
                    "`{}` stands behind the addresses (say the protocol and ports first, as in \
                     `tcp 22 from 192.0.2.1`)",
                    word.escape_debug()
                ));
            }
        }
    }
    if words.iter().all(|word| word == "in") {
        return Err("`in` does not say which packets (say `any` for all that come in)".to_owned());
    }
    let protocol = protocol.filter(|word| !word.eq_ignore_ascii_case("any"));
    said.words = what(&said, protocol, local)?;
    Ok(Some(said))
}

/// Takes what may be said once.
fn once<T>(place: &mut Option<T>, value: T, word: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(said_twice(word)),
    }
}

pub(super) fn said_twice(word: &str) -> String {
    format!("`{word}` is said twice (say it once; lists are comma-separated, as in `from A,B`)")
}

/// The words for protocol and ports.
fn what(
    said: &Said,
    protocol: Option<String>,
    local: Option<String>,
) -> Result<Vec<String>, String> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let is_number = |port: &str| port.starts_with(|first: char| first.is_ascii_digit());
    let has_ports = |protocol: &str| {
        ["tcp", "udp", "tcp+udp"].contains(&protocol.to_ascii_lowercase().as_str())
    };
    let which = |port: &str| {
        let options = options(said);
        Err(format!(
            "the rule names no protocol for its ports (say `tcp {port}{options}` or `udp \
             {port}{options}`)"
        ))
    };
    match (said.words.as_slice(), protocol, local) {
        ([], None, None) if said.remote.is_none() => Ok(words(&["any"])),
        ([], None, Some(port)) if !is_number(&port) => Ok(vec![port]),
        ([], None, port) => which(port.as_deref().unwrap_or("any")),
        ([port], None, None) if is_number(port) && !port.contains('/') => which(port),
        ([word], None, None) if word.eq_ignore_ascii_case("all") => Ok(words(&["any"])),
        ([protocol], None, Some(port)) if has_ports(protocol) => Ok(vec![protocol.clone(), port]),
        ([], Some(protocol), Some(_)) if !has_ports(&protocol) => Err(format!(
            "`{}` has no ports (say tcp or udp, or leave the port out)",
            protocol.escape_debug()
        )),
        ([], Some(protocol), Some(port)) => Ok(vec![protocol, port]),
        ([], Some(protocol), None) => Ok(match protocol.to_ascii_lowercase().as_str() {
            "tcp" | "udp" | "icmp" | "icmp6" | "icmpv6" | "ipv6-icmp" => words(&[&protocol, "any"]),
            _ => words(&["proto", &protocol]),
        }),
        ([port], Some(protocol), None) if is_number(port) && has_ports(&protocol) => {
            Ok(vec![protocol, port.clone()])
        }
        (what, None, None) => Ok(what.to_vec()),
        (what, ..) => Err(format!(
            "`{}` and what follows both name protocol or ports (say them once, as in `tcp 22`)",
            what.join(" ").escape_debug()
        )),
    }
}

/// The options as they are written here.
fn options(said: &Said) -> String {
    let options = [
        ("remote-port", &said.remote),
        ("from", &said.from),
        ("to", &said.to),
        ("on", &said.on),
    ];
    let said = options.iter().filter_map(|(option, words)| {
        let word = words.as_ref()?.first().filter(|word| *word != "any")?;
        Some(format!(" --{option} {}", word.escape_debug()))
    });
    said.collect()
}

/// A word as a shell takes it, on one line.
pub(super) fn shell_word(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_@%+=:,./-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let letters = word.chars().map(|letter| match letter {
        '\'' => r"'\''".to_owned(),
        '"' | '\\' => letter.to_string(),
        _ => letter.escape_debug().to_string(),
    });
    format!("'{}'", letters.collect::<String>())
}

/// Whether a word is an address or a prefix.
pub(super) fn is_address(word: &str) -> bool {
    word.parse::<IpNet>().is_ok() || word.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Option<String>, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let said = read(&words)?;
        Ok(said.map(|said| format!("{}{}", said.words.join(" "), options(&said))))
    }

    #[test]
    fn ufws_words_are_read_where_they_mean_one_thing() {
        for (line, expected) in [
            (
                "from 192.0.2.1 to any port 22 proto tcp",
                "tcp 22 --from 192.0.2.1",
            ),
            (
                "proto tcp from 192.0.2.1 to any port 22",
                "tcp 22 --from 192.0.2.1",
            ),
            ("from 192.0.2.0/24", "any --from 192.0.2.0/24"),
            ("ssh from 192.0.2.1", "ssh --from 192.0.2.1"),
            ("22/tcp from 192.0.2.1", "22/tcp --from 192.0.2.1"),
            ("tcp 22 from 192.0.2.1", "tcp 22 --from 192.0.2.1"),
            ("192.0.2.66", "any --from 192.0.2.66"),
            ("2001:db8::/32", "any --from 2001:db8::/32"),
            ("all", "any"),
            (
                "in on eth0 from 192.0.2.1",
                "any --from 192.0.2.1 --on eth0",
            ),
            ("in on eth0 to any port ssh", "ssh --on eth0"),
            ("from any port 53 proto udp", "udp any --remote-port 53"),
            ("from 192.0.2.1 proto esp", "proto esp --from 192.0.2.1"),
            (
                "tcp from 192.0.2.1 to any port 22",
                "tcp 22 --from 192.0.2.1",
            ),
            ("all from 192.0.2.1", "any --from 192.0.2.1"),
            ("proto any from 192.0.2.1", "any --from 192.0.2.1"),
        ] {
            assert_eq!(said(line), Ok(Some(expected.to_owned())), "{line}");
        }
        for line in ["tcp 22", "proto gre", "any", "ssh", "443/tcp", "icmp any"] {
            assert_eq!(said(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_could_mean_more_names_the_words() {
        for (line, expected) in [
            ("to any port 22", "`tcp 22` or `udp 22`"),
            ("from 192.0.2.1 to any port 22", "`tcp 22 --from 192.0.2.1`"),
            ("out to any port 25", "what leaves"),
            ("from", "needs a word"),
            ("from to 192.0.2.1", "needs a word"),
            ("from 192.0.2.1 ssh", "`tcp 22 from"),
            ("ssh from 192.0.2.1 to any port 22", "say them once"),
            // Nothing that is said goes unheard.
            ("in", "`any`"),
            ("from 192.0.2.1 from 192.0.2.2", "`from` is said twice"),
            ("to any to 192.0.2.2", "`to` is said twice"),
            ("to any port 22 port 23 proto tcp", "`port` is said twice"),
            ("from any port 22 port 23 proto tcp", "`port` is said twice"),
            ("in on eth0 in on eth1", "`on` is said twice"),
            (
                "proto tcp proto udp to any port 53",
                "`proto` is said twice",
            ),
            ("22 from 192.0.2.1", "`tcp 22 --from 192.0.2.1`"),
            ("to any port 53 proto any", "`tcp 53` or `udp 53`"),
            ("proto icmp to any port 8", "has no ports"),
            ("8 proto icmp from any", "say them once"),
            ("ssh comment hi", "`--comment hi`"),
            ("log 22/tcp", "`xdpfw trace`"),
            ("to any app Samba", "profiles"),
        ] {
            let error = said(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
