//! `xdpfw up --boot`: what the service runs at boot, and udev for an interface that comes.

use anyhow::{Error, Result};

use super::{
    Context, Exit, Failure, code_of,
    joining::{begin, report, report_applied, report_changes},
    privilege::require_to_change,
    recording::{Recorded, Recording},
};
use crate::{
    datapath::is_mounted,
    engine::{
        Applied, Engine, Fallback, History, Join, ModeWish, PolicyFile, PolicySource, unfiltered,
        was_emptied,
    },
    output::Printer,
    policy::{Policy, Rule},
    system::Sessions,
};

/// Filters the interfaces of the policy that are there, or the one that came.
///
/// # Errors
///
/// The policy file cannot be put in force, and something else is; or the kernel refuses.
pub(super) fn run(names: &[String], context: &Context, printer: &mut Printer) -> Result<Exit> {
    match names {
        [] => all(context, printer),
        [name] => came(name, context, printer),
        _ => Err(Failure::usage("--boot takes one interface, or none").into()),
    }
}

/// Filters what is there.
fn all(context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_change()?;
    let engine = begin(printer)?;
    engine.refuse_while_temporary()?;
    match engine.live() {
        Some(_) => again(&engine, context, printer),
        None => first(&engine, context, Guarded::of_sessions(), printer),
    }
}

/// Whether what would cut an SSH session is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guarded {
    Yes,
    /// Whatever may be wrong with finding sessions, no interface must stay open for that.
    No,
}

impl Guarded {
    /// At boot there is no session; whoever starts the service later may have one.
    fn of_sessions() -> Self {
        match Sessions::current() {
            Ok(sessions) if !sessions.known.is_empty() => Self::Yes,
            _ => Self::No,
        }
    }
}

/// Brings the filter up, by the policy file or by what there is instead.
fn first(
    engine: &Engine,
    context: &Context,
    guarded: Guarded,
    printer: &mut Printer,
) -> Result<Exit> {
    let history = context.history();
    let (file, failed) = match usable(context, &history) {
        Ok(file) => match file_in_force(engine, &file, context, guarded) {
            Ok(in_force) => return report_in_force(in_force, file.policy(), printer),
            // The operator is there, and wants to know.
            Err(error) if code_of(&error) == Exit::Lockout => return Err(error),
            Err(error) => (Some(file), error),
        },
        Err(error) => (None, error),
    };
    // Whatever it is that failed, the host must not stay open for that.
    let why = format!("{failed:#}");
    for fallback in Fallback::of(&history, context.policy_path(), file.as_ref(), &why)? {
        let applied = match in_force(engine, &fallback, guarded) {
            Ok(Some(applied)) => applied,
            Ok(None) => return Err(failed),
            Err(error) => {
                printer.warning(&format!("not in force, either: {error:#}"));
                continue;
            }
        };
        printer.change_is_made();
        report_applied(&applied, fallback.policy(), printer)?;
        let message = format!("{}; mend it, then say `xdpfw apply`", fallback.text());
        return Err(Failure::new(Exit::Policy, message).into());
    }
    Err(failed)
}

/// The policy file, if it may be what the operator wants.
fn usable(context: &Context, history: &History) -> Result<PolicyFile> {
    let file = context.policy_file()?;
    if was_emptied(&file, history) {
        let is = match file.exists() {
            true => "names no interface, and nobody applied that",
            false => "is not there",
        };
        let path = context.policy_path().display();
        let message = format!("{path} {is}");
        return Err(Failure::new(Exit::Policy, message).into());
    }
    Ok(file)
}

/// What has come of the policy file.
struct InForce {
    applied: Applied,
    recorded: Recorded,
}

/// Puts the policy file in force; `None` if none of its interfaces is there.
fn file_in_force(
    engine: &Engine,
    file: &PolicyFile,
    context: &Context,
    guarded: Guarded,
) -> Result<Option<InForce>> {
    let recording = Recording::begin(context.history(), engine, file);
    let Some(applied) = in_force(engine, file, guarded)? else {
        return Ok(None);
    };
    let recorded = recording.end(engine, file, &applied);
    Ok(Some(InForce { applied, recorded }))
}

