//! Flows against a model: random sequences of packets out and in, of time that passes and of
//! full tables.
//!
//! The reference model knows of the tables only what they evicted.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    env,
    net::Ipv4Addr,
    time::Duration,
};

use proptest::prelude::*;
use xdpfw_common::{
    abi::{FlowKey, FlowState},
    flows::{
        Answer, CLOSED_AGE, Carries, ECHO_AGE, Memory, Note, OTHER_AGE, Origin, Packet, Recorder,
        TCP_AGE, Table, UDP_AGE, UNANSWERED_AGE, ask, is_known_turned, note_time, record,
    },
    wire::tcp::Flags,
};
use xdpfw_model::{Conversation, History, Kind, Known, Past as _, Sender, Shelf};

const HZ: u64 = 250;
const FIN: u8 = 1 << 0;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// Where everything goes out and comes in.
const INTERFACE: &str = "eth0";
/// Peers of the sequences: for each origin, more than a table holds flows.
const PEERS: u8 = 8;
/// Flows that a table holds.
const CAPACITY: usize = 3;

/// A conversation has one origin: two hosts with the same address and port are not told
/// apart by anybody.
const fn origin_of(peer: u8) -> Origin {
    if peer.is_multiple_of(2) {
        Origin::Local
    } else {
        Origin::Forwarded
    }
}

/// The flows in each table, the least recently used first.
type Tables = HashMap<(Origin, Table), Vec<(FlowKey, FlowState)>>;

/// Tables that evict what was used least recently, as the kernel's LRU maps do.
struct World {
    now: Cell<u64>,
    tables: RefCell<Tables>,
    notes: RefCell<HashMap<(Note, [u8; 2]), u32>>,
    /// What was evicted and not yet taken note of.
    evicted: RefCell<Vec<(Origin, Table, FlowKey)>>,
    /// What was inserted, in all.
    inserted: Cell<u64>,
    discovers: bool,
    bans_openers: bool,
    free: Option<[u8; 2]>,
    admitted: Option<[u8; 16]>,
}

impl World {
    fn new() -> Self {
        Self {
            // Kernels start their 32-bit clock near its end: notes must survive going round.
            now: Cell::new(((1 << 38) - 300 * HZ) & !63),
            tables: RefCell::default(),
            notes: RefCell::default(),
            evicted: RefCell::default(),
            inserted: Cell::new(0),
            discovers: false,
            bans_openers: false,
            free: None,
            admitted: None,
        }
    }

    /// Changes a flow, if it is known.
    fn change(
        &self,
        origin: Origin,
        table: Table,
        key: &FlowKey,
        change: impl FnOnce(&mut FlowState),
    ) {
        let mut tables = self.tables.borrow_mut();
        let flows = tables.entry((origin, table)).or_default();
        if let Some((_, state)) = flows.iter_mut().find(|(other, _)| other == key) {
            change(state);
        }
    }

    fn wait(&self, ticks: u64) {
        self.now.set(self.now.get() + ticks);
    }
}

impl Memory for World {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn ticks_per_second(&self) -> u64 {
        HZ
    }

    fn get(&self, origin: Origin, table: Table, key: &FlowKey) -> Option<FlowState> {
        let mut tables = self.tables.borrow_mut();
        let flows = tables.entry((origin, table)).or_default();
        let index = flows.iter().position(|(other, _)| other == key)?;
        let flow = flows.remove(index);
        flows.push(flow);
        Some(flow.1)
    }

    fn set_fin_in(&self, origin: Origin, key: &FlowKey) {
        self.change(origin, Table::Tcp, key, |state| state.fin_in = 1);
    }

    fn note(&self, note: Note, port: [u8; 2]) -> u32 {
        self.notes.borrow().get(&(note, port)).copied().unwrap_or(0)
    }
}

impl Recorder for World {
    fn insert(&self, origin: Origin, table: Table, key: &FlowKey, state: FlowState) {
        let mut tables = self.tables.borrow_mut();
        let flows = tables.entry((origin, table)).or_default();
        assert!(
            flows.iter().all(|(other, _)| other != key),
            "known: {key:?}"
        );
        self.inserted.set(self.inserted.get() + 1);
        flows.push((*key, state));
        if flows.len() > CAPACITY {
            let (key, _) = flows.remove(0);
            self.evicted.borrow_mut().push((origin, table, key));
        }
    }

    fn refresh(&self, origin: Origin, table: Table, key: &FlowKey) {
        self.change(origin, table, key, |state| state.last_out = self.now.get());
    }

