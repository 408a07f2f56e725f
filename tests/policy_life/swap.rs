//! Proves that a change of policy happens on all interfaces at once or not at
//! all, wherever the command is killed and whoever else changes something too.

use std::{
    collections::BTreeSet,
    fs,
    hash::{BuildHasher as _, RandomState},
    io::ErrorKind,
    net::{Ipv4Addr, UdpSocket},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::links::PinnedLink;
use serde_json::Value;
use xdpfw_tests::{Host, Lab, Link, PATIENCE, Sender, Xdpfw, packets};

/// Kills of each command.
const KILLS: u32 = 28;
/// Steps in which every other kill goes through a command.
const STEPS: u32 = KILLS / 2;
/// Tries for them: some commands end before they are killed.
const TRIES: u32 = 10 * KILLS;
/// The scanner's port, which no rule mentions.
const REMOTE: u16 = 40_000;
/// Ports that are probed. The last is closed under every policy.
const PROBED: [u16; 3] = [1000, 2000, 4000];
/// Open under every policy: what arrives here says that all sent before has been
/// judged.
const MARKER: u16 = 3000;

#[test]
fn a_killed_command_leaves_the_old_policy_or_the_new_one() -> Result<()> {
    let next = tempfile::NamedTempFile::new()?;
    let next = next.path().to_str().context("an odd path")?;
    let commands: [(&[&str], &[u16], &[u16]); 6] = [
        (&["apply", next], &[1000], &[2000]),
        (&["allow", "udp", "2000"], &[1000], &[1000, 2000]),
        (&["delete", "allow", "udp", "1000"], &[1000, 2000], &[2000]),
        (&["default", "pass"], &[1000], &[1000, 2000, 4000]),
        (&["up", "eth0", "eth1"], &[1000], &[2000]),
        (&["stats", "--reset"], &[1000], &[1000]),
    ];
    let lab = Lab::with_links(2)?;
    let mut probe = Probe::new(&lab)?;
    lab.host.xdpfw(["up", "eth0", "eth1"]).ok();
    for (command, before, after) in commands {
        let swap = Swap {
            lab: &lab,
            command,
            before,
            after,
        };
        swap.survives_kills(&mut probe)
            .with_context(|| command.join(" "))?;
    }
    Ok(())
}

#[test]
fn a_command_killed_while_it_saves_leaves_no_litter_behind_the_next() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    let files = || -> Result<Vec<_>> {
        fs::read_dir(lab.host.directory())?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    for index in 0..KILLS {
        // Each saves the file, maybe by way of another.
        let port = (1000 + index).to_string();
        let mut child = start(lab.host.xdpfw(["allow", "udp", &port]))?;
        while files()?.len() == 1 && child.try_wait()?.is_none() {}
        child.kill()?;
        child.wait()?;
    }
    lab.host.xdpfw(["default", "pass"]).ok();
    assert_eq!(generations(&lab.host)?, 1);
    assert_eq!(files()?, ["policy.toml"]);
    Ok(())
}

#[test]
fn a_killed_first_up_is_completed_by_the_next_and_undone_by_down() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let mut probe = Probe::new(&lab)?;
    let text = policy(&[1000], true);
    fs::write(lab.host.policy(), &text)?;
    let up = || lab.host.xdpfw(["up", "eth0", "eth1"]);

    let filtered = BTreeSet::from([1000]);
    let open = BTreeSet::from(PROBED);
    let mut killer = Killer::new();
    for index in 0..TRIES {
        let delay = killer.kill(up())?;
        // Half of the interfaces may be attached, none half-way.
        let found = probe.all()?;
        assert!(
            found
                .iter()
                .all(|ports| *ports == filtered || *ports == open),
            "killed after {delay:?}: {found:?}"
        );
        assert_eq!(fs::read_to_string(lab.host.policy())?, text);
        if index % 2 == 0 {
            up().ok();
            assert_eq!(probe.all()?, [filtered.clone(), filtered.clone()]);
            assert_eq!(generations(&lab.host)?, 1, "killed after {delay:?}");
        }
        lab.host.xdpfw(["down"]).ok();
        probe.wait_until_all_are(&open)?;
        assert!(!lab.host.pins().exists(), "killed after {delay:?}");
        if killer.has_killed_enough() {
            return Ok(());
        }
    }
    panic!("{killer:?}");
}

