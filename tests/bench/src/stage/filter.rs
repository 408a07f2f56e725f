//! Puts filters in force on a stage, and takes them away again: those that a user could put
//! in front of a host, ours among them.

use std::{
    borrow::Cow,
    env, fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramInfo, Xdp, XdpMode, loaded_programs};
use aya_obj::programs::XdpAttachType;
use serde_json::Value;
use xdpfw_tests::capture;

use crate::stage::{
    Stage,
    policy::{Form, Hook, OPEN, Policy},
    yardsticks::{Spread, Yardsticks},
};

/// How long the kernel may take to detach a program.
const PATIENCE: Duration = Duration::from_secs(2);

/// A filter, or what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The host as it is.
    None,
    /// XDP: one of our own programs, by its name.
    Yardstick(&'static str),
    /// XDP: ours.
    Xdpfw,
    /// XDP: xdp-tools' own.
    XdpTools,
    /// nftables.
    Nft(Hook, Form),
    /// iptables, before connections are tracked.
    IptablesRaw,
}

impl Filter {
    /// The program that it takes to put it in force, if it is not ours.
    const fn program(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Yardstick(_) | Self::Xdpfw => None,
            Self::XdpTools => Some("xdp-filter"),
            Self::Nft(..) => Some("nft"),
            Self::IptablesRaw => Some("iptables"),
        }
    }

    /// Whether it asks one rule after the other.
    pub(crate) const fn is_plain(self) -> bool {
        matches!(self, Self::Nft(_, Form::Plain))
    }

    /// Whether this machine has it.
    pub(crate) fn is_there(self) -> bool {
        self.program()
            .is_none_or(|program| find_program(program).is_some())
    }

    /// Puts it in force on all interfaces of the host.
    pub(crate) fn put(self, stage: &Stage, policy: Policy) -> Result<InForce<'_>> {
        let mut programs = None;
        match self {
            Self::None => {}
            Self::Yardstick(name) => programs = Some(attach(stage, name)?),
            Self::Xdpfw => {
                stage.up()?;
                stage.apply(policy)?;
            }
            Self::XdpTools => load_xdp_filter(stage, policy)?,
            Self::Nft(hook, form) => {
                let text = policy.nft(hook, form, stage.interfaces());
                nft(stage, &text)?;
            }
            Self::IptablesRaw => iptables(stage, policy)?,
        }
        Ok(InForce {
            filter: self,
            stage,
            _programs: programs,
        })
    }
}

/// A filter in force on a stage.
pub(crate) struct InForce<'a> {
    filter: Filter,
    stage: &'a Stage,
    /// Our own programs are detached when they are dropped.
    _programs: Option<Yardsticks>,
}

