//! What is the matter with the host as a whole: its kernel, bpffs, privileges, clock, memory, and
//! what it does at boot.

use super::{Facts, Finding};
use crate::{
    system::{BootUnit, Bpffs, Lockdown, UNIT},
    text::thousands,
};

/// The oldest kernel that the filter runs on.
const OLDEST: (u32, u32) = (5, 15);
/// Where the time is read from a device, at a microsecond or more each.
const SLOW_CLOCKS: [&str; 4] = ["acpi_pm", "hpet", "jiffies", "refined-jiffies"];
/// The fewest ticks a second that kernels are built with.
const SLOWEST: u32 = 100;
/// The part of the memory that may be had, that maps should not exceed.
const PART: u64 = 2;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(kernel(facts));
    found.extend(capabilities(facts));
    // What is said ends with the remedy.
    let unreadable = facts.unreadable.as_deref();
    found.extend(unreadable.map(|why| Finding::fault("filter-unreadable", "xdpfw", why)));
    found.extend(facts.invalid.as_ref().map(|(path, why)| {
        Finding::fault("policy-invalid", path, why.to_owned()).say(&["xdpfw", "apply", "--check"])
    }));
    found.extend(facts.bpffs.iter().filter_map(bpffs));
    found.extend(jit(facts));
    found.extend(clock(facts));
    found.extend(memory(facts));
    found.extend(facts.boot.and_then(|unit| boot(facts, unit)));
    found
}

fn kernel(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let release = &facts.kernel.release;
    if facts
        .kernel
        .version()
        .is_some_and(|version| version < OLDEST)
    {
        let (major, minor) = OLDEST;
        found.push(Finding::fault(
            "kernel-old",
            "kernel",
            format!("Linux {release} is too old; boot {major}.{minor} or newer"),
        ));
    }
    if !facts.kernel.btf {
        found.push(Finding::fault(
            "btf-missing",
            "kernel",
            format!(
                "Linux {release} does not tell its types (/sys/kernel/btf/vmlinux), by which \
                 programs are loaded; boot one with CONFIG_DEBUG_INFO_BTF"
            ),
        ));
    }
    if facts.kernel.lockdown == Lockdown::Confidentiality {
        found.push(Finding::note(
            "lockdown",
            "kernel",
            "locked down for confidentiality: the filter works, but programs that read the \
             kernel's memory, as bpftrace does, are refused",
        ));
    }
    found
}

fn capabilities(facts: &Facts) -> Vec<Finding> {
    let finding = |one: &crate::system::Capability| {
        let text = format!(
            "this process lacks it, so {}; run as root, outside of what took it away",
            one.purpose()
        );
        let finding = Finding::fault("capability-missing", one.as_str(), text);
        match facts.boot {
            None | Some(BootUnit::NoSystemd) => finding.say(&["sudo", "xdpfw", "doctor"]),
            // The init starts it, with all that it has itself.
            Some(_) => finding.say(&["systemd-run", "--pipe", "--wait", "xdpfw", "doctor"]),
        }
    };
    facts.kernel.missing.iter().map(finding).collect()
}

fn bpffs(bpffs: &Bpffs) -> Option<Finding> {
    /// Systemd mounts the shared one with it, too.
    const OWN: &str = "0700";
    let path = bpffs.path.display().to_string();
    let mode = format!("{:04o}", bpffs.mode);
    if bpffs.owner != 0 {
        let text = format!("belongs to user {}, not to root", bpffs.owner);
        return Some(Finding::fault("bpffs-owner", &path, text).say(&["chown", "root", &path]));
    }
    bpffs.is_open().then(|| {
        let text = format!("others than root may pin there (mode {mode})");
        Finding::fault("bpffs-mode", &path, text)
            .repaired_by(&["chmod", OWN, &path], &["chmod", &mode, &path])
    })
}

fn jit(facts: &Facts) -> Vec<Finding> {
    const JIT: &str = "net.core.bpf_jit_enable";
    const HARDEN: &str = "net.core.bpf_jit_harden";
    let mut found = Vec::new();
    let set = |finding: Finding, key: &str| finding.say(&["sysctl", "-w", &format!("{key}=1")]);
    if facts.kernel.jit == Some(0) {
        let text = "programs are interpreted, several times slower, instead of compiled";
        found.push(set(Finding::fault("jit-off", JIT, text), JIT));
    }
    if facts.kernel.jit_harden == Some(2) {
        let text = "programs of root are blinded, too, which makes each packet cost more; 1 \
                    blinds those of others alone";
        found.push(set(Finding::note("jit-harden", HARDEN, text), HARDEN));
    }
    found
}

