//! The capabilities of this process (capabilities(7)).

use std::fmt;

use rustix::thread::{CapabilitySet, capabilities};

use crate::text::sentence_list;

/// A privilege that the filter needs (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// To attach programs to interfaces.
    NetAdmin,
    /// To load programs that work with pointers.
    Perfmon,
    /// To load programs and make maps.
    Bpf,
}

impl Capability {
    /// All that the filter needs.
    pub const ALL: [Self; 3] = [Self::Bpf, Self::NetAdmin, Self::Perfmon];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// What cannot be done without it.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::NetAdmin => "no program can be attached to an interface",
            Self::Perfmon => "the kernel refuses programs that work with pointers",
            Self::Bpf => "no program can be loaded, and no map be made",
        }
    }

    /// Those of them that this process lacks.
    pub fn missing() -> impl Iterator<Item = Self> {
        let is_missing = |one: &Self| !Lacking::of(one.set()).is_nothing();
        Self::ALL.into_iter().filter(is_missing)
    }

    const fn set(self) -> CapabilitySet {
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::Bpf => CapabilitySet::BPF,
        }
    }
}

/// Capabilities that this process does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking(CapabilitySet);

impl Lacking {
    /// Those of `needed` that this process does not have.
    pub fn of(needed: CapabilitySet) -> Self {
        // What cannot be told is left to the kernel.
        let had = capabilities(None).map_or(CapabilitySet::all(), |sets| sets.effective);
        Self(needed.difference(with_implied(had)))
    }

    /// Whether nothing is lacking.
    pub const fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of these are lacking.
    pub const fn is_all_of(&self, needed: CapabilitySet) -> bool {
        self.0.contains(needed)
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .0
            .iter_names()
            .map(|(name, _)| format!("CAP_{name}"))
            .collect();
        f.write_str(&sentence_list(&names, usize::MAX))
    }
}

/// With those that another one stands for (`bpf_capable` and `perfmon_capable` in
/// linux/capability.h).
fn with_implied(had: CapabilitySet) -> CapabilitySet {
    match had.contains(CapabilitySet::SYS_ADMIN) {
        true => had | CapabilitySet::BPF | CapabilitySet::PERFMON,
        false => had,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_the_names_of_the_manual() {
        let lacking = Lacking(CapabilitySet::BPF | CapabilitySet::PERFMON);
        let mut names: Vec<String> = lacking
            .to_string()
            .split(" and ")
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["CAP_BPF", "CAP_PERFMON"]);
        assert!(Lacking(CapabilitySet::empty()).is_nothing());
    }

    #[test]
    fn the_old_one_stands_for_the_newer_ones() {
        let had = with_implied(CapabilitySet::SYS_ADMIN);
        assert!(had.contains(CapabilitySet::BPF | CapabilitySet::PERFMON));
        assert!(!had.contains(CapabilitySet::NET_ADMIN));
    }
}