impl InForce<'_> {
    /// Takes it away, so that another can come. Stages that go anyway need not be cleared.
    pub(crate) fn clear(self) -> Result<()> {
        let Self {
            filter,
            stage,
            _programs,
        } = self;
        match filter {
            Filter::None => return Ok(()),
            Filter::Yardstick(_) => drop(_programs),
            Filter::Xdpfw => stage.xdpfw(&["down"]).map(drop)?,
            Filter::XdpTools => {
                for interface in stage.interfaces() {
                    let off = ["link", "set", "dev", interface, "xdp", "off"];
                    stage.lab.host.run("ip", off)?;
                }
            }
            Filter::Nft(..) => stage.lab.host.run("nft", ["flush", "ruleset"]).map(drop)?,
            Filter::IptablesRaw => {
                for arguments in [["-P", "PREROUTING", "ACCEPT"].as_slice(), &["-F"]] {
                    raw_table(stage, arguments)?;
                }
            }
        }
        // The kernel gives an interface free some time after the program is gone.
        let deadline = Instant::now() + PATIENCE;
        while has_program(stage)? {
            ensure!(
                Instant::now() < deadline,
                "an XDP program is left on an interface of the host"
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The program that the interfaces run, for those filters that have one.
    pub(crate) fn program(&self) -> Result<Xdp> {
        attached(self.stage)
    }
}

/// The program that a stage's interfaces run.
pub(crate) fn attached(stage: &Stage) -> Result<Xdp> {
    let interface = stage.interfaces().next().context("no interface")?;
    let id = program_id(stage, interface)?
        .with_context(|| format!("{interface} runs no XDP program"))?;
    Xdp::from_program_info(
        find(id)?,
        Cow::Borrowed("attached"),
        XdpAttachType::Interface,
    )
    .with_context(|| format!("cannot open the program with id {id}"))
}

fn find(id: u32) -> Result<ProgramInfo> {
    for program in loaded_programs() {
        let program = program.context("cannot list the kernel's programs")?;
        if program.id() == id {
            return Ok(program);
        }
    }
    anyhow::bail!("the kernel has no program with id {id}")
}

fn attach(stage: &Stage, name: &str) -> Result<Yardsticks> {
    let mut yardsticks = stage.yardsticks(Spread::SCAN)?;
    for interface in stage.interfaces() {
        stage.lab.host.enter(|| {
            yardsticks
                .get_mut(name)?
                .attach(interface, XdpMode::Driver)
                .with_context(|| format!("cannot attach a program to {interface}"))
        })?;
    }
    Ok(yardsticks)
}

/// As its manual says, but in a mount namespace with a bpffs of its own: what it pins
/// there would be all xdp-filters' on this machine, and goes now with the last command.
/// The programs stay on the interfaces.
fn load_xdp_filter(stage: &Stage, policy: Policy) -> Result<()> {
    ensure!(policy == Policy::OnePort, "xdp-filter has no such policy");
    let script = format!(
        "mount -t bpf bpf /sys/fs/bpf && \
         for interface in \"$@\"; do \
         xdp-filter load --mode native --policy deny \"$interface\" || exit; done && \
         xdp-filter port --proto tcp --mode dst {OPEN}"
    );
    let mut command = stage.lab.host.command("unshare");
    command
        .args(["--mount", "--", "sh", "-c", &script, "xdp-filter"])
        .args(stage.interfaces());
    capture(&mut command).map(drop)
}

/// Has nft read `text`.
pub(crate) fn nft(stage: &Stage, text: &str) -> Result<()> {
    let file = stage.file("bench.nft");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = stage.lab.host.command("nft");
    capture(command.arg("-f").arg(file)).map(drop)
}

fn iptables(stage: &Stage, policy: Policy) -> Result<()> {
    ensure!(policy == Policy::OnePort, "no such policy for iptables");
    let port = OPEN.to_string();
    let rule = [
        "-A",
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        &port,
        "-j",
        "ACCEPT",
    ];
    raw_table(stage, &rule)?;
    raw_table(stage, &["-P", "PREROUTING", "DROP"])
}

fn raw_table(stage: &Stage, arguments: &[&str]) -> Result<()> {
    let mut command = stage.lab.host.command("iptables");
    capture(command.args(["-w", "-t", "raw"]).args(arguments)).map(drop)
}

/// Whether any interface of the host runs a program.
fn has_program(stage: &Stage) -> Result<bool> {
    for interface in stage.interfaces() {
        if program_id(stage, interface)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The id of the program that an interface runs.
fn program_id(stage: &Stage, interface: &str) -> Result<Option<u32>> {
    let arguments = ["-json", "-details", "link", "show", "dev", interface];
    let text = stage.lab.host.run("ip", arguments)?;
    let links: Value = serde_json::from_str(&text).context("what `ip` wrote is not JSON")?;
    let id = links[0]["xdp"]["prog"]["id"].as_u64();
    Ok(id.map(u32::try_from).transpose()?)
}

/// Finds a program in `PATH`, or where administrators' programs are, which `PATH` may lack.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
