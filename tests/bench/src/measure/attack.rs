//! Measures what a flood does to those who may come in: everything on one CPU, as on a host
//! whose network card has one queue.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::net::sockopt::set_socket_linger;
use serde_json::Value;
use xdpfw_tests::Host;

use crate::{
    measure::Run,
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
        series::Series,
    },
    stage::{
        Stage,
        cpus::{Stretch, real_time},
        filter::Filter,
        policy::{Form, Hook, OPEN, Policy},
        traffic::{Probe, Sender},
        yardsticks::{GENERATOR, PASS, Spread, Yardsticks},
    },
};

/// The flood: so many frames at once, so often. That is 400,000 a second.
const BURST: u32 = 800;
const PERIOD: Duration = Duration::from_millis(2);

/// On hardware that others use, too, what they took from a turn may be all that it shows:
/// if it was more than this part of the CPU time, there is another turn, up to so many.
const UNDISTURBED: f64 = 0.01;
const TURNS: u32 = 2;

/// How long throughput is measured, in seconds.
const SECONDS: &str = "2";
/// How many connections are made, and how often.
const CONNECTIONS: u32 = 500;
const PACE: Duration = Duration::from_millis(3);
/// How long a server may take to listen, and a connection to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who drops the flood.
const FILTERS: [(&str, Filter); 5] = [
    (subjects::NO_FILTER, Filter::None),
    (subjects::XDP_PASS, Filter::Yardstick(PASS)),
    (subjects::XDPFW, Filter::Xdpfw),
    (subjects::NFT_RAW, Filter::Nft(Hook::Raw, Form::Plain)),
    (
        subjects::NFT_CONNTRACK,
        Filter::Nft(Hook::Input, Form::Plain),
    ),
];

/// Measures throughput, the time that connections take (its median, and what 99 of 100
/// stay below), and how much of the flood the host takes meanwhile.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut throughput = names::chapter(chapters::THROUGHPUT)?;
    let mut latency = names::chapter(chapters::LATENCY)?;
    let mut slowest = names::chapter(chapters::LATENCY_P99)?;
    let mut taken = names::chapter(chapters::FLOOD_TAKEN)?;
    let stage = Stage::new(&run.build, 1)?;
    cut_segments(&stage)?;
    answer_floods(&stage)?;
    for _ in 0..run.rounds {
        for (subject, filter) in FILTERS {
            if !filter.is_there() {
                continue;
            }
            let in_force = filter.put(&stage, Policy::OnePort)?;
            for (case, flooded) in [(cases::NO_FLOOD, false), (cases::FLOOD, true)] {
                run.check()?;
                let turn = least_disturbed(&stage, flooded)?;
                throughput.push(subject, case, turn.gigabits);
                latency.push(subject, case, turn.times.quantile(0.5));
                slowest.push(subject, case, turn.times.quantile(0.99));
                if flooded {
                    taken.push(subject, case, turn.share * 100.0);
                }
            }
            in_force.clear()?;
        }
    }
    Ok(vec![throughput, latency, slowest, taken])
}

/// What one filter did with or without a flood.
struct Turn {
    gigabits: f64,
    /// Of the flood, how much the host took in. 0 to 1.
    share: f64,
    /// Of connections, in µs.
    times: Series,
}

/// The turn that others took the least from, whatever came out in it.
fn least_disturbed(stage: &Stage, flooded: bool) -> Result<Turn> {
    let mut least: Option<(f64, Turn)> = None;
    for _ in 0..TURNS {
        let stretch = Stretch::begin()?;
        let turn = turn(stage, flooded)?;
        let stolen = stretch.stolen()?;
        if least.as_ref().is_none_or(|(before, _)| stolen < *before) {
            least = Some((stolen, turn));
        }
        if stolen <= UNDISTURBED {
            break;
        }
    }
    let (_, turn) = least.context("no turn")?;
    Ok(turn)
}

fn turn(stage: &Stage, flooded: bool) -> Result<Turn> {
    let flood = flooded.then(|| stage.generator(Spread::SCAN)).transpose()?;
    let (host, peer) = (&stage.lab.host, &stage.lab.peer);
    let address = stage.lab.link().near().address;
    let connection = || gigabits(host, peer, address);
    let (gigabits, share) = under(stage, flood.as_ref(), connection)?;
    let (times, _) = under(stage, flood.as_ref(), || connections(stage))?;
    Ok(Turn {
        gigabits,
        share,
        times,
    })
}