fn clock(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(source) = &facts.kernel.clocksource
        && SLOW_CLOCKS.contains(&source.as_str())
    {
        let text = format!("the kernel has the time from {source}, which is slow to read");
        found.push(Finding::note("clock-slow", "clock", text));
    }
    if let Some(up) = facts.up
        && up.ticks_per_second < SLOWEST
    {
        let text = format!(
            "the kernel's clock ticks {} times a second, so flows are kept longer or shorter than \
             they should be, by as much as a tick",
            up.ticks_per_second
        );
        found.push(Finding::note("ticks-slow", "clock", text));
    }
    if facts.kernel.is_synchronized == Some(false) && facts.policy.has_ends() {
        let text = "nothing keeps the clock right, and rules end by it";
        let finding = Finding::note("clock-unsynchronized", "clock", text);
        found.push(finding.say(&["timedatectl", "set-ntp", "true"]));
    }
    found
}

fn memory(facts: &Facts) -> Option<Finding> {
    let available = facts.kernel.available?;
    if facts.up.is_some() || facts.memory <= available / PART {
        // What is up has its memory.
        return None;
    }
    let mib = |bytes: u64| thousands(bytes.div_ceil(1 << 20));
    let text = format!(
        "maps for this policy on {} CPUs take about {} MiB, and {} MiB can be had; lower `tcp` and \
         `other` in [flows] of the policy file",
        facts.cpus,
        mib(facts.memory),
        mib(available)
    );
    Some(if facts.memory > available {
        Finding::fault("memory-short", "memory", text)
    } else {
        Finding::note("memory-short", "memory", text)
    })
}

