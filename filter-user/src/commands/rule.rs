//! `xdpfw allow`, `deny` and `limit`: add a rule, or move, comment or renew one that stands there.

use anyhow::Result;
use jiff::{Timestamp, Zoned};
use serde::Serialize;

use super::{
    Context, Exit, Failure,
    candidates::Values,
    confirming::Confirming,
    edit::{Edit, describe},
    matching::MatchOptions,
    warn, warn_of_cookies, warn_of_interfaces,
};
use crate::{
    analysis,
    duration::Seconds,
    names::services,
    netlink::interfaces,
    output::{CHANGED_ITEMS, Printer, RuleRow, change_line},
    policy::{
        Action, Limit, Match, NO_COOKIES, Policy, PolicyDocument, Rate, Rule, RuleId, Scope, Until,
        parse_comment,
    },
    system::ephemeral_ports,
    text::sentence_list,
};

/// Arguments of all of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packets that the rule matches: `tcp 443`, `udp 53`, `tcp 80,8000-8100`, `tcp any`, `https`,
    /// `ping`, `icmp echo-request`, `icmp6 any`, `proto gre`, `any`
    #[arg(required = true, value_name = "WHAT", add = Values::Rule.completer())]
    words: Vec<String>,
    #[command(flatten)]
    options: MatchOptions,
    /// End the rule by itself after this time (`30s`, `10m`, `2h`, `7d`)
    #[arg(long = "for", value_name = "DUR")]
    duration: Option<Seconds>,
    /// A note about the rule; of one that stands there already, the new one
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    comment: Option<String>,
    /// Put the rule in front of this one, instead of at the end
    #[arg(long, value_name = "ID", conflicts_with = "first", add = Values::Id.completer())]
    before: Option<String>,
    /// Put the rule in front of all others
    #[arg(long)]
    first: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirming: Confirming,
    /// Make the change even if it cuts this SSH session, or puts more in force than it says
    #[arg(long)]
    force: bool,
}

/// Arguments of `allow`.
#[derive(Debug, clap::Args)]
pub struct AllowArgs {
    #[command(flatten)]
    rule: Args,
    /// Where a thousand new connections of TCP come in a second, answer them with SYN cookies
    #[arg(long)]
    syn_cookies: bool,
}

impl AllowArgs {
    /// What the rule does, and the rule.
    ///
    /// # Errors
    ///
    /// It has nothing to answer.
    pub(super) fn read(&self) -> Result<(Action, &Args)> {
        if !self.syn_cookies {
            return Ok((Action::Allow, &self.rule));
        }
        let matching = self.rule.options.parse(&self.rule.words)?;
        match matching.has_cookies() {
            true => Ok((Action::AllowWithCookies, &self.rule)),
            false => Err(Failure::usage(format!("--syn-cookies: {NO_COOKIES}")).into()),
        }
    }
}

/// What ufw's `limit` lets in at once: it denies the sixth connection within 30 seconds.
const UFWS_BURST: u32 = 6;

/// Arguments of `limit`.
#[derive(Debug, clap::Args)]
pub struct LimitArgs {
    #[command(flatten)]
    rule: Args,
    /// Let in so many from each source in a time: new connections of TCP, packets of everything else
    /// [default: 12/m with a burst of 6, as ufw's]
    #[arg(long, value_name = "N/s|N/m|N/h")]
    rate: Option<Rate>,
    /// Let in so many at once from a source that was quiet [default: as many as the rate says]
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// Count sources together whose addresses begin with so many same bits, over IPv4 and over IPv6
    /// [default: 32,64]
    #[arg(long, value_name = "LEN,LEN")]
    per: Option<Scope>,
    /// Count all sources together
    #[arg(long)]
    total: bool,
    /// Ban sources that are over the limit, for this time, from new connections
    #[arg(long, value_name = "DUR")]
    ban: Option<Seconds>,
}

impl LimitArgs {
    /// The limit, and the rule that has it.
    ///
    /// # Errors
    ///
    /// The options contradict each other.
    pub(super) fn read(&self) -> Result<(Action, &Args)> {
        let (rate, burst) = match self.rate {
            Some(rate) => (rate, self.burst),
            None => (Rate::UFWS, self.burst.or(Some(UFWS_BURST))),
        };
        let limit = Limit::new(rate, burst, self.per, self.total, self.ban);
        let limit = limit
            .map_err(|(part, message)| Failure::usage(format!("--{}: {message}", part.as_str())))?;
        Ok((Action::Limit(limit), &self.rule))
    }
}

/// The rule that was added, or stood there already.
#[derive(Serialize)]
struct Added {
    schema: &'static str,
    rule: RuleRow,
    added: bool,
    moved: bool,
    commented: bool,
    /// Whether its end is another one now.
    renewed: bool,
    /// Whether it has another limit now, or SYN cookies.
    changed: bool,
    live: Vec<String>,
}

