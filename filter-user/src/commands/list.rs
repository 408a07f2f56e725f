//! `xdpfw list`: show the rules, and how many packets each decided.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use super::{Context, Exit, privilege::require_to_read, warn};
use crate::{
    analysis::{self, unreachable},
    datapath::{Generation, Live, Purpose, Record, Snapshot},
    engine::{Engine, changed_facts},
    output::{List, Printer, StateWarning},
    policy::Policy,
    system::ephemeral_ports,
    text::clock_time,
};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the rules in force, or those of the policy file if nothing is up.
///
/// # Errors
///
/// The kernel or the policy file cannot be read.
pub fn run(_args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let engine = Engine::shared()?;
    let now = Timestamp::now();
    let mut warnings = Vec::new();
    let (list, shadowed) = match engine.live() {
        Some(live) => {
            let record = live.generation.record();
            warnings.extend(temporary(live));
            warnings.extend(unapplied(context, &engine, live.lasting().record()));
            warnings.extend(thawed(live)?);
            warnings.extend(without_cookies(&engine, live)?);
            let policy = record.policy.without_ended(now);
            let shadowed = unreachable(&policy, record.environment.ephemeral);
            let counters = live.generation.snapshot()?;
            (List::new(&record.policy, &counters, &shadowed), shadowed)
        }
        None => {
            let file = context.policy_file()?;
            let policy = file.policy();
            let shadowed = unreachable(&policy.without_ended(now), ephemeral_ports());
            let counters = Snapshot::empty(policy.rules.len());
            (List::new(policy, &counters, &shadowed), shadowed)
        }
    };
    let is_up = engine.live().is_some();
    let is_rehearsed = is_up && engine.candidate().is_ok();
    drop(engine);
    if !is_up {
        printer.note("not up; the rules are those of the policy file");
    }
    if is_rehearsed {
        printer.note("another policy is rehearsed (see `xdpfw shadow`)");
    }
    for warning in warnings {
        printer.warning(&warning.to_string());
    }
    if context.json() {
        printer.json(&list)?;
    } else {
        printer.verdicts(&list.to_string())?;
    }
    warn(&[analysis::Warning::Unreachable(shadowed)], printer);
    Ok(Exit::Done)
}

/// What is in force in place of what the operator wants.
fn fallback(live: &Record) -> Option<StateWarning> {
    live.fallback.as_ref().map(|text| StateWarning {
        kind: "fallback",
        text: text.clone(),
        remedy: Some("xdpfw apply".into()),
    })
}

/// Why rules do not answer with SYN cookies that are to.
pub(super) fn without_cookies(engine: &Engine, live: &Live) -> Result<Option<StateWarning>> {
    let why = engine.no_cookies(&live.generation.record().policy)?;
    Ok(why.map(|why| StateWarning {
        kind: "syn-cookies",
        text: why.to_string(),
        remedy: None,
    }))
}

/// The facts of the host that are not any more what the rules were made with.
pub(super) fn thawed(live: &Live) -> Result<Vec<StateWarning>> {
    let changes = changed_facts(live)?.into_iter();
    let warnings = changes.map(|change| StateWarning {
        kind: change.kind(),
        text: change.to_string(),
        remedy: change.remedy().map(str::to_owned),
    });
    Ok(warnings.collect())
}

/// What is in force for a while only.
pub(super) fn temporary(live: &Live) -> Vec<StateWarning> {
    let warning = |generation: &Generation| {
        let until = clock_time(generation.deadline()?.on_the_wall());
        let (kind, text, remedy) = match generation.purpose() {
            Purpose::Bypass => (
                "bypass",
                format!("everything passes until {until}"),
                "xdpfw bypass --off",
            ),
            Purpose::Panic => (
                "panic",
                format!(
                    "the panic goes on until {until}: only what is under way, and the operator, may come in"
                ),
                "xdpfw panic --off",
            ),
            Purpose::Policy | Purpose::Nothing | Purpose::Rehearsal => (
                "pending",
                format!("the last change goes back at {until}"),
                "xdpfw confirm",
            ),
        };
        Some(StateWarning {
            kind,
            text,
            remedy: Some(remedy.to_owned()),
        })
    };
    live.temporary().filter_map(warning).collect()
}

/// Whether two policies treat every packet alike from now on, rule for rule.
fn are_alike(one: &Policy, other: &Policy) -> bool {
    let now = Timestamp::now();
    one.without_ended(now)
        .same_verdicts(&other.without_ended(now))
}

/// Whether the policy file was edited and not applied, or is no policy any more.
pub(super) fn unapplied(context: &Context, engine: &Engine, live: &Record) -> Vec<StateWarning> {
    let fallback = fallback(live);
    let differs = difference(context, engine, live).filter(|differs| {
        // It is said once why the file could not be put in force.
        let mut fallback = fallback.iter();
        fallback.all(|fallback| !fallback.text.contains(&differs.text))
    });
    fallback.iter().cloned().chain(differs).collect()
}

/// How the policy file differs from what is in force.
fn difference(context: &Context, engine: &Engine, live: &Record) -> Option<StateWarning> {
    match context.policy_file() {
        Ok(file) if engine.other_origin(&file).is_some() => Some(StateWarning {
            kind: "policy-elsewhere",
            text: format!(
                "what is live comes from {}, not from {}",
                live.origin.as_deref().unwrap_or(Path::new("")).display(),
                context.policy_path().display()
            ),
            remedy: None,
        }),
        Ok(file) if are_alike(file.policy(), &live.policy) => None,
        Ok(_) => Some(StateWarning {
            kind: "policy-differs",
            text: format!(
                "{} differs from what is live",
                context.policy_path().display()
            ),
            remedy: Some("xdpfw apply --check".into()),
        }),
        Err(error) => Some(StateWarning {
            kind: "policy-invalid",
            text: format!("{error:#}"),
            remedy: None,
        }),
    }
}
