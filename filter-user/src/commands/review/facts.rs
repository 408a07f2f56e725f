//! Gathers what a review looks at.

use std::collections::HashSet;

use anyhow::Result;
use jiff::Timestamp;

use super::{
    super::{
        Context,
        list::{temporary, unapplied},
    },
    bench::Bench,
};
use crate::{
    analysis::{
        review::{
            Asking, Crowd, Facts, Hits, Host, NamedPort, Question, Service, Way, crowds, in_use,
            services,
        },
        unreachable,
    },
    engine::Engine,
    netlink::{Interface, interfaces, own_addresses, with_all_below},
    output::{Printer, Reviewed},
    policy::Policy,
    ports::PortRange,
    system::{
        HostServices, Socket, SocketState, ephemeral_ports, forwarding, holders, published_ports,
        sockets, user_name,
    },
};

/// The driver of interfaces that only hold addresses, to which packets come by others.
const DUMMY: &str = "dummy";

/// All that is known.
pub(super) struct Gathered {
    /// The time.
    pub(super) now: Timestamp,
    judged_by: &'static str,
    /// The rules, without those that have ended.
    pub(super) policy: Policy,
    ephemeral: PortRange,
    hits: Option<Hits>,
    /// What listens.
    pub(super) services: Vec<Service>,
    host: Host,
    names: Vec<NamedPort>,
    renamed: Vec<(String, String)>,
    in_use: u64,
    crowds: Vec<Crowd>,
}

impl Gathered {
    /// As it is now.
    pub(super) fn now(context: &Context, printer: &mut Printer) -> Result<Self> {
        let now = Timestamp::now();
        let known = interfaces()?;
        let engine = Engine::shared()?;
        let bench = match engine.live() {
            Some(live) => {
                let warnings = temporary(live).into_iter();
                let differs = unapplied(context, &engine, live.lasting().record());
                for warning in warnings.chain(differs) {
                    printer.warning(&warning.to_string());
                }
                Bench::of_live(&engine, live, &context.history(), now, printer)?
            }
            None => {
                printer.note("not up; judged by the rules of the policy file");
                Bench::of_policy(context.policy_file()?.policy(), &known, now)
            }
        };
        // It judges by what it has; nobody waits for other programs that list their rules.
        drop(engine);
        let host = host(&bench.filtered, &known)?;
        let own_ephemeral = ephemeral_ports();
        let sockets = sockets()?;
        let published = published_ports();
        let holders = holders(&listening(&sockets));
        let mut services = services(&bench.policy, own_ephemeral, &sockets, &holders, &published);
        let asking = Asking::new(&bench.policy, bench.ephemeral, &host);
        let mut judge = |question: &Question<'_>| bench.judge(question);
        for service in &mut services {
            service.reach = asking.reach(service, &mut judge)?;
            if let (None, Some(uid)) = (&service.holder, service.uid) {
                service.user = Some(user_name(uid));
            }
            bench.count(service);
        }
        Ok(Self {
            now,
            judged_by: bench.judged_by(),
            ephemeral: own_ephemeral,
            hits: bench.hits,
            services,
            host,
            names: names(context),
            renamed: bench.renamed,
            in_use: in_use(&sockets, own_ephemeral),
            crowds: crowds(&sockets, own_ephemeral),
            policy: bench.policy,
        })
    }

    /// What is to be examined.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            policy: &self.policy,
            ephemeral: self.ephemeral,
            hits: self.hits.clone(),
            services: &self.services,
            host: &self.host,
            forwards: forwarding().is_on(),
            shadowed: unreachable(&self.policy, self.ephemeral),
            names: self.names.clone(),
            renamed: self.renamed.clone(),
            host_services: HostServices::read(),
            crowds: &self.crowds,
            now: self.now,
        }
    }

    /// When the counters were zero; `None` while nothing is counted.
    pub(super) fn counting_since(&self) -> Option<Timestamp> {
        self.hits.as_ref().map(|hits| hits.since)
    }

    /// What is to be shown.
    pub(super) fn reviewed(&self) -> Reviewed<'_> {
        Reviewed {
            at: self.now,
            judged_by: self.judged_by,
            counting_since: self.counting_since(),
            policy: &self.policy,
            services: &self.services,
            ephemeral: (self.ephemeral, self.in_use, &self.crowds),
        }
    }
}

/// The addresses of this host, each with the filtered interfaces by which packets to it come in.
fn host(filtered: &[(u32, String)], known: &[Interface]) -> Result<Host> {
    let addresses = own_addresses()?;
    let mut ways = Vec::new();
    for (address, index) in &addresses {
        let Some(top) = known.iter().find(|one| one.index == *index) else {
            continue;
        };
        if address.is_loopback() {
            continue;
        }
        let is_held = top.is_loopback || top.driver.as_deref() == Some(DUMMY);
        let below = with_all_below(top, known);
        let by = filtered
            .iter()
            .filter(|(index, _)| is_held || below.iter().any(|one| one.index == *index));
        ways.extend(by.map(|(index, interface)| Way {
            index: *index,
            interface: interface.clone(),
            address: *address,
        }));
    }
    Ok(Host {
        filtered: filtered.to_vec(),
        ways,
        own: addresses.into_iter().map(|(address, _)| address).collect(),
    })
}

/// The numbers of the sockets that listen and that somebody has open.
fn listening(sockets: &[Socket]) -> HashSet<u64> {
    let listening = sockets
        .iter()
        .filter(|socket| socket.state == SocketState::Listening && socket.inode != 0);
    listening.map(|socket| socket.inode).collect()
}

/// The ports that rules of the policy file call by names.
fn names(context: &Context) -> Vec<NamedPort> {
    // That it cannot be read is a warning already.
    let file = context.policy_file().ok();
    let named = file.as_ref().map(|file| file.named_ports());
    let port = |(rule, name, transport, port)| NamedPort {
        rule,
        name,
        transport,
        port,
    };
    named.into_iter().flatten().map(port).collect()
}
