//! The commands, a file for each: `Args`, and `run`. Exit codes are chosen here alone.

pub mod apply;
pub mod ban;
mod boot;
pub mod bouncer;
pub mod bypass;
mod candidates;
pub mod completions;
pub mod confirm;
mod confirming;
mod context;
pub mod default;
pub mod delete;
pub mod doctor;
pub mod down;
mod edit;
mod exit;
pub mod explain;
pub mod flows;
mod foreign;
pub mod history;
mod joining;
pub mod list;
pub mod lists;
pub mod log;
pub mod man;
mod matching;
pub mod panic;
mod privilege;
mod recording;
mod replaced;
pub mod review;
pub mod rollback;
pub mod rule;
pub mod scanners;
pub mod shadow;
pub mod stats;
pub mod status;
pub mod top;
mod ufw;
pub mod up;
mod watching;

use anyhow::Result;
use clap::Subcommand;

pub use self::{
    context::{Context, Global},
    exit::{Exit, Failure, code_of, is_closed_pipe},
    foreign::exact_command,
};
use crate::{
    analysis, engine,
    netlink::{LinkLayer, interfaces},
    output::{Printer, warning_lines},
    policy::{Action, Policy, Rule},
    system::{ephemeral_ports, published_ports, sockets},
};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach the filter to interfaces
    #[command(
        after_help = "Examples:\n  xdpfw up eth0\n  xdpfw up                 # the interfaces of the policy"
    )]
    Up(up::Args),
    /// Detach the filter
    #[command(
        after_help = "Examples:\n  xdpfw down eth1\n  xdpfw down                # all interfaces"
    )]
    Down(down::Args),
    /// Add a rule that lets packets pass
    #[command(
        after_help = "Examples:\n  xdpfw allow https\n  xdpfw allow ssh --from 192.0.2.0/24\n  xdpfw allow ping\n  xdpfw allow udp 60000-61000 --comment mosh"
    )]
    Allow(rule::AllowArgs),
    /// Add a rule that drops packets
    #[command(
        after_help = "Examples:\n  xdpfw deny any --from 198.51.100.66 --first\n  xdpfw deny tcp 25 --on eth1"
    )]
    Deny(rule::Args),
    /// Add a rule that lets packets pass, but not too many
    #[command(
        after_help = "Examples:\n  xdpfw limit ssh --rate 10/m\n  xdpfw limit udp 53 --rate 100/s --burst 500 --per 24,56\n  xdpfw limit tcp 443 --rate 5000/s --total"
    )]
    Limit(rule::LimitArgs),
    /// Remove rules, by id or by their words
    #[command(
        after_help = "Examples:\n  xdpfw delete r3 r4\n  xdpfw delete allow tcp 443\n  xdpfw delete --all --dry-run"
    )]
    Delete(delete::Args),
    /// Set what happens to packets that no rule matches
    #[command(after_help = "Examples:\n  xdpfw default drop --dry-run\n  xdpfw default drop")]
    Default(default::Args),
    /// Show the rules, and how many packets each decided
    #[command(after_help = "Examples:\n  xdpfw list\n  xdpfw --json list")]
    List(list::Args),
    /// Show interfaces, generation, and totals per reason
    #[command(after_help = "Examples:\n  xdpfw status\n  xdpfw --json status")]
    Status(status::Args),
    /// Show what left lately and may be answered
    #[command(after_help = "Examples:\n  xdpfw flows --top 10\n  xdpfw --json flows")]
    Flows(flows::Args),
    /// Show the drops of every port, or packets by reason or interface
    #[command(
        after_help = "Examples:\n  xdpfw stats --top 10\n  xdpfw stats --port 443 --watch\n  xdpfw stats --by interface"
    )]
    Stats(stats::Args),
    /// Show on a full screen what is dropped, while it happens
    #[command(
        after_help = "Examples:\n  xdpfw top                  # ? shows the keys\n  xdpfw top --interval 5\n  xdpfw --json top -n 1"
    )]
    Top(top::Args),
    /// Replace the policy by a file, or compare it
    #[command(
        after_help = "Examples:\n  xdpfw apply --check\n  xdpfw apply new-policy.toml\n  xdpfw apply --shadow new-policy.toml"
    )]
    Apply(apply::Args),
    /// Show what a rehearsed policy would do otherwise
    #[command(
        after_help = "Examples:\n  xdpfw shadow               # after xdpfw apply --shadow new-policy.toml\n  xdpfw shadow --accept --confirm 60s\n  xdpfw shadow --drop"
    )]
    Shadow(shadow::Args),
    /// Keep the change that is pending
    #[command(
        after_help = "Examples:\n  xdpfw confirm              # after xdpfw apply new-policy.toml --confirm 60s"
    )]
    Confirm(confirm::Args),
    /// Take back the change that is pending, or put an earlier policy in force again
    #[command(
        after_help = "Examples:\n  xdpfw rollback            # undo the last change; once more, and it is back\n  xdpfw rollback 12 --dry-run\n  xdpfw rollback 12"
    )]
    Rollback(rollback::Args),
    /// Show the last policies: when, who, what changed
    #[command(
        after_help = "Examples:\n  xdpfw history\n  xdpfw history --diff 12      # what has changed since\n  xdpfw history --diff 12 15\n  xdpfw --json history"
    )]
    History(history::Args),
    /// Let everything pass for a while
    #[command(after_help = "Examples:\n  xdpfw bypass --for 5m\n  xdpfw bypass --off")]
    Bypass(bypass::Args),
    /// Let nothing in for a while but the operator and what is under way
    #[command(
        after_help = "Examples:\n  xdpfw panic\n  xdpfw panic --for 10m\n  xdpfw panic --off"
    )]
    Panic(panic::Args),
    /// Drop what comes from sources, whatever the rules
    #[command(
        after_help = "Examples:\n  xdpfw ban 203.0.113.7\n  xdpfw ban 198.51.100.0/24 2001:db8:7::/64 --for 1h --why 'guesses passwords'\n  xdpfw ban --stdin --for 1d < addresses"
    )]
    Ban(ban::Args),
    /// End bans
    #[command(after_help = "Examples:\n  xdpfw unban 203.0.113.7\n  xdpfw unban --all")]
    Unban(ban::UnbanArgs),
    /// Ban whom a CrowdSec service decides to ban, until interrupted
    #[command(
        after_help = "Examples:\n  xdpfw bouncer --key-file /etc/xdpfw/crowdsec.key\n  systemctl enable --now xdpfw-bouncer"
    )]
    Bouncer(bouncer::Args),
    /// Show who is banned
    #[command(
        after_help = "Examples:\n  xdpfw bans\n  xdpfw bans --trusted        # who never is\n  xdpfw bans --list drop\n  xdpfw --json bans"
    )]
    Bans(ban::ShowArgs),
    /// Show the lists of addresses, or read them anew
    #[command(after_help = "Examples:\n  xdpfw lists\n  xdpfw lists refresh\n  xdpfw --json lists")]
    Lists(lists::Args),
    /// Show who scans this host's ports
    #[command(after_help = "Examples:\n  xdpfw scanners\n  xdpfw --json scanners")]
    Scanners,
    /// Show what is dropped, as it happens
    #[command(
        after_help = "Examples:\n  xdpfw log\n  xdpfw log --port 443 --from 192.0.2.0/24\n  xdpfw log --sample 1000     # one of a thousand, in a flood\n  xdpfw --json log -n 10"
    )]
    Log(log::Args),
    /// Show all packets, and why each passed or was dropped
    #[command(
        after_help = "Examples:\n  xdpfw trace -n 20\n  xdpfw trace --verdict drop --port 443 --from 192.0.2.0/24\n  xdpfw --json trace"
    )]
    Trace(log::Args),
    /// Find what keeps the filter from its work on this host
    #[command(
        after_help = "Examples:\n  xdpfw doctor\n  xdpfw doctor --fix          # the safe remedies, with what undoes them\n  xdpfw --json doctor"
    )]
    Doctor(doctor::Args),
    /// Say what would become of a packet, and why
    #[command(
        after_help = "Examples:\n  xdpfw explain tcp 203.0.113.7 443\n  xdpfw explain udp 203.0.113.7:53 40000 --on eth0\n  xdpfw explain ping 2001:db8::7\n  xdpfw explain --pcap capture.pcapng"
    )]
    Explain(explain::Args),
    /// Compare what listens on this host with the rules, and say what there is to do
    #[command(
        after_help = "Examples:\n  xdpfw review\n  xdpfw review --save                # this is how it should be\n  xdpfw review --since last          # what is new since then, for a timer\n  xdpfw --json review"
    )]
    Review(review::Args),
    /// Print a completion script for a shell
    #[command(
        after_help = "Examples:\n  xdpfw completions bash > /usr/share/bash-completion/completions/xdpfw"
    )]
    Completions(completions::Args),
    /// Print a manual page
    #[command(
        after_help = "Examples:\n  xdpfw man | man -l -\n  xdpfw man allow | man -l -\n  xdpfw man --dir /usr/local/share/man/man8"
    )]
    Man(man::Args),
}

