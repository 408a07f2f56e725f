//! What the policy asks for about scans: `[scan]`.

use std::fmt;

use crate::duration::Seconds;

/// When a source that sends to closed ports scans, and what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Distinct ports within the window.
    pub ports: u32,
    /// The window.
    pub window: Seconds,
    /// How long who scans with bare SYNs may open nothing; `None`: he may.
    pub ban: Option<Seconds>,
}

impl Scan {
    /// The fewest ports: with fewer, who mistypes a port scans.
    pub const FEWEST: u32 = 4;
    /// The most that the program can tell apart.
    pub const MOST: u32 = 128;
    /// The longest window, in seconds. What takes longer is a slow scan, for which the program has a
    /// window of its own.
    pub const LONGEST: u64 = 3_600;
    /// Distinct ports of the policy's window, if the file does not say.
    pub const PORTS: u32 = 16;
    /// The window in seconds, if the file does not say.
    pub const WINDOW: u64 = 10;
    /// The window for slow scans, in seconds: twelve hours.
    pub const SLOW_WINDOW: u64 = 12 * 3_600;

    /// Distinct ports of a slow scan: within [`Scan::SLOW_WINDOW`].
    pub const fn slow_ports(&self) -> u32 {
        2 * self.ports
    }
}

/// As `list` and `status` show it: `16 ports in 10s, banned for 10m`.
impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ports, window, ban } = self;
        write!(f, "{ports} ports in {window}")?;
        match ban {
            Some(ban) => write!(f, ", banned for {ban}"),
            None => f.write_str(", not banned"),
        }
    }
}
