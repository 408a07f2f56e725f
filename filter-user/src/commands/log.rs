//! `xdpfw log` and `xdpfw trace`: show packets as they come in, what becomes of them, and why.

mod filter;
mod target;

use std::{future, pin::Pin, sync::atomic::Ordering, time::Duration};

use anyhow::Result;
use bytemuck::Zeroable as _;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Interval, MissedTickBehavior},
};
use xdpfw_common::abi::{Missed, NOTICES, Report, WANTS_DIAGNOSTICS, WANTS_HEAD, Wanted};

use self::{
    filter::{Filter, FilterArgs, VerdictArg},
    target::{Captured, Item, TargetArgs},
};
use super::{
    Context, Exit,
    privilege::{require_to_change, require_to_read},
    watching::{End, Ends, finish, is_unread, runtime, say_last},
};
use crate::{
    datapath::Generation,
    engine::{BanFollower, Followed, Listener},
    netlink::{Interface, LinkLayer, interfaces},
    output::{Background, Lost, Notice, Printer, Seen, WallClock},
    text::thousands,
};

/// How often to look for reports. The program wakes nobody for one: that would cost packets more
/// than the report itself.
const TAKE: Duration = Duration::from_millis(50);
/// How often to look which generation is in force, and whether anybody reads.
const LOOK: Duration = Duration::from_secs(1);
/// How many reports to take before anything else is looked at.
const AT_ONCE: usize = 1024;

/// Arguments of `log` and `trace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on until interrupted, as it does anyway
    #[arg(short, long)]
    follow: bool,
    /// Stop after so many packets
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// What is shown where the user does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What is dropped.
    Log,
    /// All packets.
    Trace,
}

/// Shows packets until it is interrupted, or has shown as many as were asked for.
///
/// # Errors
///
/// The filter is not up, too many listen already, or the kernel refuses.
pub fn run(view: View, args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let filter = Filter::of(
        &args.filter,
        match view {
            View::Log => VerdictArg::Drop,
            View::Trace => VerdictArg::Any,
        },
    )?;
    let mut flags = match printer.is_verbose() {
        true => {
            require_to_change()?;
            WANTS_DIAGNOSTICS
        }
        false => {
            require_to_read()?;
            0
        }
    };
    if args.target.write.is_some() {
        flags |= WANTS_HEAD;
    }
    let runtime = runtime()?;
    let _context = runtime.enter();
    let mut ends = Ends::watch()?;
    let mut listener = Listener::begin(|record| filter.wanted(record, flags))?;
    let show = Show {
        shown: 0,
        most: args.count.unwrap_or(u64::MAX),
        target: &args.target,
        filter: &filter,
        flags,
        known: interfaces()?,
        clock: WallClock::now(),
        // Only now: a command that fails leaves no file.
        writer: args.target.writer(context.json(), printer)?,
        offered: 0,
        lost: Lost::default(),
        bans: BanFollower::new(&context.history()),
        missed: Missed::default(),
    };
    let shown = runtime.block_on(show.run(&mut listener, &mut ends));
    // Before anything that waits for a reader.
    drop(listener);
    let (end, show) = shown?;
    runtime.block_on(show.finish(end, &mut ends, printer))?;
    Ok(Exit::Done)
}

/// Packets being shown.
struct Show<'a> {
    /// Packets shown so far.
    shown: u64,
    /// How many are to be shown.
    most: u64,
    target: &'a TargetArgs,
    filter: &'a Filter,
    /// [`Wanted::flags`].
    flags: u16,
    known: Vec<Interface>,
    clock: WallClock,
    writer: Background<Item>,
    /// Items that the writer got.
    offered: u64,
    /// Events that it did not get, and that nobody was told of.
    lost: Lost,
    /// Who is banned meanwhile.
    bans: BanFollower,
    /// What the program did not report, of all that were told of.
    missed: Missed,
}