fn report_in_force(
    in_force: Option<InForce>,
    policy: &Policy,
    printer: &mut Printer,
) -> Result<Exit> {
    let Some(InForce { applied, recorded }) = in_force else {
        printer.note(match policy.interfaces.is_empty() {
            true => "no interface in the policy: nothing is filtered (say `xdpfw up IFACE`)",
            false => "no interface of the policy is there yet",
        });
        return Ok(Exit::Done);
    };
    printer.change_is_made();
    recorded.report(printer);
    let reported = report_applied(&applied, policy, printer);
    applied.joined.check()?;
    reported.map(|()| Exit::Done)
}

/// Puts a policy in force on those of its interfaces that are there; `None` if none is.
fn in_force(
    engine: &Engine,
    source: &dyn PolicySource,
    guarded: Guarded,
) -> Result<Option<Applied>> {
    if source.policy().interfaces.is_empty() {
        return Ok(None);
    }
    let attached = engine.live().map_or(&[][..], |live| &live.attached);
    let join = Join::of_policy(source.policy(), ModeWish::Auto, attached)?.without_missing();
    if join.is_empty() && attached.is_empty() {
        engine.await_interfaces()?;
        return Ok(None);
    }
    let change = engine.change(source).join(join);
    let change = change.guarded(guarded == Guarded::Yes);
    change.commit().map(Some)
}

/// A restart: the filter is up. It stays as it is if the policy file cannot be put in force.
fn again(engine: &Engine, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let kept = |error: Error| error.context("what is in force stays");
    let file = usable(context, &context.history()).map_err(kept)?;
    let in_force = file_in_force(engine, &file, context, Guarded::Yes).map_err(kept)?;
    report_in_force(in_force, file.policy(), printer)
}

/// Filters an interface that came, if the policy is for it.
fn came(name: &str, context: &Context, printer: &mut Printer) -> Result<Exit> {
    if !is_mounted() {
        // Nothing is to be filtered on this host, or not yet.
        return Ok(Exit::Done);
    }
    require_to_change()?;
    let concern = Concern::of(name, &Engine::shared()?, context)?;
    if concern == Concern::None {
        // Most interfaces come for containers: nobody waits for those.
        return Ok(Exit::Done);
    }
    let mut engine = begin(printer)?;
    match Concern::of(name, &engine, context)? {
        Concern::None => Ok(Exit::Done),
        Concern::All => first(&engine, context, Guarded::No, printer),
        Concern::Rules => engine.follow_facts().map(|()| Exit::Done),
        Concern::Filtered => {
            let live = engine.must_be_up()?;
            let join = Join::came(name, &live.attached)?;
            let policy = &live.generation.record().policy.clone();
            let joined = engine.attach(join)?;
            printer.change_is_made();
            let mut filtered = joined.filtered.iter();
            let reported = filtered.try_for_each(|one| report(one, policy, printer));
            report_changes(&joined, printer);
            joined.check()?;
            reported.map(|()| Exit::Done)
        }
    }
}

/// What an interface that came is to the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    /// The filter is to be up, and is on no interface yet, or no more.
    All,
    /// It is to be filtered.
    Filtered,
    /// Rules name it, or what it sends may be answered.
    Rules,
    None,
}

impl Concern {
    fn of(name: &str, engine: &Engine, context: &Context) -> Result<Self> {
        let Some(live) = engine.live() else {
            return Ok(match engine.store().is_made() {
                true => Self::All,
                false => Self::None,
            });
        };
        let file = context.policy_file().ok();
        let policies = [
            Some(&live.lasting().record().policy),
            // The filter may run on more interfaces than those of the policy it was made from.
            file.as_ref().map(|file| file.policy()),
        ];
        let attached: Vec<String> = live
            .attached
            .iter()
            .map(|one| one.interface.name.clone())
            .collect();
        let mut concern = Self::None;
        for policy in policies.into_iter().flatten() {
            let unfiltered = unfiltered(policy, &attached)?;
            if unfiltered.iter().any(|one| one.exists && one.name == name) {
                return Ok(Self::Filtered);
            }
            let is_named = |rule: &Rule| rule.matches.on.iter().any(|on| on == name);
            if policy.answers_from.iter().any(|one| one == name)
                || policy.rules.iter().any(is_named)
            {
                concern = Self::Rules;
            }
        }
        Ok(concern)
    }
}
