//! `xdpfw ban`, `unban` and `bans`: who is not welcome.

mod reading;

use std::io::Read as _;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use jiff::Timestamp;

use self::reading::{Bad, check_why};
use super::{
    Context, Exit, Failure,
    privilege::{require_to_change, require_to_read},
};
use crate::{
    duration::Seconds,
    engine::{
        BY_HAND, BanOrders, BanWish, Banned, BansChanged, By, Engine, Trusted, TrustedList, Unban,
    },
    output::{BanTable, Printer},
    policy::{Policy, parse_prefixes},
    text::{clock_time, in_line, sentence_list, thousands},
};

/// Prefixes that an output names.
const NAMED: usize = 3;
/// Lines of the input that are complained of.
const COMPLAINTS: usize = 10;
/// Bytes of the standard input at most.
const INPUT: u64 = 1 << 28;

/// Arguments of `ban`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Addresses and prefixes; of an IPv6 host, its /64
    #[arg(required_unless_present = "stdin", value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// How long: 30s, 10m, 2h, 7d [default: for good]
    #[arg(long = "for", value_name = "DUR")]
    lasts: Option<Seconds>,
    /// Why, for whoever reads the list: at most 64 printable characters
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Drop even what answers this host
    #[arg(long)]
    hard: bool,
    /// Read them from the standard input: lines `PREFIX [DUR] [WHY]`, or JSON with `prefix`, `for`,
    /// `why`
    #[arg(long, conflicts_with = "prefixes")]
    stdin: bool,
}

/// Arguments of `unban`.
#[derive(Debug, clap::Args)]
pub struct UnbanArgs {
    /// Prefixes, as `bans` shows them
    #[arg(required_unless_present_any = ["all", "stdin"], value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "prefixes")]
    all: bool,
    /// Read them from the standard input, as `ban` does
    #[arg(long, conflicts_with_all = ["prefixes", "all"])]
    stdin: bool,
}

/// Arguments of `bans`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Show who is never banned, and why
    #[arg(long, conflicts_with = "list")]
    trusted: bool,
    /// What this list bans, instead of what was banned by hand
    #[arg(long, value_name = "NAME")]
    list: Option<String>,
}

/// Bans sources: their packets are dropped where a rule or the default would let them in, also those
/// of connections that are open.
///
/// # Errors
///
/// A prefix is none or is trusted, or the disk or the kernel refuses.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    if let Some(why) = &args.why {
        check_why(why).map_err(|message| Failure::usage(format!("--why: {message}")))?;
    }
    let wish = |prefix| BanWish {
        prefix,
        lasts: args.lasts,
        why: args.why.clone(),
        hard: args.hard,
    };
    let (mut wishes, bad) = match args.stdin {
        false => (
            prefixes(&args.prefixes)?.into_iter().map(wish).collect(),
            Vec::new(),
        ),
        true => {
            require_to_change()?;
            reading::wishes(&input()?, wish)
        }
    };
    require_to_change()?;
    let engine = Engine::exclusive()?;
    let policy = policy(&engine, context)?;
    let trusted = engine.renew_trust(&policy)?;
    let exempt = match args.stdin {
        true => skip_trusted(&mut wishes, &trusted),
        false => refuse_trusted(&wishes, &trusted).map(|()| Vec::new())?,
    };
    let orders = BanOrders {
        origin: BY_HAND,
        unban: Unban::Nobody,
        ban: &wishes,
        repeat: &policy.repeat,
    };
    let BansChanged { banned, .. } = engine.change_bans(&context.history(), &orders)?;
    let is_up = engine.live().is_some();
    drop(engine);
    printer.change_is_made();
    if !banned.is_empty() {
        printer.line(&what_was_done(&banned))?;
    }
    for line in exceptions(&banned, &trusted) {
        printer.note(&line);
    }
    complain(&exempt, printer);
    if !is_up {
        printer.note("not up; nothing is dropped before `xdpfw up`");
    }
    end(&bad, printer)
}

