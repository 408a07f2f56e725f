//! `xdpfw ban`, `unban` and `bans`: who is not welcome.

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    Context, Exit, Failure,
    privilege::{require_to_change, require_to_read},
};
use crate::{
    duration::Seconds,
    engine::{Banned, Engine},
    output::{BanTable, Printer},
    policy::parse_prefixes,
    text::{clock_time, sentence_list},
};

/// Bytes of a reason at most.
const WHY: usize = 64;
/// Prefixes that an output names.
const NAMED: usize = 3;

/// Arguments of `ban`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Addresses and prefixes; of an IPv6 host, its /64
    #[arg(required = true, value_name = "PREFIX")]
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
    /// Ban even the other end of this SSH session
    #[arg(long)]
    force: bool,
}

/// Arguments of `unban`.
#[derive(Debug, clap::Args)]
pub struct UnbanArgs {
    /// Prefixes, as `bans` shows them
    #[arg(required_unless_present = "all", value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "prefixes")]
    all: bool,
}

/// Bans sources: their packets are dropped where a rule or the default would let them in, also those
/// of connections that are open.
///
/// # Errors
///
/// A prefix is none, one holds the operator's other end, or the disk or the kernel refuses.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let prefixes = prefixes(&args.prefixes)?;
    if let Some(why) = &args.why
        && (why.len() > WHY || !why.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
    {
        let message = format!("--why: at most {WHY} printable characters");
        return Err(Failure::usage(message).into());
    }
    require_to_change()?;
    let now = Timestamp::now();
    let until = match args.lasts {
        Some(lasts) => Some(now.checked_add(lasts.duration())?),
        None => None,
    };
    let bans: Vec<Banned> = prefixes
        .iter()
        .map(|prefix| Banned {
            prefix: *prefix,
            since: now,
            until,
            why: args.why.clone(),
            hard: args.hard,
        })
        .collect();
    let engine = Engine::exclusive()?;
    engine.ban(&context.history(), &bans, args.force)?;
    let is_up = engine.live().is_some();
    drop(engine);
    printer.change_is_made();
    let who = sentence_list(&prefixes, NAMED);
    printer.line(&match until {
        Some(until) => format!("{who}: banned until {}", clock_time(until)),
        None => format!("{who}: banned"),
    })?;
    if !is_up {
        printer.note("not up; nothing is dropped before `xdpfw up`");
    }
    Ok(Exit::Done)
}

/// Ends bans.
///
/// # Errors
///
/// A prefix is none or is not banned, or the disk or the kernel refuses.
pub fn unban(args: &UnbanArgs, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let prefixes = match args.all {
        true => None,
        false => Some(prefixes(&args.prefixes)?),
    };
    require_to_change()?;
    let engine = Engine::exclusive()?;
    let ended = engine.unban(&context.history(), prefixes.as_deref())?;
    drop(engine);
    printer.change_is_made();
    if !ended.is_empty() {
        printer.line(&format!(
            "{}: no longer banned",
            sentence_list(&ended, NAMED)
        ))?;
    }
    let missing = prefixes.unwrap_or_default();
    let missing: Vec<IpNet> = missing
        .into_iter()
        .filter(|prefix| !ended.contains(prefix))
        .collect();
    match missing.is_empty() {
        true => Ok(Exit::Done),
        false => Err(Failure::new(
            Exit::Failed,
            format!(
                "{}: not banned (see `xdpfw bans`)",
                sentence_list(&missing, NAMED)
            ),
        )
        .into()),
    }
}

/// Shows who is banned.
///
/// # Errors
///
/// The file or the kernel cannot be read.
pub fn show(context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let engine = Engine::shared()?;
    let banned = engine.banned(&context.history())?;
    let openers = engine.openers()?;
    drop(engine);
    let table = BanTable::new(&banned, &openers);
    match context.json() {
        true => printer.json(&table)?,
        false => printer.line(table.to_string().trim_end())?,
    }
    Ok(Exit::Done)
}

fn prefixes(words: &[String]) -> Result<Vec<IpNet>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let prefixes = parse_prefixes(&words).map_err(|(_, message)| Failure::usage(message))?;
    match prefixes.is_empty() {
        true => Err(Failure::usage("`any` would ban everybody (say `xdpfw panic`)").into()),
        false => Ok(prefixes),
    }
}
