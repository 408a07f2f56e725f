//! What every scenario begins with: a peer that hammers, and a guest that has booted.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use xdpfw_tests::{Host, Interrupted, task::say};

use crate::{
    guest::{Guest, Options, peer},
    hammer::{Hammer, Tally},
    image::Image,
    payload::{PACKAGE, Payload},
};

/// How long the peer goes on after the last thing happened: an answer may be late, and a link-local
/// address is not used before it is known to be nobody else's.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What scenarios are made of.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// The guest's disk.
    pub image: &'a Image,
    /// What is installed.
    pub payload: &'a Payload,
    /// The disk that it is on.
    pub disk: &'a Path,
    /// Where consoles are written to.
    pub logs: &'a Path,
    /// Ctrl-C.
    pub interrupted: &'a Interrupted,
}

/// A guest under the hammer. It goes before the hammer, and that before the namespace.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The virtual machine.
    pub guest: Guest<'a>,
    hammer: Hammer,
    /// The peer's namespace.
    pub peer: Host,
    /// Where the journal goes in the end.
    journal: PathBuf,
}

impl<'a> Stage<'a> {
    /// Boots a guest without the filter.
    pub fn open(&self, name: &str) -> Result<Scene<'a>> {
        self.open_with(name, false)
    }

    /// The same of one whose network device can be unplugged.
    pub fn open_to_unplug(&self, name: &str) -> Result<Scene<'a>> {
        self.open_with(name, true)
    }

    fn open_with(&self, name: &str, is_unplugged: bool) -> Result<Scene<'a>> {
        let options = Options {
            parameters: "net.ifnames=0",
            is_unplugged,
        };
        let scene = self.boot(name, options)?;
        scene.answers_from_closed_ports(name)?;
        Ok(scene)
    }

    /// The same with the filter installed and up, ssh allowed and nothing else.
    pub fn filtered(&self, name: &str) -> Result<Scene<'a>> {
        let scene = self.open(name)?;
        scene.install("eth0")?;
        Ok(scene)
    }

    /// Boots a guest, whatever it answers.
    pub fn boot(&self, name: &str, options: Options<'_>) -> Result<Scene<'a>> {
        let peer = peer()?;
        let hammer = Hammer::start(&peer)?;
        let guest = Guest::boot(
            &peer,
            self.image,
            self.disk,
            &self.logs.join(format!("{name}.console")),
            options,
            self.interrupted,
        )?;
        guest.wait_until_started()?;
        guest.run("mount -o ro LABEL=payload /mnt")?;
        Ok(Scene {
            guest,
            hammer,
            peer,
            journal: self.logs.join(format!("{name}.journal")),
        })
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.guest.save_journal(&self.journal) {
            say(format_args!("no journal: {error:#}"));
        }
    }
}

impl Scene<'_> {
    /// Claims that closed ports have answered: what follows could not fail otherwise.
    pub fn answers_from_closed_ports(&self, name: &str) -> Result<()> {
        let tally = self.during(|| Ok(()))?;
        say(format_args!("{name}: without the filter: {tally}"));
        for kind in ["RST", "SYN-ACK", "unreachable", "echo-reply", "RST/v6"] {
            ensure!(
                tally.leaks.iter().any(|answer| answer.what == kind),
                "without the filter there is no {kind}, so the test sees nothing"
            );
        }
        Ok(())
    }

    /// Installs the filter and brings it up on an interface, with ssh allowed and nothing else.
    pub fn install(&self, interface: &str) -> Result<()> {
        let install = format!("DEBIAN_FRONTEND=noninteractive apt-get install -qy {PACKAGE}");
        self.guest.run(&install)?;
        self.guest
            .run(&format!("xdpfw allow ssh && xdpfw up {interface}"))?;
        self.settle();
        Ok(())
    }

    /// Forgets what was answered so far, and what is still on the way.
    pub fn settle(&self) {
        std::thread::sleep(AFTERMATH);
        self.hammer.take();
    }

    /// Does something, and returns what was answered meanwhile and a little later.
    pub fn during(&self, work: impl FnOnce() -> Result<()>) -> Result<Tally> {
        work()?;
        std::thread::sleep(AFTERMATH);
        Ok(self.hammer.take())
    }

    /// Does something while no closed port may answer, and the open one must.
    pub fn closed_during(&self, work: impl FnOnce() -> Result<()>) -> Result<Tally> {
        let started = Instant::now();
        let tally = self.during(work)?;
        if let (Some(first), Some(last)) = (tally.leaks.first(), tally.leaks.last()) {
            let after = |at: Instant| at.saturating_duration_since(started).as_secs_f64();
            bail!(
                "closed ports answered: {tally}, from {:.2} to {:.2} s after the beginning",
                after(first.at),
                after(last.at)
            );
        }
        tally
            .open
            .last()
            .with_context(|| format!("the open port never answered ({tally})"))?;
        Ok(tally)
    }
}
