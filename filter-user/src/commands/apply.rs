//! `xdpfw apply`: replace the policy by a file, or compare it.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use anyhow::Result;
use clap::ValueHint;
use jiff::Timestamp;

use super::{
    Context, Exit, Failure,
    confirming::{Confirming, wait},
    edit::{Edit, current},
    privilege::{require_to_change, require_to_read},
    replaced::report,
    shadow, warn, warn_of_cookies, warn_of_interfaces,
};
use crate::{
    analysis,
    engine::{Engine, PolicyFile},
    output::{Difference, Printer},
    system::{Place, PlaceError, ephemeral_ports},
};

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, read this once, `-` for standard input; without, the policy file itself
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<String>,
    /// Validate the file and print how it differs from what is in force; change nothing
    #[arg(long, conflicts_with = "lasts")]
    check: bool,
    #[command(flatten)]
    confirming: Confirming,
    /// Rehearse the policy: what is in force stays, and `xdpfw shadow` shows which packets
    /// would be judged otherwise
    #[arg(long, conflicts_with_all = ["check", "lasts", "force"])]
    shadow: bool,
    /// Stay until the change is confirmed or went back, and ask at a terminal
    #[arg(long, requires = "lasts")]
    wait: bool,
    /// Make the change even if it cuts this SSH session
    #[arg(long)]
    force: bool,
}

/// Replaces the policy by a file, or compares it.
///
/// # Errors
///
/// The file is no policy, or the change cannot be made; nothing changes then.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let source = args.file.as_deref();
    if args.check {
        let text = Text::read(source, printer)?;
        return check(&policy(text, context)?, context, printer);
    }
    require_to_change()?;
    // Before the lock is taken: a pipe may be read for as long as its writer likes.
    let text = Text::read(source, printer)?;
    if args.shadow {
        return shadow::begin(|| policy(text, context), printer);
    }
    let mut edit = Edit::replace(context, |_| policy(text, context), args.force)?;
    edit = edit.lasting(args.confirming.lasts);
    let applied = edit.commit(printer)?;
    let exit = report("", &applied, edit.file.policy(), printer)?;
    match args.wait {
        true => wait(&applied, printer),
        false => Ok(exit),
    }
}

/// The text of a policy that does not stand in the policy file, and where it comes from.
struct Text<'a> {
    origin: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Text<'a> {
    /// Reads the file or standard input; `None` means the policy file.
    fn read(source: Option<&'a str>, printer: &mut Printer) -> Result<Option<Self>> {
        let (origin, bytes) = match source {
            None => return Ok(None),
            Some("-") => {
                let mut bytes = Vec::new();
                io::stdin().read_to_end(&mut bytes)?;
                ("standard input", bytes)
            }
            Some(source) => {
                warn_of_others(source, printer);
                match fs::read(source) {
                    Ok(bytes) => (source, bytes),
                    Err(error) => return Err(cannot_read(Path::new(source), error)),
                }
            }
        };
        Ok(Some(Self { origin, bytes }))
    }
}

/// Warns of a file that others than root may write. The operator names it, and it is read this
/// once: from then on, the policy file says the same.
fn warn_of_others(source: &str, printer: &mut Printer) {
    if let Err(PlaceError::NotRoots { path, fault, .. }) = Place::find(Path::new(source)) {
        printer.warning(&format!(
            "{}: {fault}; {source} is read all the same, this once (see `xdpfw list`)",
            path.display()
        ));
    }
}

/// The policy that is to be in force, as it is to be saved.
fn policy(text: Option<Text<'_>>, context: &Context) -> Result<PolicyFile> {
    let path = context.policy_path();
    match text {
        Some(Text { origin, bytes }) => Ok(PolicyFile::replacing(path, origin, bytes)?),
        None => {
            let file = context.policy_file()?;
            if !file.exists() {
                let message = format!("there is no policy at {}", path.display());
                return Err(Failure::new(Exit::Failed, message).into());
            }
            Ok(file)
        }
    }
}

fn cannot_read(source: &Path, error: io::Error) -> anyhow::Error {
    let exit = match error.kind() {
        // It is said what is missing.
        io::ErrorKind::PermissionDenied => {
            return anyhow::Error::new(error).context(format!("cannot read {}", source.display()));
        }
        io::ErrorKind::NotFound => Exit::Failed,
        _ => Exit::Policy,
    };
    Failure::new(exit, format!("cannot read {}: {error}", source.display())).into()
}

fn check(file: &PolicyFile, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let engine = Engine::shared()?;
    let (base, name) = current(&engine, context)?;
    drop(engine);
    // Rules that have ended make no difference, in the file or in force.
    let now = Timestamp::now();
    let policy = &file.policy().without_ended(now);
    let difference = Difference::between(&base.without_ended(now), policy);
    if context.json() {
        printer.json(&difference)?;
    } else {
        printer.text(&difference.to_string())?;
        if difference.is_cut() {
            printer.note("not all is shown (say `--json`)");
        }
    }
    warn(&analysis::of_policy(policy, ephemeral_ports()), printer);
    warn_of_interfaces(policy, &policy.rules, printer);
    warn_of_cookies(&policy.rules, printer);
    if difference.is_empty() {
        printer.note(&format!("valid, and the same as {name}"));
        Ok(Exit::Done)
    } else {
        printer.note(&format!("valid, and differs from {name}"));
        Ok(Exit::Negative)
    }
}
