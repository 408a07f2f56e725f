//! Where output goes: data to stdout, messages to stderr, colour where a
//! terminal shows it. Nothing that others wrote, in names, comments or files, gets to a
//! terminal as anything but what it is: it is all escaped here.

use std::{
    borrow::Cow,
    io::{self, BufWriter, IsTerminal as _, Stderr, Stdout, Write as _},
    sync::{Mutex, PoisonError},
};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use clap::ColorChoice;
use serde::Serialize;

use crate::text::visible;

/// Writes data and messages.
pub struct Printer {
    out: AutoStream<Stdout>,
    err: AutoStream<Stderr>,
    color: anstream::ColorChoice,
    verbosity: Verbosity,
    /// Lines of the picture that the next one replaces.
    frame: Option<usize>,
    /// What was asked for is done, whatever becomes of the words about it.
    is_done: bool,
}

/// How much is printed besides the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// What changed, and warnings.
    #[default]
    Normal,
    /// How it was done, too.
    Verbose,
}

/// Bytes of JSON written at once: a scan fills megabytes.
const BUFFER: usize = 1 << 16;
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const PASSES: Style = AnsiColor::Green.on_default();
const DROPS: Style = AnsiColor::Red.on_default();
const NOTHING: Style = Style::new().dimmed();

/// Warnings of code that has no printer, while something else has the screen.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Keeps the warnings of code that has no printer off the screen. What nobody has
/// [taken](Self::take) is printed when this is dropped.
#[must_use = "warnings are held back while this lives"]
#[derive(Debug)]
pub struct HeldWarnings(());

impl HeldWarnings {
    /// From now on.
    pub fn begin() -> Self {
        *held() = Some(Vec::new());
        Self(())
    }

    /// What was warned of since this was asked last.
    pub fn take(&self) -> Vec<String> {
        held().as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for HeldWarnings {
    fn drop(&mut self) {
        let left = held().take();
        for warning in left.unwrap_or_default() {
            log::warn!("{warning}");
        }
    }
}

fn held() -> std::sync::MutexGuard<'static, Option<Vec<String>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints the warnings of code that has no printer, which logs them.
struct Warnings {
    color: anstream::ColorChoice,
    verbosity: Verbosity,
}

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.verbosity >= Verbosity::Normal
            && metadata.level() <= log::Level::Warn
            // Libraries warn of what is their business alone.
            && metadata.target().starts_with(env!("CARGO_PKG_NAME"))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            if let Some(held) = held().as_mut() {
                held.push(record.args().to_string());
                return;
            }
            let mut err = AutoStream::new(io::stderr(), self.color);
            // Where stderr is closed there is nobody to tell.
            drop(writeln!(
                err,
                "{WARNING}warning:{WARNING:#} {}",
                visible(&record.args().to_string())
            ));
        }
    }

    fn flush(&self) {}
}

impl Printer {
    /// With colour when asked for. Also prints what this crate logs as a warning.
    pub fn new(color: ColorChoice, verbosity: Verbosity) -> Self {
        let color = match color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        // Set by an earlier printer, it stays.
        if log::set_boxed_logger(Box::new(Warnings { color, verbosity })).is_ok() {
            log::set_max_level(log::LevelFilter::Warn);
        }
        Self::with(color, verbosity)
    }

    fn with(color: anstream::ColorChoice, verbosity: Verbosity) -> Self {
        Self {
            out: AutoStream::new(io::stdout(), color),
            err: AutoStream::new(io::stderr(), color),
            color,
            verbosity,
            frame: None,
            is_done: false,
        }
    }

    /// Another one like this, for another thread.
    pub fn another(&self) -> Self {
        Self::with(self.color, self.verbosity)
    }

