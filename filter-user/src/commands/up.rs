//! `xdpfw up`: attach the filter to interfaces.

use anyhow::Result;
use clap::ValueEnum;

use super::{Context, lockout, require_root, warnings};
use crate::{
    exit::{Exit, Failure},
    kernel::{Attached, Change, Counters, Interface, Live, Lock, Mode, Refusal, Store, interfaces},
    policy::{Policy, PolicyFile},
    text::sentence_list,
    view::Printer,
};

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The interfaces; without any, those of the policy
    #[arg(value_name = "IFACE")]
    interfaces: Vec<String>,
    /// Where the program is to run: in the driver, or in the network stack
    #[arg(long, value_enum, default_value_t)]
    mode: ModeArg,
    /// Even if it cuts the SSH session this runs in
    #[arg(long)]
    force: bool,
}

/// Where the program is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// In the driver if it can, else in the network stack
    #[default]
    Auto,
    /// In the driver
    Native,
    /// In the network stack
    Generic,
}

/// Interfaces as they were asked for.
struct Wanted {
    /// Those that exist.
    interfaces: Vec<Interface>,
    /// Whether the command line names them. Then all are attached or none; else, as many
    /// of the policy's as can be: one that is missing must not leave the others open.
    named: bool,
    mode: ModeArg,
}

/// What became of the interfaces.
#[derive(Default)]
struct Outcome {
    /// Those that are filtered now.
    filtered: Vec<(Interface, Mode)>,
    /// Indices of those among them that were not before.
    fresh: Vec<u32>,
    /// Why native mode could not be had, where `auto` took the other one.
    downgraded: Vec<String>,
    /// Why the others are not filtered, or not as was asked.
    failures: Vec<String>,
}

/// Attaches the filter.
///
/// # Errors
///
/// An interface is not known or refuses. Those attached by this command are then detached
/// again if the command line named them, and stay if they are the policy's.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let _lock = Lock::exclusive()?;
    let mut file = context.policy_file()?;
    let (mut wanted, missing) = find(args, file.policy())?;
    if wanted.named {
        add_interfaces(&mut file, &wanted.interfaces)?;
    }
    let store = Store::open()?;
    let live = store.live()?;
    let attached = live.as_ref().map_or(&[][..], |live| &live.attached);
    let others = refuse_other_modes(&mut wanted, attached)?;
    if !args.force {
        // On an interface that was not filtered, everything passed.
        let mut interfaces = wanted.interfaces.iter();
        let everywhere = interfaces.all(|new| mode_on(new, attached).is_some());
        let in_force = live.as_ref().filter(|_| everywhere);
        lockout::guard(
            file.policy(),
            in_force.map(|live| &live.generation.record().policy),
            printer,
        )?;
    }
    let failures = [missing, others].concat();
    let outcome = Outcome {
        failures,
        ..Outcome::default()
    };
    let (outcome, summary) = match &live {
        None => start(&wanted, outcome, &file, &store)?,
        Some(live) => join(&wanted, outcome, &file, &store, live)?,
    };
    if let Some(summary) = summary {
        printer.detail(|| summary);
    }
    for downgraded in &outcome.downgraded {
        printer.warning(downgraded);
    }
    let reported = outcome
        .filtered
        .iter()
        .try_for_each(|(interface, mode)| report(interface, *mode, file.policy(), printer));
    warnings::of_policy(file.policy(), printer);
    outcome.check()?;
    reported.map(|()| Exit::Done)
}

impl Outcome {
    /// Fails where an interface of the policy is not filtered as was asked.
    fn check(&self) -> Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        let failures = self.failures.join("; ");
        let others = match self.filtered.as_slice() {
            [] => "nothing is filtered".to_owned(),
            filtered => {
                let names: Vec<&str> = filtered.iter().map(|(one, _)| one.name.as_str()).collect();
                format!("only {} filtered", sentence(&names))
            }
        };
        Err(Failure::kernel(format!("{others}: {failures}")).into())
    }
}

/// `eth0 is`, `eth0 and eth1 are`.
fn sentence(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", sentence_list(names, usize::MAX))
}

/// Brings the filter up where nothing was filtered.
fn start(
    wanted: &Wanted,
    outcome: Outcome,
    file: &PolicyFile,
    store: &Store,
) -> Result<(Outcome, Option<String>)> {
    if wanted.interfaces.is_empty() {
        outcome.check()?;
    }
    // What is pinned is left over: of a namespace that is gone, or of a command
    // that was killed.
    store.clear()?;
    let store = Store::create()?;
    let up = || {
        let change = store.prepare(file.policy(), Counters::Reset, false)?;
        let summary = change.describe();
        // In force before the first interface asks for it.
        change.make()?;
        let outcome = attach_all(wanted, outcome, &[], &store)?;
        if outcome.filtered.is_empty() {
            outcome.check()?;
        }
        file.save_if_changed()?;
        Ok((outcome, Some(summary)))
    };
    up().inspect_err(|_: &anyhow::Error| drop(store.clear()))
}

/// Attaches more interfaces to the filter, and puts the policy file in force
/// where it says something new.
fn join(
    wanted: &Wanted,
    outcome: Outcome,
    file: &PolicyFile,
    store: &Store,
    live: &Live,
) -> Result<(Outcome, Option<String>)> {
    store.forget_gone()?;
    let in_force = live.generation.record();
    let change = if in_force.is_up_to_date(file.policy())? {
        None
    } else {
        Some(store.prepare(file.policy(), Counters::Keep, false)?)
    };
    let summary = change.as_ref().map(Change::describe);
    let outcome = attach_all(wanted, outcome, &live.attached, store)?;
    if let Err(error) = file.save_if_changed() {
        detach_all(&outcome.fresh, store)?;
        return Err(error);
    }
    if let Some(change) = change
        && let Err(error) = change.make()
    {
        detach_all(&outcome.fresh, store)?;
        file.restore()?;
        return Err(error);
    }
    Ok((outcome, summary))
}

