//! `xdpfw status`: show interfaces, generation, totals per reason, and warnings.

use std::time::Duration;

use anyhow::Result;
use xdpfw_common::abi::OPENER_BANS_PER_MINUTE;

use super::{
    Context, Exit, ban, flows,
    list::{temporary, thawed, unapplied, without_cookies},
    privilege::require_to_read,
};
use crate::{
    datapath::{Attached, Egress, Generation, Store},
    engine::{
        Engine, PolicyFile, PolicySource as _, Unfiltered, differences, lists_without_hits,
        records_answers, unfiltered,
    },
    output::{Printer, StateWarning, Status, shown_then},
    policy::Policy,
    text::thousands,
};

/// How long a cap on bans that was reached is worth a warning.
const CAPPED_LATELY: Duration = Duration::from_secs(600);

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the filter's state. The exit code is negative if there is anything to warn of.
///
/// # Errors
///
/// The kernel cannot be read.
pub fn run(_args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let engine = Engine::shared()?;
    let store = engine.store();
    let mut memory = None;
    let status = match engine.live() {
        Some(live) => {
            let record = live.generation.record();
            // The policy in force may be older than interfaces that were added to the file.
            let file = context.policy_file();
            let policy = file.as_ref().map_or(&record.policy, PolicyFile::policy);
            let mut warnings = temporary(live);
            let missing = missing(policy, &live.attached)?;
            warnings.extend(missing.iter().cloned());
            if missing.is_empty() && store.link_count()? > live.attached.len() {
                warnings.push(interface_gone());
            }
            warnings.extend(egress(store, &live.attached, &record.policy)?);
            warnings.extend(thawed(live)?);
            warnings.extend(without_cookies(&engine, live)?);
            warnings.extend(strays(store)?);
            warnings.extend(lost_next(&live.generation)?);
            warnings.extend(capped(&live.generation)?);
            warnings.extend(unapplied(context, &engine, live.lasting().record()));
            let flows = match record.policy.records_flows() {
                true => Some(flows::read(&live.generation)?.0),
                false => None,
            };
            memory = flows.as_ref().map(|fill| fill.memory_bytes());
            let differences = differences(live)?;
            Status::new(
                live,
                &live.generation.snapshot()?,
                flows,
                differences,
                live.generation.listeners()?,
                warnings,
            )
        }
        None => {
            let file = context.policy_file()?;
            let mut warnings = missing(file.policy(), &[])?;
            if warnings.is_empty() && store.link_count()? > 0 {
                warnings.push(interface_gone());
            }
            warnings.extend(strays(store)?);
            Status::not_up(file.policy(), warnings)
        }
    };
    let (bans, damaged) = match engine.banned_count(&context.history()) {
        Ok(bans) => (bans, None),
        Err(error) => (0, Some(error)),
    };
    let policy = ban::policy(&engine, context)?;
    let status = status
        .with_bans(bans, damaged, &engine.trusted(&policy)?)
        .with_defence(
            engine.openers()?.len(),
            &lists_without_hits(&context.history(), &policy),
        );
    let is_up = engine.live().is_some();
    drop(engine);
    if !is_up {
        printer.note("not up (say `xdpfw up IFACE`)");
    }
    if let Some(bytes) = memory {
        printer.detail(|| format!("flows take {} KiB", thousands(bytes / 1024)));
    }
    if context.json() {
        printer.json(&status)?;
    } else {
        printer.verdicts(&status.to_string())?;
    }
    Ok(if status.has_warnings() {
        Exit::Negative
    } else {
        Exit::Done
    })
}

/// The interfaces of the policy that are not filtered.
fn missing(policy: &Policy, attached: &[Attached]) -> Result<Vec<StateWarning>> {
    let filtered: Vec<String> = attached
        .iter()
        .map(|one| one.interface.name.clone())
        .collect();
    let missing = unfiltered(policy, &filtered)?.into_iter();
    let warnings = missing.map(|Unfiltered { name, exists }| {
        let name = name.escape_debug();
        StateWarning {
            kind: if exists {
                "interface-not-filtered"
            } else {
                "interface-missing"
            },
            text: if exists {
                format!("{name}: in the policy, but not filtered")
            } else {
                format!("{name}: in the policy, but there is no such interface")
            },
            remedy: Some(format!("xdpfw up {name}")),
        }
    });
    Ok(warnings.collect())
}

/// The interfaces by which packets leave unseen.
fn egress(store: &Store, attached: &[Attached], policy: &Policy) -> Result<Vec<StateWarning>> {
    if !records_answers(policy) {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    for Attached {
        interface, egress, ..
    } in attached
    {
        let name = interface.name.escape_debug();
        let Some(egress) = egress else {
            warnings.push(StateWarning {
                kind: "egress-missing",
                text: format!("{name}: what leaves is not recorded, so not all answers pass"),
                remedy: Some(format!("xdpfw up {name}")),
            });
            continue;
        };
        if let Some(other) = store.egress_preceded_by(interface.index)? {
            warnings.push(StateWarning {
                kind: "egress-preceded",
                text: format!("{name}: {other} may keep what leaves from being recorded"),
                remedy: Some(match egress {
                    Egress::Tcx => format!("bpftool net show dev {name}"),
                    Egress::Clsact => format!("tc filter show dev {name} egress"),
                }),
            });
        }
    }
    Ok(warnings)
}

/// The interfaces that run the filter of another network namespace.
fn strays(store: &Store) -> Result<Vec<StateWarning>> {
    let strays = store.strays()?.into_iter();
    let warnings = strays.map(|stray| {
        let name = stray.interface.name.escape_debug().to_string();
        StateWarning {
            kind: "interface-elsewhere",
            text: format!("{name}: filtered by the rules of another network namespace"),
            remedy: Some(format!("xdpfw down {name}")),
        }
    });
    Ok(warnings.collect())
}

/// The program behind the filter, if packets do not come to it any more.
fn lost_next(generation: &Generation) -> Result<Option<StateWarning>> {
    let Some(then) = &generation.record().then else {
        return Ok(None);
    };
    if generation.next_program()? == Some(then.id) {
        return Ok(None);
    }
    let pin = then.pin.display().to_string();
    Ok(Some(StateWarning {
        kind: "then-missing",
        text: format!("what passes does not go on to {}", shown_then(then)),
        remedy: Some(format!("xdpfw up --then {}", pin.escape_debug())),
    }))
}

/// That so many scanned that not all were banned, if it was lately.
fn capped(generation: &Generation) -> Result<Option<StateWarning>> {
    let record = generation.record();
    if !record.policy.bans_openers() {
        return Ok(None);
    }
    let capped = generation.scans()?.capped();
    let Some((count, _)) = capped.filter(|(_, since)| *since < CAPPED_LATELY) else {
        return Ok(None);
    };
    let (count, most) = (thousands(count), thousands(OPENER_BANS_PER_MINUTE));
    Ok(Some(StateWarning {
        kind: "ban-cap",
        text: format!("{count} times a source was not banned, since {most} were in a minute"),
        remedy: Some("xdpfw scanners".to_owned()),
    }))
}

fn interface_gone() -> StateWarning {
    StateWarning {
        kind: "interface-gone",
        text: "a filtered interface is gone; one that came back is not filtered".into(),
        remedy: Some("xdpfw up".into()),
    }
}
