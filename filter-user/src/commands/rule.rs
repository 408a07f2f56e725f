//! `xdpfw allow` and `xdpfw deny`: add a rule.

use anyhow::Result;
use serde::Serialize;

use super::{
    Context, Exit, Failure,
    edit::{Edit, describe},
    matching::MatchOptions,
    warn, warn_without_mac,
};
use crate::{
    analysis,
    output::{ITEMS, Printer, RuleRow},
    policy::{Action, Match, Policy, Rule, RuleId},
    system::ephemeral_ports,
};

/// Arguments of `allow` and `deny`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packets that the rule matches: `tcp 443`, `udp 53`, `tcp 80,8000-8100`, `tcp any`, `https`,
    /// `icmp echo-request`, `icmp6 any`, `proto gre`, `any`
    #[arg(required = true, value_name = "WHAT")]
    words: Vec<String>,
    #[command(flatten)]
    options: MatchOptions,
    /// A note about the rule
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Put the rule in front of this one, instead of at the end
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Make the change even if it cuts this SSH session, or puts more in force than it says
    #[arg(long)]
    force: bool,
}

/// The rule that was added, or stood there already.
#[derive(Serialize)]
struct Added {
    schema: &'static str,
    rule: RuleRow,
    added: bool,
    live: Vec<String>,
}

/// Adds a rule.
///
/// # Errors
///
/// The words make no rule, or the change cannot be made.
pub fn run(action: Action, args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let matching = args.options.parse(&args.words)?;
    let before = match &args.before {
        Some(id) => Some(id.parse::<RuleId>().map_err(Failure::usage)?),
        None => None,
    };
    if args.dry_run {
        let file = context.policy_file()?;
        let (rule, exists) = settle(file.policy(), action, matching, before, args)?;
        let added = Added::new(&rule, !exists, Vec::new());
        let note = if exists {
            "already there (dry run)"
        } else {
            "dry run, nothing changed"
        };
        added.print(&rule, note, context, printer)?;
        if !exists {
            let mut policy = file.policy().clone();
            policy.insert(rule.clone(), before);
            let warnings = analysis::of_rule(&policy, &rule, ephemeral_ports());
            warn(&warnings, printer);
            warn_without_mac(&policy, [&rule], printer);
        }
        return Ok(Exit::Done);
    }
    let mut edit = Edit::begin(context, args.force)?;
    let (rule, exists) = settle(edit.file.policy(), action, matching, before, args)?;
    if !exists {
        edit.file.add(rule.clone(), before)?;
    }
    let applied = edit.commit(printer)?;
    let note = if exists {
        format!("already there, {}", describe(&applied))
    } else {
        describe(&applied)
    };
    let added = Added::new(&rule, !exists, applied.interfaces);
    added.print(&rule, &note, context, printer)?;
    if !exists {
        let warnings = analysis::of_rule(edit.file.policy(), &rule, ephemeral_ports());
        warn(&warnings, printer);
        warn_without_mac(edit.file.policy(), [&rule], printer);
    }
    Ok(Exit::Done)
}

/// The rule that is to be there, and whether it is.
fn settle(
    policy: &Policy,
    action: Action,
    matching: Match,
    before: Option<RuleId>,
    args: &Args,
) -> Result<(Rule, bool)> {
    if let Some(id) = before
        && policy.rule(id).is_none()
    {
        return Err(Failure::new(Exit::Failed, format!("no rule {id} (see `xdpfw list`)")).into());
    }
    if let Some(rule) = policy.same_rule(action, &matching) {
        return Ok((rule.clone(), true));
    }
    let rule = Rule {
        id: policy.free_id(),
        action,
        matches: matching,
        comment: args.comment.clone(),
    };
    Ok((rule, false))
}

impl Added {
    fn new(rule: &Rule, added: bool, live: Vec<String>) -> Self {
        Self {
            schema: "xdpfw.rule/1",
            rule: RuleRow::new(rule, Default::default()),
            added,
            live,
        }
    }

    fn print(
        &self,
        rule: &Rule,
        note: &str,
        context: &Context,
        printer: &mut Printer,
    ) -> Result<()> {
        if context.json() {
            printer.json(self)
        } else {
            printer.line(&format!("{}  {rule:.ITEMS$}   {note}", rule.id))
        }
    }
}
