//! Reads the words of a rule: `tcp 443`, `icmp echo-request`, `proto gre`, `https`, `any`.

use super::Protocol;
use crate::{
    names::{
        icmp::{self, TypeSpec},
        protocols, services,
    },
    ports::PortSpec,
};

/// What the words mean.
#[derive(Debug)]
pub(super) struct Meaning {
    pub(super) protocol: Protocol,
    pub(super) local: PortSpec,
    pub(super) types: TypeSpec,
}

impl Meaning {
    fn of_protocol(protocol: Protocol) -> Self {
        Self {
            protocol,
            local: PortSpec::any(),
            types: TypeSpec::any(),
        }
    }
}

/// Reads the words that follow `allow` or `deny`.
pub(super) fn parse(words: &[&str]) -> Result<Meaning, String> {
    match *words {
        [] => Err("a rule needs a protocol and ports, as in `tcp 443`".to_owned()),
        [word] => one_word(word),
        [protocol, ref rest @ ..] => of(protocol_named(protocol)?, rest),
    }
}

/// The ports, types or number that follow a protocol.
fn of(protocol: Protocol, rest: &[&str]) -> Result<Meaning, String> {
    let mut meaning = Meaning::of_protocol(protocol);
    match protocol {
        Protocol::Tcp | Protocol::Udp | Protocol::TcpUdp => {
            meaning.local = ports(protocol, rest)?;
        }
        Protocol::Icmp | Protocol::Icmp6 => {
            if let Some(family) = protocol.icmp() {
                meaning.types =
                    TypeSpec::parse(&joined(rest), family).map_err(|error| error.to_string())?;
            }
        }
        Protocol::Ping => {
            return Err(format!(
                "`ping {}` is more than pings (say `ping`, or `icmp` or `icmp6` with types)",
                rest.join(" ").escape_debug()
            ));
        }
        Protocol::Other(_) => meaning.protocol = by_number(rest)?,
        Protocol::Any => {
            return Err(format!(
                "`any {}` names no protocol for its ports (say tcp, udp or tcp+udp)",
                rest.join(" ").escape_debug()
            ));
        }
    }
    Ok(meaning)
}

/// Ports given as one or several words: `80,443`, `80 443`, `80, 443`.
pub(super) fn ports(protocol: Protocol, words: &[&str]) -> Result<PortSpec, String> {
    PortSpec::parse(&joined(words), protocol.transports()).map_err(|error| error.to_string())
}

fn joined(words: &[&str]) -> String {
    match words {
        [word] => (*word).to_owned(),
        words => {
            let words: Vec<&str> = words.iter().map(|word| word.trim_matches(',')).collect();
            words.join(",")
        }
    }
}

/// The protocol behind `proto`: its name or its number.
fn by_number(words: &[&str]) -> Result<Protocol, String> {
    let [word] = *words else {
        return Err(format!(
            "`proto {}` is more than one protocol (say a rule for each)",
            words.join(" ").escape_debug()
        ));
    };
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = word
            .parse()
            .map_err(|_| format!("protocol {word} is out of range (0-255)"))?;
        return judged(number);
    }
    let several = match Protocol::from_word(word) {
        Some(Protocol::Any) => Some("any"),
        Some(Protocol::TcpUdp) => Some("tcp+udp any"),
        _ => None,
    };
    if let Some(remedy) = several {
        return Err(format!(
            "`proto {word}` is more than one protocol (say `{remedy}`)"
        ));
    }
    let number = protocols::lookup(word).ok_or_else(|| {
        let hint = protocols::suggest(word).map_or_else(
            || "say for example gre or 47".to_owned(),
            |name| format!("did you mean `{name}`?"),
        );
        format!("`{}` is not a protocol ({hint})", word.escape_debug())
    })?;
    judged(number)
}

/// The protocol with this number, if packets are judged by it.
fn judged(number: u8) -> Result<Protocol, String> {
    let protocol = Protocol::from_number(number);
    if !protocol.is_ipv6_header() {
        return Ok(protocol);
    }
    let remedy = match number {
        44 => "say `fragments = \"drop\"` in the policy file",
        _ => "say the protocol behind it, or any",
    };
    Err(format!(
        "no packet is judged by {protocol}, a header of IPv6 that the filter looks behind ({remedy})"
    ))
}

/// The word in front of others.
fn protocol_named(word: &str) -> Result<Protocol, String> {
    Protocol::from_word(word).ok_or_else(|| {
        let word = word.escape_debug();
        if let Some(number) = protocols::lookup(&word.to_string()) {
            return match judged(number) {
                Ok(protocol) => format!("`{word}` has no ports (say `proto {protocol}`)"),
                Err(message) => message,
            };
        }
        format!(
            "`{word}` is not a protocol (say tcp, udp, tcp+udp, icmp, icmp6, ping, proto or any)"
        )
    })
}

/// A rule of one word: `any`, a service, or a port with its protocol as other
/// firewalls write it (`443/tcp`).
fn one_word(word: &str) -> Result<Meaning, String> {
    if let Some((port, protocol)) = word.split_once('/') {
        return of(protocol_named(protocol)?, &[port]);
    }
    if let Some(protocol) = Protocol::from_word(word) {
        return alone(protocol);
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        PortSpec::parse(word, &[]).map_err(|error| error.to_string())?;
        return Err(format!(
            "port {word} names no protocol (say `tcp {word}` or `udp {word}`)"
        ));
    }
    let service = services::lookup(word).ok_or_else(|| unknown(word))?;
    let protocol = match (service.tcp, service.udp) {
        (Some(tcp), Some(udp)) if tcp == udp => Protocol::TcpUdp,
        (Some(_), None) => Protocol::Tcp,
        (None, _) => Protocol::Udp,
        (Some(tcp), Some(udp)) => {
            return Err(format!(
                "`{word}` is tcp {tcp} but udp {udp} (say the protocol too)"
            ));
        }
    };
    of(protocol, &[word])
}

/// A protocol without anything behind it, which only `any` and `ping` can be.
fn alone(protocol: Protocol) -> Result<Meaning, String> {
    let (needs, example) = match protocol {
        Protocol::Any | Protocol::Ping => return Ok(Meaning::of_protocol(protocol)),
        Protocol::Tcp | Protocol::Udp | Protocol::TcpUdp => ("ports", "443"),
        Protocol::Icmp | Protocol::Icmp6 => ("a type", "echo-request"),
        Protocol::Other(_) => {
            return Err("proto needs a protocol (say for example `proto gre`)".to_owned());
        }
    };
    Err(format!(
        "{protocol} needs {needs} (say for example `{protocol} {example}` or `{protocol} any`)"
    ))
}

/// What to say of a word that is no service.
fn unknown(word: &str) -> String {
    let said = word.escape_debug();
    if let Some(words) = services::in_other_words(word) {
        return format!("`{said}` is no single port (say `{words}`)");
    }
    if let Some(number) = protocols::lookup(word) {
        return match judged(number) {
            Ok(protocol) => {
                format!("`{said}` is a protocol without ports (say `proto {protocol}`)")
            }
            Err(message) => message,
        };
    }
    for family in [icmp::Family::Icmp, icmp::Family::Icmp6] {
        if icmp::lookup(family, word).is_some() {
            let protocol = family.as_str();
            return format!("`{said}` is an {family} type (say `{protocol} {said}`)");
        }
    }
    let hint = services::suggest(word).map_or_else(
        || "say for example https or `tcp 443`".to_owned(),
        |name| format!("did you mean `{name}`?"),
    );
    format!("`{said}` is not a protocol or service name ({hint})")
}
