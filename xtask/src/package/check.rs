//! Tries the package: lintian, the same bytes when built again, and its life in a container:
//! install, upgrade, remove, purge.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::container::Container;
use crate::{
    command::{capture, empty, is_root, run as run_command, say, target_dir},
    packages,
};

/// The policy, and what a user makes of it.
const POLICY: &str = "/etc/xdpfw/policy.toml";
/// An interface to filter, and its other end.
const INTERFACES: [&str; 2] = ["probe0", "probe1"];
/// Where in the container another Debian is.
const CHROOT: &str = "/srv/chroot";
/// What that one sees of the machine.
const SHOWN: [&str; 3] = ["proc", "sys", "run"];
/// What enables the units.
const ENABLED: [&str; 3] = [
    "/etc/systemd/system/sysinit.target.wants/xdpfw.service",
    "/etc/systemd/system/shutdown.target.wants/xdpfw-shutdown.service",
    "/etc/systemd/system/timers.target.wants/xdpfw-lists.timer",
];
/// Directories whose files are those of dpkg, of mount or of the kernel, or another Debian.
const NOT_OURS: [&str; 8] = [
    "/proc",
    "/sys",
    "/dev",
    "/srv",
    "/run/mount",
    "/var/cache",
    "/var/log",
    "/var/lib/dpkg",
];

/// Fails early where nothing can be tried, and installs what it takes.
pub(super) fn prepare() -> Result<()> {
    ensure!(is_root(), "the container needs root: run this as root");
    packages::install_package_checks()
}

/// Tries the package.
pub(super) fn run(package: &Path) -> Result<()> {
    say(format_args!("check: lintian"));
    run_command(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error,warning"])
            .arg(package),
    )?;
    say(format_args!("check: the same when built again"));
    let again = super::pack(&super::cargo_deb()?, &target_dir()?.join("package-again"))?;
    ensure!(
        fs::read(package)? == fs::read(&again)?,
        "{} and {} differ",
        package.display(),
        again.display()
    );
    say(format_args!("check: the life of the package"));
    life(package)?;
    say(format_args!("check: passed"));
    Ok(())
}

/// Installs, upgrades, removes and purges the package, with a filter in force.
fn life(package: &Path) -> Result<()> {
    let newer = newer(package)?;
    let machine = Container::start()?;
    fs::copy(package, machine.path("/srv/old.deb"))?;
    fs::copy(newer, machine.path("/srv/new.deb"))?;
    let before = files(&machine)?;

    machine.run("dpkg", &["--install", "/srv/old.deb"])?;
    let shipped = policy(&machine)?;
    let modes = machine.run("stat", &["--format=%a %U:%G", POLICY, "/var/lib/xdpfw"])?;
    ensure!(modes == "640 root:root\n700 root:root\n", "modes: {modes}");
    for link in ENABLED {
        machine.run("readlink", &[link])?;
    }
    machine.run("sh", &["-c", "! mountpoint -q /run/xdpfw/bpf"])?;
    shipped_policy_is_valid(&machine)?;

    let [filtered, peer] = INTERFACES;
    machine.in_network(&[
        "ip", "link", "add", filtered, "type", "veth", "peer", "name", peer,
    ])?;
    machine.run("xdpfw", &["allow", "ssh", "--comment", "kept"])?;
    machine.run("xdpfw", &["up", filtered])?;
    let edited = policy(&machine)?;
    let kept = |line: &str| edited.lines().any(|edited| edited == line);
    if let Some(lost) = shipped.lines().find(|line| !kept(line)) {
        bail!("the program has not kept this line of the policy: {lost}");
    }
    let link = link(&machine)?;
    upgrade(&machine, &edited, &link)?;
    chroot_leaves_it_alone(&machine, &link)?;

    machine.run("dpkg", &["--remove", "xdpfw"])?;
    ensure!(policy(&machine)? == edited, "remove has changed the policy");
    let shown = machine.in_network(&["ip", "link", "show", filtered])?;
    ensure!(!shown.contains("xdp"), "remove leaves a filter: {shown}");
    machine.run("sh", &["-c", "! test -e /run/xdpfw"])?;

    machine.run("dpkg", &["--install", "/srv/new.deb"])?;
    ensure!(
        policy(&machine)? == edited,
        "a new start has changed the policy"
    );
    machine.run("xdpfw", &["up"])?;
    machine.run("dpkg", &["--purge", "xdpfw"])?;
    let after = files(&machine)?;
    let left: Vec<&String> = after.symmetric_difference(&before).collect();
    ensure!(left.is_empty(), "purge leaves or takes: {left:?}");
    Ok(())
}

