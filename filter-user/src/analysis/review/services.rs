//! What listens on this host, and which of it the policy closes.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use xdpfw_common::{Transport, abi::DHCP_CLIENTS};

use super::{Facts, Finding};
use crate::{
    names::services::is_common,
    policy::Policy,
    ports::PortRange,
    system::{Holder, Socket, SocketState},
    text::{clock_time, in_line, sentence_list, thousands},
};

/// Most addresses, and processes, of a port that are named.
const NAMED: usize = 3;

/// Who reaches a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anybody.
    All,
    /// Some sources, or by some interfaces, or at some of its addresses.
    Some,
    /// Nobody, as a rule denies it.
    Denied,
    /// Nobody, as no rule allows it.
    Closed,
    /// This host alone: no interface leads to it.
    Local,
    /// Whoever is behind an interface that is not filtered.
    Unfiltered,
}

impl Reach {
    /// The user's word for it: the verdict on what comes to the service.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "pass",
            Self::Some => "partly",
            Self::Denied | Self::Closed => "drop",
            Self::Local => "local",
            Self::Unfiltered => "unfiltered",
        }
    }
}

/// Something that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its protocol.
    pub transport: Transport,
    /// The address it serves: `0.0.0.0` is every IPv4 one, `::` is every one.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Who has it open; `None` if that may not be known, or it is the kernel's own.
    pub holder: Option<Holder>,
    /// The user that made the socket, by number; `None` if no process has it open.
    pub uid: Option<u32>,
    /// The user that it runs as, by name.
    pub user: Option<String>,
    /// Whether another packet filter sends it on, to a container say.
    pub is_published: bool,
    /// Whether it most likely waits for answers alone.
    pub is_client: bool,
    /// Whether IPv4 packets come to it, where it serves `::`.
    pub takes_ipv4: bool,
    /// Who reaches it.
    pub reach: Reach,
    /// Whether it asks others from its port, by UDP; their answers pass without a rule.
    pub asks: bool,
    /// Packets to its port that were dropped, whatever address they were for.
    pub dropped: u64,
    /// Who sent some of them while `review` listened, and how many, the busiest first.
    pub sources: Vec<(IpAddr, u64)>,
}

