//! Finds what keeps the filter from doing its work on this host. It judges facts; it never asks
//! the host itself, and does no I/O.

mod firewalls;
mod host;
mod interfaces;

use crate::{
    netlink::{Interface, Mode, NativeXdp, Settings},
    policy::Policy,
    ports::PortRange,
    system::{BootUnit, Bpffs, Chain, Kernel},
};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The filter does not work as it should, or will not after the next boot.
    Fault,
    /// It works; somebody may want to know.
    Note,
}

impl Severity {
    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Note => "note",
        }
    }
}

/// A command that is safe to run unasked, and the one that undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The command, word for word.
    pub command: Vec<String>,
    /// What puts it back as it was.
    pub undo: Vec<String>,
}

/// Something about this host that its operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind it is, in a word that stays.
    pub kind: &'static str,
    /// What it is about: an interface, a path, a chain, `kernel` …
    pub object: String,
    /// What is the matter.
    pub text: String,
    /// The command that mends it; `None` if no command does.
    pub remedy: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// How it is mended without asking, if that is safe.
    pub repair: Option<Repair>,
}

impl Finding {
    fn new(
        severity: Severity,
        kind: &'static str,
        object: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            object: object.into(),
            text: text.into(),
            remedy: None,
            severity,
            repair: None,
        }
    }

    fn fault(kind: &'static str, object: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Severity::Fault, kind, object, text)
    }

    fn note(kind: &'static str, object: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Severity::Note, kind, object, text)
    }

    /// With the command that mends it.
    fn say(self, words: &[&str]) -> Self {
        Self {
            remedy: Some(command(words)),
            ..self
        }
    }

    /// With several, one after the other.
    fn say_all(self, commands: &[&[&str]]) -> Self {
        let commands: Vec<String> = commands.iter().map(|words| command(words)).collect();
        Self {
            remedy: Some(commands.join(" && ")),
            ..self
        }
    }

    /// With one that is safe to run unasked, and what undoes it.
    fn repaired_by(self, words: &[&str], undo: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().copied().map(str::to_owned).collect();
        Self {
            repair: Some(Repair {
                command: owned(words),
                undo: owned(undo),
            }),
            ..self.say(words)
        }
    }
}

/// A command as a shell takes it: names that others gave are quoted where they must be.
pub fn command<T: AsRef<str>>(words: &[T]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-./:@_,=".contains(c);
    let quoted = words.iter().map(AsRef::as_ref).map(|word| {
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word.into(),
            // A name holds no NUL, the one thing that no shell takes.
            false => shlex::try_quote(word).unwrap_or_default(),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// An XDP program of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherProgram {
    /// What it is and who holds it.
    pub shown: String,
    /// Where it is pinned, if it is.
    pub pin: Option<String>,
}

/// What is known of an interface.
#[derive(Clone, Debug)]
pub struct Device {
    /// The interface.
    pub interface: Interface,
    /// What XDP its driver takes; `None` if the kernel does not tell.
    pub native: Option<NativeXdp>,
    /// The driver's settings.
    pub settings: Settings,
    /// Where our program runs, if it is filtered.
    pub filtered: Option<Mode>,
    /// Somebody else's program, if there is one.
    pub other: Option<OtherProgram>,
    /// Whether it runs the filter of another network namespace.
    pub is_stray: bool,
    /// Whether tc filters get what comes in, behind XDP.
    pub has_tc: bool,
    /// Whether TCX programs do.
    pub has_tcx: bool,
    /// What gets leaving packets before the egress half does.
    pub preceded_by: Option<String>,
    /// Whether it has a public address, or a default route leaves by it.
    pub is_public: bool,
}

/// The filter that is up.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    /// Whether it takes packets in several buffers.
    pub frags: bool,
    /// How often a second the clock ticks that flows are kept in.
    pub ticks_per_second: u32,
}

/// All that is known of the host.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel.
    pub kernel: Kernel,
    /// The CPUs there may be.
    pub cpus: u32,
    /// Our bpffs and the shared one, as far as they are mounted.
    pub bpffs: Vec<Bpffs>,
    /// What brings the filter back after a boot; `None` where that is not asked: in a network
    /// namespace of its own.
    pub boot: Option<BootUnit>,
    /// The policy.
    pub policy: Policy,
    /// The ports of clients.
    pub ephemeral: PortRange,
    /// The filter, if it is up.
    pub up: Option<Up>,
    /// Why it cannot be told whether it is.
    pub unreadable: Option<String>,
    /// The policy file, and what is wrong with it; then the policy is the one in force.
    pub invalid: Option<(String, String)>,
    /// Every interface.
    pub devices: Vec<Device>,
    /// Bytes that maps take for this policy on these CPUs, about.
    pub memory: u64,
    /// The chains of other packet filters.
    pub chains: Vec<Chain>,
}

