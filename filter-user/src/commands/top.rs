//! `xdpfw top`: show on a full screen what is dropped, while it happens.
//!
//! Readings of the filter go into a model, keys change it, and a view draws it. All that takes a
//! while is done by other threads, so that keys and signals wait for nothing.

mod act;
mod json;
mod keys;
mod listening;
mod model;
mod reading;
mod sampler;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use anyhow::{Context as _, Result};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;

use self::{
    act::Job, json::Tick, keys::Action, model::Model, reading::Reading, sampler::Sampler,
    terminal::Screen, view::Look,
};
use super::{
    Context as Flags, Exit, Failure,
    privilege::{named, require_to_read},
    watching::{End, Ends, finish, runtime},
};
use crate::{
    engine,
    output::{Background, HeldWarnings, Printer},
};

/// How soon to try again where the terminal has not taken the last picture.
const RETRY: Duration = Duration::from_millis(20);

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look every so many seconds
    #[arg(long, value_name = "SECS", default_value_t = 1.0)]
    interval: f64,
    /// End after so many looks
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

/// Shows what is dropped until it is ended.
///
/// # Errors
///
/// Nothing is filtered, the kernel cannot be read, or there is no terminal.
pub fn run(args: &Args, flags: &Flags, printer: &mut Printer) -> Result<Exit> {
    let interval = match args.interval {
        seconds if (0.1..=3600.0).contains(&seconds) => Duration::from_secs_f64(seconds),
        seconds => {
            let message = format!("cannot look every {seconds} s (say 0.1 to 3600)");
            return Err(Failure::usage(message).into());
        }
    };
    if !flags.json() {
        terminal::require()?;
    }
    require_to_read()?;
    let runtime = runtime()?;
    let _context = runtime.enter();
    // Before the terminal is taken: whatever ends the command must also give it back.
    let mut ends = Ends::watch()?;
    let left = args.count.unwrap_or(u64::MAX);
    match flags.json() {
        true => runtime.block_on(print(interval, left, printer, &mut ends))?,
        false => runtime.block_on(show(interval, left, flags, &mut ends))?,
    }
    Ok(Exit::Done)
}

/// Begins to look at a filter, which must be up. It may go down and come up again later.
fn begin(interval: Duration, is_hasty: bool) -> Result<(Sampler, Model)> {
    let (sampler, first) = Sampler::start(interval, is_hasty)?;
    if first.filter.is_none() {
        return Err(engine::Error::NotUp.into());
    }
    let mut model = Model::new();
    model.read(first);
    Ok((sampler, model))
}

/// Prints an object a line.
async fn print(
    interval: Duration,
    mut left: u64,
    printer: &Printer,
    ends: &mut Ends,
) -> Result<()> {
    let (mut sampler, mut model) = begin(interval, false)?;
    let mut another = printer.another();
    // A tick that waits is enough: whoever reads that slowly misses some.
    let mut writer = Background::start(1, move |tick: Tick| another.json(&tick))?;
    while left > 0 {
        let reading = tokio::select! {
            biased;
            () = ends.next() => {
                finish(writer, None, End::Signal, ends).await?;
                return Ok(());
            }
            failed = writer.failed() => return failed,
            reading = sampler.next() => reading??,
        };
        let at = reading.at;
        model.read(reading);
        if writer.offer(Tick::of(&model, at)) {
            left -= 1;
        }
    }
    finish(writer, None, End::Done, ends).await?;
    Ok(())
}

/// Shows a full screen.
async fn show(interval: Duration, left: u64, flags: &Flags, ends: &mut Ends) -> Result<()> {
    let look = Look::new(flags.color());
    let (sampler, model) = begin(interval, true)?;
    let screen = Screen::begin(look.is_colored)?;
    let policy = flags.named_policy().map(Into::into);
    let mut shown = Shown {
        model,
        sampler,
        screen,
        look,
        flags: act::global_flags(policy),
        held: HeldWarnings::begin(),
        job: None,
        left,
    };
    let result = shown.run(ends).await;
    let Shown { screen, held, .. } = shown;
    let end = *result.as_ref().unwrap_or(&End::Done);
    // However it ended, the terminal is as it was before anything else is said.
    let given_back = screen.end(end, ends).await;
    drop(held);
    result?;
    given_back
}

/// The full screen, and what is behind it.
struct Shown {
    model: Model,
    sampler: Sampler,
    screen: Screen,
    look: Look,
    /// What commands get besides their words.
    flags: Vec<String>,
    held: HeldWarnings,
    job: Option<Job>,
    left: u64,
}

impl Shown {
    async fn run(&mut self, ends: &mut Ends) -> Result<End> {
        let mut events = EventStream::new();
        while self.left > 0 {
            let (model, look) = (&mut self.model, &self.look);
            let is_drawn = self.screen.draw(|frame| view::draw(frame, model, look))?;
            tokio::select! {
                biased;
                () = ends.next() => return Ok(End::Signal),
                failed = self.screen.failed() => return failed.map(|()| End::Done),
                event = events.next() => {
                    let event = event.context("no more keys")?.context("cannot read keys")?;
                    if !self.take(&event)? {
                        break;
                    }
                }
                popup = done(&mut self.job) => {
                    self.job = None;
                    self.model.popup = Some(popup);
                }
                reading = self.sampler.next() => self.read(reading?),
                () = tokio::time::sleep(RETRY), if !is_drawn => {}
            }
        }
        Ok(End::Done)
    }

    /// Takes in a look; one that fails is said, and there will be another.
    fn read(&mut self, reading: Result<Reading>) {
        match reading {
            Ok(reading) => {
                self.model.read(reading);
                self.left -= 1;
            }
            Err(error) => self.model.say(format!("error: {:#}", named(error))),
        }
        if let Some(warning) = self.held.take().pop() {
            self.model.say(warning);
        }
    }

    /// Does what a key asks for; returns whether to go on.
    fn take(&mut self, event: &Event) -> Result<bool> {
        let Event::Key(key) = event else {
            // Of another size, it is drawn anew anyway.
            return Ok(true);
        };
        match keys::key(&mut self.model, *key, &self.flags) {
            None => {}
            Some(Action::Quit) => return Ok(false),
            Some(Action::Redraw) => self.screen.forget()?,
            Some(Action::Explain(asked)) => self.job = Some(Job::explain(asked)?),
            Some(Action::Run(words)) => self.job = Some(Job::run(words)?),
        }
        Ok(true)
    }
}

/// Waits for a job; for ever where there is none.
async fn done(job: &mut Option<Job>) -> model::Popup {
    match job {
        Some(job) => job.done().await,
        None => std::future::pending().await,
    }
}
