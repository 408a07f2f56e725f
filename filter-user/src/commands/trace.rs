//! `xdpfw trace`: show why each packet passed or was dropped.

mod filter;

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use anyhow::Result;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::MissedTickBehavior,
};

use self::filter::{Filter, FilterArgs};
use super::{
    Context, Exit,
    privilege::require_to_change,
    watching::{End, Ends, finish, is_unread, runtime, say_last},
};
use crate::{
    engine::{Trace, program_in_force},
    netlink::{Interface, interfaces},
    output::{Background, Columns, Lost, Printer, Seen},
};

/// How often to look whether the traced generation is still in force, and anybody reads.
const LOOK: Duration = Duration::from_secs(1);
/// How many events wait to be written. What comes in a second of a busy host.
const ROOM: usize = 4096;

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop after so many packets
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What is written.
enum Item {
    Seen(Box<Seen>),
    Lost(u64),
    Note(&'static str),
    Detail(String),
}

/// Puts a traced flavour of the generation in force, shows what it reports, and
/// puts the plain one back.
///
/// # Errors
///
/// The filter is not up, somebody else traces, or the kernel refuses.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let filter = Filter::of(&args.filter)?;
    require_to_change()?;
    let runtime = runtime()?;
    let _context = runtime.enter();
    // Before the first traced packet: whatever ends the command from here on
    // must also end the trace.
    let mut ends = Ends::watch()?;
    let show = Show {
        left: args.count.unwrap_or(u64::MAX),
        filter: &filter,
        known: interfaces()?,
        writer: writer(context.json(), printer)?,
        offered: 0,
        lost: 0,
        unreported: 0,
    };
    let mut trace = Trace::begin(|record| filter.wanted(record))?;
    let shown = runtime.block_on(show.run(&mut trace, &mut ends));
    // Before anything that waits for a reader.
    trace.end()?;
    let (end, show) = shown?;
    runtime.block_on(show.finish(end, &mut ends, printer))?;
    Ok(Exit::Done)
}

/// What writes items, to stdout and stderr.
fn writer(json: bool, printer: &Printer) -> Result<Background<Item>> {
    let mut printer = printer.another();
    let mut columns = Columns::default();
    Background::start(ROOM, move |item| match item {
        Item::Seen(seen) if json => printer.json(&seen),
        Item::Seen(seen) => printer.verdicts(&columns.line(&seen)),
        Item::Lost(count) => {
            let lost = Lost::new(count);
            printer.note(&lost.to_string());
            match json {
                true => printer.json(&lost),
                false => Ok(()),
            }
        }
        Item::Note(text) => {
            printer.note(text);
            Ok(())
        }
        Item::Detail(text) => {
            printer.detail(|| text);
            Ok(())
        }
    })
}

/// A trace being shown.
struct Show<'a> {
    /// Packets still to be shown.
    left: u64,
    filter: &'a Filter,
    known: Vec<Interface>,
    writer: Background<Item>,
    /// Items that the writer got.
    offered: u64,
    /// Events that it did not get, and that nobody was told of.
    lost: u64,
    /// Events that the program had no room for, of all that were told of.
    unreported: u64,
}

impl Show<'_> {
    async fn run(mut self, trace: &mut Trace, ends: &mut Ends) -> Result<(End, Self)> {
        let generation = trace.generation().clone();
        let program = generation.program_id();
        let (lines, mut diagnostics) = unbounded_channel();
        let mut follower = pin!(generation.follow_log(Lines(lines)));
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.write(Item::Note(
            "tracing slows the filter down; interrupt to stop",
        ));
        while self.left > 0 {
            tokio::select! {
                biased;
                () = ends.next() => return Ok((End::Signal, self)),
                result = self.writer.failed() => return result.map(|()| (End::Done, self)),
                result = &mut follower => return result.map(|()| (End::Done, self)),
                _ = look.tick() => {
                    self.look_for_lost(trace)?;
                    if is_unread() {
                        break;
                    }
                    if program_in_force()? != Some(program) {
                        self.write(Item::Note("the policy changed, which ends the trace"));
                        break;
                    }
                }
                Some(line) = diagnostics.recv() => self.write(Item::Detail(line)),
                event = trace.events.next() => {
                    let event = event?;
                    if self.filter.shows(&event) {
                        let interface = self.name_of(event.interface);
                        let seen = Seen::new(&event, trace.generation().record(), interface)?;
                        self.show(seen);
                    }
                }
            }
        }
        self.look_for_lost(trace)?;
        Ok((End::Done, self))
    }

    /// Shows a packet, if there is room.
    fn show(&mut self, seen: Seen) {
        self.say_lost();
        if self.lost > 0 || !self.offer(Item::Seen(Box::new(seen))) {
            self.lost += 1;
        } else {
            self.left -= 1;
        }
    }

    /// Says how many events were lost, in their place, if there is room.
    fn say_lost(&mut self) {
        if self.lost > 0 && self.offer(Item::Lost(self.lost)) {
            self.lost = 0;
        }
    }

    /// Counts what the program had no room for, too.
    fn look_for_lost(&mut self, trace: &Trace) -> Result<()> {
        let unreported = trace.events.unreported()?;
        self.lost += unreported.saturating_sub(self.unreported);
        self.unreported = unreported;
        self.say_lost();
        Ok(())
    }

    fn offer(&mut self, item: Item) -> bool {
        let is_taken = self.writer.offer(item);
        self.offered += u64::from(is_taken);
        is_taken
    }

    /// Writes what may be left out.
    fn write(&mut self, item: Item) {
        let _ = self.offer(item);
    }

    fn name_of(&self, index: u32) -> String {
        match self.known.iter().find(|one| one.index == index) {
            Some(one) => one.name.clone(),
            None => format!("if{index}"),
        }
    }

    /// Waits for what is being written, and says what is not.
    async fn finish(self, end: End, ends: &mut Ends, printer: &Printer) -> Result<()> {
        let written = self.writer.written();
        let last = (self.lost > 0).then_some(Item::Lost(self.lost));
        if finish(self.writer, last, end, ends).await? {
            return Ok(());
        }
        let waiting = self.offered.saturating_sub(written.load(Ordering::Relaxed));
        let lost = Lost::new(self.lost + waiting);
        say_last(lost.to_string(), printer).await
    }
}

/// Where aya-log delivers the program's lines.
struct Lines(UnboundedSender<String>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nobody receives any more when the trace ends.
        drop(self.0.send(record.args().to_string()));
    }

    fn flush(&self) {}
}
