//! What systemd and dpkg do to the filter: no gap, in which closed ports answer or the open one does
//! not.

use anyhow::{Result, ensure};

use crate::{
    hammer::Tally,
    payload::{NEXT_PACKAGE, NEXT_VERSION, PACKAGE},
    stage::{Scene, Stage},
};

/// Restarts of the service.
pub fn restart(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.filtered("restart")?;
    repeated(&scene, "restart")
}

/// Reloads of the service.
pub fn reload(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.filtered("reload")?;
    scene.guest.run("systemctl start xdpfw")?;
    repeated(&scene, "reload")
}

/// The service stopped, which leaves the filter.
pub fn stop(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.filtered("stop")?;
    scene.guest.run("systemctl start xdpfw")?;
    scene.settle();
    let tally = scene.closed_during(|| scene.guest.run("systemctl stop xdpfw").map(drop))?;
    Ok(described(&tally))
}

/// The same version again, then a later one.
pub fn upgrade(stage: &Stage<'_>) -> Result<String> {
    let scene = stage.filtered("upgrade")?;
    let guest = &scene.guest;
    let install =
        |package| scene.closed_during(|| guest.run(&format!("dpkg -i {package}")).map(drop));
    let again = install(PACKAGE)?;
    let later = install(NEXT_PACKAGE)?;
    let version = guest.run("dpkg-query -f '${Version}' -W xdpfw")?;
    ensure!(
        version.trim().ends_with(NEXT_VERSION),
        "xdpfw {} is installed",
        version.trim()
    );
    Ok(format!(
        "again: {}; later version: {}",
        described(&again),
        described(&later)
    ))
}

/// Has systemctl do something with the service 20 times.
fn repeated(scene: &Scene<'_>, action: &str) -> Result<String> {
    scene.settle();
    let mut all = Tally::default();
    for _ in 0..20 {
        let command = format!("systemctl {action} xdpfw");
        all.add(scene.closed_during(|| scene.guest.run(&command).map(drop))?);
    }
    Ok(described(&all))
}

fn described(tally: &Tally) -> String {
    let silence = tally
        .longest_silence()
        .map_or(0, |[from, to]| (to - from).as_millis());
    format!(
        "{tally}, {} of the open port, at most {silence} ms apart",
        tally.open.len()
    )
}
