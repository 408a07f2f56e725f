//! The deadline of a generation that is in force for a while only, and what judges behind it.

/// Names of the programs and maps.
pub mod names {
    /// Program in front of a generation with a deadline.
    pub const GATE: &str = "gate";
    /// The same for what leaves.
    pub const GATE_EGRESS: &str = "gate_egress";
    /// Program that lets everything pass.
    pub const BYPASS: &str = "bypass";
    /// Array of one `u64`: when the generation ends, in nanoseconds of `CLOCK_BOOTTIME`, which
    /// goes on while the machine sleeps; or [`NO_DEADLINE`](super::NO_DEADLINE).
    pub const DEADLINE: &str = "DEADLINE";
    /// Program array: what judges [before](super::WAY_BEFORE) the deadline and
    /// [after](super::WAY_AFTER) it.
    pub const WAYS: &str = "WAYS";
    /// The same for what leaves. Where a program is missing, nothing is recorded.
    pub const WAYS_EGRESS: &str = "WAYS_EGRESS";
    /// Hash map with the numbers of the interfaces that are not filtered after the deadline;
    /// values mean nothing.
    pub const JOINED: &str = "JOINED";
}

/// The deadline of a generation that was confirmed.
pub const NO_DEADLINE: u64 = 0;

/// Index of the program that judges before the deadline.
pub const WAY_BEFORE: u32 = 0;
/// Index of the program that judges after it.
pub const WAY_AFTER: u32 = 1;
