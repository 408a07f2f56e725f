//! What left lately and may be answered.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Serialize, Serializer};
use xdpfw_common::{
    abi::{FlowKey, Origin, Table},
    flows::age,
};

use super::table;
use crate::{
    datapath::{Clock, Flow, Usage},
    names::protocols,
    text::thousands,
};

/// What left lately, and how full the tables are.
#[derive(Debug, Serialize)]
pub struct Flows {
    schema: &'static str,
    #[serde(flatten)]
    fill: FlowFill,
    /// Flows that may be answered, shown or not.
    total: usize,
    flows: Vec<FlowRow>,
}

/// How full the tables are: first those of this host's own flows.
#[derive(Clone, Debug, Serialize)]
pub struct FlowFill {
    #[serde(flatten)]
    local: Fill,
    /// Of those that this host forwards.
    forwarded: Fill,
    /// What all tables take.
    memory_bytes: u64,
}

/// How full the tables of one origin are.
#[derive(Clone, Copy, Debug, Serialize)]
struct Fill {
    /// Open TCP connections.
    tcp: Usage,
    /// Everything but TCP.
    other: Usage,
    /// TCP connections that are about to be open, or were.
    brief: Usage,
}

#[derive(Debug, Serialize)]
struct FlowRow {
    #[serde(serialize_with = "protocol")]
    protocol: u8,
    local: End,
    remote: End,
    idle_seconds: u64,
    forwarded: bool,
    /// `opening`, `open`, `closing`, or `picked-up` where nobody knows who opened it; of
    /// TCP alone.
    state: Option<&'static str>,
}

/// One end of a flow.
#[derive(Debug, Serialize)]
struct End {
    address: IpAddr,
    /// Also the identifier of an ICMP echo; `None` for protocols without ports.
    port: Option<u16>,
}

impl FlowFill {
    /// The fill of tables, each asked from `usage`.
    ///
    /// # Errors
    ///
    /// Whatever `usage` says.
    pub fn of<E>(
        usage: impl Fn(Origin, Table) -> Result<Usage, E>,
        memory_bytes: u64,
    ) -> Result<Self, E> {
        let fill = |origin| {
            Ok(Fill {
                tcp: usage(origin, Table::Tcp)?,
                other: usage(origin, Table::Other)?,
                brief: usage(origin, Table::Brief)?,
            })
        };
        Ok(Self {
            local: fill(Origin::Local)?,
            forwarded: fill(Origin::Forwarded)?,
            memory_bytes,
        })
    }

    /// Flows in all tables, and how many there is room for.
    pub fn total(&self) -> (u64, u64) {
        let of = |fill: &Fill| [fill.tcp, fill.other, fill.brief];
        let all = of(&self.local).into_iter().chain(of(&self.forwarded));
        all.fold((0, 0), |(entries, capacity), usage| {
            (entries + usage.entries, capacity + usage.capacity)
        })
    }

    /// What the tables take, in bytes.
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

impl Flows {
    /// These flows, the latest first, cut to `top`.
    pub fn new(fill: FlowFill, flows: &[Flow], clock: &Clock, top: Option<usize>) -> Self {
        let mut rows: Vec<FlowRow> = flows
            .iter()
            .filter_map(|flow| FlowRow::of(flow, clock))
            .collect();
        rows.sort_by(|one, other| {
            let order = |row: &FlowRow| (row.idle_seconds, row.protocol, row.remote.address);
            let ports = |row: &FlowRow| (row.local.port, row.remote.port);
            (order(one), ports(one)).cmp(&(order(other), ports(other)))
        });
        let total = rows.len();
        rows.truncate(top.unwrap_or(usize::MAX));
        Self {
            schema: "xdpfw.flows/1",
            fill,
            total,
            flows: rows,
        }
    }
}

impl FlowRow {
    /// A flow; `None` if it is too old to be answered.
    fn of(flow: &Flow, clock: &Clock) -> Option<Self> {
        let Flow {
            origin,
            table,
            key,
            state,
        } = flow;
        let idle_seconds = clock.since(state.last_out).as_secs();
        if idle_seconds > age(*table, state, key.protocol) {
            return None;
        }
        Some(Self {
            protocol: key.protocol,
            local: End::of(key, &key.local, key.local_port),
            remote: End::of(key, &key.remote, key.remote_port),
            idle_seconds,
            forwarded: *origin == Origin::Forwarded,
            state: match table {
                Table::Other => None,
                _ if state.is_closed() => Some("closing"),
                _ if state.picked_up != 0 => Some("picked-up"),
                Table::Brief => Some("opening"),
                Table::Tcp => Some("open"),
            },
        })
    }
}

impl End {
    fn of(key: &FlowKey, address: &[u8; 16], port: [u8; 2]) -> Self {
        let port = u16::from_be_bytes(port);
        Self {
            address: match (key.family, *address) {
                (4, [a, b, c, d, ..]) => [a, b, c, d].into(),
                (_, address) => address.into(),
            },
            port: (port != 0).then_some(port),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

fn protocol<S: Serializer>(number: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&name(*number))
}

/// The user's word for a protocol.
fn name(number: u8) -> String {
    match number {
        58 => "icmp6".to_owned(),
        _ => protocols::name_of(number).map_or_else(|| number.to_string(), str::to_owned),
    }
}

/// `12 of 65,536`.
struct Of(Usage);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage {
            entries, capacity, ..
        } = self.0;
        write!(f, "{} of {}", thousands(entries), thousands(capacity))
    }
}

/// One line.
impl fmt::Display for FlowFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fill { tcp, other, brief } = self.local;
        write!(f, "{} tcp, {} other", Of(tcp), Of(other))?;
        let forwarded = self.forwarded;
        let others = [forwarded.tcp, forwarded.other, forwarded.brief];
        if others.iter().any(|usage| usage.inserted > 0) {
            let entries: u64 = others.iter().map(|usage| usage.entries).sum();
            write!(f, ", {} forwarded", thousands(entries))?;
        }
        let all = [tcp, other, brief].into_iter().chain(others);
        let evicted: u64 = all.map(|usage| usage.evicted).sum();
        write!(f, "; {} evicted", thousands(evicted))
    }
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "flows: {}", self.fill)?;
        if self.flows.is_empty() {
            return Ok(());
        }
        let heads = ["protocol", "local", "remote", "idle", "state"];
        let mut table = table::table(&heads, &[3]);
        for row in &self.flows {
            let forwarded = if row.forwarded { "forwarded" } else { "" };
            table.add_row([
                name(row.protocol),
                row.local.to_string(),
                row.remote.to_string(),
                format!("{} s", thousands(row.idle_seconds)),
                [row.state.unwrap_or_default(), forwarded].join(" "),
            ]);
        }
        write!(f, "\n{}", table::lines(&table))?;
        match self.total - self.flows.len() {
            0 => Ok(()),
            more => writeln!(
                f,
                "and {} more (say --top {})",
                thousands(more as u64),
                self.total
            ),
        }
    }
}
