//! `xdpfw lists`: the lists of the policy, and reading them anew.

use anyhow::Result;

use super::{
    Context, Exit, Failure,
    privilege::{require_to_change, require_to_read},
};
use crate::{
    duration::Seconds,
    engine::{Engine, Outcome, Refresh},
    output::{ListBans, ListTable, Printer},
    policy::{List, Policy, unknown_list},
    text::thousands,
};

/// Seconds that a server may take where nothing else is said.
const TIMEOUT: u64 = 120;

/// Arguments of `lists`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Read lists anew, from their files and servers
    #[command(
        after_help = "Examples:\n  xdpfw lists refresh\n  xdpfw lists refresh drop\n  xdpfw lists refresh --force drop     # though it has shrunk by more than half"
    )]
    Refresh(RefreshArgs),
}

#[derive(Debug, clap::Args)]
struct RefreshArgs {
    /// The lists; without any, all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only those whose time has come, for a timer
    #[arg(long)]
    due: bool,
    /// Even if one has shrunk by more than half, or what is in force would cut this SSH session
    #[arg(long)]
    force: bool,
    /// How long a server may take [default: 2m]
    #[arg(long, value_name = "DUR")]
    timeout: Option<Seconds>,
}

/// Shows the lists, or reads them anew.
///
/// # Errors
///
/// The policy is invalid, what is kept of lists cannot be read, or the kernel refuses.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    match &args.action {
        None => show(context, printer),
        Some(Action::Refresh(args)) => refresh(args, context, printer),
    }
}

fn show(context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let file = context.policy_file()?;
    let lists = Engine::shared()?.lists(&context.history(), file.policy())?;
    let table = ListTable::new(&lists);
    match context.json() {
        true => printer.json(&table)?,
        false => printer.text(&table.to_string())?,
    }
    Ok(Exit::Done)
}

fn refresh(args: &RefreshArgs, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let file = context.policy_file()?;
    let policy = file.policy();
    if let Some(name) = args.names.iter().find(|name| policy.list(name).is_none()) {
        let name = name.escape_debug().to_string();
        return Err(Failure::new(Exit::Failed, unknown_list(&name)).into());
    }
    require_to_change()?;
    let timeout = match args.timeout {
        Some(timeout) => timeout,
        None => Seconds::new(TIMEOUT)?,
    };
    let refresh = Refresh {
        due: args.due,
        force: args.force,
        timeout: timeout.duration(),
    };
    let outcomes = refresh.run(policy, &args.names)?;
    printer.change_is_made();
    if outcomes.is_empty() && !args.due {
        printer.note("no list in the policy (say `[list.NAME]` in the policy file)");
    }
    let mut exit = Exit::Done;
    for outcome in &outcomes {
        report(outcome, printer)?;
        if outcome.result.is_err() {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// Says what has become of a list, in a line.
fn report(outcome: &Outcome, printer: &mut Printer) -> Result<()> {
    let name = &outcome.name;
    let refreshed = match &outcome.result {
        Ok(refreshed) => refreshed,
        Err(error) => {
            printer.error(&format!("{name}: not refreshed: {error:#}"));
            return Ok(());
        }
    };
    if refreshed.garbage.count() > 0 {
        printer.warning(&format!("list {name}: {}", refreshed.garbage));
    }
    let [ipv4, ipv6] = refreshed.entries.map(|count| thousands(count as u64));
    let change = match (refreshed.added, refreshed.removed) {
        (0, 0) => "nothing new".to_owned(),
        (added, removed) => format!(
            "{} added, {} removed",
            thousands(added as u64),
            thousands(removed as u64)
        ),
    };
    printer.line(&format!(
        "{name}: {ipv4} IPv4 and {ipv6} IPv6 prefixes, {change}"
    ))
}

/// Shows what a list bans.
///
/// # Errors
///
/// There is no such list, what is kept of it cannot be read, or the kernel refuses.
pub(super) fn show_bans(name: &str, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let file = context.policy_file()?;
    let list = banning(file.policy(), name)?;
    require_to_read()?;
    let engine = Engine::shared()?;
    let history = context.history();
    let banned = engine.banned_by(&history, list)?;
    let known = engine.lists(&history, file.policy())?;
    drop(engine);
    let known = known.iter().find(|known| known.name == list.name);
    let refreshed = known.and_then(|known| known.refreshed);
    let bans = ListBans::new(&list.name, refreshed, &banned);
    match context.json() {
        true => printer.json(&bans)?,
        false => printer.text(&bans.to_string())?,
    }
    Ok(Exit::Done)
}

/// Notes the lists that ban, where bans are shown.
///
/// # Errors
///
/// As for [`show_bans`].
pub(super) fn note_bans(context: &Context, printer: &mut Printer) -> Result<()> {
    // Of a policy that is none, others tell.
    let Ok(file) = context.policy_file() else {
        return Ok(());
    };
    if !file.policy().lists.iter().any(|list| list.ban) {
        return Ok(());
    }
    let lists = Engine::shared()?.lists(&context.history(), file.policy())?;
    for list in lists.iter().filter(|list| list.bans) {
        let name = &list.name;
        let entries = thousands(list.entries.iter().sum::<usize>() as u64);
        let hits = list.hits.map_or_else(String::new, |hits| {
            format!(", {} packets dropped", thousands(hits))
        });
        printer.note(&format!(
            "the list {name} bans {entries} more{hits} (see `xdpfw bans --list {name}`)"
        ));
    }
    Ok(())
}

/// The list of this name that bans.
///
/// # Errors
///
/// There is none.
fn banning<'a>(policy: &'a Policy, name: &str) -> Result<&'a List> {
    let said = name.escape_debug();
    match policy.list(name) {
        Some(list) if list.ban => Ok(list),
        Some(_) => {
            let message =
                format!("the list {said} bans nobody (say `ban = true` in the policy file)");
            Err(Failure::new(Exit::Failed, message).into())
        }
        None => Err(Failure::new(Exit::Failed, unknown_list(&said.to_string())).into()),
    }
}
