//! What commands have in common that go on until they are interrupted: the signals that end
//! them, and output that no signal waits for.

use std::{io, pin::pin, time::Duration};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use crate::output::{Background, Printer};

/// How long what was shown last may take to be written once the command is to end.
const GRACE: Duration = Duration::from_millis(200);

/// The signals that end the command: an interrupt, a polite kill, a session
/// that is gone.
pub(super) struct Ends([Signal; 3]);

impl Ends {
    /// From now on, to be called where tokio runs.
    pub(super) fn watch() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for one. Dropped while it waits, it loses none.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Why a command stopped to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has shown what was asked for, or there is no more.
    Done,
    /// A signal.
    Signal,
}

/// What waits.
pub(super) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Waits until all is written, a last item too; not for long once a signal ends the command.
/// Returns whether all is.
///
/// # Errors
///
/// A write fails.
pub(super) async fn finish<T: Send + 'static>(
    writer: Background<T>,
    last: Option<T>,
    end: End,
    ends: &mut Ends,
) -> Result<bool> {
    let mut written = pin!(writer.finish(last));
    if end == End::Done {
        tokio::select! {
            biased;
            () = ends.next() => {}
            result = &mut written => return result.map(|()| true),
        }
    }
    match timeout(GRACE, written).await {
        Ok(result) => result.map(|()| true),
        // Its thread ends with the process.
        Err(_) => Ok(false),
    }
}

/// Says something before the command ends, where that takes no longer than anybody waits for
/// it: stderr may be stuck like stdout.
pub(super) async fn say_last(text: String, printer: &Printer) -> Result<()> {
    let mut another = printer.another();
    let writer = Background::start(1, move |text: String| {
        another.note(&text);
        Ok(())
    })?;
    drop(timeout(GRACE, writer.finish(Some(text))).await);
    Ok(())
}

/// Whether nobody reads stdout any more: the other end of the pipe is closed. Written to, it
/// would say so itself.
pub(super) fn is_unread() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec::default();
    poll(&mut polled, Some(&at_once)).is_ok() && polled[0].revents().contains(PollFlags::ERR)
}