/// An upgrade asks nothing, keeps a changed policy, and takes the filter over.
fn upgrade(machine: &Container, policy_before: &str, link_before: &str) -> Result<()> {
    ensure!(generation(machine)? == 1, "the first generation is another");
    machine.run("dpkg", &["--install", "/srv/new.deb"])?;
    ensure!(
        policy(machine)? == policy_before,
        "an upgrade has changed the policy"
    );
    // An interface that is let go for a moment gets another link.
    ensure!(link(machine)? == link_before, "an upgrade has opened a gap");
    ensure!(
        generation(machine)? == 2,
        "the new version has not taken over"
    );

    // What was edited and not applied is not put in force by an upgrade.
    let file = machine.path(POLICY);
    fs::write(
        &file,
        format!("{policy_before}\n# Edited.\n").replace("tcp 22", "tcp 23"),
    )?;
    let old = machine.run("xdpfw", &["list"])?;
    machine.run("dpkg", &["--install", "/srv/new.deb"])?;
    ensure!(
        machine.run("xdpfw", &["list"])? == old,
        "an upgrade has applied a policy"
    );
    fs::write(&file, policy_before)?;
    Ok(())
}

/// Who makes an image, in a chroot that sees `/proc` and `/run`, does not take off the filter of
/// the machine.
fn chroot_leaves_it_alone(machine: &Container, link_before: &str) -> Result<()> {
    machine.nest(CHROOT)?;
    for file in ["/srv/old.deb", "/srv/new.deb"] {
        fs::copy(machine.path(file), machine.path(CHROOT).join(&file[1..]))?;
    }
    for directory in SHOWN {
        let place = format!("{CHROOT}/{directory}");
        machine.run("mount", &["--rbind", &format!("/{directory}"), &place])?;
    }
    for line in [
        ["--install", "/srv/old.deb"],
        ["--install", "/srv/new.deb"],
        ["--purge", "xdpfw"],
    ] {
        machine.run("chroot", &[&[CHROOT, "dpkg"], &line[..]].concat())?;
        ensure!(
            link(machine)? == link_before,
            "a chroot has reached out: {line:?}"
        );
    }
    for directory in SHOWN {
        let place = format!("{CHROOT}/{directory}");
        machine.run("umount", &["--recursive", "--lazy", &place])?;
    }
    Ok(())
}

/// The shipped policy, and its examples as well.
fn shipped_policy_is_valid(machine: &Container) -> Result<()> {
    let shipped = policy(machine)?;
    let after = |start: &str| -> Vec<&str> {
        let lines = shipped.lines().filter_map(|line| line.strip_prefix(start));
        lines.collect()
    };
    let keys = after("# ")
        .into_iter()
        .filter(|line| line.starts_with("interfaces = ") || line.starts_with("default = "));
    let rules = after("#   ");
    ensure!(!rules.is_empty(), "the shipped policy has no examples");
    let examples: Vec<&str> = ["version = 1"]
        .into_iter()
        .chain(keys)
        .chain(rules)
        .collect();
    fs::write(machine.path("/srv/examples.toml"), examples.join("\n"))?;
    for file in [POLICY, "/srv/examples.toml"] {
        machine.run("xdpfw", &["--policy", file, "list"])?;
    }
    Ok(())
}

/// The number of the generation in force.
fn generation(machine: &Container) -> Result<u64> {
    // With a warning, the exit code is another.
    let status = machine.run("sh", &["-c", "xdpfw --json status || [ $? = 8 ]"])?;
    let number = status.split("\"generation\":").nth(1);
    let number = number.and_then(|rest| rest.split(',').next());
    let number = number.context("`xdpfw status` names no generation")?;
    number
        .parse()
        .with_context(|| format!("generation {number}"))
}

/// The package with a higher version, as the program in it says, too.
fn newer(package: &Path) -> Result<PathBuf> {
    let directory = target_dir()?.join("debian/newer");
    empty(&directory)?;
    let tree = directory.join("tree");
    capture(Command::new("dpkg-deb").arg("-R").args([package, &tree]))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = text
        .lines()
        .find(|line| line.starts_with("Version: "))
        .context("the package has no version")?;
    let version = &version["Version: ".len()..];
    let next = format!("9{}", &version[1..]);
    fs::write(&control, text.replacen(version, &next, 1))?;
    let program = tree.join("usr/bin/xdpfw");
    let patched = replaced(&fs::read(&program)?, version, &next);
    fs::write(&program, patched)?;
    let newer = directory.join("new.deb");
    capture(
        Command::new("dpkg-deb")
            .args(["-Z", "none", "-b"])
            .args([&tree, &newer]),
    )?;
    Ok(newer)
}

/// Bytes with one text in the place of another of the same length.
fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..=bytes.len() - old.len() {
        let window = &mut bytes[at..at + old.len()];
        if window == old.as_bytes() {
            window.copy_from_slice(new.as_bytes());
        }
    }
    bytes
}

fn policy(machine: &Container) -> Result<String> {
    machine.run("cat", &[POLICY])
}

/// What tells the link of the filtered interface from any other.
fn link(machine: &Container) -> Result<String> {
    let list = "stat --format '%n %i' /run/xdpfw/bpf/*/abi-*/links/*";
    machine.run("sh", &["-c", list])
}

/// All files, with their modes.
fn files(machine: &Container) -> Result<BTreeSet<String>> {
    let mut line = vec!["/"];
    for directory in NOT_OURS {
        line.extend(["-path", directory, "-prune", "-o"]);
    }
    line.extend(["-printf", "%M %u:%g %p %l\n"]);
    let listed = machine.run("find", &line)?;
    Ok(listed.lines().map(str::to_owned).collect())
}