impl Args {
    /// Whether the words make a rule.
    ///
    /// # Errors
    ///
    /// They make none.
    pub(super) fn check(&self) -> Result<()> {
        self.options.parse(&self.words).map(drop)
    }
}

/// Adds a rule. One that says the same is moved or commented, if that is asked for, and ends
/// when this one would.
///
/// # Errors
///
/// The words make no rule, or the change cannot be made.
pub fn run(action: Action, args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let matching = args.options.parse(&args.words)?;
    let place = Place::of(args)?;
    // In `tcp oracle`, `oracle/tcp` and `tcp 80,oracle`, too.
    let names = args.words.iter().flat_map(|word| word.split(['/', ',']));
    let comment = args.comment.as_deref().map(parse_comment).transpose();
    let comment = comment.map_err(Failure::usage)?;
    let wish = Wish {
        until: args
            .duration
            .map(|duration| Until::after(duration, &Zoned::now()))
            .transpose()
            .map_err(Failure::usage)?,
        place,
        comment,
    };
    if args.dry_run {
        let mut file = context.policy_file()?;
        let done = settle(&mut file, action, matching, wish)?;
        done.refuse_in_vain(file.policy())?;
        let note = match done.is_change() {
            true => format!("{}dry run, nothing changed", done.note()),
            false => format!("{} (dry run)", done.note().trim_end_matches(", ")),
        };
        return done.report(file.policy(), Vec::new(), &note, names, context, printer);
    }
    let mut edit = Edit::begin(context, args.force)?.lasting(args.confirming.lasts);
    let done = settle(&mut edit.file, action, matching, wish)?;
    done.refuse_in_vain(edit.file.policy())?;
    let applied = edit.commit(printer)?;
    let note = format!("{}{}", done.note(), describe(&applied));
    done.report(
        edit.file.policy(),
        applied.interfaces,
        &note,
        names,
        context,
        printer,
    )
}

/// Where a rule is to stand.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Where it stands, a new one at the end.
    Unsaid,
    First,
    Before(RuleId),
}

impl Place {
    fn of(args: &Args) -> Result<Self> {
        Ok(match &args.before {
            Some(id) => Self::Before(id.parse().map_err(Failure::usage)?),
            None if args.first => Self::First,
            None => Self::Unsaid,
        })
    }

    /// The rule in front of which that is; `None` is the end.
    fn before(self, policy: &Policy) -> Result<Option<RuleId>> {
        match self {
            Self::Unsaid => Ok(None),
            Self::First => Ok(policy.rules.first().map(|rule| rule.id)),
            Self::Before(id) if policy.rule(id).is_some() => Ok(Some(id)),
            Self::Before(id) => {
                Err(Failure::new(Exit::Failed, format!("no rule {id} (see `xdpfw list`)")).into())
            }
        }
    }
}

/// How a rule is to be, besides what it says.
struct Wish {
    /// When it ends; `None` is never.
    until: Option<Until>,
    place: Place,
    comment: Option<String>,
}

/// What has become of the rule.
struct Done {
    id: RuleId,
    added: bool,
    moved: bool,
    commented: bool,
    /// Whether it lets packets in in another way now.
    otherwise: bool,
    end: End,
}

/// What has become of the end of a rule that stood there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was as it was said.
    Kept,
    /// It is another one.
    Renewed,
    /// There is none any more.
    Removed,
    /// There is none, though one was said: what stays for good must not end by a rule that
    /// somebody adds for a while.
    Refused,
}

/// Makes the policy have the rule, at its place, with its comment and its end.
fn settle(file: &mut PolicyDocument, action: Action, matching: Match, wish: Wish) -> Result<Done> {
    let Wish {
        until,
        place,
        comment,
    } = wish;
    let policy = file.policy();
    if let Some((key, message)) = policy.objection(action, &matching) {
        let message = match key {
            "ban" => format!("--ban {message}"),
            _ => message,
        };
        return Err(Failure::new(Exit::Policy, message).into());
    }
    let before = place.before(policy)?;
    let Some(rule) = policy.same_rule(action.as_str(), &matching) else {
        let rule = Rule {
            id: policy.free_id(),
            action,
            matches: matching,
            until,
            comment,
        };
        let id = rule.id;
        file.add(rule, before)?;
        return Ok(Done {
            id,
            added: true,
            moved: false,
            commented: false,
            otherwise: false,
            end: End::Kept,
        });
    };
    let id = rule.id;
    // Said without SYN cookies, it keeps them, as it keeps its comment.
    let is_otherwise = rule.action != action && action != Action::Allow;
    let comment = comment.filter(|text| rule.comment.as_ref() != Some(text));
    let end = match (&rule.until, &until) {
        (None, None) => End::Kept,
        (None, Some(_)) => End::Refused,
        (Some(_), None) => End::Removed,
        (Some(before), Some(after)) if before == after => End::Kept,
        (Some(_), Some(_)) => End::Renewed,
    };
    let follower = policy
        .rules
        .iter()
        .skip_while(|rule| rule.id != id)
        .nth(1)
        .map(|rule| rule.id);
    // In front of itself, or of the one behind it, it stands already.
    let before = before.filter(|&before| before != id && Some(before) != follower);
    if let Some(before) = before {
        file.move_before(id, before)?;
    }
    if let Some(text) = &comment {
        file.set_comment(id, text)?;
    }
    if is_otherwise {
        file.set_action(id, action)?;
    }
    if matches!(end, End::Renewed | End::Removed) {
        file.set_until(id, until)?;
    }
    Ok(Done {
        id,
        added: false,
        moved: before.is_some(),
        commented: comment.is_some(),
        otherwise: is_otherwise,
        end,
    })
}