/// Lets packets be as on a wire. Between veth ends without XDP programs, they need not be
/// cut into segments at all, and no filter in XDP could be compared with one that is not.
fn cut_segments(stage: &Stage) -> Result<()> {
    let link = stage.lab.link();
    for (host, end) in [
        (&stage.lab.host, link.near()),
        (&stage.lab.peer, link.far()),
    ] {
        for feature in ["tso", "gso"] {
            host.set_feature(&end.interface, feature, false)?;
        }
        host.set_feature(&end.interface, "gro", true)?;
    }
    Ok(())
}

/// A host without a filter answers everybody, by the way that the flood comes.
fn answer_floods(stage: &Stage) -> Result<()> {
    let link = stage.floods.first().context("no link for a flood")?;
    let (via, dev) = (link.far().address.to_string(), &link.near().interface);
    let route = ["route", "add", "default", "via", &via, "dev", dev];
    stage.lab.host.run("ip", route).map(drop)
}

/// Does `work` while the host is flooded, if it is to be; and returns how much of the
/// flood came in meanwhile.
fn under<T>(
    stage: &Stage,
    flood: Option<&Yardsticks>,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, f64)> {
    let Some(yardsticks) = flood else {
        return Ok((work()?, 0.0));
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flooder = scope.spawn(|| keep_flooding(stage, yardsticks, &over));
        let result = work();
        over.store(true, Ordering::Relaxed);
        let panic = |panic| std::panic::resume_unwind(panic);
        let share = flooder.join().unwrap_or_else(panic);
        Ok((result?, share?))
    })
}

/// Floods the host until it is over, and returns how much of the flood that was: a host
/// that is too slow for it puts off bursts.
fn keep_flooding(stage: &Stage, yardsticks: &Yardsticks, over: &AtomicBool) -> Result<f64> {
    let link = stage.floods.first().context("no link for a flood")?;
    let sender = Sender::new(stage, link, Probe::Syn)?;
    let generator = yardsticks.get(GENERATOR)?;
    stage.lab.peer.enter(|| {
        // Packets come in by interrupts, which wait for no process.
        real_time()?;
        let start = Instant::now();
        let mut bursts = 0;
        while !over.load(Ordering::Relaxed) {
            sender.send(generator, BURST)?;
            bursts += 1;
            thread::sleep((start + PERIOD * bursts).saturating_duration_since(Instant::now()));
        }
        Ok(f64::from(bursts) / start.elapsed().div_duration_f64(PERIOD))
    })
}

/// What goes through a connection from a client to the open port of a server.
pub(crate) fn gigabits(server: &Host, client: &Host, address: Ipv4Addr) -> Result<f64> {
    let (address, port) = (address.to_string(), OPEN.to_string());
    let _server = server.spawn("sh", ["-c", "exec iperf3 -s -p \"$0\" >/dev/null", &port])?;
    let listening = ["-Hltn", "sport", "=", &port];
    let deadline = Instant::now() + PATIENCE;
    while server.run("ss", listening)?.is_empty() {
        ensure!(Instant::now() < deadline, "iperf3 does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let arguments = ["-c", &address, "-p", &port, "-t", SECONDS, "--json"];
    let text = client.run("iperf3", arguments)?;
    let result: Value = serde_json::from_str(&text).context("what iperf3 wrote is not JSON")?;
    let bits = result["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 does not tell what was received")? / 1e9)
}

/// How long connections to the open port take, in µs, from when each was due: a client
/// that was kept from asking has waited, too.
fn connections(stage: &Stage) -> Result<Series> {
    let address = SocketAddr::from(stage.lab.link().near().at(OPEN));
    let listener = stage.lab.host.enter(|| {
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
    })?;
    listener.set_nonblocking(true)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener, &over));
        let result = stage.lab.peer.enter(|| {
            let start = Instant::now();
            (0..CONNECTIONS)
                .map(|number| {
                    let due = start + PACE * number;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let stream = TcpStream::connect_timeout(&address, PATIENCE)
                        .context("cannot connect to the open port")?;
                    let time = due.elapsed();
                    // No trace of it stays behind that would be in the way of others.
                    set_socket_linger(&stream, Some(Duration::ZERO))?;
                    Ok(time.as_secs_f64() * 1e6)
                })
                .collect()
        });
        over.store(true, Ordering::Relaxed);
        server
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        result
    })
}

/// Takes connections, and hangs up.
fn serve(listener: &TcpListener, over: &AtomicBool) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("cannot take a connection"),
        }
    }
    Ok(())
}