/// Attaches the interfaces that are not attached yet: all or none if the command line
/// named them, else all that can be.
fn attach_all(
    wanted: &Wanted,
    mut outcome: Outcome,
    attached: &[Attached],
    store: &Store,
) -> Result<Outcome> {
    for interface in &wanted.interfaces {
        if let Some(mode) = mode_on(interface, attached) {
            outcome.filtered.push((interface.clone(), mode));
            continue;
        }
        match attach(store, interface, wanted.mode) {
            Ok((mode, downgraded)) => {
                outcome.filtered.push((interface.clone(), mode));
                outcome.fresh.push(interface.index);
                outcome.downgraded.extend(downgraded);
            }
            Err(error) if wanted.named => {
                detach_all(&outcome.fresh, store)?;
                return Err(error);
            }
            Err(error) => outcome.failures.push(format!("{error:#}")),
        }
    }
    Ok(outcome)
}

fn detach_all(interfaces: &[u32], store: &Store) -> Result<()> {
    interfaces.iter().try_for_each(|&index| store.detach(index))
}

fn mode_on(interface: &Interface, attached: &[Attached]) -> Option<Mode> {
    attached
        .iter()
        .find(|attached| attached.interface.index == interface.index)
        .map(|attached| attached.mode)
}

/// An interface has one mode; changing it would leave it open for a moment. Fails if the
/// command line named it; else it stays as it is, and the result says why.
fn refuse_other_modes(wanted: &mut Wanted, attached: &[Attached]) -> Result<Vec<String>> {
    let mut others = Vec::new();
    for interface in &wanted.interfaces {
        let name = &interface.name;
        match (wanted.mode, mode_on(interface, attached)) {
            (ModeArg::Native, Some(mode @ Mode::Generic))
            | (ModeArg::Generic, Some(mode @ Mode::Native)) => {
                others.push(format!(
                    "{name}: is up in {mode} mode (say `xdpfw down {name}` first)"
                ));
            }
            _ => {}
        }
    }
    match others.first() {
        Some(first) if wanted.named => Err(Failure::new(Exit::Failed, first).into()),
        _ => Ok(others),
    }
}

/// Remembers the interfaces, so that a plain `up` brings them back after a boot.
fn add_interfaces(file: &mut PolicyFile, wanted: &[Interface]) -> Result<()> {
    let mut names = file.policy().interfaces.clone();
    for interface in wanted {
        if !names.contains(&interface.name) {
            names.push(interface.name.clone());
        }
    }
    if names != file.policy().interfaces {
        file.set_interfaces(names)?;
    }
    Ok(())
}

/// The interfaces that the command line names, else those of the policy; and why some of
/// the policy's cannot be filtered.
fn find(args: &Args, policy: &Policy) -> Result<(Wanted, Vec<String>)> {
    let named = !args.interfaces.is_empty();
    let names = if named {
        &args.interfaces
    } else {
        &policy.interfaces
    };
    if names.is_empty() {
        return Err(Failure::usage("the policy names no interface; say `xdpfw up IFACE`").into());
    }
    let known = interfaces()?;
    let mut wanted = Wanted {
        interfaces: Vec::new(),
        named,
        mode: args.mode,
    };
    let mut missing = Vec::new();
    for name in names {
        match known.iter().find(|interface| interface.name == *name) {
            Some(found) => {
                if !wanted.interfaces.iter().any(|one| one.index == found.index) {
                    wanted.interfaces.push(found.clone());
                }
            }
            None if named => {
                let others: Vec<&str> = known.iter().map(|one| one.name.as_str()).collect();
                return Err(Failure::kernel(format!(
                    "no interface `{}` (there are {})",
                    name.escape_debug(),
                    others.join(", ")
                ))
                .into());
            }
            None => missing.push(format!(
                "{}: there is no such interface (once it is there, say `xdpfw up`)",
                name.escape_debug()
            )),
        }
    }
    Ok((wanted, missing))
}

/// Attaches one. Also returns why native mode could not be had, where `auto` asked for it.
fn attach(store: &Store, interface: &Interface, wanted: ModeArg) -> Result<(Mode, Option<String>)> {
    let mode = match wanted {
        ModeArg::Native | ModeArg::Auto => Mode::Native,
        ModeArg::Generic => Mode::Generic,
    };
    let Err(error) = store.attach(interface, mode) else {
        return Ok((mode, None));
    };
    let refusal = error.downcast::<Refusal>()?;
    // Whatever else is attached would be in the way of generic mode, too.
    if wanted != ModeArg::Auto
        || interface.xdp.is_some()
        || store.attach(interface, Mode::Generic).is_err()
    {
        return Err(Failure::kernel(refusal).into());
    }
    let remedy = refusal
        .remedy
        .map_or_else(String::new, |remedy| format!("; {remedy}"));
    let downgraded = format!(
        "{}: no native XDP here ({}{remedy}), so packets are dropped later, in the network stack",
        interface.name, refusal.why
    );
    Ok((Mode::Generic, Some(downgraded)))
}

fn report(interface: &Interface, mode: Mode, policy: &Policy, printer: &mut Printer) -> Result<()> {
    let rules = policy.rules.len();
    let driver = interface
        .driver
        .as_ref()
        .map_or_else(String::new, |driver| format!(" ({driver})"));
    printer.line(&format!(
        "{}: {mode} XDP{driver}, default {}, {rules} rule{}",
        interface.name,
        policy.default,
        if rules == 1 { "" } else { "s" }
    ))
}