#[test]
fn a_killed_down_is_completed_by_the_next() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let mut probe = Probe::new(&lab)?;
    fs::write(lab.host.policy(), policy(&[1000], true))?;

    let filtered = BTreeSet::from([1000]);
    let open = BTreeSet::from(PROBED);
    let mut killer = Killer::new();
    for index in 0..TRIES {
        lab.host.xdpfw(["up", "eth0", "eth1"]).ok();
        assert_eq!(probe.all()?, [filtered.clone(), filtered.clone()]);
        let delay = killer.kill(lab.host.xdpfw(["down"]))?;
        let found = probe.all()?;
        assert!(
            found
                .iter()
                .all(|ports| *ports == filtered || *ports == open),
            "killed after {delay:?}: {found:?}"
        );
        // Every other time `up` has to cope with what is left.
        if index % 2 == 0 {
            lab.host.xdpfw(["down"]).ok();
            probe.wait_until_all_are(&open)?;
            assert!(!lab.host.pins().exists(), "killed after {delay:?}");
        }
        if killer.has_killed_enough() {
            return Ok(());
        }
    }
    panic!("{killer:?}");
}

#[test]
fn eight_commands_at_once_take_turns() -> Result<()> {
    const PORTS: std::ops::Range<u16> = 1000..1008;
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    thread::scope(|scope| {
        for port in PORTS {
            let host = &lab.host;
            scope.spawn(move || host.xdpfw(["allow", "udp", &port.to_string()]).ok());
        }
    });
    let list = lab.host.xdpfw(["list"]).json();
    let rules = list["rules"].as_array().context("no rules")?;
    let ids: BTreeSet<_> = rules.iter().map(|rule| rule["id"].to_string()).collect();
    assert_eq!((rules.len(), ids.len()), (8, 8), "{list}");
    assert_eq!(generations(&lab.host)?, 1);

    // All of them are live: each counts the packet that it lets in.
    let (near, far) = (lab.link().near(), lab.link().far());
    Sender::new(&lab.peer, far)?
        .send_all(PORTS.map(|port| packets::udp(far.at(REMOTE), near.at(port), b"")))?;
    let list = lab.host.xdpfw(["list"]).json();
    let hits = list["rules"].as_array().context("no rules")?;
    assert!(hits.iter().all(|rule| rule["packets"] == 1), "{list}");
    // And in the file: to apply it again changes nothing.
    let text = fs::read_to_string(lab.host.policy())?;
    for port in PORTS {
        assert!(text.contains(&format!("\"udp {port}\"")), "{text}");
    }
    let generation = || lab.host.status()["generation"].clone();
    let before = generation();
    lab.host.xdpfw(["apply"]).ok();
    assert_eq!(generation(), before);
    Ok(())
}

#[test]
fn contrary_commands_at_once_end_with_one_of_them() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let mut probe = Probe::new(&lab)?;
    lab.host.xdpfw(["up", "eth0", "eth1"]).ok();
    for _round in 0..4 {
        thread::scope(|scope| {
            for index in 0..6 {
                let host = &lab.host;
                let ports = [PROBED[index % 2]];
                scope.spawn(move || host.xdpfw(["apply", "-"]).stdin(policy(&ports, true)).ok());
            }
        });
        let found = probe.all()?;
        assert_eq!(found[0], found[1]);
        let only = *found[0].first().context("nothing is open")?;
        assert!(found[0].len() == 1 && only != PROBED[2], "{found:?}");
        assert_eq!(generations(&lab.host)?, 1);
        let text = fs::read_to_string(lab.host.policy())?;
        assert_eq!(text, policy(&[only], true));
    }
    Ok(())
}

#[test]
fn down_detaches_at_once_and_up_attaches_again_whoever_holds_the_link() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let mut probe = Probe::new(&lab)?;
    fs::write(lab.host.policy(), policy(&[1000], true))?;
    let open = BTreeSet::from(PROBED);
    let filtered = BTreeSet::from([1000]);
    lab.host.xdpfw(["up", "eth0", "eth1"]).ok();
    for _round in 0..8 {
        // As `bpftool link` has them for a moment. Without a holder the kernel
        // lets go of a link that was unpinned a moment later, too.
        let held = links(&lab.host)?;
        ensure!(held.len() == 2, "{} links are pinned", held.len());
        let held_egress = open_links(&lab.host, "egress")?;
        lab.host.xdpfw(["down", "eth1"]).ok();
        assert_eq!(probe.all()?, [filtered.clone(), open.clone()]);
        // What is about to go must not be taken for what is there.
        lab.host.xdpfw(["up", "eth1"]).ok();
        drop((held, held_egress));
        assert_eq!(probe.all()?, [filtered.clone(), filtered.clone()]);
        let status = lab.host.status();
        let interfaces = status["interfaces"].as_array().context("no interfaces")?;
        assert_eq!(interfaces.len(), 2, "{status}");
        let has_egress = |interface: &Value| interface["egress"].is_string();
        assert!(interfaces.iter().all(has_egress), "{status}");
        ensure!(links(&lab.host)?.len() == 2, "a link is not pinned");
    }
    Ok(())
}

