//! `xdpfw up`: attach the filter to interfaces.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use jiff::Timestamp;

use super::{
    Context, Exit, Failure, boot,
    candidates::Values,
    confirming::{Confirming, note_deadline, warn_of_doubt},
    edit::{beyond, refusal_of_more, refuse_other_file, remove_ended, report_ended, report_more},
    joining::{begin, report_applied},
    privilege::require_to_change,
    recording::Recording,
    warn, warn_of_cookies, warn_of_interfaces,
};
use crate::{
    analysis,
    datapath::NextProgram,
    engine::{Facts, Following, Join, Joined, ModeWish, PolicyFile},
    netlink::{Interface, default_route_interfaces, interfaces},
    output::{Printer, closed_line},
    policy::{DefaultAction, Policy, Replies, is_interface_name},
    system::{ephemeral_ports, forwarding, published_ports, sockets},
};

/// What `--then` has in place of a pin: no program runs behind the filter any more.
const NOTHING: &str = "none";

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The interfaces; without any, those of the policy
    #[arg(value_name = "IFACE", add = Values::Interfaces.completer())]
    interfaces: Vec<String>,
    /// Run the program in the driver, or in the network stack
    #[arg(long, value_enum, default_value_t)]
    mode: ModeArg,
    /// Hand what passes on to the XDP program pinned here, until `down`; `none` ends it
    #[arg(long, value_name = "PIN", value_hint = clap::ValueHint::FilePath)]
    then: Option<PathBuf>,
    /// Take XDP programs of others off, which are named
    #[arg(long, conflicts_with = "lasts")]
    replace: bool,
    #[command(flatten)]
    confirming: Confirming,
    /// As the service does at boot: filter what is there of the policy, never nothing; with an
    /// interface, as udev does when one comes
    #[arg(long, conflicts_with_all = ["mode", "then", "replace", "lasts", "force"])]
    boot: bool,
    /// Make the change even if it cuts this SSH session, or puts more in force than it says
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

/// Attaches the filter.
///
/// # Errors
///
/// An interface is not known or refuses. Those attached by this command are then detached
/// again if the command line named them, and stay if they are the policy's.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    if args.boot {
        return boot::run(&args.interfaces, context, printer);
    }
    require_to_change()?;
    if let Some(name) = args.interfaces.iter().find(|name| !is_interface_name(name)) {
        let name = name.escape_debug();
        let message = format!("`{name}` is no name for a policy (rename the interface)");
        return Err(Failure::usage(message).into());
    }
    let following = following(args.then.as_deref())?;
    let engine = begin(printer)?;
    engine.refuse_while_temporary()?;
    let mut file = context.policy_file()?;
    if !args.force {
        refuse_other_file(&engine, &file, context.policy_path())?;
    }
    let beyond = beyond(&engine, &file);
    if let Some(beyond) = beyond.as_ref().filter(|_| !args.force && !file.exists()) {
        // Nobody means to lose all rules with a file.
        return Err(refusal_of_more(&file, context.policy_path(), beyond));
    }
    let attached = engine.live().map_or(&[][..], |live| &live.attached);
    let mode = args.mode.into();
    let join = if args.interfaces.is_empty() {
        Join::of_policy(file.policy(), mode, attached)?
    } else {
        let join = Join::named(&args.interfaces, mode, attached)?;
        remember(&mut file, join.names(), context.policy_path())?;
        join
    };
    let ended = remove_ended(&mut file)?;
    let join = join.replacing(args.replace);
    let facts = match args.force {
        true => Facts::Renewed,
        false => Facts::Followed,
    };
    let recording = Recording::begin(context.history(), &engine, &file);
    let change = engine.change(&file).by(recording.change());
    let change = change.join(join).facts(facts).following(following);
    let change = change.guarded(!args.force).lasting(args.confirming.lasts);
    let applied = change.commit()?;
    let recorded = recording.end(&engine, &file, &applied);
    drop(engine);
    printer.change_is_made();
    recorded.report(printer);

    // Everything is done before anything is printed.
    warn_of_doubt(&applied, printer);
    if let Some(summary) = &applied.summary {
        printer.detail(|| summary.clone());
    }
    report_ended(&ended, printer);
    if let Some(beyond) = &beyond {
        report_more(beyond, printer);
    }
    let reported = report_applied(&applied, file.policy(), printer);
    let policy = &file.policy().without_ended(Timestamp::now());
    warn(&analysis::of_policy(policy, ephemeral_ports()), printer);
    warn_of_interfaces(policy, &policy.rules, printer);
    warn_of_cookies(&policy.rules, printer);
    hint(policy, &applied.joined, printer);
    note_deadline(&applied, printer);
    applied.joined.check()?;
    reported.map(|()| Exit::Done)
}

