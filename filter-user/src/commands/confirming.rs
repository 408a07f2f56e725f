//! Shared by the commands that make a change which may go back: the option, what is said of
//! it, and the wait.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{Exit, confirm::confirm};
use crate::{
    datapath::{Deadline, Generation, Live},
    duration::Seconds,
    engine::{Applied, Engine, Error},
    output::Printer,
    text::clock_time,
};

/// How often the wait looks, in nanoseconds.
const PACE: i64 = 200_000_000;

/// That a change goes back unless it is confirmed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Confirming {
    /// Go back so long after (60s, 5m), even if this session is cut, unless `xdpfw confirm`
    /// comes first
    #[arg(long = "confirm", value_name = "DUR")]
    pub(super) lasts: Option<Seconds>,
}

/// Says whom a change that goes back may cut off until then.
pub(super) fn warn_of_doubt(applied: &Applied, printer: &mut Printer) {
    match &applied.doubt {
        Some(Error::LockedOut { peer, lock_out }) => printer.warning(&format!(
            "this cuts your SSH session from {peer} ({}) until it goes back",
            lock_out.why
        )),
        Some(Error::PerhapsLockedOut { why }) => printer.warning(&format!(
            "this may cut your SSH session until it goes back ({why})"
        )),
        Some(_) | None => {}
    }
}

/// Says when a change goes back.
pub(super) fn note_deadline(applied: &Applied, printer: &mut Printer) {
    if let Some(deadline) = applied.deadline {
        printer.note(&format!(
            "goes back at {} (say `xdpfw confirm` to keep it)",
            clock_time(deadline.on_the_wall())
        ));
    }
}

/// What has become of a change that is to be confirmed.
enum Fate {
    Pending(Deadline),
    Confirmed,
    Gone,
}

/// Waits until a change is confirmed or gone, and asks whoever sits at the terminal.
///
/// # Errors
///
/// The kernel cannot be read.
pub(super) fn wait(applied: &Applied, printer: &mut Printer) -> Result<Exit> {
    let (Some(change), Some(_)) = (&applied.generation, applied.deadline) else {
        return Ok(Exit::Done);
    };
    let mut asks = io::stdin().is_terminal() && io::stderr().is_terminal();
    loop {
        match fate(change)? {
            Fate::Pending(deadline) => {
                if asks {
                    ask(deadline)?;
                }
            }
            Fate::Confirmed => {
                end_of_question(asks);
                printer.note("confirmed");
                return Ok(Exit::Done);
            }
            Fate::Gone => {
                end_of_question(asks);
                printer.note("the change went back");
                return Ok(Exit::WentBack);
            }
        }
        match answer(asks)? {
            None => {}
            Some(Answer::Keep) => drop(confirm(printer)?),
            Some(Answer::TakeBack) => drop(Engine::exclusive()?.take_back()?),
            Some(Answer::Silence) => asks = false,
        }
    }
}

/// What is there of a change now.
fn fate(change: &Generation) -> Result<Fate> {
    let engine = Engine::shared()?;
    let is_it = |other: &Generation| other.program_id() == change.program_id();
    Ok(match engine.live() {
        Some(live) => match live.pending().filter(|pending| is_it(pending)) {
            Some(pending) => pending.deadline().map_or(Fate::Confirmed, Fate::Pending),
            None if is_it(Live::lasting(live)) => Fate::Confirmed,
            None => Fate::Gone,
        },
        None => Fate::Gone,
    })
}

/// Asks on the line that the question was on before.
fn ask(deadline: Deadline) -> io::Result<()> {
    let left = deadline.left().as_secs() + 1;
    let mut terminal = io::stderr().lock();
    write!(terminal, "\rkeep this change? [y/n] {left}s  \x1b[K")?;
    terminal.flush()
}

fn end_of_question(asked: bool) {
    if asked {
        // Whoever closed the terminal does not read it.
        let _ = writeln!(io::stderr());
    }
}

enum Answer {
    Keep,
    TakeBack,
    /// Nobody answers any more.
    Silence,
}

/// Waits a moment for an answer, if somebody was asked.
fn answer(asks: bool) -> Result<Option<Answer>> {
    let stdin = io::stdin();
    let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
    let ready = match asks {
        true => &mut ready[..],
        false => &mut [],
    };
    let pace = Timespec {
        tv_sec: 0,
        tv_nsec: PACE,
    };
    match poll(ready, Some(&pace)) {
        Ok(0) | Err(Errno::INTR) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let mut line = String::new();
    if stdin.read_line(&mut line)? == 0 {
        return Ok(Some(Answer::Silence));
    }
    Ok(match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(Answer::Keep),
        "n" | "no" => Some(Answer::TakeBack),
        _ => None,
    })
}
