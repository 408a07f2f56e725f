//! Explains why the kernel does not attach the filter to an interface, and what can be done.

use std::{fmt, io};

use aya::{programs::ProgramError, sys::SyscallError};
use rustix::io::Errno;

use super::Foreign;
use crate::netlink::{Interface, Mode};

/// Why the filter could not be attached to an interface.
#[derive(Debug)]
pub struct Refusal {
    interface: String,
    /// What is in the way.
    pub why: String,
    /// What would take it out of the way.
    pub remedy: Option<String>,
    /// Whether generic mode would be a way around it.
    generic_would_do: bool,
}

impl Refusal {
    /// An interface runs the filter of another network namespace.
    pub(in crate::datapath) fn of_stray(interface: &Interface, program: u32) -> Self {
        let name = &interface.name;
        Self {
            interface: name.clone(),
            why: format!(
                "another XDP program (id {program}) is attached, the filter of another network \
                 namespace"
            ),
            remedy: Some(format!("say `xdpfw down {name}` first")),
            generic_would_do: false,
        }
    }

    /// What the kernel's answer means; `known` are the interfaces beside it. An interface is `joined_late` when the filter
    /// would have been fit for it, had it been brought up with it.
    pub(super) fn of(
        interface: &Interface,
        mode: Mode,
        joined_late: bool,
        known: &[Interface],
        error: &ProgramError,
    ) -> Self {
        let Interface { name, mtu, .. } = interface;
        let io = match error {
            ProgramError::SyscallError(SyscallError { io_error, .. }) => Some(io_error),
            _ => None,
        };
        let errno = io
            .and_then(io::Error::raw_os_error)
            .map(Errno::from_raw_os_error);
        let is_native = mode == Mode::Native;
        let (why, remedy, generic_would_do) = match (errno, interface.xdp) {
            (_, Some(_)) => taken(interface),
            (Some(Errno::EXIST), _) => above(interface, known),
            (Some(Errno::OPNOTSUPP), _) if is_native => (
                interface.driver.as_ref().map_or_else(
                    || "its driver has no native XDP".to_owned(),
                    |driver| format!("its driver ({driver}) has no native XDP"),
                ),
                None,
                true,
            ),
            // Each driver has its own error for this.
            _ if joined_late => (
                format!("its MTU of {mtu} is too large for the filter as it was brought up"),
                Some(format!(
                    "say `xdpfw down`, then `xdpfw up` with {name} among the interfaces"
                )),
                true,
            ),
            (Some(Errno::RANGE), _) => (
                "its MTU or its peer's is too large for native XDP".to_owned(),
                Some(format!(
                    "say `ip link set dev {name} mtu 1500`, at both ends"
                )),
                true,
            ),
            (Some(errno), _) => (format!("the kernel refused XDP: {errno}"), None, is_native),
            (None, _) => (format!("the kernel refused XDP: {error}"), None, is_native),
        };
        Self {
            interface: name.clone(),
            why,
            remedy,
            generic_would_do,
        }
    }
}

/// That a program of others is attached, and the ways out.
fn taken(interface: &Interface) -> (String, Option<String>, bool) {
    let name = &interface.name;
    let foreign = Foreign::of(interface);
    let shown = foreign
        .as_ref()
        .map_or_else(String::new, |foreign| format!(", {foreign}"));
    let behind = foreign
        .and_then(|foreign| foreign.pin)
        .map_or_else(String::new, |pin| {
            let pin = pin.display().to_string();
            format!(
                ", with --then {} to run it behind the filter",
                pin.escape_debug()
            )
        });
    (
        format!("another XDP program is attached{shown}"),
        Some(format!(
            "say `xdpfw up {name} --replace` to take it off{behind}"
        )),
        false,
    )
}

/// Why an interface takes no program below one that has a program (`dev_xdp_attach` in
/// net/core/dev.c), what would help, and that generic mode would not.
fn above(interface: &Interface, known: &[Interface]) -> (String, Option<String>, bool) {
    let mut above = known.iter().filter(|other| other.is_above(interface));
    let Some(above) = above.find(|other| other.xdp.is_some()) else {
        let why = "an interface above it has an XDP program already".to_owned();
        return (why, None, false);
    };
    let (name, above) = (&interface.name, &above.name);
    (
        format!("{above} is above it and has an XDP program already"),
        Some(format!(
            "say `xdpfw down {above}`, then `xdpfw up {name} {above}`"
        )),
        false,
    )
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.why)?;
        match (&self.remedy, self.generic_would_do) {
            (Some(remedy), true) => write!(f, "; {remedy}, or --mode generic"),
            (Some(remedy), false) => write!(f, "; {remedy}"),
            (None, true) => f.write_str("; say --mode generic"),
            (None, false) => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}
