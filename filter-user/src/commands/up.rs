//! `xdpfw up`: attach the filter to interfaces.

use anyhow::Result;
use clap::ValueEnum;

use super::{Context, lockout, require_root};
use crate::{
    exit::{Exit, Failure},
    kernel::{Attached, Counters, Interface, Lock, Mode, Store, interfaces},
    policy::Policy,
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

    let store = Store::create()?;
    let attached = store.attached()?;
    let is_attached = |interface: &&Interface| {
        attached
            .iter()
            .any(|a| a.interface.index == interface.index)
    };
    for attached in &attached {
        let Attached { interface, mode } = attached;
        let conflict = matches!(
            (args.mode, mode),
            (Wanted::Native, Mode::Generic) | (Wanted::Generic, Mode::Native)
        );
        if conflict && names.contains(&interface.name) {
            let name = &interface.name;
            return Err(Failure::new(
                Exit::Failed,
                format!("{name}: is up in {mode} mode (say `xdpfw down {name}` first)"),
            )
            .into());
        }
    }
    let current = if attached.is_empty() {
        // Nothing is filtered: what is pinned is left over.
        store.clear()?;
        None
    } else {
        store.forget_gone()?;
        store.current()?
    };
    let in_force: Option<&Policy> = current.as_ref().map(|current| &current.record().policy);
    if !args.force {
        let everywhere = wanted.iter().all(|interface| is_attached(&interface));
        let before = if everywhere { in_force } else { None };
        lockout::guard(file.policy(), before, &lockout::remedy(), printer)?;
    }

    let store = Store::create()?;
    let change = match in_force {
        Some(in_force) if in_force.same_verdicts(file.policy()) => None,
        _ => Some(store.prepare(file.policy(), Counters::Keep, false)?),
    };
    if let Some(change) = &change {
        printer.detail(|| change.describe());
    }
    // The first generation must be in force before the first interface runs it.
    // Later ones wait until every interface has been attached.
    let mut change = match change {
        Some(change) if current.is_none() => {
            change.make()?;
            None
        }
        change => change,
    };
    let mut fresh: Vec<&Interface> = Vec::new();
    for interface in &wanted {
        let mode = match attached
            .iter()
            .find(|a| a.interface.index == interface.index)
        {
            Some(attached) => attached.mode,
            None => match attach(&store, interface, args.mode, printer) {
                Ok(mode) => {
                    fresh.push(interface);
                    mode
                }
                Err(error) => {
                    for interface in fresh {
                        store.detach(interface.index)?;
                    }
                    if let Some(change) = change.take() {
                        change.abandon();
                    }
                    if attached.is_empty() {
                        store.clear()?;
                    }
                    return Err(error);
                }
            },
        };
        report(interface, mode, file.policy(), printer)?;
    }
    let known = &file.policy().interfaces;
    let missing: Vec<&String> = names.iter().filter(|name| !known.contains(name)).collect();
    if !missing.is_empty() || !file.path().exists() {
        let all = known.iter().chain(missing).cloned().collect();
        file.set_interfaces(all);
        file.save()?;
    }
    if let Some(change) = change {
        change.make()?;
    }
    Ok(Exit::Done)
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
    // Whatever else is attached would be in the way of generic mode, too.
    if wanted != Wanted::Auto || interface.xdp.is_some() {
        return Err(error);
    }
    store.attach(interface, Mode::Generic).map_err(|_| error)?;
    printer.warning(&format!(
        "{}: no native XDP here, so packets are dropped later, in the network stack",
        interface.name
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
