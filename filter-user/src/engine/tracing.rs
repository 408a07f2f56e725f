//! Traces the filter: the same policy in a program that reports packets, for as long as
//! somebody reads what it reports.

use anyhow::{Context as _, Result};
use xdpfw_common::abi::Wanted;

use super::{Engine, Error, Facts, InForce};
use crate::datapath::{Events, Generation, Record};

/// A traced generation and its reader. Whoever drops it without [`end`](Self::end) leaves a
/// slow program in force, until the next command that changes anything.
#[must_use = "a trace slows the filter down until it is ended"]
pub struct Trace {
    generation: Generation,
    /// What it reports.
    pub events: Events,
}

impl Trace {
    /// Puts a traced flavour of the generation in force, which reports what is `wanted` of one
    /// with its record. To be called where tokio runs.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, somebody traces already, `wanted` fails, or the kernel refuses. The
    /// generation in force stays.
    pub fn begin(wanted: impl FnOnce(&Record) -> Result<Wanted>) -> Result<Self> {
        let engine = Engine::exclusive()?;
        let live = engine.must_be_up()?;
        let record = live.generation.record();
        if record.traced {
            return Err(Error::Traced.into());
        }
        // Rules that stay count where they did, so this holds for the traced one, too.
        let wanted = wanted(record)?;
        let applied = engine
            .change(&InForce(record))
            .facts(Facts::Kept)
            .traced(true)
            .commit()?;
        let generation = applied.generation.context("nothing is in force")?;
        match generation.events(&wanted) {
            Ok(events) => Ok(Self { generation, events }),
            Err(error) => {
                drop(engine);
                put_back(&generation)?;
                Err(error)
            }
        }
    }

    /// The traced generation.
    pub const fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Puts the plain flavour back, unless another generation is in force by now.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn end(self) -> Result<()> {
        put_back(&self.generation)
    }
}

fn put_back(traced: &Generation) -> Result<()> {
    let engine = Engine::exclusive()?;
    match engine.live() {
        Some(live) if live.generation.program_id() == traced.program_id() => untrace(&engine),
        _ => Ok(()),
    }
}

/// Puts the plain flavour of the generation in force.
fn untrace(engine: &Engine) -> Result<()> {
    let live = engine.must_be_up()?;
    let policy = InForce(live.generation.record());
    engine.change(&policy).facts(Facts::Kept).commit()?;
    Ok(())
}

/// Puts the plain flavour back where a trace is left over that nobody reads. That it fails is
/// no failure of what is about to be done, which may well be `down`.
pub(super) fn end_unread(engine: &mut Engine) {
    let end = || -> Result<bool> {
        match engine.live() {
            Some(live) if is_unread(&live.generation)? => untrace(engine).map(|()| true),
            _ => Ok(false),
        }
    };
    let ended = end().and_then(|is_ended| {
        if is_ended {
            engine.live = engine.store.live()?;
        }
        Ok(is_ended)
    });
    match ended {
        Ok(true) => log::warn!("a trace was killed; its slow program is no longer in force"),
        Ok(false) => {}
        Err(error) => log::warn!("a trace was killed, and its slow program stays: {error:#}"),
    }
}

/// Whether a generation reports packets, and nobody reads.
///
/// # Errors
///
/// The generation was removed meanwhile.
pub fn is_unread(generation: &Generation) -> Result<bool> {
    Ok(generation.record().traced && !generation.is_read()?)
}
