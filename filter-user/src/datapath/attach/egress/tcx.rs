//! TCX: a link to a list of programs that an interface runs for what leaves. A pin keeps it
//! there.
//!
//! Not with aya, which knows interfaces by name: another may have the name by now.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{BPF_F_BEFORE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_type};

use super::EgressRefusal;
use crate::{
    datapath::{
        attach::link,
        pins::PinDirectory,
        syscall::{self, attributes, bpf},
    },
    netlink::Interface,
};

/// Directory of the links, by number of their interface.
pub(super) const LINKS: &str = "egress";
/// The most programs that an interface has in its list (`BPF_MPROG_MAX` in
/// linux/bpf_mprog.h).
const MOST_PROGRAMS: usize = 64;

/// The pinned links.
pub(super) struct Tcx(PinDirectory);

impl Tcx {
    /// Those below a version's directory, if there are any.
    pub(super) fn open(directory: &PinDirectory) -> Result<Option<Self>> {
        Ok(directory.directory(LINKS)?.map(Self))
    }

    /// The same, where there may be none yet.
    pub(super) fn make(directory: &PinDirectory) -> Result<Self> {
        directory.make_directory(LINKS).map(Self)
    }

    /// The names of the pins: numbers of interfaces.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        self.0.names()
    }

    /// Attaches a program in front of the others. Returns whether the kernel has TCX.
    pub(super) fn attach(&self, interface: &Interface, program: &OwnedFd) -> Result<bool> {
        let pin = interface.index.to_string();
        // Left by an interface that had the number before, or detached by somebody.
        link::remove(&self.0, &pin)?;
        let link = match create(interface.index, program) {
            Ok(link) => link,
            // Kernels before 6.6 have no such kind of attachment.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(false),
            Err(error) => return Err(EgressRefusal::of_kernel(&interface.name, &error).into()),
        };
        syscall::pin(link.as_fd(), &self.0.pin(&pin))
            .with_context(|| format!("cannot pin {}", self.0.shown(&pin).display()))?;
        Ok(true)
    }

    /// Whether an interface runs the program of the link that is pinned for it.
    pub(super) fn is_on(&self, index: u32) -> bool {
        let link = self.0.open_pin(&index.to_string());
        link.ok().flatten().is_some_and(|link| {
            // When the interface goes, so does its number in the link.
            interface_of(&link).is_ok_and(|interface| interface == Some(index))
        })
    }

    /// Has all links run the program that `pin` names for theirs, and pins them elsewhere.
    pub(super) fn hand_over(
        &self,
        to: &Self,
        programs: &PinDirectory,
        pin: impl Fn(u32) -> &'static str,
    ) -> Result<()> {
        for name in self.names()? {
            let Some(link) = self.0.open_pin(&name)? else {
                continue;
            };
            let program = syscall::link_info(&link)?.prog_id;
            link::hand_over(&link, &name, &programs.pin(pin(program)), (&self.0, &to.0))?;
        }
        Ok(())
    }

    /// Detaches the link that is pinned under this name, if there is one.
    pub(super) fn detach(&self, name: &str) -> Result<()> {
        link::remove(&self.0, name)
    }
}

/// A program that an interface runs for what leaves before it runs one of ours, in the
/// operator's words.
pub(super) fn preceded_by(index: u32, ours: &[u32]) -> Result<Option<String>> {
    let first = first_program(index, bpf_attach_type::BPF_TCX_EGRESS)
        .context("cannot ask for the TCX programs")?;
    let other = first.filter(|first| !ours.contains(first));
    Ok(other.map(|id| format!("the TCX program with id {id}")))
}

/// Whether an interface runs TCX programs for what comes in, all of which are of others. Kernels
/// before 6.6 have none.
pub(in crate::datapath) fn has_ingress(index: u32) -> bool {
    first_program(index, bpf_attach_type::BPF_TCX_INGRESS).is_ok_and(|first| first.is_some())
}

/// The first program of an interface's list.
fn first_program(index: u32, list: bpf_attach_type) -> io::Result<Option<u32>> {
    let mut programs = [0_u32; MOST_PROGRAMS];
    let mut query = attributes();
    query.query.__bindgen_anon_1.target_ifindex = index;
    query.query.attach_type = list as u32;
    query.query.prog_ids = programs.as_mut_ptr() as u64;
    query.query.__bindgen_anon_2.count = programs.len() as u32;
    bpf(bpf_cmd::BPF_PROG_QUERY, &mut query)?;
    // What is not written to is 0, which no program has.
    Ok(programs.first().copied().filter(|first| *first != 0))
}

fn create(index: u32, program: &OwnedFd) -> io::Result<OwnedFd> {
    /// How often, and how long apart.
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(10);
    let mut create = attributes();
    create.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    create.link_create.__bindgen_anon_2.target_ifindex = index;
    create.link_create.attach_type = bpf_attach_type::BPF_TCX_EGRESS as u32;
    // Before all others.
    create.link_create.flags = BPF_F_BEFORE;
    let mut result = open_link(&mut create);
    for _ in 1..TRIES {
        match &result {
            // A command was killed between attaching and pinning, and the kernel frees the
            // link some time later.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => thread::sleep(PAUSE),
            _ => break,
        }
        result = open_link(&mut create);
    }
    result
}

fn open_link(create: &mut bpf_attr) -> io::Result<OwnedFd> {
    syscall::open(bpf_cmd::BPF_LINK_CREATE, create)
}

/// The interface that a TCX link is attached to.
fn interface_of(link: &OwnedFd) -> io::Result<Option<u32>> {
    let info = syscall::link_info(link)?;
    if info.type_ != bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
        return Ok(None);
    }
    // SAFETY: a TCX link has this member, as was just checked.
    let tcx = unsafe { info.__bindgen_anon_1.tcx };
    let is_egress = tcx.attach_type == bpf_attach_type::BPF_TCX_EGRESS as u32;
    Ok((is_egress && tcx.ifindex != 0).then_some(tcx.ifindex))
}
