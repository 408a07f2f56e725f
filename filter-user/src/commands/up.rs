//! `xdpfw up`: attach the filter to interfaces.

use anyhow::Result;
use clap::ValueEnum;

use super::{Context, lockout, require_root, warnings};
use crate::{
    exit::{Exit, Failure},
    kernel::{Attached, Counters, Interface, Live, Lock, Mode, Refusal, Store, interfaces},
    policy::{Policy, PolicyFile},
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
    mode: Wanted,
    /// Even if it cuts the SSH session this runs in
    #[arg(long)]
    force: bool,
}

/// Where the program is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// In the driver if it can, else in the network stack
    #[default]
    Auto,
    /// In the driver
    Native,
    /// In the network stack
    Generic,
}

/// Attaches the filter.
///
/// # Errors
///
/// An interface is not known or refuses; those attached by this command are
/// then detached again.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_root()?;
    let _lock = Lock::exclusive()?;
    let mut file = context.policy_file()?;
    let names = if args.interfaces.is_empty() {
        file.policy().interfaces.clone()
    } else {
        args.interfaces.clone()
    };
    if names.is_empty() {
        return Err(Failure::usage("the policy names no interface; say `xdpfw up IFACE`").into());
    }
    let wanted = find(&names)?;
    add_interfaces(&mut file, &wanted)?;
    let store = Store::open()?;
    let live = store.live()?;
    let attached = live.as_ref().map_or(&[][..], |live| &live.attached);
    refuse_other_modes(args.mode, &wanted, attached)?;
    if !args.force {
        // On an interface that was not filtered, everything passed.
        let everywhere = wanted.iter().all(|new| mode_on(new, attached).is_some());
        let in_force = live.as_ref().filter(|_| everywhere);
        lockout::guard(
            file.policy(),
            in_force.map(|live| &live.generation.record().policy),
            printer,
        )?;
    }
    let modes = match &live {
        None => start(&wanted, args.mode, &file, &store, printer)?,
        Some(live) => join(&wanted, args.mode, &file, &store, live, printer)?,
    };
    for (interface, mode) in wanted.iter().zip(modes) {
        report(interface, mode, file.policy(), printer)?;
    }
    warnings::of_policy(file.policy(), printer);
    Ok(Exit::Done)
}

/// Brings the filter up where nothing was filtered.
fn start(
    interfaces: &[Interface],
    wanted: Wanted,
    file: &PolicyFile,
    store: &Store,
    printer: &mut Printer,
) -> Result<Vec<Mode>> {
    // What is pinned is left over: of a namespace that is gone, or of a command
    // that was killed.
    store.clear()?;
    let store = Store::create()?;
    let mut up = || {
        let change = store.prepare(file.policy(), Counters::Reset, false)?;
        printer.detail(|| change.describe());
        // In force before the first interface asks for it.
        change.make()?;
        let (modes, _) = attach_all(interfaces, &[], wanted, &store, printer)?;
        file.save_if_changed()?;
        Ok(modes)
    };
    up().inspect_err(|_: &anyhow::Error| drop(store.clear()))
}

/// Attaches more interfaces to the filter, and puts the policy file in force
/// where it says something new.
fn join(
    interfaces: &[Interface],
    wanted: Wanted,
    file: &PolicyFile,
    store: &Store,
    live: &Live,
    printer: &mut Printer,
) -> Result<Vec<Mode>> {
    store.forget_gone()?;
    let in_force = live.generation.record();
    let change = if in_force.is_up_to_date(file.policy())? {
        None
    } else {
        Some(store.prepare(file.policy(), Counters::Keep, false)?)
    };
    if let Some(change) = &change {
        printer.detail(|| change.describe());
    }
    let (modes, fresh) = attach_all(interfaces, &live.attached, wanted, store, printer)?;
    if let Err(error) = file.save_if_changed() {
        detach_all(&fresh, store)?;
        return Err(error);
    }
    if let Some(change) = change
        && let Err(error) = change.make()
    {
        detach_all(&fresh, store)?;
        file.restore()?;
        return Err(error);
    }
    Ok(modes)
}

/// Attaches all that are not attached yet, or none. Returns the modes of all,
/// and those that are new.
fn attach_all<'a>(
    interfaces: &'a [Interface],
    attached: &[Attached],
    wanted: Wanted,
    store: &Store,
    printer: &mut Printer,
) -> Result<(Vec<Mode>, Vec<&'a Interface>)> {
    let mut modes = Vec::new();
    let mut fresh = Vec::new();
    for interface in interfaces {
        match mode_on(interface, attached) {
            Some(mode) => modes.push(mode),
            None => match attach(store, interface, wanted, printer) {
                Ok(mode) => {
                    modes.push(mode);
                    fresh.push(interface);
                }
                Err(error) => {
                    detach_all(&fresh, store)?;
                    return Err(error);
                }
            },
        }
    }
    Ok((modes, fresh))
}

fn detach_all(interfaces: &[&Interface], store: &Store) -> Result<()> {
    interfaces
        .iter()
        .try_for_each(|interface| store.detach(interface.index))
}

fn mode_on(interface: &Interface, attached: &[Attached]) -> Option<Mode> {
    attached
        .iter()
        .find(|attached| attached.interface.index == interface.index)
        .map(|attached| attached.mode)
}

/// An interface has one mode; changing it would leave it open for a moment.
fn refuse_other_modes(
    wanted: Wanted,
    interfaces: &[Interface],
    attached: &[Attached],
) -> Result<()> {
    for interface in interfaces {
        let name = &interface.name;
        match (wanted, mode_on(interface, attached)) {
            (Wanted::Native, Some(mode @ Mode::Generic))
            | (Wanted::Generic, Some(mode @ Mode::Native)) => {
                let message =
                    format!("{name}: is up in {mode} mode (say `xdpfw down {name}` first)");
                return Err(Failure::new(Exit::Failed, message).into());
            }
            _ => {}
        }
    }
    Ok(())
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

/// The interfaces of these names.
fn find(names: &[String]) -> Result<Vec<Interface>> {
    let known = interfaces()?;
    let mut found: Vec<Interface> = Vec::new();
    for name in names {
        let Some(interface) = known.iter().find(|interface| interface.name == *name) else {
            let others: Vec<&str> = known
                .iter()
                .map(|interface| interface.name.as_str())
                .collect();
            return Err(Failure::kernel(format!(
                "no interface `{}` (there are {})",
                name.escape_debug(),
                others.join(", ")
            ))
            .into());
        };
        if !found.iter().any(|other| other.index == interface.index) {
            found.push(interface.clone());
        }
    }
    Ok(found)
}

fn attach(
    store: &Store,
    interface: &Interface,
    wanted: Wanted,
    printer: &mut Printer,
) -> Result<Mode> {
    let mode = match wanted {
        Wanted::Native | Wanted::Auto => Mode::Native,
        Wanted::Generic => Mode::Generic,
    };
    let Err(error) = store.attach(interface, mode) else {
        return Ok(mode);
    };
    let refusal = error.downcast::<Refusal>()?;
    // Whatever else is attached would be in the way of generic mode, too.
    if wanted != Wanted::Auto
        || interface.xdp.is_some()
        || store.attach(interface, Mode::Generic).is_err()
    {
        return Err(Failure::kernel(refusal).into());
    }
    let remedy = refusal
        .remedy
        .map_or_else(String::new, |remedy| format!("; {remedy}"));
    printer.warning(&format!(
        "{}: no native XDP here ({}{remedy}), so packets are dropped later, in the network stack",
        interface.name, refusal.why
    ));
    Ok(Mode::Generic)
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