/// What becomes of the filter at the next boot. Where there is none, that is no fault.
fn boot(facts: &Facts, unit: BootUnit) -> Option<Finding> {
    let is_used = facts.up.is_some() || !facts.policy.interfaces.is_empty();
    let finding = |kind, text: &str| match is_used {
        true => Finding::fault(kind, UNIT, text),
        false => Finding::note(kind, UNIT, text),
    };
    match unit {
        BootUnit::Enabled => None,
        BootUnit::Disabled => {
            let text = "not enabled, so nothing filters after the next boot";
            let enable = ["systemctl", "enable", UNIT];
            Some(
                finding("unit-disabled", text)
                    .repaired_by(&enable, &["systemctl", "disable", UNIT]),
            )
        }
        BootUnit::Missing => Some(finding(
            "unit-missing",
            "not installed, so nothing filters after the next boot; install xdpfw's package",
        )),
        BootUnit::NoSystemd => Some(Finding::note(
            "no-systemd",
            UNIT,
            "there is no systemd here, so nothing of xdpfw's brings the filter back after a boot; \
             have `xdpfw up` run before the interfaces are up",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Severity::{Fault, Note},
            Up, examine,
            tests::{assert_finds, healthy},
        },
        *,
    };
    use crate::policy::InterfaceList;
    use crate::{analysis::test_policy::policy, netlink::Mode, system::Capability};

    #[test]
    fn an_old_kernel_and_one_without_types_are_found() {
        for (release, is_old) in [("5.10.0-8", true), ("5.15.0", false), ("6.1.0", false)] {
            let mut facts = healthy();
            facts.kernel.release = release.to_owned();
            match is_old {
                true => assert_finds(&facts, Fault, "kernel-old", "kernel", None),
                false => assert_eq!(examine(&facts), [], "{release}"),
            }
        }
        let mut facts = healthy();
        facts.kernel.btf = false;
        assert_finds(&facts, Fault, "btf-missing", "kernel", None);
    }

    #[test]
    fn a_lockdown_matters_only_where_it_hides_memory() {
        let mut facts = healthy();
        facts.kernel.lockdown = Lockdown::Integrity;
        assert_eq!(examine(&facts), []);
        facts.kernel.lockdown = Lockdown::Confidentiality;
        assert_finds(&facts, Note, "lockdown", "kernel", None);
    }

    #[test]
    fn a_missing_capability_is_named() {
        for (boot, remedy) in [
            (None, "sudo xdpfw doctor"),
            (Some(BootUnit::NoSystemd), "sudo xdpfw doctor"),
            (
                Some(BootUnit::Enabled),
                "systemd-run --pipe --wait xdpfw doctor",
            ),
        ] {
            for one in Capability::ALL {
                let mut facts = healthy();
                facts.boot = boot;
                facts.kernel.missing = vec![one];
                let found = examine(&facts);
                assert_eq!(found[0].kind, "capability-missing");
                assert_eq!(found[0].object, one.as_str());
                assert_eq!(found[0].remedy.as_deref(), Some(remedy));
            }
        }
    }

    #[test]
    fn a_bpffs_that_others_may_write_is_mended_and_put_back() {
        for (mode, expected) in [(0o1777, Some("1777")), (0o770, Some("0770")), (0o755, None)] {
            let mut facts = healthy();
            facts.bpffs = vec![Bpffs {
                path: "/sys/fs/bpf".into(),
                mode,
                owner: 0,
            }];
            let Some(expected) = expected else {
                assert_eq!(examine(&facts), []);
                continue;
            };
            let remedy = Some("chmod 0700 /sys/fs/bpf");
            assert_finds(&facts, Fault, "bpffs-mode", "/sys/fs/bpf", remedy);
            let repair = examine(&facts)[0].repair.clone().unwrap();
            assert_eq!(repair.undo, ["chmod", expected, "/sys/fs/bpf"]);
        }
        let mut facts = healthy();
        facts.bpffs = vec![Bpffs {
            path: "/sys/fs/bpf".into(),
            mode: 0o700,
            owner: 7,
        }];
        let remedy = Some("chown root /sys/fs/bpf");
        assert_finds(&facts, Fault, "bpffs-owner", "/sys/fs/bpf", remedy);
    }

    #[test]
    fn an_interpreter_is_a_fault_and_blinding_is_not() {
        let mut facts = healthy();
        facts.kernel.jit = Some(0);
        let remedy = Some("sysctl -w net.core.bpf_jit_enable=1");
        assert_finds(&facts, Fault, "jit-off", "net.core.bpf_jit_enable", remedy);
        let mut facts = healthy();
        facts.kernel.jit_harden = Some(2);
        let remedy = Some("sysctl -w net.core.bpf_jit_harden=1");
        assert_finds(
            &facts,
            Note,
            "jit-harden",
            "net.core.bpf_jit_harden",
            remedy,
        );
        facts.kernel.jit = None;
        facts.kernel.jit_harden = Some(1);
        assert_eq!(examine(&facts), []);
    }

    #[test]
    fn a_clock_matters_where_rules_end_by_it() {
        let mut facts = healthy();
        facts.kernel.is_synchronized = Some(false);
        assert_eq!(examine(&facts), []);
        facts.policy = policy(&["allow tcp 80 until 9"], &[]);
        let remedy = Some("timedatectl set-ntp true");
        assert_finds(&facts, Note, "clock-unsynchronized", "clock", remedy);
        let mut facts = healthy();
        facts.kernel.clocksource = Some("hpet".to_owned());
        assert_finds(&facts, Note, "clock-slow", "clock", None);
        let mut facts = healthy();
        facts.up = Some(Up {
            frags: false,
            ticks_per_second: 24,
        });
        assert_finds(&facts, Note, "ticks-slow", "clock", None);
    }

    #[test]
    fn maps_that_do_not_fit_are_found_before_they_are_made() {
        for (memory, expected) in [(400, None), (600, Some(Note)), (1100, Some(Fault))] {
            let mut facts = healthy();
            facts.kernel.available = Some(1000 << 20);
            facts.memory = memory << 20;
            match expected {
                Some(severity) => assert_finds(&facts, severity, "memory-short", "memory", None),
                None => assert_eq!(examine(&facts), []),
            }
            facts.up = Some(Up {
                frags: false,
                ticks_per_second: 250,
            });
            assert_eq!(examine(&facts), []);
        }
    }

    #[test]
    fn what_does_not_come_back_after_a_boot_is_a_fault_where_it_is_used() {
        for (unit, kind, remedy) in [
            (
                BootUnit::Disabled,
                "unit-disabled",
                Some("systemctl enable xdpfw.service"),
            ),
            (BootUnit::Missing, "unit-missing", None),
        ] {
            let mut facts = healthy();
            facts.boot = Some(unit);
            assert_finds(&facts, Note, kind, UNIT, remedy);
            facts.policy.interfaces = InterfaceList::of_tests(&["eth0"]);
            facts.devices[0].filtered = Some(Mode::Native);
            assert_finds(&facts, Fault, kind, UNIT, remedy);
        }
        let mut facts = healthy();
        facts.boot = Some(BootUnit::NoSystemd);
        assert_finds(&facts, Note, "no-systemd", UNIT, None);
        facts.boot = None;
        assert_eq!(examine(&facts), []);
    }
}
