//! Installs what is missing from the system's package manager. Touches nothing when all of
//! it is there.

use std::{process::Command, sync::OnceLock};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::{install_from_backports, unpack},
    command::{capture, find_program, has_sudo, is_root, say, target_dir},
};

/// The distribution's own Rust with the source of its library, and the LLVM it has, for
/// machines where rustup has no `rust-src`.
pub(crate) const COMPILER: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];

/// Programs that tests, demo and benchmarks call, and the packages that have them.
pub(crate) const TOOLS: [(&str, &str); 10] = [
    // Namespaces, veth pairs and other interfaces, and what is done to packets on the way.
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    // Commands inside a namespace with bpffs in sight (`ip netns exec` hides it).
    ("nsenter", "util-linux"),
    // The offloads of interfaces.
    ("ethtool", "ethtool"),
    // What everybody tries a host with.
    ("nmap", "nmap"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("iperf3", "iperf3"),
    // NAT, as containers and routers have it.
    ("nft", "nftables"),
    // Tunnels.
    ("wg", "wireguard-tools"),
];

/// What renders the manual, and the package that has it. Guests have no use for it.
const MANUAL: (&str, &str) = ("groff", "groff-base");

/// The terminal that `top` is tried in, and pictures are taken of. Guests have no use for it.
const TERMINAL: (&str, &str) = ("tmux", "tmux");

/// Programs that ask others, by which the tests see that this host gets its answers, that make
/// commands fail, and that commands have to do with. Apart from the tools, since nothing but these
/// tests needs them.
const CLIENTS: [(&str, &str); 11] = [
    ("dig", "bind9-dnsutils"),
    // The fastest scanner.
    ("masscan", "masscan"),
    ("mtr", "mtr-tiny"),
    ("snmpget", "snmp"),
    // Lets one system call of a command fail.
    ("strace", "strace"),
    // Shows a command another time on its wall.
    ("faketime", "faketime"),
    // Another packet filter, whose rules `doctor` finds.
    ("iptables-legacy", "iptables"),
    ("tftp", "tftp-hpa"),
    // Reads captures.
    ("tshark", "tshark"),
    ("traceroute", "traceroute"),
    ("wireguard-go", "wireguard-go"),
];

/// Shells that complete commands, beside the one that is there; the tests ask them.
const SHELLS: [(&str, &str); 2] = [("fish", "fish"), ("zsh", "zsh")];

/// Daemons that the tests start, and the packages that have them.
///
/// They are unpacked, not installed: their packages start them as services of this machine, at
/// once and at each boot, and chrony's replaces the time service that is there.
const DAEMONS: [(&str, &str); 8] = [
    ("chronyd", "chrony"),
    ("dnsmasq", "dnsmasq-base"),
    // In Python, which most machines have.
    ("fail2ban-server", "fail2ban"),
    ("nginx", "nginx"),
    ("redis-server", "redis-server"),
    ("snmpd", "snmpd"),
    ("sshg-blocker", "sshguard"),
    ("unbound", "unbound"),
];

/// Packet filters that ours is measured against, and the packages that have them.
const PEERS: [(&str, &str); 4] = [
    ("xdp-filter", "xdp-tools"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
];

/// The emulator that boots other kernels, and the package that has it.
const EMULATOR: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");

/// Other programs that booting other kernels takes, and the packages that have them.
const MACHINES: [(&str, &str); 3] = [
    // Unpacks modules, and is what the guest has beside our own programs.
    ("busybox", "busybox-static"),
    ("strip", "binutils"),
    ("dpkg-deb", "dpkg"),
];

/// What makes a Debian package.
const PACKAGING: [(&str, &str); 3] = [
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("dpkg-deb", "dpkg"),
    ("gzip", "gzip"),
];

/// What tries a Debian package, and where.
const PACKAGE_CHECKS: [(&str, &str); 2] = [("lintian", "lintian"), ("debootstrap", "debootstrap")];

/// What makes a Debian in an image, and what its guest is reached with.
const DEBIAN: [(&str, &str); 4] = [
    ("debootstrap", "debootstrap"),
    ("mke2fs", "e2fsprogs"),
    ("ssh", "openssh-client"),
    ("dpkg-deb", "dpkg"),
];

/// The LLVM that bpf-linker links with.
pub(crate) fn llvm(major: u32) -> String {
    format!("llvm-{major}-dev")
}

/// Installs the tools that are not there.
pub(crate) fn install_tools() -> Result<()> {
    install_missing(&TOOLS)?;
    install_missing(&[MANUAL, TERMINAL])
}

/// Installs the clients and shells and unpacks the daemons that are not there.
pub(crate) fn install_clients() -> Result<()> {
    install_missing(&CLIENTS)?;
    install_missing(&SHELLS)?;
    unpack_daemons()
}

/// Installs the packet filters that are not there, those that can be: who has some of them
/// can compare with these.
pub(crate) fn install_peers() {
    for peer in PEERS {
        if let Err(error) = install_missing(&[peer]) {
            say(format_args!(
                "tools: going on without {}: {error:#}",
                peer.0
            ));
        }
    }
}

/// Installs the C++ compiler if there is none: libFuzzer is written in C++.
pub(crate) fn install_compiler_of_cpp() -> Result<()> {
    install_missing(&[("c++", "g++")])
}

/// Installs what makes a Debian package and is not there.
pub(crate) fn install_packaging() -> Result<()> {
    install_missing(&PACKAGING)
}

/// Installs what tries a Debian package and is not there.
pub(crate) fn install_package_checks() -> Result<()> {
    install_tools()?;
    install_missing(&PACKAGE_CHECKS)
}

/// Installs what booting other kernels takes and is not there.
pub(crate) fn install_machines() -> Result<()> {
    install_missing(&MACHINES)?;
    install_emulator()
}

/// Installs what booting a whole Debian takes and is not there.
pub(crate) fn install_debian() -> Result<()> {
    install_missing(&DEBIAN)?;
    install_emulator()
}

fn install_emulator() -> Result<()> {
    install_missing(&[EMULATOR]).or_else(|error| {
        // Other parts of QEMU may be here from backports, and then want all of it from there.
        say(format_args!("packages: trying backports, since {error:#}"));
        install_from_backports(EMULATOR.1)
    })
}

fn install_missing(tools: &[(&str, &str)]) -> Result<()> {
    let (there, missing): (Vec<_>, Vec<_>) = tools
        .iter()
        .partition(|(program, _)| find_program(program).is_some());
    if missing.is_empty() {
        let names: Vec<&str> = there.iter().map(|(program, _)| *program).collect();
        say(format_args!("tools: {} are there", names.join(", ")));
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    install(&packages)
}

/// Unpacks the daemons below `target`, with what they need and this machine lacks.
fn unpack_daemons() -> Result<()> {
    let directory = target_dir()?.join("tools/daemons");
    let names = DAEMONS.map(|(daemon, _)| daemon).join(", ");
    let is_there = |daemon| {
        let mut places = ["usr/sbin", "usr/bin", "usr/libexec/sshguard"].iter();
        places.any(|place| directory.join(place).join(daemon).is_file())
    };
    if DAEMONS.iter().all(|(daemon, _)| is_there(daemon)) {
        say(format_args!("daemons: {names} are there"));
        return Ok(());
    }
    let packages = DAEMONS.map(|(_, package)| package);
    if find_program("apt-get").is_none() {
        bail!(
            "missing: {names}, as Debian's packages {} have them; unpack these in {}",
            packages.join(" "),
            directory.display()
        );
    }
    // Lists that are old name files that are gone.
    if let Some(privilege) = Privilege::ours() {
        update(&privilege)?;
    }
    say(format_args!("packages: unpacking {}", packages.join(" ")));
    unpack(&packages, &directory).with_context(|| format!("cannot unpack {names}"))
}

/// Installs `packages`, or says how to get them.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!("missing: {names} (Debian's names); install them with this system's package manager");
    }
    let Some(privilege) = Privilege::ours() else {
        bail!(
            "missing: {names}; not root and no sudo without password, so run \
             `sudo apt-get update && sudo apt-get install {names}`"
        );
    };
    update(&privilege).with_context(|| format!("cannot install the missing {names}"))?;
    say(format_args!("packages: installing {names}"));
    let arguments = ["install", "-y", "--no-install-recommends", "--no-remove"];
    privilege
        .apt_get(&[&arguments[..], packages].concat())
        .with_context(|| format!("cannot install the missing {names}; is there a network?"))
}

/// Whether the package manager has `package`.
pub(crate) fn can_install(package: &str) -> bool {
    let has_package = || {
        capture(
            Command::new("apt-cache")
                .args(["policy", package])
                .env("LC_ALL", "C"),
        )
        .is_ok_and(|policy| has_candidate(&policy))
    };
    let fetch_lists = || Privilege::ours().is_some_and(|privilege| update(&privilege).is_ok());
    find_program("apt-get").is_some() && (has_package() || fetch_lists() && has_package())
}

/// Fetches the package lists, once.
fn update(privilege: &Privilege) -> Result<()> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_none() {
        say(format_args!("packages: fetching the lists"));
        privilege
            .apt_get(&["update"])
            .context("cannot fetch the package lists")?;
        DONE.get_or_init(|| ());
    }
    Ok(())
}

/// What lets us install packages.
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn ours() -> Option<Self> {
        if is_root() {
            Some(Self::Root)
        } else {
            has_sudo().then_some(Self::Sudo)
        }
    }

    fn apt_get(&self, arguments: &[&str]) -> Result<()> {
        let words: &[&str] = match self {
            Self::Root => &["env"],
            Self::Sudo => &["sudo", "-n", "env"],
        };
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
            .args(arguments);
        capture(&mut command).map(drop)
    }
}

/// Whether `apt-cache policy` names a version that could be installed.
fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|version| version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidate_is_read_from_the_policy() {
        assert!(has_candidate(
            "llvm-22-dev:\n  Installed: (none)\n  Candidate: 1:22.1.8-1\n"
        ));
        assert!(!has_candidate(
            "llvm-99-dev:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!has_candidate(""));
    }
}