/// Says what a new user of this policy may not expect: what becomes of forwarded packets,
/// which services are closed, and by which way answers may be lost. What cannot be found out
/// is left out: the filter is up.
fn hint(policy: &Policy, joined: &Joined, printer: &mut Printer) {
    if policy.default == DefaultAction::Pass {
        return;
    }
    if forwarding().is_on() {
        let passes = match policy.replies {
            Replies::Flows => "answers to what went out pass",
            Replies::Sockets | Replies::Off => "no answer passes without a rule",
        };
        printer.note(&format!(
            "this host forwards: what comes in for others needs a rule like what is for this \
             host; {passes}"
        ));
    }
    let sockets = sockets().unwrap_or_default();
    let closed =
        analysis::listeners_closed(policy, ephemeral_ports(), &sockets, &published_ports());
    if let Some(line) = closed_line(&closed) {
        // Without any rule, they were hardly closed on purpose.
        match policy.rules.is_empty() {
            true => printer.warning(&line),
            false => printer.note(&line),
        }
    }
    if policy.replies == Replies::Flows
        && let Some(name) = unrecorded_default_route(policy, joined)
    {
        printer.warning(&format!(
            "a default route leaves by {name}, where nothing is recorded: if answers come in by \
             a filtered interface, put {name} into `answers_from`"
        ));
    }
}

/// An interface by which a default route leaves, and which is neither filtered nor recorded.
fn unrecorded_default_route(policy: &Policy, joined: &Joined) -> Option<String> {
    let routes = default_route_interfaces().ok()?;
    let known = interfaces().ok()?;
    let filtered = |index: u32| {
        let mut filtered = joined.filtered.iter();
        filtered.any(|one| one.interface.index == index)
    };
    // What leaves by a bridge, a VLAN or a tunnel leaves by an interface below it, too.
    let is_recorded = |interface: &Interface| {
        filtered(interface.index)
            || policy.answers_from.contains(&interface.name)
            || interface.lower.is_some_and(filtered)
            || known.iter().any(|port| {
                port.master
                    .is_some_and(|master| master.index == interface.index)
                    && filtered(port.index)
            })
    };
    let lost = known
        .iter()
        .filter(|interface| routes.contains(&interface.index));
    lost.filter(|interface| !is_recorded(interface))
        .map(|interface| interface.name.clone())
        .next()
}

/// The program that is to run behind the filter.
fn following(then: Option<&Path>) -> Result<Following> {
    match then {
        None => Ok(Following::AsBefore),
        Some(path) if path == Path::new(NOTHING) => Ok(Following::Nothing),
        Some(path) => NextProgram::open(path).map(Following::Program),
    }
}

impl From<ModeArg> for ModeWish {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Auto => Self::Auto,
            ModeArg::Native => Self::Native,
            ModeArg::Generic => Self::Generic,
        }
    }
}

/// Remembers the interfaces, so that a plain `up` brings them back after a boot.
fn remember<'a>(
    file: &mut PolicyFile,
    wanted: impl Iterator<Item = &'a str>,
    path: &Path,
) -> Result<()> {
    for name in wanted {
        let list = &file.policy().interfaces;
        if list.contains(name) {
            continue;
        }
        if let Some(word) = list.excluded_by(name) {
            let message = format!(
                "{}: the policy is not for it, by `{word}` (take that out of {})",
                name.escape_debug(),
                path.display()
            );
            return Err(Failure::usage(message).into());
        }
        file.add_interface(name.to_owned())?;
    }
    Ok(())
}
