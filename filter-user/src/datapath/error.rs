//! The errors of the kernel side, typed.

use std::path::PathBuf;

use rustix::io::Errno;
use xdpfw_common::abi::LISTENERS;

/// Why the filter cannot be changed. Its `Display` is one line that ends with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refuses in spite of all that it takes; else a command says what is missing.
    #[error(
        "the kernel does not permit BPF here, in spite of CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: \
         in a user namespace, or by a security module"
    )]
    NotPermitted,
    /// The verifier or an older kernel refuses the program; with what it says last.
    #[error("the kernel refused the program: {0} (needs Linux 5.15 with BPF and XDP)")]
    ProgramRefused(String),
    /// Each place is taken.
    #[error(
        "{LISTENERS} commands listen already, and no more can; end a `log`, a `trace` or a `top`"
    )]
    TooManyListeners,
    /// Where links are unknown, nothing keeps a program attached or replaces it atomically.
    #[error("this kernel has no XDP links (they came with Linux 5.9)")]
    NoLinks,
    /// Packets of this interface begin with a header that the filter cannot read.
    #[error(
        "{interface}: its packets have neither an Ethernet header nor none (link layer \
         {number}), which the filter cannot read; filter the interface that they come in by"
    )]
    LinkLayer {
        /// The interface's name.
        interface: String,
        /// `ARPHRD_*` in linux/if_arp.h.
        number: u16,
    },
    /// Our bpffs cannot be mounted.
    #[error("cannot mount a bpffs at {}: {errno}", path.display())]
    Mount {
        /// Where it belongs.
        path: PathBuf,
        /// What the kernel says.
        errno: Errno,
    },
    /// Our bpffs is not mounted, and this process may not mount it.
    #[error(
        "no bpffs is mounted at {}, and to mount it takes CAP_SYS_ADMIN; say `mount -t bpf -o \
         mode=0700 bpf {0}` first",
        path.display()
    )]
    MountTakesAdmin {
        /// Where it belongs.
        path: PathBuf,
    },
    /// Our bpffs is not mounted, and this command has no place to mount it where it lasts.
    #[error(
        "init's mount namespace cannot be entered, and a bpffs mounted in this one may end with \
         it, and the filter with it; say `mount -t bpf -o mode=0700 bpf {}` where it lasts",
        path.display()
    )]
    MountWouldEnd {
        /// Where it belongs.
        path: PathBuf,
    },
    /// Pins of another version's maps cannot be used, and must not be removed.
    #[error(
        "a newer version of xdpfw filters this host ({}); use that one, or say `down` with it first",
        path.display()
    )]
    OtherVersion {
        /// Its pins.
        path: PathBuf,
    },
    /// What is in force is of an older version.
    #[error(
        "an older version of xdpfw filters this host ({}); say `xdpfw up`: this one takes its place, \
         and its rules stay in force",
        path.display()
    )]
    OlderVersion {
        /// Its pins.
        path: PathBuf,
    },
    /// An older version keeps its state so that this one cannot take its place.
    #[error(
        "an older version of xdpfw filters this host, and keeps its links where this one does not \
         look ({}); say `xdpfw down` with that version first",
        path.display()
    )]
    OldVersion {
        /// Its pins.
        path: PathBuf,
    },
    /// An interface runs our program, but its pins are not where ours are.
    #[error(
        "{interface} is filtered by an xdpfw of another version or in another container; say \
         `xdpfw down` there first"
    )]
    FilteredElsewhere {
        /// The interface's name.
        interface: String,
    },
    /// An interface runs our program, and something is mounted over its pins.
    #[error(
        "{interface} is filtered, but another file system hides the filter's pins; say \
         `umount {}`", path.display()
    )]
    MountedOver {
        /// The interface's name.
        interface: String,
        /// Where the pins are.
        path: PathBuf,
    },
    /// It cannot be told which link attaches another namespace's filter to an interface.
    #[error(
        "{interface}: has the filter of another network namespace, and it cannot be told by which \
         link; say `xdpfw down` there"
    )]
    NoLinkOfStray {
        /// The interface's name.
        interface: String,
    },
    /// A program of others stays on an interface.
    #[error(
        "{interface}: {program} cannot be taken off; end what attached it, or say `ip link set \
         dev {interface} xdp off`"
    )]
    Stuck {
        /// The interface's name.
        interface: String,
        /// The program.
        program: String,
    },
    /// To take a program of others off an interface, it must be opened by its number.
    #[error("{interface}: {program} takes CAP_SYS_ADMIN to take off; say `sudo xdpfw …`")]
    TakesAdmin {
        /// The interface's name.
        interface: String,
        /// The program.
        program: String,
    },
    /// What is pinned at a path cannot run behind the filter.
    #[error("{}: {why}", pin.display())]
    NotNext {
        /// The path.
        pin: PathBuf,
        /// Why, and what would help.
        why: String,
    },
    /// Behind one packet's verdict, there is room for one program.
    #[error(
        "what passes cannot be rehearsed and go on to another program as well; say `xdpfw shadow \
         --drop`, or `xdpfw up --then none`, first"
    )]
    RehearsedThen,
    /// Another command takes too long.
    #[error("another xdpfw command has held the lock for {seconds} s; see `fuser /run/xdpfw/lock`")]
    Busy {
        /// How long this one waited.
        seconds: u64,
    },
}
