//! Listens to what the program reports.
//!
//! A listener has a ring and a place of its own, which a lock (flock(2)) on a directory marks as
//! taken; the kernel takes the mark away when the process ends. What it costs packets must not
//! outlive it either, not even one that is killed: it says again and again that it still
//! listens, and once it does not, the program finds out by itself.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use aya_log::EbpfLogger;
use bytemuck::Zeroable as _;
use tokio::io::{Interest, unix::AsyncFd};
use xdpfw_common::abi::{
    LISTENED, LISTENERS, LISTENING, Listened, Listener, MISSED, Missed, REPORTS, Report, SharedMap,
    Wanted,
};

use super::{Clock, Error, Generation, clock::monotonic, object, pins::PinDirectory};

/// Pin of what the program writes about itself.
pub(super) const LOG: &str = "log";

/// How often a listener says that it still listens.
const BEAT: Duration = Duration::from_millis(250);
/// For how long each time: long enough for a machine that has much else to do, and short enough
/// that one that was killed is gone within two seconds.
const LEASE: Duration = Duration::from_millis(1_700);

/// Bytes of an element of [`LISTENING`].
const LISTENER: usize = size_of::<Listener>();
/// Words of an element of [`MISSED`].
const MISSED_WORDS: usize = size_of::<Missed>() / size_of::<u64>();

/// Reports, oldest first, for as long as it lives.
pub struct Listening {
    ring: RingBuf<MapData>,
    missed: PerCpuArray<MapData, [u64; MISSED_WORDS]>,
    /// What others missed who had this place before.
    before: Missed,
    place: Arc<Mutex<Place>>,
    /// The kernel's number for the map of places.
    map_id: u32,
    /// Says that it still listens.
    _beat: Beat,
    /// Marks the place as taken.
    _mark: OwnedFd,
}

impl Listening {
    /// Listens to the generation in this directory, and to all that take over its maps. Taken
    /// places are marked below `marks`.
    pub(super) fn begin(
        directory: &PinDirectory,
        marks: &PinDirectory,
        clock: Clock,
        wanted: Wanted,
    ) -> Result<Self> {
        let (number, mark) = take_place(marks)?;
        let mut place = Place {
            places: Places::open(directory, clock)?,
            number,
            wanted: None,
        };
        // What the last one who had this place left.
        place.want(None)?;
        let ring = open(directory, REPORTS[number as usize])?;
        let mut ring = RingBuf::try_from(Map::RingBuf(ring))?;
        while ring.next().is_some() {}
        let missed = PerCpuArray::try_from(Map::PerCpuArray(open(directory, MISSED)?))?;
        let before = sum(&missed, number)?;
        // Last: from now on the program reports.
        place.want(Some(wanted))?;
        let place = Arc::new(Mutex::new(place));
        let of_beat = Arc::clone(&place);
        Ok(Self {
            ring,
            missed,
            before,
            place,
            map_id: open(directory, LISTENING)?.info()?.id(),
            _beat: Beat::start(move || held(&of_beat).still_want())?,
            _mark: mark,
        })
    }

    /// Says what it wants to know from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn want(&self, wanted: Wanted) -> Result<()> {
        held(&self.place).want(Some(wanted))
    }

    /// The next report; `None` if there is none by now.
    ///
    /// # Errors
    ///
    /// What the program wrote is no report.
    pub fn hear(&mut self) -> Result<Option<Report>> {
        let report = self.ring.next();
        let report = report.map(|bytes| bytemuck::try_pod_read_unaligned(&bytes));
        report
            .transpose()
            .map_err(|error| anyhow::anyhow!("the program writes what is no report: {error}"))
    }

    /// Whether it hears what this generation reports.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn is_of(&self, generation: &Generation) -> Result<bool> {
        let other = open(&generation.directory, LISTENING)?;
        Ok(other.info()?.id() == self.map_id)
    }

    /// What was wanted and is not reported.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn missed(&self) -> Result<Missed> {
        let all = sum(&self.missed, held(&self.place).number)?;
        Ok(Missed {
            suppressed: all.suppressed.saturating_sub(self.before.suppressed),
            lost: all.lost.saturating_sub(self.before.lost),
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // If it fails, packets pay for it a second longer.
        drop(held(&self.place).want(None));
    }
}