/// Does what was asked.
///
/// # Errors
///
/// Whatever went wrong, with its [exit code](code_of).
pub fn run(command: Command, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let result = match command {
        Command::Up(args) => up::run(&args, context, printer),
        Command::Down(args) => down::run(&args, context, printer),
        Command::Allow(args) => args
            .read()
            .and_then(|(action, args)| rule::run(action, args, context, printer)),
        Command::Deny(args) => rule::run(Action::Deny, &args, context, printer),
        Command::Limit(args) => args
            .read()
            .and_then(|(action, args)| rule::run(action, args, context, printer)),
        Command::Delete(args) => delete::run(&args, context, printer),
        Command::Default(args) => default::run(&args, context, printer),
        Command::List(args) => list::run(&args, context, printer),
        Command::Status(args) => status::run(&args, context, printer),
        Command::Flows(args) => flows::run(&args, context, printer),
        Command::Stats(args) => stats::run(&args, context, printer),
        Command::Top(args) => top::run(&args, context, printer),
        Command::Apply(args) => apply::run(&args, context, printer),
        Command::Shadow(args) => shadow::run(&args, context, printer),
        Command::Confirm(args) => confirm::run(&args, context, printer),
        Command::Rollback(args) => rollback::run(&args, context, printer),
        Command::History(args) => history::run(&args, context, printer),
        Command::Bypass(args) => bypass::run(&args, context, printer),
        Command::Ban(args) => ban::run(&args, context, printer),
        Command::Unban(args) => ban::unban(&args, context, printer),
        Command::Bouncer(args) => bouncer::run(&args, context, printer),
        Command::Bans(args) => ban::show(&args, context, printer),
        Command::Lists(args) => lists::run(&args, context, printer),
        Command::Scanners => scanners::run(context, printer),
        Command::Panic(args) => panic::run(&args, context, printer),
        Command::Log(args) => log::run(log::View::Log, &args, context, printer),
        Command::Trace(args) => log::run(log::View::Trace, &args, context, printer),
        Command::Doctor(args) => doctor::run(&args, context, printer),
        Command::Explain(args) => explain::run(&args, context, printer),
        Command::Review(args) => review::run(&args, context, printer),
        Command::Completions(args) => completions::run(&args, context, printer),
        Command::Man(args) => man::run(&args, context, printer),
    };
    let result = result.map_err(privilege::named);
    if let Err(error) = &result
        && let Some(engine::Error::LockedOut { peer, lock_out }) = error.downcast_ref()
    {
        printer.warning(&format!(
            "this would cut your SSH session from {peer} ({})",
            lock_out.why
        ));
    }
    result
}