/// A command that changes what is open on two interfaces.
struct Swap<'a> {
    lab: &'a Lab,
    command: &'a [&'a str],
    before: &'a [u16],
    after: &'a [u16],
}

impl Swap<'_> {
    fn survives_kills(&self, probe: &mut Probe) -> Result<()> {
        let host = &self.lab.host;
        let expected = [self.before, self.after].map(|ports| BTreeSet::from_iter(ports.to_vec()));
        // What the files look like, from undisturbed runs.
        let mut texts = Vec::new();
        for variant in [true, false] {
            let before = self.set_up(variant)?;
            assert_eq!(probe.all()?, [expected[0].clone(), expected[0].clone()]);
            self.call().ok();
            assert_eq!(probe.all()?, [expected[1].clone(), expected[1].clone()]);
            texts.push([before, fs::read_to_string(host.policy())?]);
        }
        let mut killer = Killer::new();
        for index in 0..TRIES {
            // No set-up is the same as the one before: each swaps a generation
            // in, and so is the next command after the kill.
            let variant = index % 2 == 0;
            self.set_up(variant)?;
            ensure!(
                generations(host)? == 1,
                "more than one generation after the command after the kill"
            );
            let delay = killer.kill(self.call())?;

            let found = probe.all()?;
            assert_eq!(found[0], found[1], "{self}: killed after {delay:?}");
            let outcome = expected.iter().position(|ports| *ports == found[0]);
            let outcome = outcome
                .unwrap_or_else(|| panic!("{self}: killed after {delay:?}: {:?} open", found[0]));
            let text = fs::read_to_string(host.policy())?;
            let texts = &texts[usize::from(!variant)];
            assert!(
                texts.contains(&text),
                "{self}: killed after {delay:?}: the file is\n{text}"
            );
            // Built first, saved next, swapped last.
            assert!(
                outcome == 0 || text == texts[1],
                "{self}: killed after {delay:?}: live, but not saved"
            );
            if killer.has_killed_enough() {
                return Ok(());
            }
        }
        panic!("{self}: {killer:?}");
    }

    /// Puts the policy before the command in force; its text as saved.
    fn set_up(&self, variant: bool) -> Result<String> {
        let host = &self.lab.host;
        let text = policy(self.before, variant);
        host.xdpfw(["apply", "-"]).stdin(&*text).ok();
        let next = policy(self.after, variant);
        match *self.command {
            ["apply", file] => fs::write(file, next)?,
            // Changed by hand, it waits for the command.
            ["up", ..] => fs::write(host.policy(), next)?,
            _ => {}
        }
        Ok(fs::read_to_string(host.policy())?)
    }

    fn call(&self) -> Xdpfw {
        self.lab.host.xdpfw(self.command)
    }
}

impl std::fmt::Display for Swap<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.command.join(" "))
    }
}

/// A policy under which these ports are open; its two variants differ.
fn policy(ports: &[u16], variant: bool) -> String {
    let mut text = format!(
        "version = 1\ninterfaces = [\"eth0\", \"eth1\"]\ndhcp_client = {variant}\n\n\
         [[rule]]\nid = \"r1\"\nallow = \"udp {MARKER}\"\n"
    );
    for (index, port) in ports.iter().enumerate() {
        let id = index + 2;
        text += &format!("\n[[rule]]\nid = \"r{id}\"\nallow = \"udp {port}\"\n");
    }
    text
}

/// Kills commands, all over the time that they take: every other one a step
/// later, those between at random.
#[derive(Debug)]
pub(crate) struct Killer {
    /// How long the commands seem to take.
    span: Duration,
    random: RandomState,
    tries: u32,
    killed: u32,
}