impl Done {
    const fn is_change(&self) -> bool {
        self.added || self.moved || self.commented || self.otherwise || self.is_renewed()
    }

    const fn is_renewed(&self) -> bool {
        matches!(self.end, End::Renewed | End::Removed)
    }

    /// Refuses a new rule for an interface whose packets are judged at others: it would never
    /// match, and a way in that it is for would be closed, or what it denies open.
    fn refuse_in_vain(&self, policy: &Policy) -> Result<()> {
        let Some(rule) = policy.rule(self.id).filter(|_| self.added) else {
            return Ok(());
        };
        if rule.matches.on.is_empty() {
            return Ok(());
        }
        for (name, _, place) in analysis::in_vain(policy, [rule], &interfaces()?) {
            if let analysis::Place::Elsewhere { instead, may_join } = place {
                let name = name.escape_debug();
                let up = match may_join {
                    true => format!(", or `xdpfw up {name}` first"),
                    false => String::new(),
                };
                let message = format!(
                    "{name}: its packets are judged at {}, so the rule would never match; say \
                     `--on {}`{up}",
                    sentence_list(&instead, usize::MAX),
                    instead.join(",")
                );
                return Err(Failure::new(Exit::Failed, message).into());
            }
        }
        Ok(())
    }

    /// What was done, in front of where it took effect.
    fn note(&self) -> String {
        if self.added {
            return String::new();
        }
        let end = match self.end {
            End::Kept => None,
            End::Renewed => Some("renewed"),
            End::Removed => Some("without an end now"),
            End::Refused => Some("stays without an end"),
        };
        let done = [
            self.moved.then_some("moved"),
            self.commented.then_some("commented"),
            self.otherwise.then_some("changed"),
            end,
        ];
        let done: Vec<String> = done.into_iter().flatten().map(str::to_owned).collect();
        match done.as_slice() {
            [] => "already there, ".to_owned(),
            _ if !self.is_change() => format!("already there, {}, ", sentence_list(&done, 3)),
            _ => format!("{}, ", sentence_list(&done, 3)),
        }
    }

    /// Prints the rule, and what its author may not have meant.
    fn report<'n>(
        &self,
        policy: &Policy,
        live: Vec<String>,
        note: &str,
        names: impl Iterator<Item = &'n str>,
        context: &Context,
        printer: &mut Printer,
    ) -> Result<Exit> {
        let Some(rule) = policy.rule(self.id) else {
            return Ok(Exit::Done);
        };
        let printed = match context.json() {
            true => printer.json(&Added {
                schema: "xdpfw.rule/1",
                rule: RuleRow::new(rule, Default::default()),
                added: self.added,
                moved: self.moved,
                commented: self.commented,
                renewed: self.is_renewed(),
                changed: self.otherwise,
                live,
            }),
            false => printer.line(&change_line(rule, note)),
        };
        if !context.json() && rule.matches.has_more_than(CHANGED_ITEMS) {
            printer.note(&format!("{}: not all is shown (say `--json`)", self.id));
        }
        for name in names {
            if let Some((used, registered)) = services::registered_elsewhere(name) {
                printer.note(&format!(
                    "`{name}` is {used} here, and {registered} to IANA (say the port if you mean that)"
                ));
            }
        }
        if self.end == End::Refused {
            printer.note(&format!(
                "{0} has no end, and keeps none (to have it end, say `xdpfw delete {0}` first)",
                rule.id
            ));
        }
        let policy = &policy.without_ended(Timestamp::now());
        warn(&analysis::of_rule(policy, rule, ephemeral_ports()), printer);
        warn_of_interfaces(policy, [rule], printer);
        warn_of_cookies(std::slice::from_ref(rule), printer);
        printed.map(|()| Exit::Done)
    }
}