/// Warns of rules that ask of interfaces what these do not have: packets of their own, or MAC
/// addresses.
fn warn_of_interfaces<'a>(
    policy: &Policy,
    rules: impl IntoIterator<Item = &'a Rule> + Clone,
    printer: &mut Printer,
) {
    // Who cannot be asked is not warned of.
    let known = interfaces().unwrap_or_default();
    warn(&analysis::misplaced(policy, rules.clone(), &known), printer);
    let esp = analysis::unjudged_esp(policy, rules.clone(), &known);
    warn(esp.as_slice(), printer);
    let bare: Vec<String> = known
        .into_iter()
        .filter(|one| one.link_layer == LinkLayer::None)
        .map(|one| one.name)
        .collect();
    warn(&analysis::without_mac(policy, rules, &bare), printer);
}

/// Warns of rules whose SYN cookies are in the way of NAT.
fn warn_of_cookies(rules: &[Rule], printer: &mut Printer) {
    let mut actions = rules.iter().map(|rule| rule.action);
    // Other programs are asked for what they publish.
    if actions.any(|action| action == Action::AllowWithCookies) {
        let sockets = sockets().unwrap_or_default();
        let published = published_ports();
        let warnings = analysis::cookies_before_nat(rules, ephemeral_ports(), &sockets, &published);
        warn(&warnings, printer);
    }
}

/// Prints what the author of a policy may not have meant.
fn warn(warnings: &[crate::analysis::Warning], printer: &mut Printer) {
    for line in warning_lines(warnings) {
        printer.warning(&line);
    }
}
