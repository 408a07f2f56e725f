//! Shared by `up` and what is done at boot: how they begin, and what they say of interfaces.

use anyhow::Result;

use crate::{
    datapath::Attached,
    engine::{Applied, Engine, Joined, Upgraded},
    output::{Printer, shown_then},
    policy::Policy,
};

/// Says which interfaces are filtered, how, and what came of it.
pub(super) fn report_applied(
    applied: &Applied,
    policy: &Policy,
    printer: &mut Printer,
) -> Result<()> {
    let joined = &applied.joined;
    report_changes(joined, printer);
    let mut filtered = joined.filtered.iter();
    let reported = filtered.try_for_each(|one| report(one, policy, printer));
    if let Some(ending) = &applied.ending {
        printer.warning(&ending.to_string());
    }
    if let Some(generation) = &applied.generation
        && let Some(then) = &generation.record().then
        && reported.is_ok()
    {
        printer.note(&format!("what passes goes on to {}", shown_then(then)));
    }
    for unrecorded in &applied.unrecorded {
        printer.warning(unrecorded);
    }
    reported
}

/// Says what else became of interfaces that are filtered now.
pub(super) fn report_changes(joined: &Joined, printer: &mut Printer) {
    for changes in &joined.changes {
        if let Some(replaced) = &changes.replaced {
            let text = format!("{}: took off {}", replaced.interface, replaced.foreign);
            printer.note(&text);
        }
        if let Some(queues) = &changes.queues {
            printer.note(&queues.to_string());
        }
    }
    for downgraded in &joined.downgraded {
        printer.warning(downgraded);
    }
}

/// Takes the lock; first, this version takes the place of an older one, which is said whatever
/// comes of the rest.
pub(super) fn begin(printer: &mut Printer) -> Result<Engine> {
    let (engine, upgraded) = Engine::upgraded()?;
    if let Some(upgraded) = &upgraded {
        report_upgrade(upgraded, printer);
    }
    Ok(engine)
}

fn report_upgrade(upgraded: &Upgraded, printer: &mut Printer) {
    let kept = match upgraded.dropped.is_empty() {
        true => "its rules, counters and flows go on",
        false => "its rules go on",
    };
    printer.note(&format!(
        "took the place of an older version (state {}): {kept}",
        upgraded.from
    ));
    for dropped in &upgraded.dropped {
        printer.warning(dropped);
    }
}

/// Says how an interface is filtered.
pub(super) fn report(attached: &Attached, policy: &Policy, printer: &mut Printer) -> Result<()> {
    let Attached {
        interface, mode, ..
    } = attached;
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
