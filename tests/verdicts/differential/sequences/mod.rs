//! Proves that the programs and the reference model are of one mind about what answers what:
//! random sequences of packets out, packets in, and time that passes.
//!
//! Time passes by what is remembered getting older. The kernel's clock goes on meanwhile, so
//! waits are chosen to end far from every age and from the second within which a flow is not
//! written again.

mod memory;
mod recorder;
mod talk;

use std::{
    fmt::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt as _, seq::IndexedRandom as _};
use xdpfw_common::abi::FlowKey;
use xdpfw_model::{
    Action, Arrival, CLOSED_AGE, Content, Conversation, ECHO_AGE, History, Ip, Kind, OTHER_AGE,
    Opinion, Packet, Policy, Random, Replies, Sender, TCP_AGE, UDP_AGE, UNANSWERED_AGE, Verdict,
    judge, random,
};

use self::{
    memory::{Keys, Memory},
    recorder::Recorder,
    talk::{Talk, Way},
};
use super::{
    counts::Counts,
    filter::{self, Entry, Filter},
    subject::{Interface, Subject},
    trial::tomorrow,
};

const AGES: [Duration; 6] = [
    ECHO_AGE,
    CLOSED_AGE,
    UNANSWERED_AGE,
    UDP_AGE,
    OTHER_AGE,
    TCP_AGE,
];
/// All waits are multiples of this: no multiple is less than [`SLACK`] from an age.
const UNIT: Duration = Duration::from_millis(3_938);
/// How long a sequence may take between two waits.
const SLACK: Duration = Duration::from_millis(400);
/// Waits as long as the longest age in one sequence: the clock must have room behind it.
const LONG_WAITS: u32 = 4;
/// An interface that no rule names.
const ELSEWHERE: &str = "elsewhere";

/// No rule ends while sequences run.
const BEFORE_ANY_END: i64 = 0;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Sequences.
    pub(super) sequences: u64,
    /// Those of them that took too long for their waits, and prove nothing.
    pub(super) void: u64,
    /// Packets that came in.
    pub(super) packets: u64,
    /// Those of them that answered something.
    pub(super) answers: u64,
    /// Those of them that were dropped.
    pub(super) strangers: u64,
}

impl Tally {
    /// Claims that so many sequences were compared, and that it proves something.
    pub(super) fn check(&self, sequences: u64) -> Result<()> {
        ensure!(
            self.sequences == sequences,
            "not all sequences were compared"
        );
        // Of those that were too slow there are few, on the busiest machine.
        let is_telling = self.void <= sequences / 20 + 1
            && self.answers >= sequences
            && self.strangers >= sequences;
        ensure!(is_telling, "the sequences prove little: {self}");
        Ok(())
    }

    pub(super) fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.void += other.void;
        self.packets += other.packets;
        self.answers += other.answers;
        self.strangers += other.strangers;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:10} sequences, {} of them too slow; {} packets in, {} of them answers, {} dropped",
            self.sequences, self.void, self.packets, self.answers, self.strangers
        )
    }
}

/// Compares so many sequences, under the policy with this number.
pub(super) fn compare(subject: &Subject, seed: u64, number: u64, count: u64) -> Result<Tally> {
    let mut random = random(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
    let ephemeral = subject.choose_ephemeral(&mut random)?;
    let names = subject.interface_names();
    let begins = tomorrow()?;
    let policy = if number.is_multiple_of(4) {
        Policy {
            interfaces: names.iter().map(|name| (*name).to_owned()).collect(),
            ephemeral,
            ..Policy::empty()
        }
    } else {
        Policy {
            replies: Replies::Flows,
            default_pass: false,
            begins,
            ..Policy::random(&mut random, &names, ephemeral)
        }
    };
    let filter = subject.put_in_force(&policy.to_toml())?;
    subject.enter(|| {
        let mut expected = filter.counts()?;
        let mut memory = Memory::open(&filter.directory)?;
        let recorder = Recorder::open(&filter.directory)?;
        let mut tally = Tally::default();
        for sequence in 0..count {
            let mut run = Run {
                subject,
                policy: &policy,
                filter: &filter,
                recorder: &recorder,
                memory: &mut memory,
                expected: &mut expected,
                random: &mut random,
                history: History::default(),
                keys: Keys::default(),
                now: Duration::ZERO,
                since: Instant::now(),
                long_waits: LONG_WAITS,
                story: String::new(),
            };
            let outcome = run.sequence();
            let (keys, story) = (run.keys, run.story);
            memory.forget(&keys)?;
            let outcome = outcome.with_context(|| {
                format!(
                    "seed {seed}, policy {number}, sequence {sequence}\n{story}\n{}",
                    policy.to_toml()
                )
            })?;
            tally.add(outcome);
        }
        ensure!(filter.counts()? == expected, "counters changed elsewhere");
        Ok(tally)
    })
}

/// A sequence in progress.
struct Run<'a> {
    subject: &'a Subject,
    policy: &'a Policy,
    filter: &'a Filter,
    recorder: &'a Recorder,
    memory: &'a mut Memory,
    expected: &'a mut Counts,
    random: &'a mut Random,
    history: History,
    keys: Keys,
    /// The time, as far as waits made it pass.
    now: Duration,
    /// When it began to be that.
    since: Instant,
    long_waits: u32,
    /// What has happened, to be read.
    story: String,
}

