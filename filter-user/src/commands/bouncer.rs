//! `xdpfw bouncer`: bans whom a CrowdSec service decides to ban, for as long as it runs.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use super::{
    Context, Exit, Failure, ban,
    privilege::require_to_change,
    watching::{Ends, runtime},
};
use crate::{
    crowdsec::{Decision, Decisions, Lapi},
    duration::Seconds,
    engine::{BanOrders, BanWish, BansChanged, Engine, Unban},
    output::Printer,
    system::Place,
    text::thousands,
};

/// The origin of what it bans.
const ORIGIN: &str = "crowdsec";
/// How long to wait at most before a service is asked again that fails.
const LONGEST: Duration = Duration::from_secs(300);
/// Whoever else than the owner and the group may read a file.
const OTHERS_READ: u32 = 0o004;

/// Arguments of `bouncer`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the service answers
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The file with the key of this bouncer, which others may not read
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key_file: PathBuf,
    /// How often to ask
    #[arg(long, value_name = "DUR", default_value = "10s")]
    every: Seconds,
}

/// Asks a service for decisions until it is interrupted, and carries them out. What it banned stays
/// banned after that, for as long as was decided.
///
/// # Errors
///
/// The URL is none, the key cannot be read, or a privilege is missing. Whatever goes wrong later is
/// tried again.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let lapi = Lapi::new(&args.url).map_err(|why| Failure::usage(format!("--url: {why}")))?;
    require_to_change()?;
    key(&args.key_file)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(follow(&lapi, args, context, printer));
    // An answer may still be waited for.
    runtime.shutdown_background();
    ended.map(|()| Exit::Done)
}

async fn follow(lapi: &Lapi, args: &Args, context: &Context, printer: &mut Printer) -> Result<()> {
    let mut ends = Ends::watch()?;
    let every = args.every.duration();
    let mut wait = every;
    // What a service said while something failed is not said again.
    let mut all = true;
    loop {
        let (asked, path) = (lapi.clone(), args.key_file.clone());
        let asked = tokio::task::spawn_blocking(move || -> Result<Decisions> {
            // It may be another one by now.
            Ok(asked.decisions(all, &key(&path)?)?)
        });
        let answer = tokio::select! {
            () = ends.next() => return Ok(()),
            answer = asked => answer?,
        };
        match answer.and_then(|decisions| carry_out(&decisions, all, context)) {
            Ok(done) => {
                if let Some(done) = done {
                    printer.line(&done)?;
                }
                if wait > every {
                    printer.note("the service answers again");
                }
                (all, wait) = (false, every);
            }
            Err(error) => {
                wait = (wait * 2).min(LONGEST.max(every));
                let seconds = wait.as_secs();
                printer.warning(&format!("{}: {error:#}; again in {seconds}s", args.url));
                all = true;
            }
        }
        tokio::select! {
            () = ends.next() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Bans and ends bans; what was done, in a line, if anything was.
fn carry_out(decisions: &Decisions, all: bool, context: &Context) -> Result<Option<String>> {
    let Decisions { new, deleted, .. } = decisions;
    if !all && new.is_empty() && deleted.is_empty() {
        return Ok(None);
    }
    let engine = Engine::exclusive()?;
    let trusted = engine.renew_trust(&ban::policy(&engine, context)?)?;
    let mut wishes: Vec<BanWish> = new.iter().map(wish).collect();
    wishes.retain(|wish| trusted.around(&wish.prefix).is_none());
    let skipped = new.len() - wishes.len();
    let orders = BanOrders {
        origin: ORIGIN,
        unban: match all {
            true => Unban::Others,
            false => Unban::These(deleted),
        },
        ban: &wishes,
        // It decides by itself how long.
        repeat: &[],
    };
    let BansChanged { banned, ended } = engine.change_bans(&context.history(), &orders)?;
    if banned.is_empty() && ended.is_empty() && skipped == 0 && !all {
        // All that it says is over had ended here before.
        return Ok(None);
    }
    let again: HashSet<IpNet> = banned.iter().map(|ban| ban.prefix).collect();
    let ended = ended
        .iter()
        .filter(|prefix| !again.contains(prefix))
        .count();
    let (banned, ended) = (thousands(banned.len() as u64), thousands(ended as u64));
    let trusted = match skipped {
        0 => String::new(),
        _ => format!(", {} skipped as trusted", thousands(skipped as u64)),
    };
    Ok(Some(format!("{banned} banned, {ended} no longer{trusted}")))
}

fn wish(decision: &Decision) -> BanWish {
    BanWish {
        prefix: decision.prefix,
        lasts: Some(decision.lasts),
        why: Some(decision.scenario.clone()).filter(|why| !why.is_empty()),
        hard: false,
    }
}

/// Reads the key.
fn key(path: &Path) -> Result<String> {
    let shown = path.display();
    let place = Place::find(path)?;
    let stat = place
        .stat()
        .with_context(|| format!("{shown}: no such file"))?;
    if stat.st_mode & OTHERS_READ != 0 {
        let message = format!("{shown}: others may read the key; say `chmod o-r {shown}`");
        return Err(Failure::new(Exit::Failed, message).into());
    }
    let bytes = place.read()?.unwrap_or_default();
    let key = String::from_utf8_lossy(&bytes).trim().to_owned();
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    match is_key {
        true => Ok(key),
        false => Err(Failure::new(Exit::Failed, format!("{shown}: no key in it")).into()),
    }
}