    /// Whether it also prints how things are done.
    pub fn is_verbose(&self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    /// Says that a change is made. From now on, a command has done what it was asked for: that
    /// its words about it cannot be written is a warning, and no failure.
    pub const fn change_is_made(&mut self) {
        self.is_done = true;
    }

    /// What comes of an attempt to write to stdout.
    fn written(&mut self, written: io::Result<()>) -> Result<()> {
        match written {
            Err(error) if self.is_done && error.kind() != io::ErrorKind::BrokenPipe => {
                self.warning(&format!(
                    "done, but standard output cannot be written: {error}"
                ));
                Ok(())
            }
            written => written.context("cannot write to standard output"),
        }
    }

    /// Prints what changed, a line; nothing if quiet.
    ///
    /// # Errors
    ///
    /// Stdout is closed.
    pub fn line(&mut self, line: &str) -> Result<()> {
        if self.verbosity < Verbosity::Normal {
            return Ok(());
        }
        let written = writeln!(self.out, "{}", visible(line)).and_then(|()| self.out.flush());
        self.written(written)
    }

    /// Prints data.
    ///
    /// # Errors
    ///
    /// Stdout is closed.
    pub fn text(&mut self, text: &str) -> Result<()> {
        if let Some(lines) = &mut self.frame {
            *lines += text.lines().count();
        }
        let end = match text.is_empty() || text.ends_with('\n') {
            true => "",
            false => "\n",
        };
        let written = write!(self.out, "{}{end}", visible(text)).and_then(|()| self.out.flush());
        self.written(written)
    }

    /// Prints data whose lines are about what passes or is dropped, in the colour of that.
    ///
    /// # Errors
    ///
    /// Stdout is closed.
    pub fn verdicts(&mut self, text: &str) -> Result<()> {
        self.in_colors(text, verdict_in_color)
    }

    /// Prints a table whose first column says how many packets are dropped in a second, in the
    /// colour of that.
    ///
    /// # Errors
    ///
    /// Stdout is closed.
    pub fn rates(&mut self, text: &str) -> Result<()> {
        self.in_colors(text, rate_in_color)
    }

    fn in_colors(&mut self, text: &str, in_color: fn(&str) -> Cow<'_, str>) -> Result<()> {
        if let Some(lines) = &mut self.frame {
            *lines += text.lines().count();
        }
        let text = visible(text);
        let written = text
            .lines()
            .try_for_each(|line| writeln!(self.out, "{}", in_color(line)))
            .and_then(|()| self.out.flush());
        self.written(written)
    }

    /// Prints data as one line of JSON.
    ///
    /// # Errors
    ///
    /// Stdout is closed.
    pub fn json(&mut self, data: &impl Serialize) -> Result<()> {
        // There is no colour in it, so it need not pass where colour is removed.
        let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
        let written = serde_json::to_writer(&mut out, data)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
        // What could not be written is not tried again when it is dropped.
        drop(out.into_parts());
        self.written(written)
    }

    /// Begins the next picture of something that goes on: in place of the last
    /// one on a terminal, below it elsewhere.
    ///
    /// # Errors
    ///
    /// Stdout is closed.
    pub fn begin_frame(&mut self, json: bool) -> Result<()> {
        if json || !io::stdout().is_terminal() {
            return Ok(());
        }
        if let Some(lines @ 1..) = self.frame.replace(0) {
            // Up to where the last picture began, and clear from there on.
            let written = write!(self.out, "\x1b[{lines}A\x1b[J");
            return self.written(written);
        }
        Ok(())
    }

    /// Says something in passing; nothing if quiet.
    pub fn note(&mut self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.message(None, text);
        }
    }

    /// Says how something was done, if that is wanted.
    pub fn detail(&mut self, text: impl FnOnce() -> String) {
        if self.verbosity >= Verbosity::Verbose {
            self.message(None, &text());
        }
    }

    /// Warns; nothing if quiet.
    pub fn warning(&mut self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.message(Some((WARNING, "warning:")), text);
        }
    }

    /// Says why the command failed, or one of the things that it was to do.
    pub fn error(&mut self, text: &str) {
        // Whatever was quoted in it, an error is one line.
        let line = text.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        self.message(Some((ERROR, "error:")), &line);
    }

    fn message(&mut self, kind: Option<(Style, &str)>, text: &str) {
        let text = visible(text);
        // Where stderr is closed there is nobody to tell.
        drop(match kind {
            Some((style, kind)) => writeln!(self.err, "{style}{kind}{style:#} {text}"),
            None => writeln!(self.err, "{text}"),
        });
    }
}

/// A line with its verdict in colour: the first word that is one. Behind it may be what others
/// wrote, such as a comment.
fn verdict_in_color(line: &str) -> Cow<'_, str> {
    let mut start = 0;
    for word in line.split(' ') {
        let bare = word.trim_end_matches(',');
        let style = match bare {
            "pass" | "allow" => Some(PASSES),
            "drop" | "deny" => Some(DROPS),
            _ => None,
        };
        if let Some(style) = style {
            let (before, after) = (&line[..start], &line[start + bare.len()..]);
            return format!("{before}{style}{bare}{style:#}{after}").into();
        }
        start += word.len() + 1;
    }
    line.into()
}

/// A row of a table with the number in its first column in colour: what is zero is dim. Other
/// lines stay as they are.
fn rate_in_color(line: &str) -> Cow<'_, str> {
    let cell = line.trim_start();
    let Some((number, others)) = cell.split_once("  ") else {
        return line.into();
    };
    let is_number = |c: char| c.is_ascii_digit() || c == ',';
    if number.is_empty() || !number.chars().all(is_number) {
        return line.into();
    }
    let style = if number == "0" { NOTHING } else { DROPS };
    let before = &line[..line.len() - cell.len()];
    format!("{before}{style}{number}{style:#}  {others}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_of_a_line_has_its_colour() {
        for (line, expected) in [
            (
                "r1  allow tcp 22 (ssh)",
                "r1  \x1b[32mallow\x1b[0m tcp 22 (ssh)",
            ),
            (
                "r2  deny any   do not drop this",
                "r2  \x1b[31mdeny\x1b[0m any   do not drop this",
            ),
            (
                "default drop, 3 rules",
                "default \x1b[31mdrop\x1b[0m, 3 rules",
            ),
            ("pass     total  3", "\x1b[32mpass\x1b[0m     total  3"),
            ("interface  mode", "interface  mode"),
        ] {
            assert_eq!(verdict_in_color(line), expected);
        }
    }
    #[test]
    fn a_rate_has_its_colour() {
        for (line, expected) in [
            (
                " 1,204  9,120  23/tcp telnet  well-known",
                " \x1b[31m1,204\x1b[0m  9,120  23/tcp telnet  well-known",
            ),
            ("     0  3  80/tcp", "     \x1b[2m0\x1b[0m  3  80/tcp"),
            ("drops/s  drops  port", "drops/s  drops  port"),
            (
                "3 packets dropped, 0 passed at",
                "3 packets dropped, 0 passed at",
            ),
        ] {
            assert_eq!(rate_in_color(line), expected);
        }
    }
}