    fn set_fin_out(&self, origin: Origin, key: &FlowKey) {
        self.change(origin, Table::Tcp, key, |state| state.fin_out = 1);
    }

    fn remove(&self, origin: Origin, table: Table, key: &FlowKey) {
        let mut tables = self.tables.borrow_mut();
        let flows = tables.entry((origin, table)).or_default();
        flows.retain(|(other, _)| other != key);
    }

    fn set_note(&self, note: Note, port: [u8; 2], time: u32) {
        self.notes.borrow_mut().insert((note, port), time);
    }

    fn discovers(&self) -> bool {
        self.discovers
    }

    fn has_bans(&self) -> bool {
        false
    }

    fn bans_openers(&self) -> bool {
        self.bans_openers
    }

    fn is_free(&self, packet: &Packet) -> bool {
        self.free == Some(packet.key.local_port)
    }

    fn admits_answer(&self, packet: &Packet) -> bool {
        self.admitted == Some(packet.key.remote)
    }

    fn is_known_turned(&self, packet: &Packet) -> bool {
        is_known_turned(&packet.key.turned(), packet.carries, self)
    }
}

/// The conversation of a packet, in the model's words; `None` if it neither opens nor
/// answers one.
fn conversation(packet: &Packet) -> Option<Conversation> {
    let Packet {
        key,
        carries,
        flags,
        ..
    } = packet;
    let address = |bytes: &[u8; 16]| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into();
    let [remote, local] = [key.remote_port, key.local_port].map(u16::from_be_bytes);
    Some(Conversation {
        remote: address(&key.remote),
        local: address(&key.local),
        kind: match carries {
            Carries::Tcp => Kind::Tcp {
                remote,
                local,
                flags: xdpfw_model::Flags {
                    syn: flags.open_connection() || flags.accepts(),
                    ack: !flags.open_connection(),
                    fin: flags.finishes(),
                    rst: flags.resets(),
                    other: false,
                },
            },
            Carries::Udp => Kind::Udp { remote, local },
            Carries::EchoRequest | Carries::EchoReply => Kind::Ping(local),
            Carries::Other => Kind::Other {
                protocol: key.protocol,
                ports: None,
            },
            Carries::OtherIcmp => return None,
        },
    })
}

/// Whose packets a table holds, and which, in the model's words.
const fn shelf((origin, table): (Origin, Table)) -> (Sender, Shelf) {
    let sender = match origin {
        Origin::Local => Sender::Host,
        Origin::Forwarded => Sender::Another,
    };
    let shelf = match table {
        Table::Brief => Shelf::Brief,
        Table::Tcp => Shelf::Open,
        Table::Other => Shelf::Other,
    };
    (sender, shelf)
}

/// The packet by which a conversation is known: its key, and nothing in particular.
fn packet_of(key: FlowKey) -> Packet {
    Packet {
        key,
        carries: match key.protocol {
            6 => Carries::Tcp,
            17 => Carries::Udp,
            1 => Carries::EchoReply,
            _ => Carries::Other,
        },
        flags: Flags::new(ACK),
        padding: [0; 2],
    }
}

/// A step of a sequence: a packet of one of a few flows, or time.
#[derive(Clone, Debug)]
enum Step {
    Out(Packet),
    In(Packet),
    Wait(u64),
}

fn key(protocol: u8, peer: u8) -> FlowKey {
    let mut remote = [0; 16];
    remote[..4].copy_from_slice(&[192, 0, 2, peer]);
    let mut local = [0; 16];
    local[..4].copy_from_slice(&[198, 51, 100, 1]);
    FlowKey {
        remote,
        local,
        interface: 0,
        remote_port: 443_u16.to_be_bytes(),
        // Two flows share a port, and with it a note.
        local_port: (40_000 + u16::from(peer / 2)).to_be_bytes(),
        protocol,
        family: 4,
        padding: [0; 2],
    }
}

fn tcp(peer: u8, bits: u8) -> Packet {
    Packet {
        key: key(6, peer),
        carries: Carries::Tcp,
        flags: Flags::new(bits),
        padding: [0; 2],
    }
}

fn udp(peer: u8) -> Packet {
    Packet {
        key: key(17, peer),
        carries: Carries::Udp,
        flags: Flags::NONE,
        padding: [0; 2],
    }
}

