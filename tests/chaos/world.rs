//! The host that all happens to, and what must hold of it after each round.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_tests::{Lab, Sender, Xdpfw, packets, servers};

use super::{
    faults::Fault,
    round::{Change, EXTRA, FIRST, POLICIES, Round},
    traffic::{OPEN, Traffic},
};

/// The interfaces that traffic comes in by.
const INTERFACES: [&str; 2] = ["eth0", "eth1"];
/// The one that comes and goes.
const OTHER: &str = "other0";
/// Where the packets come from that ask which policy is in force.
const PROBER: u16 = 40_000;
/// What commands that race may end with: done, failed, no such rule or interface, refused by the
/// kernel (as if for want of a privilege, too), gone back, a warning.
const CODES: [i32; 7] = [0, 1, 3, 4, 5, 7, 8];

pub(super) struct World {
    lab: Lab,
    traffic: Traffic,
    policies: Vec<tempfile::NamedTempFile>,
    /// A socket for each port that a policy may open.
    sockets: Vec<UdpSocket>,
    /// What was counted at the end of the last round.
    counted: Counted,
    commands: u64,
    killed: u64,
}

/// Counters that never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    packets: u64,
    flows: u64,
}

impl World {
    pub(super) fn new() -> Result<Self> {
        let lab = Lab::with_links(2)?;
        add_other(&lab)?;
        let mut policies = Vec::new();
        for number in 0..POLICIES {
            let file = tempfile::NamedTempFile::new()?;
            fs::write(file.path(), policy(number))?;
            policies.push(file);
        }
        // No policy that a rollback may lead to closes the open port.
        fs::write(lab.host.policy(), policy(0))?;
        lab.host.xdpfw(["up"]).ok();
        let ports = (FIRST..FIRST + POLICIES).chain([EXTRA]);
        let sockets = ports
            .map(|port| servers::bind(&lab.host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)));
        let sockets = sockets.collect::<Result<_>>()?;
        let traffic = Traffic::begin(&lab)?;
        Ok(Self {
            lab,
            traffic,
            policies,
            sockets,
            counted: Counted::default(),
            commands: 0,
            killed: 0,
        })
    }

    /// What was done so far.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} commands, {} of them killed, {} packets",
            self.commands,
            self.killed,
            self.traffic.sent()
        )
    }

    /// Lets a round happen, and looks what has become of the host.
    pub(super) fn play(&mut self, round: &Round) -> Result<()> {
        let run = |&(change, fault): &(Change, Fault)| self.run(change, fault);
        let codes: Vec<Option<i32>> = thread::scope(|scope| {
            let running: Vec<_> = round
                .commands
                .iter()
                .map(|command| scope.spawn(move || run(command)))
                .collect();
            let ended = running.into_iter().map(|one| one.join());
            ended
                .map(|ended| ended.ok().context("a thread has panicked")?)
                .collect::<Result<_>>()
        })?;
        for (code, command) in codes.iter().zip(&round.commands) {
            self.commands += 1;
            match code {
                None => self.killed += 1,
                Some(code) => ensure!(CODES.contains(code), "{command:?} ended with {code}"),
            }
        }
        self.check()
    }

    fn run(&self, change: Change, fault: Fault) -> Result<Option<i32>> {
        match change {
            Change::Recreate => {
                // Commands that race may have it another name.
                let host = &self.lab.host;
                drop(host.run("ip", ["link", "delete", OTHER]));
                drop(host.run("ip", ["link", "delete", "renamed0"]));
                drop(add_other(&self.lab));
                Ok(Some(0))
            }
            Change::Rename => {
                let host = &self.lab.host;
                drop(host.run("ip", ["link", "set", OTHER, "name", "renamed0"]));
                drop(host.run("ip", ["link", "set", "renamed0", "name", OTHER]));
                Ok(Some(0))
            }
            _ => fault.run(self.command(change)),
        }
    }

    fn command(&self, change: Change) -> Xdpfw {
        let extra = EXTRA.to_string();
        let mut words: Vec<String> = match change {
            Change::Apply(number, _) => {
                let path = self.policies[usize::from(number)].path();
                vec!["apply".into(), path.to_string_lossy().into_owned()]
            }
            Change::Allow(_) => vec!["allow".into(), "udp".into(), extra],
            Change::Delete => vec!["delete".into(), "allow".into(), "udp".into(), extra],
            Change::Confirm => vec!["confirm".into()],
            Change::Rollback => vec!["rollback".into()],
            Change::Up(_) => vec!["up".into(), OTHER.into()],
            Change::Down => vec!["down".into(), OTHER.into()],
            Change::Recreate | Change::Rename => Vec::new(),
        };
        if let Change::Apply(_, Some(lasts))
        | Change::Allow(Some(lasts))
        | Change::Up(Some(lasts)) = change
        {
            words.extend(["--confirm".into(), format!("{lasts}s")]);
        }
        self.lab.host.xdpfw(words)
    }

    /// Looks whether one policy is in force, on all interfaces, and the file says the same.
    fn check(&mut self) -> Result<()> {
        // The next command, and whatever is pending comes to its end.
        let host = &self.lab.host;
        let status = loop {
            let status = host.xdpfw(["status"]).json_with(|status| {
                let warnings = status["warnings"].as_array().map_or(0, Vec::len);
                if warnings == 0 { 0 } else { 8 }
            });
            if status["pending"].is_null() {
                break status;
            }
            thread::sleep(Duration::from_millis(100));
        };
        for warning in status["warnings"].as_array().context("no warnings")? {
            let kind = warning["kind"].as_str().unwrap_or_default();
            // Of the interface that comes and goes.
            let is_expected = kind.starts_with("interface-");
            ensure!(is_expected, "status warns: {warning}");
        }
        self.traffic.pause()?;
        let saved = saved_ports(&fs::read_to_string(host.policy())?);
        for link in 0..INTERFACES.len() {
            let open = self.open_ports(link)?;
            ensure!(
                open == saved,
                "{open:?} are open on link {link}, and {saved:?} saved"
            );
        }
        self.traffic.resume();
        let counted = Counted::of(&status, &host.xdpfw(["flows"]).json())?;
        let before = self.counted;
        ensure!(
            counted.packets >= before.packets && counted.flows >= before.flows,
            "counters went back: {before:?}, then {counted:?}"
        );
        self.counted = counted;
        Ok(())
    }

    /// The ports of all policies that are open to what comes in by a link. Nothing else may
    /// come in meanwhile.
    fn open_ports(&self, link: usize) -> Result<BTreeSet<u16>> {
        let link = &self.lab.links[link];
        let probes = self.sockets.iter().map(|socket| {
            let port = socket.local_addr()?.port();
            Ok(packets::udp(
                link.far().at(PROBER),
                link.near().at(port),
                b"probe",
            ))
        });
        let probes: Vec<_> = probes.collect::<Result<_>>()?;
        Sender::new(&self.lab.peer, link.far())?.send_all(probes)?;
        let mut open = BTreeSet::new();
        for socket in &self.sockets {
            // The verdict is there; a packet that passed may still be on its way up.
            if !servers::is_silent(socket, Duration::from_millis(20))? {
                open.insert(socket.local_addr()?.port());
            }
        }
        Ok(open)
    }

    /// Takes the filter off, and looks what is left.
    pub(super) fn end(self) -> Result<()> {
        self.traffic.pause()?;
        self.traffic.end()?;
        self.lab.host.xdpfw(["down"]).ok();
        xdpfw_tests::assert_nothing_is_left(&self.lab.host, &INTERFACES)
    }
}

