//! Policies that cannot be applied at boot. The last one that was in force takes its place, and
//! without a history one that lets in what the last operator came by, or else ssh. It is said loudly.

use anyhow::{Context as _, Result, ensure};

use super::reboot::reboot;
use crate::stage::{Scene, Stage};

const HISTORY: &str = "/var/lib/xdpfw";
/// What was in force before: its rule for this port shows that the history was used.
const TELLTALE: &str = "tcp 8443";

/// With what is no policy.
pub fn damaged(stage: &Stage<'_>) -> Result<String> {
    broken(
        stage,
        "damaged",
        "head -c 40 /dev/urandom >>/etc/xdpfw/policy.toml",
    )
}

/// With nothing in it.
pub fn emptied(stage: &Stage<'_>) -> Result<String> {
    broken(stage, "emptied", ": >/etc/xdpfw/policy.toml")
}

/// Another user's, and one that others may write.
pub fn unreadable(stage: &Stage<'_>) -> Result<String> {
    broken(
        stage,
        "unreadable",
        "chown nobody /etc/xdpfw/policy.toml && chmod 666 /etc/xdpfw/policy.toml",
    )
}

/// None at all.
pub fn missing(stage: &Stage<'_>) -> Result<String> {
    broken(stage, "missing", "rm -f /etc/xdpfw/policy.toml")
}

/// A good one, and no room for anything.
pub fn disk_full(stage: &Stage<'_>) -> Result<String> {
    const FILL: &str = "i=0; for size in 1G 100M 10M 1M 100K 4K; do \
         while fallocate -l $size /full.$i 2>/dev/null; do i=$((i+1)); done; done; \
         sync; ! cp /bin/true /more";
    let scene = stage.filtered("disk-full")?;
    scene.guest.run(FILL)?;
    let seen = reboot(&scene)?;
    ensure!(
        scene.guest.attempt("cp /bin/true /more")?.0 != 0,
        "there was room again"
    );
    Ok(seen)
}

/// Breaks the policy and reboots: with its history, and then without.
fn broken(stage: &Stage<'_>, name: &str, command: &str) -> Result<String> {
    let scene = stage.filtered(name)?;
    scene.guest.run(&format!("xdpfw allow {TELLTALE}"))?;
    scene.guest.run(command)?;
    let with = reboot(&scene).context("with a history")?;
    is_loud(&scene).context("with a history")?;
    ensure!(
        allows(&scene, TELLTALE)?,
        "the last policy that was in force is not"
    );
    scene.guest.run(&format!("rm -rf {HISTORY}; {command}"))?;
    let without = reboot(&scene).context("without a history")?;
    let said = is_loud(&scene).context("without a history")?;
    ensure!(
        !allows(&scene, TELLTALE)?,
        "a policy is in force whose history was removed"
    );
    Ok(format!(
        "with a history: {with}; without: {without}; the journal: {said}"
    ))
}

/// Whether a packet would pass.
fn allows(scene: &Scene<'_>, what: &str) -> Result<bool> {
    Ok(scene.guest.attempt("xdpfw list")?.1.contains(what))
}

/// Claims that the unit has failed, or that it has said something as an error.
fn is_loud(scene: &Scene<'_>) -> Result<String> {
    let said = scene
        .guest
        .run("journalctl -b -q -o cat -u xdpfw.service --no-pager")?;
    let (_, state) = scene.guest.attempt("systemctl is-failed xdpfw.service")?;
    let (_, errors) = scene
        .guest
        .attempt("journalctl -b -q -o cat -u xdpfw.service -p err --no-pager")?;
    ensure!(
        state.trim() == "failed" || !errors.trim().is_empty(),
        "xdpfw.service is {}, and said no more than: {}",
        state.trim(),
        said.trim()
    );
    Ok(said.lines().collect::<Vec<_>>().join(" | "))
}
