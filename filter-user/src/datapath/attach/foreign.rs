//! XDP programs of others on an interface: what they are, who holds them, and how they are
//! taken off and put back.

use std::{
    fmt, fs, io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    datapath::{Error, syscall},
    netlink::{Interface, Mode, put_xdp, take_xdp_off},
    system::bpffs_mounts,
    text::sentence_list,
};

/// Pins that are looked at for one of the program. A search must end, whatever others pin.
const MAX_PINS: usize = 10_000;
/// What the kernel calls the descriptors of programs and of links (kernel/bpf/syscall.c).
const PROGRAM: &str = "anon_inode:bpf-prog";
const LINK: &str = "anon_inode:bpf_link";

/// An XDP program of others that is attached to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name, as far as the kernel keeps it, empty if it has none; `None` if this process may
    /// not know it.
    pub name: Option<String>,
    /// Where it runs.
    pub mode: Mode,
    /// Where it is pinned, if it is.
    pub pin: Option<PathBuf>,
    attached: By,
    /// Who holds the link: processes and pins.
    holders: Vec<String>,
}

/// What attaches a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A link of this number.
    Link(u32),
    /// No link, as `ip` does it.
    Nothing,
    /// This process may not know.
    Unknown,
}

impl Foreign {
    /// The program of an interface, if it has one. What cannot be found out is left out.
    pub fn of(interface: &Interface) -> Option<Self> {
        let (id, mode) = interface.xdp?;
        let attached = match links_of(interface.index, id).as_deref() {
            Ok([]) => By::Nothing,
            Ok([(link, _), ..]) => By::Link(*link),
            Err(_) => By::Unknown,
        };
        let mut foreign = Self {
            id,
            name: syscall::program_name(id).ok(),
            mode,
            pin: None,
            attached,
            holders: match attached {
                By::Link(link) => processes_with(link),
                By::Nothing | By::Unknown => Vec::new(),
            },
        };
        foreign.find_pins();
        Some(foreign)
    }

    /// Finds where the program is pinned, and its link.
    fn find_pins(&mut self) {
        let mut ahead = bpffs_mounts();
        let mut seen = 0;
        while let Some(path) = ahead.pop() {
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                seen += 1;
                if seen > MAX_PINS {
                    return;
                }
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => ahead.push(path),
                    Ok(kind) if kind.is_file() => self.look_at(path),
                    _ => {}
                }
            }
        }
    }

    fn look_at(&mut self, path: PathBuf) {
        let Ok(opened) = syscall::open_pin(&path) else {
            return;
        };
        let kind = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        let Ok(kind) = kind else {
            return;
        };
        if kind == Path::new(PROGRAM) {
            if syscall::program_id(&opened).is_ok_and(|id| id == self.id) {
                self.name = syscall::name_of_program(&opened).ok();
                self.pin.get_or_insert(path);
            }
        } else if kind == Path::new(LINK)
            && syscall::link_info(&opened).is_ok_and(|info| By::Link(info.id) == self.attached)
        {
            self.holders.push(path.display().to_string());
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_deref() {
            None => f.write_str("one whose name takes CAP_SYS_ADMIN to read")?,
            Some("") => f.write_str("one without a name")?,
            Some(name) => write!(f, "{}", name.escape_debug())?,
        }
        write!(f, " (id {}, {}", self.id, self.mode)?;
        match (self.attached, self.holders.as_slice()) {
            (By::Unknown, _) => {}
            (By::Nothing, _) => f.write_str(", attached without a link")?,
            (By::Link(_), []) => f.write_str(", attached by a link")?,
            (By::Link(_), holders) => {
                let holders: Vec<String> = holders
                    .iter()
                    .map(|holder| holder.escape_debug().to_string())
                    .collect();
                write!(f, ", attached by a link of {}", sentence_list(&holders, 3))?;
            }
        }
        f.write_str(")")
    }
}

/// A program of others that was taken off an interface.
#[derive(Debug)]
pub struct Replaced {
    /// The interface's name.
    pub interface: String,
    /// What it was.
    pub foreign: Foreign,
    index: u32,
    /// It stays loaded for as long as it may have to go back.
    program: OwnedFd,
}

impl Replaced {
    /// Takes the program off an interface that has one. Packets go unfiltered from here on.
    ///
    /// # Errors
    ///
    /// There is another one by now, it cannot be told by which link it is attached, or the
    /// kernel refuses.
    pub(super) fn take_off(interface: &Interface) -> Result<Self> {
        let foreign = Foreign::of(interface).context("no program is attached")?;
        let shown = || (interface.name.clone(), foreign.to_string());
        let stuck = || {
            let (interface, program) = shown();
            Error::Stuck { interface, program }
        };
        let (program, links) = syscall::program_by_id(foreign.id)
            .and_then(|program| Ok((program, links_of(interface.index, foreign.id)?)))
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    let (interface, program) = shown();
                    Error::TakesAdmin { interface, program }.into()
                }
                _ => anyhow::Error::new(error)
                    .context(format!("{}: cannot open {foreign}", interface.name)),
            })?;
        match links.as_slice() {
            // Only what is expected there: who attached another one meanwhile keeps it.
            [] => take_xdp_off(interface.index, foreign.mode, Some(program.as_fd()))
                .with_context(stuck)?,
            [(_, link)] => syscall::detach_link(link).with_context(stuck)?,
            // Numbers of interfaces are those of their namespaces: two may have the same one.
            _ => return Err(stuck().into()),
        }
        Ok(Self {
            interface: interface.name.clone(),
            foreign,
            index: interface.index,
            program,
        })
    }

    /// Attaches it again where it was: without a link, whatever attached it before.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or another one is attached.
    pub fn put_back(&self) -> Result<()> {
        put_xdp(self.index, self.foreign.mode, self.program.as_fd())
            .with_context(|| format!("{}: {} is not put back", self.interface, self.foreign))
    }
}

/// The links that attach a program to an interface of this number, in whatever namespace.
fn links_of(index: u32, program: u32) -> io::Result<Vec<(u32, OwnedFd)>> {
    let mut found = Vec::new();
    let mut last = 0;
    loop {
        last = match syscall::next_link(last) {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        let id = last;
        if let Ok(link) = syscall::link_by_id(id)
            && let Ok(Some(of)) = syscall::xdp_link(&link)
            && of == (index, program)
        {
            found.push((id, link));
        }
    }
}

/// The processes that have a link open.
fn processes_with(link: u32) -> Vec<String> {
    let line = format!("link_id:\t{link}");
    let has_it = |process: &Path| {
        let descriptors = fs::read_dir(process.join("fdinfo")).into_iter().flatten();
        descriptors.flatten().any(|descriptor| {
            fs::read_to_string(descriptor.path())
                .is_ok_and(|text| text.lines().any(|shown| shown == line))
        })
    };
    let own = std::process::id();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid != own && has_it(&process.path()) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} (pid {pid})", name.trim_end()));
        }
    }
    found
}