impl Show<'_> {
    async fn run(mut self, listener: &mut Listener, ends: &mut Ends) -> Result<(End, Self)> {
        let (lines, mut diagnostics) = unbounded_channel();
        let has_log = self.flags & WANTS_DIAGNOSTICS != 0;
        let log_of = |generation: &Generation| match has_log {
            true => follow_log(generation.clone(), Lines(lines.clone())),
            false => Box::pin(future::pending()),
        };
        let mut follower = log_of(listener.generation());
        let mut take = every(TAKE);
        let mut look = every(LOOK);
        while self.shown < self.most {
            tokio::select! {
                biased;
                () = ends.next() => return Ok((End::Signal, self)),
                result = self.writer.failed() => return result.map(|()| (End::Done, self)),
                result = &mut follower => return result.map(|()| (End::Done, self)),
                _ = look.tick() => {
                    self.look_for_lost(listener)?;
                    self.look_for_bans();
                    if self.target.is_screen() && is_unread() {
                        break;
                    }
                    match listener.follow()? {
                        Followed::Same => {}
                        Followed::Changed => {
                            follower = log_of(listener.generation());
                            self.keep_up(listener)?;
                        }
                        Followed::Ended => {
                            self.write(Item::Note("the filter is down"));
                            break;
                        }
                    }
                }
                Some(line) = diagnostics.recv() => self.write(Item::Detail(line)),
                _ = take.tick() => self.take(listener)?,
            }
        }
        self.look_for_lost(listener)?;
        Ok((End::Done, self))
    }

    /// Shows what was reported meanwhile, or some of it: signals are heeded in between.
    fn take(&mut self, listener: &mut Listener) -> Result<()> {
        self.clock = WallClock::now();
        for _ in 0..AT_ONCE {
            if self.shown == self.most {
                break;
            }
            let Some(report) = listener.hear()? else {
                break;
            };
            self.see(&report, listener)?;
        }
        Ok(())
    }

    fn see(&mut self, report: &Report, listener: &Listener) -> Result<()> {
        let event = &report.event;
        let record = listener.record_of(report);
        if !self.filter.shows(event, record) {
            return Ok(());
        }
        let (interface, link_layer) = self.interface(event.interface);
        let at = self.clock.at(report.at);
        if event.reason == NOTICES {
            for notice in Notice::all(event, at, record, &interface) {
                self.say(Item::Notice(Box::new(notice)));
            }
            return Ok(());
        }
        let seen = Seen::new(event, at, record, interface)?;
        self.show(match self.target.write {
            None => Item::Seen(Box::new(seen)),
            Some(_) => Item::Captured(Box::new(Captured {
                seen,
                link_layer,
                report: *report,
            })),
        });
        Ok(())
    }

    /// Shows the bans that began or ended meanwhile.
    fn look_for_bans(&mut self) {
        for line in self.bans.news() {
            if self.filter.shows_ban(&line.prefix) {
                self.say_lost();
                let news = Item::Ban(Box::new(line.into()));
                if !self.lost.is_nothing() || !self.offer(news) {
                    self.lost.add(1, 0);
                }
            }
        }
    }

    /// Shows a packet, if there is room.
    fn show(&mut self, packet: Item) {
        self.shown += u64::from(self.say(packet));
    }

    /// Shows an event, if there is room; whether there is.
    fn say(&mut self, event: Item) -> bool {
        self.say_lost();
        let is_shown = self.lost.is_nothing() && self.offer(event);
        if !is_shown {
            self.lost.add(1, 0);
        }
        is_shown
    }

    /// Says how many events were lost, in their place, if there is room.
    fn say_lost(&mut self) {
        if !self.lost.is_nothing() && self.offer(Item::Lost(self.lost.clone())) {
            self.lost = Lost::default();
        }
    }

    /// Counts what the program did not report, too.
    fn look_for_lost(&mut self, listener: &Listener) -> Result<()> {
        let Missed { suppressed, lost } = listener.missed()?;
        let suppressed_now = suppressed.saturating_sub(self.missed.suppressed);
        let lost_now = lost.saturating_sub(self.missed.lost);
        self.lost.add(lost_now, suppressed_now);
        self.missed = Missed { suppressed, lost };
        self.say_lost();
        Ok(())
    }

    /// Asks for the same of another generation, and says of it what the one who looks must know.
    fn keep_up(&mut self, listener: &Listener) -> Result<()> {
        let record = listener.generation().record();
        match self.filter.wanted(record, self.flags) {
            Ok(wanted) => listener.want(wanted)?,
            // It may come back; until then, its number may be another one's.
            Err(_) => {
                listener.want(Wanted::zeroed())?;
                self.write(Item::Note("the rule is no longer in force"));
            }
        }
        if record.purpose.passes_all() {
            self.write(Item::Note(
                "everything passes for a while, and is not shown",
            ));
        }
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

    /// The name of an interface, also of one that came after the command began, and what its
    /// packets begin with.
    fn interface(&mut self, index: u32) -> (String, LinkLayer) {
        let find = |known: &[Interface]| {
            let one = known.iter().find(|one| one.index == index)?;
            Some((one.name.clone(), one.link_layer))
        };
        if find(&self.known).is_none()
            && let Ok(known) = interfaces()
        {
            self.known = known;
        }
        find(&self.known).unwrap_or_else(|| (format!("if{index}"), LinkLayer::Ethernet))
    }

    /// Waits for what is being written, and says what is not.
    async fn finish(mut self, end: End, ends: &mut Ends, printer: &Printer) -> Result<()> {
        let written = self.writer.written();
        let last = (!self.lost.is_nothing()).then(|| Item::Lost(self.lost.clone()));
        if finish(self.writer, last, end, ends).await? {
            if let Some(path) = &self.target.write {
                let path = path.display().to_string();
                let (packets, path) = (thousands(self.shown), path.escape_debug());
                printer
                    .another()
                    .note(&format!("{path}: {packets} packets"));
            }
            return Ok(());
        }
        let waiting = self.offered.saturating_sub(written.load(Ordering::Relaxed));
        self.lost.add(waiting, 0);
        say_last(self.lost.to_string(), printer).await
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Hands each line that the program of a generation writes about itself to `lines`.
fn follow_log(generation: Generation, lines: Lines) -> Pin<Box<dyn Future<Output = Result<()>>>> {
    Box::pin(async move { generation.follow_log(lines).await })
}

/// Where aya-log delivers the program's lines.
struct Lines(UnboundedSender<String>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nobody receives any more when the command ends.
        drop(self.0.send(record.args().to_string()));
    }

    fn flush(&self) {}
}