/// Packets of the first few peers.
fn packets(peers: u8) -> impl Strategy<Value = Packet> {
    let bits = prop::sample::select(vec![
        SYN,
        SYN | ACK,
        ACK,
        ACK,
        ACK,
        ACK | FIN,
        RST,
        RST | ACK,
    ]);
    let others = prop::sample::select(vec![
        (17, Carries::Udp),
        (1, Carries::EchoRequest),
        (1, Carries::EchoReply),
        (1, Carries::OtherIcmp),
        (47, Carries::Other),
    ]);
    prop_oneof![
        3 => (0..peers, bits).prop_map(|(peer, bits)| tcp(peer, bits)),
        1 => (0..peers, others).prop_map(|(peer, (protocol, carries))| Packet {
            key: key(protocol, peer),
            carries,
            flags: Flags::NONE,
            padding: [0; 2],
        }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few peers: long histories. Many: full tables.
    prop_oneof![2 => Just(1), 1 => Just(2), 1 => Just(PEERS)].prop_flat_map(|peers| {
        // Up to two seconds, and around each age.
        let waits = prop_oneof![
            4 => 0..2 * HZ,
            1 => prop::sample::select(vec![
                ECHO_AGE, CLOSED_AGE, UNANSWERED_AGE, UDP_AGE, OTHER_AGE, TCP_AGE,
            ])
            .prop_flat_map(|age| age * HZ - 3..age * HZ + 3),
        ];
        let step = prop_oneof![
            3 => packets(peers).prop_map(Step::Out),
            3 => packets(peers).prop_map(Step::In),
            2 => waits.prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..40)
    })
}

/// Runs a sequence, and holds each answer against the promise.
fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let world = World::new();
    let start = world.now();
    let mut history = History::default();
    for step in steps {
        let now = Duration::from_secs(world.now() - start) / HZ as u32;
        match step {
            Step::Wait(ticks) => world.wait(*ticks),
            Step::Out(packet) => {
                let origin = origin_of(packet.key.remote[3]);
                record(packet, origin, &world);
                if !matches!(packet.carries, Carries::EchoReply)
                    && let Some(answer) = conversation(packet)
                {
                    history.leaves(&answer, INTERFACE, shelf((origin, Table::Other)).0, now);
                }
                for (origin, table, key) in world.evicted.take() {
                    if let Some(conversation) = conversation(&packet_of(key)) {
                        let from = shelf((origin, table));
                        history.forgets(&conversation, INTERFACE, from, now);
                    }
                }
            }
            Step::In(packet) => {
                let before = world.inserted.get();
                let answer = ask(packet, &world);
                prop_assert_eq!(world.inserted.get(), before, "{:?} inserts", packet);
                let conversation = conversation(packet)
                    .filter(|_| !matches!(packet.carries, Carries::EchoRequest));
                let promised = conversation.map_or(Known::Nothing, |conversation| {
                    history.at(now, INTERFACE).known(&conversation)
                });
                let known = match answer {
                    Answer::Yes => Known::Opened,
                    Answer::PickedUp => Known::PickedUp,
                    // A note may spare the look-ups, and with it the socket's.
                    Answer::AskSocket | Answer::No if promised == Known::Sent => Known::Sent,
                    Answer::AskSocket => Known::Sent,
                    Answer::No => Known::Nothing,
                };
                prop_assert_eq!(known, promised, "{:?}: {:?}", answer, packet);
                if let Some(conversation) = conversation {
                    history.comes_in(&conversation, INTERFACE, now);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    // `FLOWS_CASES=1000000 cargo test -p xdpfw-common --test flows --release` takes minutes.
    #![proptest_config(ProptestConfig {
        cases: env::var("FLOWS_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sequences_end_as_promised(steps in steps()) {
        run(&steps)?;
    }
}

#[test]
fn an_answer_comes_from_the_peer_that_was_asked_and_no_other() {
    let world = World::new();
    record(&udp(0), Origin::Local, &world);
    assert_eq!(ask(&udp(0), &world), Answer::Yes);
    // Same local port, another peer; another port of the same peer.
    assert_eq!(ask(&udp(1), &world), Answer::AskSocket);
    let mut other = udp(0);
    other.key.remote_port = 444_u16.to_be_bytes();
    assert_eq!(ask(&other, &world), Answer::AskSocket);
    // A port that never sent anything is not even looked up.
    assert_eq!(ask(&udp(2), &world), Answer::No);
    world.wait(UDP_AGE * HZ);
    assert_eq!(ask(&udp(0), &world), Answer::Yes);
    world.wait(1);
    assert_eq!(ask(&udp(0), &world), Answer::AskSocket);
}

#[test]
fn a_bare_syn_opens_nothing_but_what_was_opened_from_here_at_once() {
    let world = World::new();
    record(&tcp(0, SYN), Origin::Local, &world);
    assert_eq!(ask(&tcp(0, SYN), &world), Answer::Yes);
    assert_eq!(ask(&tcp(1, SYN), &world), Answer::No);
    record(&tcp(0, ACK), Origin::Local, &world);
    assert_eq!(ask(&tcp(0, ACK), &world), Answer::Yes);
    assert_eq!(ask(&tcp(0, SYN), &world), Answer::No);
}

#[test]
fn what_is_sent_through_this_host_evicts_nothing_of_its_own() {
    let world = World::new();
    record(&udp(0), Origin::Local, &world);
    for peer in 1..=100 {
        record(&udp(peer), Origin::Forwarded, &world);
    }
    assert_eq!(ask(&udp(0), &world), Answer::Yes);
    let scan = (1..=100).map(|peer| tcp(peer, SYN));
    record(&tcp(0, SYN), Origin::Local, &world);
    record(&tcp(0, ACK), Origin::Local, &world);
    scan.for_each(|syn| record(&syn, Origin::Local, &world));
    assert_eq!(ask(&tcp(0, ACK), &world), Answer::Yes);
}

#[test]
fn what_rules_let_in_anyway_is_not_recorded() {
    let world = World {
        free: Some(40_000_u16.to_be_bytes()),
        admitted: Some(key(17, 2).remote),
        ..World::new()
    };
    for packet in [
        udp(0),
        tcp(0, SYN),
        tcp(0, ACK),
        udp(2),
        tcp(2, SYN),
        tcp(2, ACK),
    ] {
        record(&packet, Origin::Local, &world);
        assert_eq!(world.inserted.get(), 0, "{packet:?}");
        let answer = ask(&packet, &world);
        assert!(
            matches!(answer, Answer::No | Answer::AskSocket),
            "{answer:?}: {packet:?}"
        );
    }
    record(&udp(3), Origin::Local, &world);
    assert_eq!(world.inserted.get(), 1);
    assert_eq!(ask(&udp(3), &world), Answer::Yes);
}

#[test]
fn short_connections_evict_no_open_one() {
    let world = World::new();
    record(&tcp(0, SYN), Origin::Local, &world);
    record(&tcp(0, ACK), Origin::Local, &world);
    for peer in 1..=100 {
        record(&tcp(peer, SYN), Origin::Local, &world);
        record(&tcp(peer, ACK), Origin::Local, &world);
        record(&tcp(peer, ACK | FIN), Origin::Local, &world);
        assert_eq!(ask(&tcp(peer, ACK | FIN), &world), Answer::Yes);
        // The last segment of the other end is on its way still.
        record(&tcp(peer, ACK), Origin::Local, &world);
        assert_eq!(ask(&tcp(peer, ACK | FIN), &world), Answer::Yes);
        assert_eq!(ask(&tcp(peer, SYN), &world), Answer::No);
    }
    assert_eq!(ask(&tcp(0, ACK), &world), Answer::Yes);
}

#[test]
fn answers_that_are_forwarded_are_no_flows_of_their_own() {
    let turned = |packet: Packet| Packet {
        key: packet.key.turned(),
        ..packet
    };
    let world = World::new();
    record(&tcp(0, SYN), Origin::Forwarded, &world);
    record(&tcp(0, ACK), Origin::Forwarded, &world);
    record(&udp(1), Origin::Forwarded, &world);
    let before = world.inserted.get();
    for answer in [turned(tcp(0, ACK)), turned(udp(1))] {
        record(&answer, Origin::Forwarded, &world);
    }
    assert_eq!(world.inserted.get(), before);
    // What this host sends itself answers nothing of that.
    record(&turned(udp(1)), Origin::Local, &world);
    assert_eq!(world.inserted.get(), before + 1);
}

#[test]
fn what_is_sent_to_a_group_is_not_recorded() {
    let world = World::new();
    let mut packet = udp(0);
    for first in [224, 239, 255] {
        packet.key.remote[0] = first;
        record(&packet, Origin::Local, &world);
    }
    packet.key.family = 6;
    record(&packet, Origin::Local, &world);
    assert_eq!(world.inserted.get(), 0);
    packet.key.remote[0] = 0xfe;
    record(&packet, Origin::Local, &world);
    assert_eq!(world.inserted.get(), 1);
}

#[test]
fn a_note_is_never_taken_for_never() {
    assert_eq!(note_time(0), 1);
    assert_eq!(note_time(u64::from(u32::MAX) << 6), u32::MAX);
    assert_eq!(note_time((u64::from(u32::MAX) + 1) << 6), 1);
}