/// Ends bans.
///
/// # Errors
///
/// A prefix is none or is not banned, or the disk or the kernel refuses.
pub fn unban(args: &UnbanArgs, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let (prefixes, bad) = match (args.all, args.stdin) {
        (true, _) => (None, Vec::new()),
        (_, true) => {
            require_to_change()?;
            let (prefixes, bad) = reading::prefixes(&input()?);
            (Some(prefixes), bad)
        }
        _ => (Some(prefixes(&args.prefixes)?), Vec::new()),
    };
    require_to_change()?;
    let engine = Engine::exclusive()?;
    let orders = BanOrders {
        origin: BY_HAND,
        unban: prefixes.as_deref().map_or(Unban::Others, Unban::These),
        ban: &[],
        repeat: &[],
    };
    let BansChanged { ended, .. } = engine.change_bans(&context.history(), &orders)?;
    let named = prefixes.iter().flatten().take(NAMED);
    let kept = named.map(|prefix| kept_by_lists(&engine, prefix));
    let kept: Vec<String> = kept.collect::<Result<Vec<_>>>()?.concat();
    drop(engine);
    printer.change_is_made();
    if !ended.is_empty() {
        let ended: Vec<&IpNet> = ended.iter().collect();
        printer.line(&format!(
            "{}: no longer banned",
            sentence_list(&ended, NAMED)
        ))?;
    }
    for line in kept {
        printer.note(&line);
    }
    let missing = prefixes.unwrap_or_default();
    let missing: Vec<IpNet> = missing
        .into_iter()
        .filter(|prefix| !ended.contains(prefix))
        .collect();
    if missing.is_empty() {
        return end(&bad, printer);
    }
    let missing = sentence_list(&missing, NAMED);
    let message = format!("{missing}: not banned (see `xdpfw bans`)");
    match args.stdin {
        true => {
            printer.note(&message);
            end(&bad, printer)
        }
        false => Err(Failure::new(Exit::Failed, message).into()),
    }
}

/// The lists that ban a prefix, or others around it, and go on to.
fn kept_by_lists(engine: &Engine, prefix: &IpNet) -> Result<Vec<String>> {
    let causes = engine.causes(prefix.network())?.into_iter();
    let by_lists = causes.filter_map(|cause| match cause.by {
        By::List(name) if cause.prefix.contains(prefix) => Some((cause.prefix, name)),
        _ => None,
    });
    let line = |(around, name): (IpNet, String)| {
        let name = in_line(&name);
        format!("the list {name} bans {around} (name {prefix} in `trusted` of the policy file)")
    };
    Ok(by_lists.map(line).collect())
}

/// Shows who is banned, or who never is.
///
/// # Errors
///
/// The journal or the kernel cannot be read.
pub fn show(args: &ShowArgs, context: &Context, printer: &mut Printer) -> Result<Exit> {
    if let Some(name) = &args.list {
        return super::lists::show_bans(name, context, printer);
    }
    require_to_read()?;
    let engine = Engine::shared()?;
    let trusted = engine.trusted(&policy(&engine, context)?)?;
    let banned = engine.banned(&context.history())?;
    let openers = engine.openers()?;
    drop(engine);
    let table = BanTable::new(&banned, &openers, &trusted);
    match (context.json(), args.trusted) {
        (true, _) => printer.json(&table)?,
        (false, false) => printer.line(table.to_string().trim_end())?,
        (false, true) => printer.line(table.trusted().trim_end())?,
    }
    super::lists::note_bans(context, printer)?;
    Ok(Exit::Done)
}

/// The policy in force; while nothing is filtered, that of the file.
pub(super) fn policy(engine: &Engine, context: &Context) -> Result<Policy> {
    match engine.live() {
        Some(live) => Ok(live.generation.record().policy.clone()),
        None => Ok(context.policy_file()?.policy().clone()),
    }
}

fn input() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock().take(INPUT + 1);
    input
        .read_to_end(&mut bytes)
        .context("cannot read the standard input")?;
    match bytes.len() as u64 > INPUT {
        true => {
            let most = INPUT >> 20;
            let message =
                format!("standard input: more than {most} MiB (ban some of it at a time)");
            Err(Failure::usage(message).into())
        }
        false => Ok(bytes),
    }
}

