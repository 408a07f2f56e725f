//! A rule: the words of the command line, and what they match.

use std::{fmt, str::FromStr};

use xdpfw_common::Transport;

use crate::{
    ports::{PortRange, PortSpec, PortWord},
    services,
};

/// What a rule does with the packets it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// They pass.
    Allow,
    /// They are dropped.
    Deny,
}

impl Action {
    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a rule, which it keeps as long as it exists: `r1`, `r2` …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl FromStr for RuleId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix('r')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|&number: &u32| number > 0 && format!("r{number}") == text)
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "`{}` is not a rule id (say for example r1)",
                    text.escape_debug()
                )
            })
    }
}

/// The protocols a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// TCP and UDP.
    TcpUdp,
    /// Every IP protocol.
    Any,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::TcpUdp, Self::Any];

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::TcpUdp => "tcp+udp",
            Self::Any => "any",
        }
    }

    /// The transports whose packets it matches.
    pub const fn transports(self) -> &'static [Transport] {
        match self {
            Self::Tcp => &[Transport::Tcp],
            Self::Udp => &[Transport::Udp],
            Self::TcpUdp | Self::Any => &Transport::ALL,
        }
    }

    /// Whether it is for packets of this transport.
    pub fn includes(self, transport: Transport) -> bool {
        self.transports().contains(&transport)
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(word))
    }
}

/// What a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct What {
    /// The protocols.
    pub protocol: Protocol,
    /// This host's ports.
    pub local: PortSpec,
    /// The peers' ports.
    pub remote: PortSpec,
}

impl What {
    /// Every packet.
    pub fn everything() -> Self {
        Self {
            protocol: Protocol::Any,
            local: PortSpec::any(),
            remote: PortSpec::any(),
        }
    }

    /// Reads the words that follow `allow` or `deny`, and the remote ports.
    ///
    /// # Errors
    ///
    /// One line that names the word and what would be right.
    pub fn parse(words: &[String], remote: &[String]) -> Result<Self, String> {
        let (protocol, local) = match words {
            [] => return Err("a rule needs a protocol and ports, as in `tcp 443`".to_owned()),
            [word] => one_word(word)?,
            [protocol, ports @ ..] => {
                let protocol = protocol_named(protocol)?;
                if protocol == Protocol::Any {
                    return Err(format!(
                        "`any {}` names no protocol for its ports (say tcp, udp or tcp+udp)",
                        ports.join(" ").escape_debug()
                    ));
                }
                (protocol, ports_of(protocol, ports)?)
            }
        };
        let remote = if remote.is_empty() {
            PortSpec::any()
        } else {
            ports_of(protocol, remote)?
        };
        Ok(Self {
            protocol,
            local,
            remote,
        })
    }

    /// Whether a packet with these ports is meant.
    pub fn matches(
        &self,
        transport: Transport,
        local: u16,
        remote: u16,
        ephemeral: PortRange,
    ) -> bool {
        self.protocol.includes(transport)
            && self.local.resolve(ephemeral).contains(local)
            && self.remote.resolve(ephemeral).contains(remote)
    }

    /// The service's name, when the rule is for a single named local port.
    pub fn service(&self) -> Option<&'static str> {
        let [PortWord::Port(port)] = *self.local.words() else {
            return None;
        };
        let transport = *self.protocol.transports().first()?;
        services::name_of(transport, port)
    }

    /// The words without the remote ports: `tcp 80,443`.
    pub fn words(&self) -> String {
        match self.protocol {
            Protocol::Any => Protocol::Any.as_str().to_owned(),
            protocol => format!("{} {}", protocol.as_str(), self.local),
        }
    }
}

impl fmt::Display for What {
    /// As on the command line: `tcp 443 --remote-port 1024-65535`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())?;
        if self.remote != PortSpec::any() {
            write!(f, " --remote-port {}", self.remote)?;
        }
        Ok(())
    }
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// What it does.
    pub action: Action,
    /// What it matches.
    pub what: What,
    /// What its author wanted to remember.
    pub comment: Option<String>,
}

impl fmt::Display for Rule {
    /// As on the command line, with the service's name: `allow tcp 443 (https)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.what)?;
        if let Some(service) = self.what.service() {
            write!(f, " ({service})")?;
        }
        Ok(())
    }
}

fn protocol_named(word: &str) -> Result<Protocol, String> {
    Protocol::from_word(word).ok_or_else(|| {
        format!(
            "`{}` is not a protocol (say tcp, udp, tcp+udp or any)",
            word.escape_debug()
        )
    })
}

/// A rule of one word: `any`, a service, or a port with its protocol as other
/// firewalls write it (`443/tcp`).
fn one_word(word: &str) -> Result<(Protocol, PortSpec), String> {
    if let Some((port, protocol)) = word.split_once('/') {
        let protocol = protocol_named(protocol)?;
        return Ok((protocol, ports_of(protocol, &[port.to_owned()])?));
    }
    match Protocol::from_word(word) {
        Some(Protocol::Any) => return Ok((Protocol::Any, PortSpec::any())),
        Some(protocol) => {
            let protocol = protocol.as_str();
            return Err(format!(
                "{protocol} needs ports (say for example `{protocol} 443` or `{protocol} any`)"
            ));
        }
        None => {}
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        PortSpec::parse(word, &[]).map_err(|error| error.to_string())?;
        return Err(format!(
            "port {word} names no protocol (say `tcp {word}` or `udp {word}`)"
        ));
    }
    let Some(service) = services::lookup(word) else {
        let hint = services::suggest(word)
            .map(|name| format!("did you mean `{name}`?"))
            .unwrap_or_else(|| "say for example https or `tcp 443`".to_owned());
        return Err(format!(
            "`{}` is not a protocol or service name ({hint})",
            word.escape_debug()
        ));
    };
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
    Ok((protocol, ports_of(protocol, &[word.to_owned()])?))
}

/// Ports given as one or several words: `80,443`, `80 443`, `80, 443`.
fn ports_of(protocol: Protocol, words: &[String]) -> Result<PortSpec, String> {
    let list: Vec<&str> = match words {
        [word] => vec![word],
        words => words.iter().map(|word| word.trim_matches(',')).collect(),
    };
    PortSpec::parse(&list.join(","), protocol.transports()).map_err(|error| error.to_string())
}
