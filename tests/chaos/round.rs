//! A round: the commands that race, and what happens to each.

use std::fmt;

use rand::{RngExt as _, rngs::SmallRng};

use super::faults::Fault;

/// Policies that `apply` may put in force; each opens a port of its own.
pub(super) const POLICIES: u16 = 4;
/// The first of these ports.
pub(super) const FIRST: u16 = 2000;
/// A port that a rule opens by itself.
pub(super) const EXTRA: u16 = 3000;

/// A command that changes something.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// `apply` of one of the policies, for good or to be confirmed within so many seconds.
    Apply(u16, Option<u8>),
    /// `allow` of the extra port, the same.
    Allow(Option<u8>),
    /// `delete` of its rule.
    Delete,
    /// `confirm`.
    Confirm,
    /// `rollback` of a pending change.
    Rollback,
    /// `up` of another interface.
    Up(Option<u8>),
    /// `down` of it.
    Down,
    /// The other interface is deleted and made anew.
    Recreate,
    /// It gets another name, and its old one back.
    Rename,
}

/// What happens in a round.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) commands: Vec<(Change, Fault)>,
}

impl Change {
    fn random(random: &mut SmallRng) -> Self {
        let mut confirm = || match random.random_range(0..3) {
            0 => Some(random.random_range(1..=2)),
            _ => None,
        };
        let lasts = confirm();
        match random.random_range(0..14) {
            0..4 => Self::Apply(random.random_range(0..POLICIES), lasts),
            4..6 => Self::Allow(lasts),
            6..8 => Self::Delete,
            8 => Self::Confirm,
            9 => Self::Rollback,
            10 => Self::Up(lasts),
            11 => Self::Down,
            12 => Self::Recreate,
            _ => Self::Rename,
        }
    }
}

impl Round {
    /// One, two or four commands.
    pub(super) fn random(random: &mut SmallRng) -> Self {
        let many = match random.random_range(0..8) {
            0..5 => 1,
            5..7 => 2,
            _ => 4,
        };
        let one = |_| {
            let (change, fault) = (Change::random(random), Fault::random(random));
            match fault {
                // It is a copy of the directory that has no room: others change the real one.
                Fault::FullDisk if many > 1 => (change, Fault::ReadOnly),
                fault => (change, fault),
            }
        };
        Self {
            commands: (0..many).map(one).collect(),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (change, fault)) in self.commands.iter().enumerate() {
            let beside = if index == 0 { "" } else { " beside " };
            write!(f, "{beside}{change:?}{fault}")?;
        }
        Ok(())
    }
}