impl Service {
    /// Where it listens.
    pub const fn at(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Whether others than this host could reach it, by what is filtered.
    pub const fn is_exposed(&self) -> bool {
        !self.is_client && !matches!(self.reach, Reach::Local)
    }

    /// What serves it, in a sentence.
    pub fn who(&self) -> String {
        match &self.holder {
            Some(holder) => in_line(&holder.process),
            None if self.is_published => "a container".to_owned(),
            None => "somebody".to_owned(),
        }
    }
}

/// What listens among these sockets, each address and port once, and the ports that are published.
/// UDP sockets on ephemeral ports are most likely clients, and so is the DHCP client.
pub fn services(
    policy: &Policy,
    ephemeral: PortRange,
    sockets: &[Socket],
    holders: &HashMap<u64, Holder>,
    published: &[(Transport, u16)],
) -> Vec<Service> {
    let listening = |socket: &&Socket| socket.state == SocketState::Listening;
    let mut found = BTreeMap::new();
    for socket in sockets.iter().filter(listening) {
        let (transport, port) = (socket.transport, socket.local.port());
        let key = (transport, port, socket.local.ip(), false);
        let is_client = transport == Transport::Udp
            && (ephemeral.contains(port) && !is_common(transport, port)
                || policy.dhcp_client && DHCP_CLIENTS.contains(&port));
        let service = found.entry(key).or_insert_with(|| Service {
            transport,
            address: socket.local.ip(),
            port,
            holder: None,
            uid: (socket.inode != 0).then_some(socket.uid),
            user: None,
            is_published: published.contains(&(transport, port)),
            is_client,
            takes_ipv4: true,
            reach: Reach::Local,
            asks: false,
            dropped: 0,
            sources: Vec::new(),
        });
        // Several sockets can share a port; one is enough to name the process.
        if service.holder.is_none() {
            service.holder = holders.get(&socket.inode).cloned();
            service.user = service.holder.as_ref().map(|holder| holder.user.clone());
        }
    }
    let any4 = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    let any6 = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
    for &(transport, port) in published {
        // A program of docker's may listen on it, too.
        let at = [any4, any6].map(|address| (transport, port, address, false));
        if at.iter().any(|key| found.contains_key(key)) {
            continue;
        }
        found
            .entry((transport, port, any6, true))
            .or_insert(Service {
                transport,
                address: any6,
                port,
                holder: None,
                uid: None,
                user: None,
                is_published: true,
                is_client: false,
                takes_ipv4: true,
                reach: Reach::Local,
                asks: false,
                dropped: 0,
                sources: Vec::new(),
            });
    }
    let has_own =
        |service: &Service| found.contains_key(&(service.transport, service.port, any4, false));
    let alone: Vec<bool> = found.values().map(|service| !has_own(service)).collect();
    let mut services: Vec<Service> = found.into_values().collect();
    for (service, alone) in services.iter_mut().zip(alone) {
        // Where both are bound, that for IPv6 takes nothing else (`IPV6_V6ONLY` in ipv6(7)).
        service.takes_ipv4 = alone;
    }
    services
}

/// The ports that somebody serves and nobody reaches for want of a rule. One that a rule denies is
/// closed on purpose.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut ports: BTreeMap<(Transport, u16), Vec<&Service>> = BTreeMap::new();
    for service in facts.services.iter().filter(|service| service.is_exposed()) {
        ports
            .entry((service.transport, service.port))
            .or_default()
            .push(service);
    }
    ports
        .into_iter()
        // A port is open if any of its sockets can be reached.
        .filter(|(_, all)| all.iter().all(|service| service.reach == Reach::Closed))
        .map(|((transport, port), all)| closed(facts, transport, port, &all))
        .collect()
}

fn closed(facts: &Facts<'_>, transport: Transport, port: u16, all: &[&Service]) -> Finding {
    let kind = match all.iter().any(|service| service.is_published) {
        true => "published-port",
        false => "listening-dropped",
    };
    let mut who: Vec<String> = all.iter().map(|service| service.who()).collect();
    who.sort_unstable();
    who.dedup();
    let (who, plural) = (sentence_list(&who, NAMED), who.len() > 1);
    let addresses: Vec<String> = all
        .iter()
        .map(|service| service.address.to_string())
        .collect();
    let what = match (kind, plural) {
        ("published-port", _) => "published for what is behind NAT".to_owned(),
        (_, true) => format!("{who} listen on {}", sentence_list(&addresses, NAMED)),
        (_, false) => format!("{who} listens on {}", sentence_list(&addresses, NAMED)),
    };
    let often = match (&facts.hits, all.iter().map(|service| service.dropped).max()) {
        (None, _) => String::new(),
        (Some(hits), Some(dropped)) if dropped > 0 => {
            let s = if dropped == 1 { "" } else { "s" };
            let since = clock_time(hits.since);
            format!("; {} packet{s} dropped since {since}", thousands(dropped))
        }
        (Some(hits), _) => format!("; nothing came since {}", clock_time(hits.since)),
    };
    let asks = match all.iter().any(|service| service.asks) {
        true => "; answers to what it asks pass all the same",
        false => "",
    };
    // All its sockets have the same.
    let sources = all.first().map(|service| service.sources.as_slice());
    let sources = sources.unwrap_or_default().iter();
    let sources: Vec<String> = sources
        .map(|(from, count)| format!("{from} ({})", thousands(*count)))
        .collect();
    let from = match sources.is_empty() {
        true => String::new(),
        false => format!(", just now from {}", sentence_list(&sources, NAMED)),
    };
    let text = format!(
        "{what}, but no rule lets anybody in{often}{from}{asks} (to keep it closed: xdpfw deny {transport} \
         {port})"
    );
    Finding::new(kind, format!("{transport} {port}"), text)
        .say(format!("xdpfw allow {transport} {port}"))
}