/// Refuses what would have no effect.
fn refuse_trusted(wishes: &[BanWish], trusted: &TrustedList) -> Result<()> {
    let mut around = wishes
        .iter()
        .filter_map(|wish| Some((wish.prefix, trusted.around(&wish.prefix)?)));
    match around.next() {
        Some((prefix, trusted)) => {
            let message = format!("refused; {}", why_exempt(&prefix, &trusted));
            Err(Failure::new(Exit::Lockout, message).into())
        }
        None => Ok(()),
    }
}

/// Why a prefix is not banned: `192.0.2.7/32 is in 192.0.2.0/24, which is trusted (policy); take …`.
fn why_exempt(prefix: &IpNet, trusted: &Trusted) -> String {
    let why = trusted.why().join(", ");
    let by = match trusted.prefix == *prefix {
        true => format!("{prefix} is trusted ({why})"),
        false => format!(
            "{prefix} is in {}, which is trusted ({why})",
            trusted.prefix
        ),
    };
    match trusted.why()[..] {
        ["policy"] => format!("{by}; take it out of `trusted` in the policy first"),
        _ => format!("{by}; only a rule can drop it: `xdpfw deny any --from {prefix} --first`"),
    }
}

/// Leaves out what would have no effect, and says so.
fn skip_trusted(wishes: &mut Vec<BanWish>, trusted: &TrustedList) -> Vec<String> {
    let mut skipped = Vec::new();
    wishes.retain(|wish| match trusted.around(&wish.prefix) {
        Some(around) => {
            skipped.push(format!("skipped; {}", why_exempt(&wish.prefix, &around)));
            false
        }
        None => true,
    });
    skipped
}

/// For each ban with somebody trusted in it, a line that says so.
fn exceptions(banned: &[Banned], trusted: &TrustedList) -> Vec<String> {
    let nets = banned
        .iter()
        .filter(|ban| ban.prefix.prefix_len() < ban.prefix.max_prefix_len());
    let lines = nets.filter_map(|ban| {
        let within = trusted.within(&ban.prefix);
        let those = sentence_list(&within, NAMED);
        (!within.is_empty()).then(|| format!("{}: not for {those}, trusted", ban.prefix))
    });
    lines.take(COMPLAINTS).collect()
}

/// One line for all.
fn what_was_done(banned: &[Banned]) -> String {
    let prefixes: Vec<IpNet> = banned.iter().map(|ban| ban.prefix).collect();
    let who = sentence_list(&prefixes, NAMED);
    let untils: Vec<Option<Timestamp>> = banned.iter().map(|ban| ban.until).collect();
    let until = match untils[..] {
        [Some(until), ref others @ ..] if others.iter().all(|other| *other == Some(until)) => {
            format!(" until {}", clock_time(until))
        }
        _ => String::new(),
    };
    let again = match banned {
        [ban] if ban.times > 1 => format!(", for the {} time", ordinal(ban.times)),
        _ => String::new(),
    };
    format!("{who}: banned{until}{again}")
}

/// `2nd`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Warns of the first of many things.
fn complain(lines: &[String], printer: &mut Printer) {
    for line in lines.iter().take(COMPLAINTS) {
        printer.warning(line);
    }
    if let Some(more) = lines.len().checked_sub(COMPLAINTS).filter(|more| *more > 0) {
        printer.warning(&format!("and {} more", thousands(more as u64)));
    }
}

/// How a command ends that could not read all of its input.
fn end(bad: &[Bad], printer: &mut Printer) -> Result<Exit> {
    if bad.is_empty() {
        return Ok(Exit::Done);
    }
    complain(&bad.iter().map(Bad::to_string).collect::<Vec<_>>(), printer);
    let (count, s) = (
        thousands(bad.len() as u64),
        if bad.len() == 1 { "" } else { "s" },
    );
    let message = format!("{count} line{s} of the input not understood; the others are done");
    Err(Failure::new(Exit::Failed, message).into())
}

fn prefixes(words: &[String]) -> Result<Vec<IpNet>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let prefixes = parse_prefixes(&words).map_err(|(_, message)| Failure::usage(message))?;
    match prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.prefix_len() == 0) {
        true => Err(Failure::usage(reading::EVERYBODY).into()),
        false => Ok(prefixes),
    }
}