impl Killer {
    pub(crate) fn new() -> Self {
        Self {
            span: Duration::from_millis(60),
            random: RandomState::new(),
            tries: 0,
            killed: 0,
        }
    }

    /// Starts a command and kills it after a while, unless it ends before; how
    /// long that was.
    pub(crate) fn kill(&mut self, call: Xdpfw) -> Result<Duration> {
        let delay = self.span.mul_f64(self.fraction());
        self.tries += 1;
        let mut child = start(call)?;
        thread::sleep(delay);
        child.kill()?;
        if child.wait()?.signal().is_some() {
            self.killed += 1;
            self.span = self.span.mul_f64(1.02);
        } else {
            // Too late: how long commands take depends on what else runs.
            self.span = self.span.mul_f64(0.95);
        }
        Ok(delay)
    }

    fn fraction(&self) -> f64 {
        if self.tries.is_multiple_of(2) {
            let step = self.tries / 2 % STEPS;
            return f64::from(step) / f64::from(STEPS);
        }
        let random = self.random.hash_one(self.tries) as u32;
        f64::from(random) / f64::from(u32::MAX)
    }

    const fn has_killed_enough(&self) -> bool {
        self.killed >= KILLS
    }
}

/// Starts a command that nobody listens to.
fn start(call: Xdpfw) -> Result<Child> {
    call.command()?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start nsenter")
}

/// How many generations are pinned.
fn generations(host: &Host) -> Result<usize> {
    Ok(pins(host, "generations")?.len())
}

/// The links of what comes in that are pinned, held as if they were ours.
fn links(host: &Host) -> Result<Vec<PinnedLink>> {
    open_links(host, "links")
}

fn open_links(host: &Host, directory: &str) -> Result<Vec<PinnedLink>> {
    let open = |pin: &PathBuf| {
        PinnedLink::from_pin(pin).with_context(|| format!("cannot open {}", pin.display()))
    };
    pins(host, directory)?.iter().map(open).collect()
}

fn pins(host: &Host, directory: &str) -> Result<Vec<PathBuf>> {
    let abi = format!("abi-{}", xdpfw_common::abi::ABI_VERSION);
    let directory = host.pins().join(abi).join(directory);
    fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

/// Finds out by packets what each interface lets in.
struct Probe {
    doors: Vec<(u16, UdpSocket)>,
    marker: UdpSocket,
    senders: Vec<(Link, Sender)>,
}

impl Probe {
    fn new(lab: &Lab) -> Result<Self> {
        let door = |port| -> Result<_> {
            let socket = lab
                .host
                .enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?))
                .with_context(|| format!("cannot bind udp {port}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let doors = PROBED.map(|port| Ok((port, door(port)?)));
        let senders = lab.links.iter().map(|link| {
            let sender = Sender::new(&lab.peer, link.far())?;
            Ok((link.clone(), sender))
        });
        Ok(Self {
            doors: doors.into_iter().collect::<Result<_>>()?,
            marker: door(MARKER)?,
            senders: senders.collect::<Result<_>>()?,
        })
    }

    /// Waits until these ports and no others are open on each interface: the
    /// kernel may take a moment to let go of what a killed command held.
    fn wait_until_all_are(&mut self, ports: &BTreeSet<u16>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.all()?;
            if found.iter().all(|found| found == ports) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "open are {found:?}");
        }
    }

    /// The probed ports that are open, by interface.
    fn all(&mut self) -> Result<Vec<BTreeSet<u16>>> {
        let mut found = Vec::new();
        for (link, sender) in &mut self.senders {
            let mut send = |port| {
                let to = link.near().at(port);
                sender.send_all([packets::udp(link.far().at(REMOTE), to, b"probe")])
            };
            for port in PROBED {
                send(port)?;
            }
            send(MARKER)?;
            let deadline = Instant::now() + PATIENCE;
            let mut ports = BTreeSet::new();
            while !has_datagram(&self.marker)? {
                ensure!(Instant::now() < deadline, "udp {MARKER} is closed");
                thread::sleep(Duration::from_micros(50));
            }
            for (port, socket) in &self.doors {
                if has_datagram(socket)? {
                    ports.insert(*port);
                }
            }
            found.push(ports);
        }
        Ok(found)
    }
}

/// Takes a datagram out of a socket, if there is one.
fn has_datagram(socket: &UdpSocket) -> Result<bool> {
    match socket.recv(&mut [0; 64]) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}