impl Facts {
    /// The interfaces that are looked at: those of the policy and those that are filtered; where
    /// there are neither, those that are up.
    pub fn looked_at(&self) -> Vec<&Device> {
        let is_ours =
            |device: &&Device| device.filtered.is_some() || self.is_wanted(&device.interface.name);
        let ours: Vec<&Device> = self.devices.iter().filter(is_ours).collect();
        if !ours.is_empty() || !self.policy.interfaces.is_empty() {
            return ours;
        }
        let is_up = |device: &&Device| device.interface.is_up && !device.interface.is_loopback;
        self.devices.iter().filter(is_up).collect()
    }

    /// Whether the policy is for an interface of this name.
    fn is_wanted(&self, name: &str) -> bool {
        let list = &self.policy.interfaces;
        // A pattern means none that would be filtered in vain.
        let is_in_vain = self.devices.iter().any(|device| {
            let interface = &device.interface;
            interface.name == name && (interface.is_loopback || interface.unseen.is_some())
        });
        list.names().any(|wanted| wanted == name) || list.contains(name) && !is_in_vain
    }

    fn known(&self) -> Vec<Interface> {
        let devices = self.devices.iter();
        devices.map(|device| device.interface.clone()).collect()
    }

    fn device(&self, index: u32) -> Option<&Device> {
        let mut devices = self.devices.iter();
        devices.find(|device| device.interface.index == index)
    }
}

/// All findings, faults first.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = host::findings(facts);
    findings.extend(interfaces::findings(facts));
    findings.extend(firewalls::findings(facts));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter for packets in one buffer.
    pub(super) const UP: Up = Up {
        frags: false,
        ticks_per_second: 250,
    };

    /// A host on which there is nothing to find.
    pub(super) fn healthy() -> Facts {
        Facts {
            kernel: Kernel {
                release: "6.12.1".to_owned(),
                btf: true,
                jit: Some(1),
                jit_harden: Some(0),
                clocksource: Some("tsc".to_owned()),
                is_synchronized: Some(true),
                available: Some(1 << 30),
                ..Kernel::default()
            },
            cpus: 2,
            bpffs: Vec::new(),
            boot: Some(BootUnit::Enabled),
            policy: Policy::default(),
            ephemeral: PortRange {
                first: 32768,
                last: 60999,
            },
            up: None,
            unreadable: None,
            invalid: None,
            devices: vec![device(1, "eth0")],
            memory: 1 << 20,
            chains: Vec::new(),
        }
    }

    /// A card with native XDP.
    pub(super) fn device(index: u32, name: &str) -> Device {
        Device {
            interface: Interface {
                driver: Some("virtio_net".to_owned()),
                ..Interface::plain(index, name)
            },
            native: Some(NativeXdp {
                runs: true,
                frags: true,
            }),
            settings: Settings::default(),
            filtered: None,
            other: None,
            is_stray: false,
            has_tc: false,
            has_tcx: false,
            preceded_by: None,
            is_public: false,
        }
    }

    /// Asserts that a host has this finding alone.
    #[track_caller]
    pub(super) fn assert_finds(
        facts: &Facts,
        severity: Severity,
        kind: &str,
        object: &str,
        remedy: Option<&str>,
    ) {
        let found = examine(facts);
        let [one] = found.as_slice() else {
            panic!("{found:#?}")
        };
        assert_eq!((one.severity, one.kind), (severity, kind), "{one:?}");
        assert_eq!(one.object, object);
        assert_eq!(one.remedy.as_deref(), remedy);
    }

    #[test]
    fn a_healthy_host_has_no_findings() {
        assert_eq!(examine(&healthy()), []);
    }

    #[test]
    fn names_are_quoted_where_a_shell_would_take_them_otherwise() {
        for (name, expected) in [
            ("eth0", "ip link show eth0"),
            ("a;reboot", "ip link show 'a;reboot'"),
            ("$(x)", "ip link show '$(x)'"),
        ] {
            assert_eq!(command(&["ip", "link", "show", name]), expected);
        }
    }
}
