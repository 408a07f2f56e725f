//! `xdpfw review`: what listens against rules, hits and flows, and what there is to do.

mod bench;
mod facts;
mod senders;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::facts::Gathered;
use super::{Context, Exit, privilege::require_to_read};
use crate::{
    analysis::review::{Earlier, differences, examine},
    duration::Seconds,
    engine::SavedReview,
    output::{Printer, Review},
};

/// The word for the last review that was saved.
const LAST: &str = "last";

/// Arguments of `review`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only what is new since a review: the `last` that was saved, or one in a file
    #[arg(long, value_name = "FILE|last", value_hint = clap::ValueHint::FilePath)]
    since: Option<PathBuf>,
    /// Keep this review, for the next one to be compared with
    #[arg(long)]
    save: bool,
    /// How long to listen for who sends to services that nobody reaches, if anything was dropped
    #[arg(long, value_name = "DUR", default_value = "1s")]
    listen: Seconds,
}

/// Shows what listens and who reaches it, and what there is to do. The exit code is negative if
/// there is anything, or anything new.
///
/// # Errors
///
/// The kernel or the policy cannot be read, there is no review to compare with, or this one cannot
/// be saved.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_read()?;
    let history = context.history();
    let last = SavedReview::last(&history);
    let earlier = match &args.since {
        Some(since) => earlier(since, &last, args.save, printer)?,
        None => None,
    };
    let mut gathered = Gathered::now(context, printer)?;
    if let Err(error) = senders::hear(&mut gathered.services, args.listen.duration()) {
        printer.note(&format!(
            "who sends to closed services is not known: {error:#}"
        ));
    }
    let known = examine(&gathered.facts());
    let changed = earlier
        .as_ref()
        .map(|earlier| differences(earlier, &gathered.policy, &gathered.services));
    let changed = changed.into_iter().flatten().map(|one| (one, Some(true)));
    let known = known.into_iter().map(|one| {
        let counting = gathered.counting_since();
        let earlier = earlier.as_ref();
        let new = earlier.map(|earlier| earlier.is_news(&one, counting, gathered.now));
        (one, new)
    });
    let since = earlier.as_ref().map(|earlier| earlier.at);
    let review = Review::new(&gathered.reviewed(), since, changed.chain(known).collect());
    if args.save {
        let mut contents = serde_json::to_vec(&review)?;
        contents.push(b'\n');
        last.write(&history, &contents)?;
        printer.change_is_made();
    }
    match context.json() {
        true => printer.json(&review)?,
        false => printer.verdicts(&review.to_string())?,
    }
    Ok(match review.has_news() {
        true => Exit::Negative,
        false => Exit::Done,
    })
}

/// The review to compare with. Whoever saves this one may begin without any.
fn earlier(
    since: &Path,
    last: &SavedReview,
    is_saved: bool,
    printer: &mut Printer,
) -> Result<Option<Earlier>> {
    let is_last = since == Path::new(LAST);
    let saved = match is_last {
        true => last.clone(),
        false => SavedReview::at(since),
    };
    match saved.read()? {
        None if is_last && is_saved => {
            printer.note("no review was saved before; this is the first");
            Ok(None)
        }
        None => Err(saved.missing(is_last).into()),
        found => Ok(found),
    }
}
