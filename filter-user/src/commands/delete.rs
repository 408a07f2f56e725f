//! `xdpfw delete`: remove rules.

use anyhow::Result;
use jiff::Timestamp;

use super::{
    Context, Exit, Failure,
    candidates::Values,
    confirming::{Confirming, note_deadline},
    edit::Edit,
    matching::MatchOptions,
    warn,
};
use crate::{
    analysis,
    output::{ITEMS, Printer, change_line},
    policy::{Action, Match, Policy, RuleId},
};

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids (`r3 r4`), or the words of a rule (`allow tcp 443`)
    #[arg(required_unless_present = "all", value_name = "ID | RULE", add = Values::IdsOrRule.completer())]
    words: Vec<String>,
    /// Every rule
    #[arg(long, conflicts_with = "words")]
    all: bool,
    #[command(flatten)]
    options: MatchOptions,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirming: Confirming,
    /// Make the change even if it cuts this SSH session, or puts more in force than it says
    #[arg(long)]
    force: bool,
}

impl Args {
    /// Whether the words name rules.
    ///
    /// # Errors
    ///
    /// They name none.
    pub(super) fn check(&self) -> Result<()> {
        Named::parse(self).map(drop)
    }
}

/// Removes rules.
///
/// # Errors
///
/// A rule is not there, or the change cannot be made; then all rules stay.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let named = Named::parse(args)?;
    if args.dry_run {
        let file = context.policy_file()?;
        for id in named.find(file.policy())? {
            report(
                file.policy(),
                id,
                "would go (dry run, nothing changed)",
                printer,
            )?;
        }
        return Ok(Exit::Done);
    }
    let mut edit = Edit::begin(context, args.force)?.lasting(args.confirming.lasts);
    let policy = edit.file.policy().clone();
    let ids = named.find(&policy)?;
    edit.file.remove(&ids)?;
    let applied = edit.commit(printer)?;
    if ids.is_empty() {
        printer.note("there was no rule");
    }
    for id in ids {
        report(&policy, id, "deleted", printer)?;
    }
    let now = Timestamp::now();
    let (before, after) = (
        policy.without_ended(now),
        edit.file.policy().without_ended(now),
    );
    warn(&analysis::of_removal(&before, &after), printer);
    note_deadline(&applied, printer);
    Ok(Exit::Done)
}

/// Which rules are meant.
enum Named {
    All,
    Ids(Vec<RuleId>),
    /// What it does, and the packets.
    Words(&'static str, Match),
}

impl Named {
    fn parse(args: &Args) -> Result<Self> {
        if args.all {
            args.options.refuse("`--all`")?;
            return Ok(Self::All);
        }
        let Some((first, words)) = args.words.split_first() else {
            return Err(Failure::usage("say which rules: `r3 r4`, or `allow tcp 443`").into());
        };
        if let Some(action) = action(first) {
            return Ok(Self::Words(action, args.options.parse(words)?));
        }
        args.options.refuse("an id")?;
        let ids = args.words.iter().map(|word| id(word));
        Ok(Self::Ids(
            ids.collect::<Result<_, String>>().map_err(Failure::usage)?,
        ))
    }

    fn find(&self, policy: &Policy) -> Result<Vec<RuleId>> {
        match self {
            Self::All => Ok(policy.rules.iter().map(|rule| rule.id).collect()),
            Self::Ids(ids) => {
                if let Some(id) = ids.iter().find(|&&id| policy.rule(id).is_none()) {
                    return Err(missing(&format!("no rule {id}")));
                }
                let mut ids = ids.clone();
                ids.sort_unstable();
                ids.dedup();
                Ok(ids)
            }
            Self::Words(action, matching) => match policy.same_rule(action, matching) {
                Some(rule) => Ok(vec![rule.id]),
                None => Err(missing(&format!(
                    "no rule says `{action} {matching:.ITEMS$}`"
                ))),
            },
        }
    }
}

/// The id that a word is. Numbers are places to users of ufw and iptables.
fn id(word: &str) -> Result<RuleId, String> {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().map_err(|error: String| match is_number {
        true => "rules have ids, not numbers (say the id that `xdpfw list` shows)".to_owned(),
        false => error,
    })
}

/// The action that the words of a rule begin with.
fn action(word: &str) -> Option<&'static str> {
    Action::WORDS.into_iter().find(|action| word == *action)
}

fn missing(matching: &str) -> anyhow::Error {
    Failure::new(Exit::Failed, format!("{matching} (see `xdpfw list`)")).into()
}

fn report(policy: &Policy, id: RuleId, note: &str, printer: &mut Printer) -> Result<()> {
    match policy.rule(id) {
        Some(rule) => printer.line(&change_line(rule, note)),
        None => Ok(()),
    }
}