/// What all who had a place missed, on all CPUs.
fn sum(missed: &PerCpuArray<MapData, [u64; MISSED_WORDS]>, number: u32) -> Result<Missed> {
    let mut all = Missed::default();
    for [suppressed, lost] in missed.get(&number, 0)?.iter() {
        all.suppressed += suppressed;
        all.lost += lost;
    }
    Ok(all)
}

/// How many listen to the generation in this directory.
pub(super) fn count(directory: &PinDirectory, clock: Clock) -> Result<usize> {
    let places = Places::open(directory, clock)?;
    Ok(places.alive()?.len())
}

/// Hands each line that the program in this directory writes about itself to `logger`, until
/// dropped.
pub(super) async fn follow_log(
    directory: &PinDirectory,
    logger: impl log::Log + 'static,
) -> Result<()> {
    let mut object = object::with_log(&directory.pin(LOG))?;
    let records = EbpfLogger::init_with_logger(&mut object, logger)
        .context("cannot follow the program's log")?;
    drop(object);
    // SAFETY: the logger owns its ring buffer's descriptor and never changes it.
    let mut records = unsafe { AsyncFd::register_with_interest(records, Interest::READABLE) }?;
    loop {
        let mut guard = records.readable_mut().await?;
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}

/// Marks a free place.
fn take_place(marks: &PinDirectory) -> Result<(u32, OwnedFd)> {
    for number in 0..LISTENERS as u32 {
        let directory = marks.make_directory(&number.to_string())?;
        if let Some(mark) = directory.mark()? {
            return Ok((number, mark));
        }
    }
    Err(Error::TooManyListeners.into())
}

/// The place of one listener, and what it wants.
struct Place {
    places: Places,
    number: u32,
    /// `None` before it listens, and once it does not any more.
    wanted: Option<Wanted>,
}

impl Place {
    fn want(&mut self, wanted: Option<Wanted>) -> Result<()> {
        self.wanted = wanted;
        self.still_want()
    }

    /// Says so again, for a while.
    fn still_want(&mut self) -> Result<()> {
        let listener = match self.wanted {
            Some(wanted) => Listener {
                until: self.places.clock.after(LEASE),
                wanted,
            },
            None => Listener::zeroed(),
        };
        self.places.set(self.number, listener)
    }
}

/// What a lock holds, whether somebody panicked with it or not: each step leaves it whole.
fn held(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The places of all listeners, open.
struct Places {
    listening: Array<MapData, [u8; LISTENER]>,
    listened: Array<MapData, u64>,
    clock: Clock,
}

impl Places {
    fn open(directory: &PinDirectory, clock: Clock) -> Result<Self> {
        Ok(Self {
            listening: Map::Array(open(directory, LISTENING)?).try_into()?,
            listened: Map::Array(open(directory, LISTENED)?).try_into()?,
            clock,
        })
    }

    /// Writes a place, and tells all packets who listens by now.
    fn set(&mut self, number: u32, listener: Listener) -> Result<()> {
        let listener: [u8; LISTENER] = bytemuck::cast(listener);
        self.listening.set(number, listener, 0)?;
        let alive = self.alive()?;
        let highest = alive.iter().map(|one| one.wanted.threshold).max();
        let listened = highest.map_or(0, |threshold| {
            let phase = monotonic().subsec_nanos();
            bytemuck::cast(Listened { threshold, phase })
        });
        self.listened.set(0, listened, 0)?;
        Ok(())
    }

    /// Those who listen now.
    fn alive(&self) -> Result<Vec<Listener>> {
        let now = self.clock.now();
        let mut alive = Vec::new();
        for number in 0..LISTENERS as u32 {
            let listener: Listener = bytemuck::cast(self.listening.get(&number, 0)?);
            if listener.until > now {
                alive.push(listener);
            }
        }
        Ok(alive)
    }
}

/// A thread that does something again and again until it is dropped: nothing else that the
/// process waits for may keep it from that.
struct Beat(Option<(Sender<()>, JoinHandle<()>)>);

impl Beat {
    fn start(mut beat: impl FnMut() -> Result<()> + Send + 'static) -> Result<Self> {
        let (end, ended) = channel();
        let go_on = move || {
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // Once more soon, if it fails.
                drop(beat());
            }
        };
        let thread = thread::Builder::new().spawn(go_on)?;
        Ok(Self(Some((end, thread))))
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            drop(thread.join());
        }
    }
}

fn open(directory: &PinDirectory, map: SharedMap) -> Result<MapData> {
    MapData::from_pin(directory.pin(map.pin)).context("nothing reports packets")
}
