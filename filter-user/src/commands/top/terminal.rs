//! The terminal: keys one by one, a screen of our own, and as it was at the end, whatever ends
//! the command. A terminal that takes nothing any more holds no signal up: a thread writes.

use std::{
    cell::RefCell,
    io::{self, IsTerminal as _, Write},
    panic,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use crossterm::{
    cursor::{Hide, Show},
    queue, style,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::{Frame, Terminal, backend::CrosstermBackend};

use crate::{
    commands::{
        Exit, Failure,
        watching::{End, Ends, finish},
    },
    output::Background,
};

/// Whether some thread has panicked: then the terminal is given back already.
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);

/// A screen of our own.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Bytes>>,
    bytes: Bytes,
    writer: Background<Vec<u8>>,
    /// Pictures that the writer got, and that it wrote.
    offered: u64,
    written: Arc<AtomicU64>,
    /// Last: keys come one by one while this lives.
    _raw: Raw,
}

/// What is to be written, until the writer takes it.
#[derive(Clone, Default)]
struct Bytes(Rc<RefCell<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses to show anything where nobody sees it.
///
/// # Errors
///
/// Stdout is no terminal, or none that can place a cursor.
pub(super) fn require() -> Result<()> {
    let remedy = "say `xdpfw stats --watch`, or `xdpfw --json top`";
    let problem = match std::env::var_os("TERM") {
        _ if !io::stdout().is_terminal() => "standard output is no terminal",
        Some(term) if term == "dumb" => "this terminal (TERM=dumb) cannot place a cursor",
        _ => return Ok(()),
    };
    Err(Failure::new(Exit::Failed, format!("{problem}; {remedy}")).into())
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// There are no keys to be had, or no threads.
    pub(super) fn begin(is_colored: bool) -> Result<Self> {
        // Whether there is colour is decided here.
        style::force_color_output(is_colored);
        let writer = Background::start(1, |bytes: Vec<u8>| {
            let mut out = io::stdout().lock();
            out.write_all(&bytes)?;
            Ok(out.flush()?)
        })?;
        let bytes = Bytes::default();
        let written = writer.written();
        let raw = Raw::begin().context("no terminal to read keys from")?;
        let terminal = Terminal::new(CrosstermBackend::new(bytes.clone()))?;
        queue!(bytes.0.borrow_mut(), EnterAlternateScreen, Hide)?;
        Ok(Self {
            terminal,
            bytes,
            writer,
            offered: 0,
            written,
            _raw: raw,
        })
    }

    /// Whether the terminal has not taken the last picture yet. Another one waits until then.
    pub(super) fn is_behind(&self) -> bool {
        self.written.load(Ordering::Relaxed) < self.offered
    }

    /// Draws a picture, unless the terminal is behind; returns whether it did.
    ///
    /// # Errors
    ///
    /// There is no screen any more.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> Result<bool> {
        ensure!(
            !HAS_PANICKED.load(Ordering::Relaxed),
            "a thread has panicked"
        );
        if self.is_behind() {
            return Ok(false);
        }
        self.terminal.draw(picture)?;
        let bytes = std::mem::take(&mut *self.bytes.0.borrow_mut());
        if self.writer.offer(bytes) {
            self.offered += 1;
        }
        Ok(true)
    }

    /// Forgets what is on the screen: others may have written there.
    pub(super) fn forget(&mut self) -> Result<()> {
        Ok(self.terminal.clear()?)
    }

    /// Waits until a write fails: the terminal is gone.
    pub(super) async fn failed(&mut self) -> Result<()> {
        self.writer.failed().await
    }

    /// Gives the terminal back.
    pub(super) async fn end(self, end: End, ends: &mut Ends) -> Result<()> {
        let Self { writer, _raw, .. } = self;
        // Below what a panic has said, nothing is written.
        let has_panicked = HAS_PANICKED.load(Ordering::Relaxed);
        let last = (!has_panicked).then(restoring);
        finish(writer, last, end, ends).await?;
        Ok(())
    }
}

/// Keys come one by one, and are not shown, while this lives.
struct Raw;

impl Raw {
    fn begin() -> io::Result<Self> {
        enable_raw_mode()?;
        let raw = Self;
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            HAS_PANICKED.store(true, Ordering::Relaxed);
            // What the panic says must be seen.
            drop(disable_raw_mode());
            // Not through the standard library's lock, which a writer that is stuck holds.
            let _ = rustix::io::write(io::stdout(), &restoring());
            hook(info);
        }));
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(disable_raw_mode());
        // The default one again.
        if !std::thread::panicking() {
            drop(panic::take_hook());
        }
    }
}

/// What gives the screen back as it was.
fn restoring() -> Vec<u8> {
    let mut bytes = Vec::new();
    // Nothing fails to be written to memory.
    drop(queue!(
        bytes,
        style::ResetColor,
        style::SetAttribute(style::Attribute::Reset),
        LeaveAlternateScreen,
        Show
    ));
    bytes
}