impl Run<'_> {
    fn sequence(&mut self) -> Result<Tally> {
        let mut tally = Tally {
            sequences: 1,
            ..Tally::default()
        };
        let peers = [1, 1, 2, 8].choose(self.random).copied().unwrap_or(1);
        let talks: Vec<Talk> = (0..peers)
            .map(|number| Talk::choose(self.random, self.policy, number))
            .collect();
        let mut counted = Tally::default();
        for _ in 0..self.random.random_range(2..30) {
            let talk = talks.choose(self.random).context("no peer")?;
            match self.random.random_range(0..16) {
                0..6 => self.send(talk)?,
                6..13 => {
                    let interface = self.subject.choose_interface(self.random);
                    let way = match talk.sender {
                        Sender::Another if self.random.random_ratio(1, 4) => Way::Out,
                        _ => Way::In,
                    };
                    let packet = match self.random.random_range(0..12) {
                        0 => talk.error(self.random),
                        1 => talk.neighbour(self.random).packet(self.random, way),
                        _ => talk.packet(self.random, way),
                    };
                    self.receive(packet, &interface, &mut counted)?;
                }
                _ => self.wait()?,
            }
            if self.since.elapsed() > SLACK {
                tally.void = 1;
                return Ok(tally);
            }
        }
        tally.add(counted);
        Ok(tally)
    }

    /// A packet leaves.
    fn send(&mut self, talk: &Talk) -> Result<()> {
        let interfaces = self.subject.interfaces();
        // What is forwarded goes on by another interface, and so does its answer.
        let (way, out) = match talk.sender {
            Sender::Another if self.random.random_ratio(1, 3) => (Way::In, 1 - talk.interface),
            _ => (Way::Out, talk.interface),
        };
        let interface = &interfaces[out];
        let frame = framed(talk.packet(self.random, way));
        let came_in_by = match talk.sender {
            Sender::Host => 0,
            Sender::Another => interfaces[1 - out].index,
        };
        let Packet::Ip(ip) = Packet::of_ethernet(&frame) else {
            unreachable!("it was made well")
        };
        // Whether a flow is known that this answers, nobody promises where rules let it in.
        if talk.sender == Sender::Another && self.lets_in(&ip) {
            return Ok(());
        }
        writeln!(self.story, "{:?}: out {} {ip:?}", self.now, interface.name)?;
        if let Some(answer) = ip.answer()
            && let Some(conversation) = Conversation::of(&answer)
        {
            self.keys.add(&key(&conversation, interface));
            if !self.lets_in(&answer) {
                let sender = talk.sender;
                let history = &mut self.history;
                history.leaves(&conversation, &interface.name, sender, self.now);
            }
        }
        self.recorder.run(&frame, interface.index, came_in_by)
    }

    /// Whether the same rule lets a packet in wherever it comes in, and from whoever on the
    /// link: then none of its kind is remembered.
    fn lets_in(&self, ip: &Ip) -> bool {
        let decision_at = |name, at| self.policy.decision_from_anyone((name, at), ip);
        let decision = decision_at(ELSEWHERE, BEFORE_ANY_END);
        let mut names = self.subject.interface_names();
        names.push(ELSEWHERE);
        // A connection may go on when rules have ended.
        let moments = match ip.content {
            Content::Tcp { .. } => self.policy.ends().collect(),
            _ => Vec::new(),
        };
        let mut moments = moments.into_iter().chain([BEFORE_ANY_END]);
        matches!(decision, Some((_, Action::Allow)))
            && moments.all(|at| names.iter().all(|name| decision_at(name, at) == decision))
    }

    /// Whether it is an error about a packet whose answer is let in wherever it comes in.
    /// Nobody promises whether that one is remembered, and errors would show it that a rule
    /// denies.
    fn is_about_what_is_let_in(&self, ip: &Ip) -> bool {
        let (Content::Icmp(message) | Content::Icmp6(message)) = ip.content else {
            return false;
        };
        let answer = message.quote.and_then(|quote| quote.answer());
        answer.is_some_and(|answer| self.lets_in(&answer))
    }

    /// A packet comes in.
    fn receive(&mut self, packet: Vec<u8>, interface: &Interface, tally: &mut Tally) -> Result<()> {
        let arrival = filter::Arrival {
            interface: interface.clone(),
            entry: Entry::Dispatcher,
            frame: framed(packet),
            first_buffer: 0,
            metadata: Vec::new(),
        }
        .whole();
        let Packet::Ip(ip) = arrival.to_model(BEFORE_ANY_END).packet() else {
            unreachable!("it was made well")
        };
        if self.is_about_what_is_let_in(&ip) {
            return Ok(());
        }
        let moment = self.history.at(self.now, &interface.name);
        let opinion = judge(
            self.policy,
            &Arrival {
                past: &moment,
                ..arrival.to_model(BEFORE_ANY_END)
            },
        );
        writeln!(
            self.story,
            "{:?}: in {} {ip:?}: {opinion:?}",
            self.now, interface.name
        )?;
        self.expected.add(&opinion, arrival.frame.len())?;
        let verdict = self.filter.run(&arrival)?;
        // Those that took too long are not wrong.
        if self.since.elapsed() <= SLACK {
            ensure!(
                verdict == opinion.verdict && self.filter.agrees(self.expected, &opinion)?,
                "the program says {verdict:?}"
            );
        } else {
            *self.expected = self.filter.counts()?;
        }
        if is_held_against_the_past(&opinion)
            && let Some(conversation) = Conversation::of(&ip)
        {
            let history = &mut self.history;
            history.comes_in(&conversation, &interface.name, self.now);
        }
        tally.packets += 1;
        match (opinion.verdict, opinion.reason) {
            (Verdict::Pass, "reply" | "icmp-error") => tally.answers += 1,
            (Verdict::Drop, _) => tally.strangers += 1,
            _ => {}
        }
        Ok(())
    }

    /// Time passes: a little, or about one of the ages.
    fn wait(&mut self) -> Result<()> {
        let mut units = self.random.random_range(1..=2);
        if self.random.random_ratio(1, 3) {
            let age = AGES.choose(self.random).copied().unwrap_or(TCP_AGE);
            if age < TCP_AGE || self.long_waits > 0 {
                self.long_waits -= u32::from(age == TCP_AGE);
                units = (age.as_nanos() / UNIT.as_nanos()) as u32 + self.random.random_range(0..=1);
            }
        }
        let hz = self.memory.ticks_per_second;
        let wait = UNIT * units;
        // What has passed by itself is part of it.
        let missing = wait.saturating_sub(self.since.elapsed());
        let ticks = missing.as_nanos() * u128::from(hz) / 1_000_000_000;
        self.memory.make_older(&self.keys, ticks as u64)?;
        self.now += wait;
        self.since = Instant::now();
        writeln!(self.story, "{:?}: after {wait:?}", self.now)?;
        Ok(())
    }
}

