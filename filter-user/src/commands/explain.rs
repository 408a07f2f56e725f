//! `xdpfw explain`: say what would become of a packet, and why.

mod capture;
mod words;

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use xdpfw_common::{Reason, Verdict};

use self::{
    capture::{Capture, Captured},
    words::Asked,
};
use super::{Context, Exit, Failure, candidates::Values, privilege::require_to_change};
use crate::{
    analysis,
    datapath::Live,
    engine::{By, Cause, Engine, Judge},
    netlink::{Interface, own_addresses, route_to},
    output::{Explained, Printer},
    text::{clock_time, in_line, thousands},
};

/// How many frames are named that cannot be judged.
const WARNINGS: u64 = 10;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `tcp PEER[:PORT] PORT`, `udp …`, `icmp PEER TYPE`, `icmp6 …`, `ping PEER`, `proto NAME PEER`
    #[arg(value_name = "WHAT", num_args = 2..=3, required_unless_present = "pcap")]
    words: Vec<String>,
    /// The address of this host that it is sent to
    #[arg(long, value_name = "ADDR", conflicts_with = "pcap")]
    to: Option<IpAddr>,
    /// The interface it comes in by
    #[arg(long, value_name = "IFACE", add = Values::Interfaces.completer())]
    on: Option<String>,
    /// The flags of a TCP segment, some of FSRPAUEC [default: S]
    #[arg(long, value_name = "FLAGS", conflicts_with = "pcap")]
    flags: Option<String>,
    /// Judge the packets of a capture, pcap or pcapng, as if they came in
    #[arg(long, value_name = "FILE", conflicts_with = "words", value_hint = clap::ValueHint::FilePath)]
    pcap: Option<PathBuf>,
}

/// Judges packets that nobody has sent, by the program in force. It counts nothing.
///
/// # Errors
///
/// Nothing is filtered, the words describe no packet, or the capture cannot be read.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_change()?;
    match &args.pcap {
        Some(path) => capture(args, Capture::open(path)?, context, printer),
        None => packet(args, Asked::parse(&args.words)?, context, printer),
    }
}

fn packet(args: &Args, asked: Asked, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let explained = judged(args, &asked)?;
    match context.json() {
        true => printer.json(&explained)?,
        false => printer.verdicts(&explained.to_string())?,
    }
    Ok(exit(explained.verdict()))
}

/// What would become of a packet of these words, which comes in by this interface, or else by the
/// one that it would come in by.
///
/// # Errors
///
/// As of [`run`].
pub(super) fn of_words(words: Vec<String>, on: Option<String>) -> Result<Explained> {
    require_to_change()?;
    let args = Args {
        words,
        to: None,
        on,
        flags: None,
        pcap: None,
    };
    judged(&args, &Asked::parse(&args.words)?)
}

fn judged(args: &Args, asked: &Asked) -> Result<Explained> {
    let engine = Engine::shared()?;
    let interface = interface(args, engine.must_be_up()?, Some(asked.peer))?;
    let to = match args.to {
        Some(to) => to,
        None => own_address(asked.peer, interface)?,
    };
    let frame = asked.frame(to, args.flags.as_deref())?;
    explained(&engine.judge()?, &frame, interface)
}

fn capture(
    args: &Args,
    mut capture: Capture,
    context: &Context,
    printer: &mut Printer,
) -> Result<Exit> {
    let engine = Engine::shared()?;
    let interface = interface(args, engine.must_be_up()?, None)?.clone();
    let judge = engine.judge()?;
    // It judges by what it has; nobody waits for a long capture.
    drop(engine);
    let mut drops = false;
    let (mut number, mut unjudged) = (0, 0);
    while let Some(captured) = capture.next()? {
        number += 1;
        let explained = match captured {
            Captured::Frame(frame) => explained(&judge, &frame, &interface)
                .with_context(|| format!("frame {number}"))?
                .of_frame(number),
            Captured::Unreadable(why) => {
                unjudged += 1;
                if unjudged <= WARNINGS {
                    printer.warning(&format!("frame {number}: {why}; not judged"));
                }
                continue;
            }
        };
        drops |= explained.verdict() == Verdict::Drop;
        match context.json() {
            true => printer.json(&explained)?,
            false => printer.verdicts(&format!("{}\n", explained.line()))?,
        }
    }
    if unjudged > WARNINGS {
        let more = thousands(unjudged - WARNINGS);
        printer.warning(&format!("{more} more frames are not judged"));
    }
    if unjudged == number {
        // No verdict is no good one.
        let message = format!("{}: no frame that can be judged", capture.shown());
        return Err(Failure::new(Exit::Failed, message).into());
    }
    Ok(match drops {
        true => Exit::Negative,
        false => Exit::Done,
    })
}

const fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Pass | Verdict::Answer => Exit::Done,
        Verdict::Drop => Exit::Negative,
    }
}

fn explained(judge: &Judge, frame: &[u8], interface: &Interface) -> Result<Explained> {
    let judgement = judge.judge(frame, interface.index)?;
    let policy = &judge.policy().without_ended(Timestamp::now());
    let packet = judgement.seen.map(|seen| seen.packet(&interface.name));
    let mut explanation = analysis::explain(
        policy,
        packet.as_ref(),
        judgement.reason,
        judgement.rule,
        judge.ephemeral(),
    );
    if let (Reason::Ban, Some(seen)) = (judgement.reason, judgement.seen) {
        let causes = judge.causes(seen.source)?;
        explanation.path.extend(causes.iter().map(in_words));
        let ended_by_hand = causes
            .iter()
            .filter(|cause| !matches!(cause.by, By::List(_)));
        let prefixes: BTreeSet<String> = ended_by_hand
            .map(|cause| cause.prefix.to_string())
            .collect();
        if !prefixes.is_empty() {
            let prefixes = Vec::from_iter(prefixes).join(" ");
            explanation.remedy = Some(format!("xdpfw unban {prefixes}"));
        }
    }
    Ok(Explained::new(&judgement, &interface.name, explanation))
}

/// `203.0.113.0/24 is banned (manual) until …: guesses passwords`.
fn in_words(cause: &Cause) -> String {
    let by = match &cause.by {
        By::Origin(origin) => in_line(origin),
        By::List(name) => {
            format!(
                "list {}; `trusted` in the policy file exempts",
                in_line(name)
            )
        }
    };
    let mut words = format!("{} is banned ({by})", cause.prefix);
    if let Some(until) = cause.until {
        words.push_str(&format!(" until {}", clock_time(until)));
    }
    if let Some(why) = &cause.why {
        words.push_str(&format!(": {}", in_line(why)));
    }
    words
}

/// The interface that a packet comes in by: the one that is named, the only one, or the one by
/// which packets leave to the peer.
fn interface<'a>(args: &Args, live: &'a Live, peer: Option<IpAddr>) -> Result<&'a Interface> {
    let mut filtered = live.attached.iter().map(|one| &one.interface);
    let names = || {
        let names = live.attached.iter().map(|one| one.interface.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = &args.on {
        return filtered.find(|one| one.name == *name).ok_or_else(|| {
            let name = name.escape_debug();
            let message = format!("{name}: not filtered ({} is)", names());
            Failure::new(Exit::Failed, message).into()
        });
    }
    if let [only] = live.attached.as_slice() {
        return Ok(&only.interface);
    }
    let way = match peer {
        Some(peer) => route_to(peer)?,
        None => None,
    };
    filtered.find(|one| Some(one.index) == way).ok_or_else(|| {
        let message = format!("say --on with the interface it comes in by: {}", names());
        Failure::usage(message).into()
    })
}

/// The address of this host that a peer would send to, on an interface or else anywhere.
fn own_address(peer: IpAddr, interface: &Interface) -> Result<IpAddr> {
    let is_link_local = |address: &IpAddr| match address {
        IpAddr::V6(address) => address.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    let mut own = own_addresses()?;
    own.retain(|(address, _)| {
        address.is_ipv4() == peer.is_ipv4() && is_link_local(address) == is_link_local(&peer)
    });
    let here = own.iter().find(|(_, index)| *index == interface.index);
    here.or(own.first())
        .map(|(address, _)| *address)
        .ok_or_else(|| {
            let message = format!("this host has no address that {peer} would send to (say --to)");
            Failure::usage(message).into()
        })
}
