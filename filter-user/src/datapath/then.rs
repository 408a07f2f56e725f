//! The program that runs behind the filter: what passes goes on to it, and its verdict is the
//! packet's. The operator has pinned it, and each generation has it in an array of its own, or
//! shares that of the one before: so a change of it is made, and goes back, with its generation.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use aya_obj::generated::bpf_prog_type;
use serde::{Deserialize, Serialize};

use super::{Error, Probe, object, runtime, syscall};
use crate::system::{Place, PlaceError};

/// What the kernel calls the descriptor of a program (`bpf_prog_new_fd` in
/// kernel/bpf/syscall.c). Those of maps and links are opened in the same way.
const PROGRAM: &str = "anon_inode:bpf-prog";

/// A program that runs behind the filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Then {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name, as far as the kernel keeps it (15 bytes).
    pub name: String,
    /// Where it was pinned when it was put behind the filter.
    pub pin: PathBuf,
}

/// A program that is to run behind the filter. It stays loaded as long as this lives.
#[derive(Debug)]
pub struct NextProgram {
    then: Then,
    _program: OwnedFd,
}

impl NextProgram {
    /// The program that is pinned at a path which only root can change.
    ///
    /// # Errors
    ///
    /// Others may change the path, or no XDP program of somebody else's is pinned there.
    pub fn open(pin: &Path) -> Result<Self> {
        let pin = std::path::absolute(pin)?;
        let not_one = |why: &str| Error::NotNext {
            pin: pin.clone(),
            why: why.to_owned(),
        };
        let place = Place::find(&pin).map_err(|error| match error {
            PlaceError::NotAFile { .. } => anyhow::Error::new(not_one("no program is pinned here")),
            error => error.into(),
        })?;
        let Some(handle) = place.handle() else {
            return Err(not_one("there is no such pin").into());
        };
        if !runtime::is_bpffs(&handle)? {
            return Err(not_one("a file, and no pin (a pin is in a bpffs)").into());
        }
        if runtime::is_ours(&handle)? {
            return Err(not_one("this is the filter itself").into());
        }
        let program = syscall::open_pin(&handle)
            .with_context(|| format!("cannot open the pin {}", pin.display()))?;
        if kind_of(&program)? != Path::new(PROGRAM) {
            return Err(not_one("a map or link is pinned here, and no program").into());
        }
        let info = ProgramInfo::from_pin(&handle)?;
        if info.program_type() as u32 != bpf_prog_type::BPF_PROG_TYPE_XDP as u32 {
            return Err(not_one("the program pinned here is none for XDP").into());
        }
        let name = String::from_utf8_lossy(info.name()).into_owned();
        let id = info.id();
        Ok(Self {
            then: Then { id, name, pin },
            _program: program,
        })
    }

    /// What is to be remembered of it.
    pub const fn then(&self) -> &Then {
        &self.then
    }
}

/// What a descriptor of bpf(2) is of.
fn kind_of(opened: &OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

/// Puts the program into the array pinned at `array`, unless it is in there. An array that was
/// taken over and has lost its program stays empty if the program is gone: what passes then
/// passes, and no change is refused for it.
///
/// # Errors
///
/// The program is gone, or the kernel does not call it from a filter of this flavour.
pub(super) fn fill(then: &Then, array: &Path, frags: bool, is_taken_over: bool) -> Result<()> {
    if object::program_in(array)? == Some(then.id) {
        return Ok(());
    }
    let program = match open(then) {
        Ok(program) => program,
        Err(_) if is_taken_over => return Ok(()),
        Err(error) => {
            let why = match error.raw_os_error() {
                Some(libc::EPERM) => "it takes CAP_SYS_ADMIN to open it by that number",
                _ => "it is gone",
            };
            let Then { id, pin, .. } = then;
            let why = format!("program {id} is not pinned here any more, and {why}");
            let pin = pin.clone();
            return Err(Error::NotNext { pin, why }.into());
        }
    };
    let array = syscall::open_pin(array)?;
    syscall::set(array.as_fd(), &0_u32, &program.as_raw_fd()).map_err(|error| {
        let why = refusal(&error, &program, frags);
        let Then { id, name, pin } = then;
        let error = Error::NotNext {
            pin: pin.clone(),
            why: format!("{name} (id {id}) {why}"),
        };
        error.into()
    })
}

/// Opens the program where it was pinned, else by its number, which takes CAP_SYS_ADMIN.
fn open(then: &Then) -> io::Result<OwnedFd> {
    let pinned = syscall::open_pin(&then.pin);
    match pinned.and_then(|program| Ok((syscall::program_id(&program)?, program))) {
        // No other has the number as long as this one is loaded.
        Ok((id, program)) if id == then.id => Ok(program),
        _ => syscall::program_by_id(then.id),
    }
}

/// Why the kernel does not call a program from a filter of this flavour
/// (`__bpf_prog_map_compatible` in kernel/bpf/core.c).
fn refusal(error: &io::Error, program: &OwnedFd, frags: bool) -> String {
    let flavours = match error.raw_os_error() {
        Some(libc::EINVAL) => flavours(program.as_fd()).ok(),
        // `prog_fd_array_get_ptr` in kernel/bpf/arraymap.c, since Linux 6.12.
        Some(libc::EBUSY) => {
            return "is extended by other programs (as libxdp's dispatcher is), and the kernel \
                    calls no such program; pin the program itself"
                .to_owned();
        }
        _ => None,
    };
    match flavours {
        Some([true, _]) if frags => {
            "takes packets in one buffer, and the filter takes them in several here; build it \
             with xdp.frags"
        }
        Some([_, true]) if !frags => {
            "takes packets in several buffers, and the filter takes them in one here; build it \
             without xdp.frags"
        }
        Some([false, false]) => {
            "is bound to a device, is for a cpumap or devmap, or was loaded without the attach \
             type BPF_XDP; load it as libbpf does (`bpftool prog load FILE PIN type xdp`)"
        }
        _ => return format!("cannot run behind the filter: {error}"),
    }
    .to_owned()
}

/// Whether a program fits in one array with ours that take packets in one buffer, and with
/// ours that take them in several.
fn flavours(program: BorrowedFd<'_>) -> Result<[bool; 2]> {
    let fits = |frags: bool| -> Result<bool> {
        // One object for each: its own arrays hold one flavour, too.
        let mut probe = Probe::load()?;
        let Ok(ours) = probe.dispatcher(frags) else {
            // This kernel has no such programs.
            return Ok(false);
        };
        let array = syscall::new_program_array()?;
        syscall::set(array.as_fd(), &0_u32, &ours.as_fd().as_raw_fd())?;
        Ok(syscall::set(array.as_fd(), &0_u32, &program.as_raw_fd()).is_ok())
    };
    Ok([fits(false)?, fits(true)?])
}
