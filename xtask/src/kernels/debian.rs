//! Gets kernels: Debian's packages for cloud machines, found by apt with lists of its own,
//! unpacked below `target/kernels` and installed nowhere.
//!
//! The mirror is the one that this machine's apt uses; its own lists and settings stay
//! as they are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::Version;
use crate::{
    apt::{Apt, Mirror, SUITES, only_entry},
    command::{empty, say, target_dir},
};

/// A kernel that can be booted.
pub(super) struct Kernel {
    /// Its release, as `uname -r` says it.
    pub(super) release: String,
    /// The file to boot.
    pub(super) image: PathBuf,
    /// The directory of its modules.
    pub(super) modules: PathBuf,
    /// Where it lies, and where its logs go.
    pub(super) directory: PathBuf,
}

/// The newest kernel of this version, fetched unless it is there. Once fetched it stays;
/// without its directory, the newest is fetched again.
pub(super) fn obtain(version: &Version) -> Result<Kernel> {
    let kernels = target_dir()?.join("kernels");
    let directory = kernels.join(version.to_string());
    if let Some(kernel) = Kernel::in_directory(&directory) {
        return Ok(kernel);
    }
    fetch(version, &kernels)
        .with_context(|| format!("cannot get a kernel {version} from Debian's mirror"))?;
    Kernel::in_directory(&directory)
        .with_context(|| format!("no kernel is in the packages in {}", directory.display()))
}

impl Kernel {
    /// The kernel that is unpacked in `directory`, if it is whole.
    fn in_directory(directory: &Path) -> Option<Self> {
        // Newer packages have all of it below usr/lib/modules.
        let modules = ["lib/modules", "usr/lib/modules"]
            .iter()
            .find_map(|below| only_entry(&directory.join(below)))?;
        let release = modules.file_name()?.to_str()?.to_owned();
        let image = [
            directory.join(format!("boot/vmlinuz-{release}")),
            modules.join("vmlinuz"),
        ];
        Some(Self {
            image: image.into_iter().find(|image| image.exists())?,
            release,
            modules,
            directory: directory.to_owned(),
        })
    }
}

/// Fetches the newest kernel of this version into a directory of its name.
fn fetch(version: &Version, kernels: &Path) -> Result<()> {
    let mirror = Mirror::of_this_machine()?;
    for suites in SUITES {
        let apt = Apt::in_directory(kernels.join("apt").join(suites[0]))?;
        // Releases leave the mirrors when they are old.
        if let Err(error) = apt.update(&mirror.sources(suites)) {
            say(format_args!(
                "kernel {version}: not in {}: {error:#}",
                suites[0]
            ));
            continue;
        }
        let names = apt.run("apt-cache", &["pkgnames", "linux-image-"])?;
        let Some(release) = newest(names.lines(), version) else {
            continue;
        };
        say(format_args!(
            "kernel {version}: fetching Debian's {release}"
        ));
        let package = format!("linux-image-{release}");
        let described = apt.run("apt-cache", &["show", "--no-all-versions", &package])?;
        let unpacked = kernels.join(format!("{version}.partial"));
        empty(&unpacked)?;
        for package in parts(&described, &package) {
            apt.unpack(&package, &unpacked)?;
        }
        let directory = kernels.join(version.to_string());
        return fs::rename(&unpacked, &directory)
            .with_context(|| format!("cannot make {}", directory.display()));
    }
    bail!("none of {} has one", SUITES.concat().join(", "))
}

/// The newest release of a version among the names of packages.
fn newest<'a>(names: impl Iterator<Item = &'a str>, version: &Version) -> Option<&'a str> {
    names
        .filter_map(|name| name.strip_prefix("linux-image-"))
        .filter(|release| release.ends_with("-cloud-amd64"))
        // Not the package that only names the newest.
        .filter(|release| version.is_of(release) && numbers(release).len() > 3)
        .max_by_key(|release| numbers(release))
}

/// The numbers in a release; the last is the one in `amd64`.
fn numbers(release: &str) -> Vec<u32> {
    release
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The packages that a kernel consists of: its own, and those of the same release that
/// it depends on.
fn parts(described: &str, package: &str) -> BTreeSet<String> {
    let release = package.trim_start_matches("linux-image-");
    described
        .lines()
        .filter_map(|line| line.strip_prefix("Depends: "))
        .flat_map(|depends| depends.split(", "))
        .filter_map(|dependency| dependency.split_whitespace().next())
        .filter(|name| {
            name.strip_prefix("linux-")
                .is_some_and(|name| name.ends_with(&format!("-{release}")))
        })
        .chain([package])
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_release_of_a_version_is_found() {
        let names = [
            "linux-image-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-99-amd64",
            "linux-image-6.1.0-98-cloud-amd64-dbg",
            "linux-image-6.1.0-97-cloud-amd64-unsigned",
            "linux-image-6.1.0-0.deb11.58-cloud-amd64",
            "linux-image-6.12.95+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
        ];
        let newest = |version: &str| newest(names.into_iter(), &version.parse().unwrap());
        assert_eq!(newest("6.1"), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(newest("6.12"), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest("5.15"), None);
        assert_eq!(newest("6.2"), None);
    }

    #[test]
    fn a_kernel_may_be_in_several_packages() {
        let package = "linux-image-7.3.4+deb13-cloud-amd64";
        let whole = parts(
            "Depends: kmod, linux-base (>= 4.3~), initramfs-tools",
            package,
        );
        assert_eq!(Vec::from_iter(whole), [package]);
        let split = parts(
            "Package: x\nDepends: dracut | linux-initramfs-tool, kmod, \
             linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), \
             linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\n",
            package,
        );
        assert_eq!(
            Vec::from_iter(split),
            [
                "linux-binary-7.3.4+deb13-cloud-amd64",
                package,
                "linux-modules-7.3.4+deb13-cloud-amd64"
            ]
        );
    }
}
