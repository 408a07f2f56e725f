//! `xdpfw down`: detach the filter.

use anyhow::Result;

use super::{Context, Exit, Failure, candidates::Values, privilege::require_to_detach};
use crate::{engine::Engine, output::Printer};

/// Arguments of `down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The interfaces; without any, all
    #[arg(value_name = "IFACE", add = Values::Interfaces.completer())]
    interfaces: Vec<String>,
}

/// Detaches the filter; with the last interface, its counters are forgotten.
///
/// # Errors
///
/// A named interface is not filtered, and nothing changes; or a pin cannot be removed, and
/// all others are.
pub fn run(args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_detach()?;
    let (engine, was_older) = match args.interfaces.as_slice() {
        [] => Engine::without_older()?,
        _ => (Engine::exclusive()?, false),
    };
    let store = engine.store();
    let attached = store.attached()?;
    let mut strays = store.strays()?;
    // Of a namespace that is there, only those that are named: its operator filters them.
    strays.retain(|stray| match args.interfaces.as_slice() {
        [] => stray.is_orphan,
        names => names.contains(&stray.interface.name),
    });
    for name in &args.interfaces {
        let is_stray = strays.iter().any(|stray| stray.interface.name == *name);
        if !is_stray && !attached.iter().any(|a| a.interface.name == *name) {
            return Err(
                Failure::new(Exit::Failed, format!("{}: not up", name.escape_debug())).into(),
            );
        }
    }
    let (leaving, staying): (Vec<_>, Vec<_>) = attached
        .into_iter()
        .partition(|a| args.interfaces.is_empty() || args.interfaces.contains(&a.interface.name));
    // Everything is done before anything is printed: whoever reads the output may close it
    // after the first line.
    let mut detached = Vec::new();
    let mut failed = None;
    for attached in &leaving {
        match store.detach(attached.interface.index) {
            Ok(()) => detached.push(attached.interface.name.clone()),
            Err(error) => failed = Some(failed.unwrap_or(error)),
        }
    }
    for stray in &strays {
        match store.detach_stray(stray) {
            Ok(()) => detached.push(stray.interface.name.clone()),
            Err(error) => failed = Some(failed.unwrap_or(error)),
        }
    }
    // What remains is removed by the next `up` or `down`.
    drop(store.sweep());
    let mut moved_away = 0;
    if staying.is_empty() && failed.is_none() {
        // With the last interface here, those go that are elsewhere now.
        moved_away = store.moved_away().unwrap_or_default();
        // That it is freed slowly is no reason to keep it.
        drop(engine.empty_bans());
        failed = store.clear().err();
    }
    let found_none = leaving.is_empty() && strays.is_empty() && moved_away == 0;
    // They have directories open.
    drop(strays);
    // Nobody waits for whoever reads what is printed.
    match failed {
        None if staying.is_empty() => engine.remove_unused(),
        _ => drop(engine),
    }
    printer.change_is_made();
    if was_older {
        printer.note("took off the filter of an older version");
    } else if found_none {
        printer.note("nothing was up");
    }
    let elsewhere = match moved_away {
        _ if failed.is_some() => None,
        0 => None,
        1 => Some("1 interface that is in another network namespace now".to_owned()),
        n => Some(format!(
            "{n} interfaces that are in other network namespaces now"
        )),
    };
    let printed = detached
        .into_iter()
        .chain(elsewhere)
        .try_for_each(|name| printer.line(&format!("{name}: detached")));
    match failed {
        Some(error) => Err(error),
        None => printed.map(|()| Exit::Done),
    }
}