/// Whether a packet with this opinion was held against what is known: rules let others in
/// before.
fn is_held_against_the_past(opinion: &Opinion) -> bool {
    match opinion.verdict {
        Verdict::Pass => opinion.reason == "reply",
        Verdict::Drop => matches!(opinion.reason, "rule" | "default"),
    }
}

/// A packet in a frame.
fn framed(packet: Vec<u8>) -> Vec<u8> {
    let ether_type: u16 = match packet.first() {
        Some(first) if first >> 4 == 6 => 0x86dd,
        _ => 0x0800,
    };
    let [high, low] = ether_type.to_be_bytes();
    let header = [2, 0, 10, 0, 0, 1, 2, 0, 10, 0, 0, 2, high, low];
    [&header[..], &packet].concat()
}

/// The key by which the program knows a conversation.
fn key(conversation: &Conversation, interface: &Interface) -> FlowKey {
    use std::net::IpAddr;

    let bytes = |address| match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    };
    let is_v4 = conversation.remote.is_ipv4();
    let is_link_local = matches!(
        conversation.remote,
        IpAddr::V6(address) if address.is_unicast_link_local()
    );
    let (protocol, remote_port, local_port) = match conversation.kind {
        Kind::Tcp { remote, local, .. } => (6, remote, local),
        Kind::Udp { remote, local } => (17, remote, local),
        Kind::Ping(identifier) => (if is_v4 { 1 } else { 58 }, 0, identifier),
        Kind::Other { protocol, ports } => {
            let (remote, local) = ports.unwrap_or((0, 0));
            (protocol, remote, local)
        }
    };
    FlowKey {
        remote: bytes(conversation.remote),
        local: bytes(conversation.local),
        interface: if is_link_local { interface.index } else { 0 },
        remote_port: remote_port.to_be_bytes(),
        local_port: local_port.to_be_bytes(),
        protocol,
        family: if is_v4 { 4 } else { 6 },
        padding: [0; 2],
    }
}
