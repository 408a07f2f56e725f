//! One item of a list of ports: services are turned into numbers, named ranges stay names.

use std::fmt;

use xdpfw_common::Transport;

use super::{NamedRange, PortError, PortRange};
use crate::names::{
    self,
    services::{self, Service},
};

/// The word for every port.
const ANY: &str = "any";

/// One word of a list of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortWord {
    /// A port, written as a number or as the name of a service.
    Port(u16),
    /// A range, written as numbers.
    Range(PortRange),
    /// A range, written as its name.
    Named(NamedRange),
    /// Every port.
    Any,
}

impl PortWord {
    /// The ports it means on a host with these ephemeral ports.
    pub const fn range(self, ephemeral: PortRange) -> PortRange {
        match self {
            Self::Port(port) => PortRange::single(port),
            Self::Range(range) => range,
            Self::Named(name) => name.range(ephemeral),
            Self::Any => PortRange::ALL,
        }
    }

    pub(super) fn parse(word: &str, transports: &[Transport]) -> Result<Self, PortError> {
        if is_number(word) {
            return match number(word)? {
                0 => Err(PortError::OutOfRange(word.to_owned())),
                port => Ok(Self::Port(port)),
            };
        }
        // ufw and iptables write a colon.
        if let Some((first, last)) = word.split_once(['-', ':'])
            && is_number(first)
            && is_number(last)
        {
            return Self::range_of(number(first)?, number(last)?);
        }
        if word.eq_ignore_ascii_case(ANY) {
            return Ok(Self::Any);
        }
        if let Some(name) = NamedRange::from_name(word) {
            return Ok(Self::Named(name));
        }
        service(word, transports).map(Self::Port)
    }

    fn range_of(first: u16, last: u16) -> Result<Self, PortError> {
        if first > last {
            return Err(PortError::Backwards { first, last });
        }
        // A port has one form, so that what is displayed reads back as the same word.
        if first == last && first != 0 {
            return Ok(Self::Port(first));
        }
        Ok(Self::Range(PortRange { first, last }))
    }
}

impl fmt::Display for PortWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Range(range) => write!(f, "{range}"),
            Self::Named(name) => write!(f, "{name}"),
            Self::Any => f.write_str(ANY),
        }
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(digits: &str) -> Result<u16, PortError> {
    digits
        .parse()
        .map_err(|_| PortError::OutOfRange(digits.to_owned()))
}

/// The port of a service for all of these protocols.
fn service(word: &str, transports: &[Transport]) -> Result<u16, PortError> {
    let service = services::lookup(word).ok_or_else(|| unknown(word))?;
    let mut ports = [service.tcp, service.udp];
    if !transports.is_empty() {
        ports = Transport::ALL.map(|transport| {
            let asked = transports.contains(&transport);
            services::port_for(word, transport).filter(|_| asked)
        });
    }
    for (transport, port) in Transport::ALL.into_iter().zip(ports) {
        if port.is_none() && transports.contains(&transport) {
            return Err(other_protocol(word, transport, service));
        }
    }
    match ports {
        [Some(tcp), Some(udp)] if tcp != udp => Err(PortError::TwoPorts {
            name: word.to_owned(),
            tcp,
            udp,
        }),
        [Some(port), _] | [None, Some(port)] => Ok(port),
        [None, None] => Err(unknown(word)),
    }
}

fn other_protocol(word: &str, missing: Transport, service: Service) -> PortError {
    let mut in_use = Transport::ALL
        .into_iter()
        .filter_map(|transport| Some((transport, service.port(transport)?)));
    match in_use.next() {
        Some((present, port)) => PortError::OtherProtocol {
            name: word.to_owned(),
            missing,
            present,
            port,
        },
        None => unknown(word),
    }
}

fn unknown(word: &str) -> PortError {
    let lower = word.to_ascii_lowercase();
    let ranges = NamedRange::ALL.map(NamedRange::as_str);
    let suggestion = names::nearest(&lower, ranges.into_iter().chain([ANY]))
        .or_else(|| services::suggest(&lower))
        // `80-` is a slip of another kind than a mistyped name.
        .filter(|_| lower.contains(|c: char| c.is_ascii_alphabetic()));
    PortError::Unknown {
        word: word.escape_debug().to_string(),
        suggestion,
    }
}