impl Counted {
    fn of(status: &Value, flows: &Value) -> Result<Self> {
        let total = |which: &str| status["totals"][which]["packets"].as_u64();
        let inserted = |table: &str| flows[table]["inserted"].as_u64();
        let counted = || {
            Some(Self {
                packets: total("dropped")? + total("passed")?,
                flows: inserted("tcp")? + inserted("other")?,
            })
        };
        counted().context("no counters")
    }
}

/// A policy, which opens the port that is always open and one of its own.
pub(super) fn policy(number: u16) -> String {
    let interfaces: Vec<String> = INTERFACES.iter().map(|name| format!("{name:?}")).collect();
    format!(
        "version = 1\ninterfaces = [{}]\n[[rule]]\nid = \"r1\"\nallow = \"udp {OPEN}\"\n\
         [[rule]]\nid = \"r{}\"\nallow = \"udp {}\"\n",
        interfaces.join(", "),
        2 + number,
        FIRST + number
    )
}

/// The ports that a policy file opens, but for the one that is always open.
fn saved_ports(text: &str) -> BTreeSet<u16> {
    let rules = text.lines().filter_map(|line| {
        let port = line.strip_prefix("allow = \"udp ")?.strip_suffix('"')?;
        port.parse().ok()
    });
    rules.filter(|&port| port != OPEN).collect()
}

/// Makes the interface that comes and goes.
fn add_other(lab: &Lab) -> Result<()> {
    let host = &lab.host;
    host.run(
        "ip",
        [
            "link", "add", OTHER, "type", "veth", "peer", "name", "other1",
        ],
    )?;
    host.run("ip", ["link", "set", OTHER, "up"])?;
    Ok(())
}
