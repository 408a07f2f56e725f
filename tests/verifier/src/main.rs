//! Shows what the kernel's verifier makes of the programs, and holds that to bounds: every
//! flavour, under policies that use different parts of it, as xdpfw puts them in force.

mod object;
mod policies;
mod report;

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramInfo;
use clap::Parser;
use xdpfw_common::abi::{ABI_VERSION, names};
use xdpfw_tests::{
    Host, Interrupted, Tun,
    task::{exit, say},
};

use self::{
    object::{Object, kernel_name},
    policies::{INTERFACE, POLICIES, Policy},
    report::{Report, Row},
};

/// What programs are measured under whose code does not depend on the policy.
const EVERY: &str = "every policy";

/// Show what the kernel's verifier makes of each program, and hold it to bounds (needs root)
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask verifier")]
struct Args {
    /// Write the numbers as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    exit(Interrupted::watch("verifier", |interrupted| {
        let report = Report::new(measure(interrupted)?);
        report.show(args.json)?;
        report.check()
    }))
}

/// Has the kernel verify each program.
fn measure(interrupted: &Interrupted) -> Result<Vec<Row>> {
    let object = env::var_os("XDPFW_EBPF_OBJECT")
        .context("XDPFW_EBPF_OBJECT is not set; run `cargo xtask verifier`")?;
    let object = Object::read(object.as_ref())?;
    let mut rows = Vec::new();
    for frags in [false, true] {
        say(format_args!(
            "verifier: {} policies, packets in {}",
            POLICIES.len(),
            if frags {
                "several buffers"
            } else {
                "one buffer"
            }
        ));
        let subject = Subject::new(frags)?;
        for name in [names::DISPATCHER, names::DISPATCHER_L3] {
            let program = ProgramInfo::from_pin(subject.pins().join(name))?;
            rows.push(object.measure(&subject.flavour(name), EVERY, &program)?);
        }
        for policy in POLICIES {
            interrupted.check()?;
            subject.apply(policy.text)?;
            let name = subject.flavour(names::FILTER);
            let program = subject
                .generation(&name)?
                .with_context(|| format!("{name} is not in force; it takes Linux 5.18 or newer"))?;
            rows.push(object.measure(&name, policy.name, &program)?);
            // It is the same in both flavours.
            if !frags && let Some(recorder) = subject.recorder()? {
                rows.push(object.measure(names::RECORDER, policy.name, &recorder)?);
            }

            rows.extend(measure_rehearsal(&object, &subject, policy, frags)?);
        }
    }
    // Each program under all policies, one below the other.
    rows.sort_by(|one, other| one.program.cmp(&other.program));
    Ok(rows)
}

/// The same for the programs of a rehearsal, in which a policy is in force and rehearsed.
fn measure_rehearsal(
    object: &Object,
    subject: &Subject,
    policy: &Policy,
    frags: bool,
) -> Result<Vec<Row>> {
    subject.rehearse(policy.text)?;
    let mut rows = Vec::new();
    let name = subject.flavour(names::FILTER_REHEARSED);
    let front = subject.generation(&name)?;
    let front = front.with_context(|| format!("{name} is not in force"))?;
    rows.push(object.measure(&name, policy.name, &front)?);
    let shadow = subject.flavour(names::SHADOW);
    let candidate = ProgramInfo::from_pin(subject.only_generation()?.join("shadow/program"))?;
    rows.push(object.measure(&shadow, policy.name, &candidate)?);
    if !frags && let Some(recorder) = subject.recorder()? {
        rows.push(object.measure(names::RECORDER_REHEARSED, policy.name, &recorder)?);
    }
    subject.xdpfw(&["shadow", "--drop"], "")?;
    Ok(rows)
}

/// A host under xdpfw. Nothing is sent to it.
struct Subject {
    host: Host,
    frags: bool,
    _interface: Tun,
}

impl Subject {
    /// With an interface whose packets come in one buffer, or (`frags`) in several.
    fn new(frags: bool) -> Result<Self> {
        let host = Host::new()?;
        // Else no rule may answer with SYN cookies.
        host.sysctl("net/ipv4/tcp_syncookies", "2")?;
        // Else the answers have no options.
        host.sysctl("net/ipv4/tcp_timestamps", "2")?;
        let interface = Tun::ethernet(&host, INTERFACE)?;
        let mtu = if frags { "9000" } else { "1500" };
        host.run("ip", ["link", "set", INTERFACE, "mtu", mtu, "up"])?;
        let subject = Self {
            host,
            frags,
            _interface: interface,
        };
        subject.xdpfw(&["up", INTERFACE], "")?;
        Ok(subject)
    }

    /// A program's name in the host's flavour.
    fn flavour(&self, program: &str) -> String {
        let suffix = if self.frags { names::FRAGS } else { "" };
        format!("{program}{suffix}")
    }

    /// Has a policy rehearsed.
    fn rehearse(&self, policy: &str) -> Result<()> {
        self.xdpfw(&["--quiet", "apply", "--shadow", "-"], &whole(policy))
    }

    fn apply(&self, policy: &str) -> Result<()> {
        let text = whole(policy);
        // In a session, the kernel must take the probe, too, whatever that says then.
        let session = "192.0.2.7 51000 192.0.2.1 22";
        let guarded = self.host.xdpfw(["--quiet", "apply", "-"]).stdin(&*text);
        let output = guarded.env("SSH_CONNECTION", session).output()?;
        ensure!(
            matches!(output.status.code(), Some(0 | 6)),
            "no probe judges under the policy\n{text}{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        self.xdpfw(&["--quiet", "apply", "--force", "-"], &text)
            .with_context(|| format!("the policy is\n{text}"))
    }

    /// The program of this name that a generation has.
    fn generation(&self, name: &str) -> Result<Option<ProgramInfo>> {
        let directory = self.pins().join("generations");
        let generations = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        Ok(generations
            .flatten()
            // One that is being made has no program yet.
            .filter_map(|generation| ProgramInfo::from_pin(generation.path().join("program")).ok())
            .find(|program| program.name_as_str() == Some(kernel_name(name))))
    }

    /// The egress half of the generation in force, if it has one.
    fn recorder(&self) -> Result<Option<ProgramInfo>> {
        let pin = self.only_generation()?.join(names::RECORDER);
        if !pin.exists() {
            return Ok(None);
        }
        Ok(Some(ProgramInfo::from_pin(pin)?))
    }

    /// Where the generation in force is pinned.
    fn only_generation(&self) -> Result<PathBuf> {
        let mut generations = fs::read_dir(self.pins().join("generations"))?;
        let generation = generations.next().context("no generation")??.path();
        ensure!(generations.next().is_none(), "more than one generation");
        Ok(generation)
    }

    fn pins(&self) -> PathBuf {
        self.host.pins().join(format!("abi-{ABI_VERSION}"))
    }

    fn xdpfw(&self, arguments: &[&str], stdin: &str) -> Result<()> {
        let output = self.host.xdpfw(arguments).stdin(stdin).output()?;
        ensure!(
            output.status.success(),
            "`xdpfw {}` failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}

/// A policy file for the one interface.
fn whole(policy: &str) -> String {
    format!("version = 1\ninterfaces = [\"{INTERFACE}\"]\n{policy}")
}
