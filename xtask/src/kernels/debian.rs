//! Gets kernels: Debian's packages for cloud machines, found by apt with lists of its own,
//! unpacked below `target/kernels` and installed nowhere.
//!
//! The mirror is the one that this machine's apt uses; its own lists and settings stay
//! as they are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::Version;
use crate::command::{capture, empty, say, target_dir};

/// Where a kernel is looked for, in this order: parts of Debian's archive whose lists are
/// fetched together. Of a release, those of the security mirror are the newest.
const SUITES: [&[&str]; 6] = [
    &["bookworm", "bookworm-security"],
    &["bookworm-backports"],
    &["trixie", "trixie-security"],
    &["trixie-backports"],
    &["sid"],
    &["bullseye", "bullseye-security"],
];

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

fn only_entry(directory: &Path) -> Option<PathBuf> {
    Some(fs::read_dir(directory).ok()?.next()?.ok()?.path())
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

/// Installs a package from the backports of this machine's own release. No setting of apt
/// is changed, and no package removed.
pub(crate) fn install_from_backports(package: &str) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no release of Debian")?;
    let [security, updates, backports] =
        ["security", "updates", "backports"].map(|suffix| format!("{codename}-{suffix}"));
    let apt = Apt::in_directory(target_dir()?.join("kernels/apt").join(&backports))?;
    let mirror = Mirror::of_this_machine()?;
    apt.update(&mirror.sources(&[codename, &security, &updates, &backports]))?;
    apt.install(package, &backports)
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

/// Where this machine gets its packages.
#[derive(Debug, PartialEq)]
struct Mirror {
    main: String,
    security: Option<String>,
}

impl Mirror {
    fn of_this_machine() -> Result<Self> {
        let files = capture(Command::new("apt-get").args(["--print-uris", "update"]))
            .context("kernels come from Debian's packages, with apt")?;
        Self::parse(&files).context("apt has no mirror of Debian among its sources")
    }

    /// Reads it in the list of files that an update would fetch.
    fn parse(files: &str) -> Option<Self> {
        let suites: Vec<(&str, &str)> = files
            .lines()
            .filter_map(|line| line.strip_prefix('\'')?.split_once('\''))
            .filter_map(|(uri, _)| uri.strip_suffix("/InRelease")?.split_once("/dists/"))
            .collect();
        let with = |suffix: &str| {
            suites
                .iter()
                .find(|(_, suite)| suite.ends_with(suffix))
                .map(|(base, _)| (*base).to_owned())
        };
        Some(Self {
            // Sources of other software may have Debian's names, but no updates.
            main: with("-updates").or_else(|| SUITES.iter().find_map(|suites| with(suites[0])))?,
            security: with("-security"),
        })
    }

    /// A list of sources with these parts of Debian's archive.
    fn sources(&self, suites: &[&str]) -> String {
        let line = |suite: &&str| {
            let base = if suite.ends_with("-security") {
                self.security.as_ref()?
            } else {
                &self.main
            };
            let options = "[arch=amd64 lang=none target=Packages]";
            Some(format!("deb {options} {base} {suite} main\n"))
        };
        suites.iter().filter_map(line).collect()
    }
}

/// An apt with sources and lists of its own.
struct Apt(PathBuf);

impl Apt {
    fn in_directory(directory: PathBuf) -> Result<Self> {
        let prepare = || {
            fs::create_dir_all(directory.join("lists/partial"))?;
            fs::create_dir_all(directory.join("cache/archives/partial"))?;
            fs::write(directory.join("status"), "")
        };
        prepare().with_context(|| format!("cannot write to {}", directory.display()))?;
        Ok(Self(directory))
    }

    /// Fetches the lists of these sources.
    fn update(&self, sources: &str) -> Result<()> {
        let list = self.0.join("sources.list");
        fs::write(&list, sources).with_context(|| format!("cannot write {}", list.display()))?;
        self.run("apt-get", &["update", "--error-on=any"]).map(drop)
    }

    /// Installs a package of one of the suites on this machine.
    fn install(&self, package: &str, suite: &str) -> Result<()> {
        let mut command = self.command("apt-get");
        command
            .args(["-o", "Dir::State::status=/var/lib/dpkg/status"])
            .args(["install", "-y", "--no-install-recommends", "--no-remove"])
            .args(["-t", suite, package])
            .env("DEBIAN_FRONTEND", "noninteractive");
        capture(&mut command)
            .map(drop)
            .with_context(|| format!("cannot install {package} from {suite}"))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        capture(self.command(program).args(arguments))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.0.join(name).display().to_string();
        for (option, value) in [
            ("Dir::State", at("")),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("cache")),
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            // The user that root's apt fetches as may not write here.
            ("APT::Sandbox::User", "root".into()),
        ] {
            command.args(["-o", &format!("{option}={value}")]);
        }
        command.arg("-q").env("LC_ALL", "C");
        command
    }

    /// Fetches a package and unpacks what is in it.
    fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let downloads = self.0.join("downloads");
        empty(&downloads)?;
        capture(
            self.command("apt-get")
                .args(["download", package])
                .current_dir(&downloads),
        )?;
        let file = only_entry(&downloads)
            .with_context(|| format!("apt-get has downloaded nothing for {package}"))?;
        ensure!(file.extension().is_some_and(|extension| extension == "deb"));
        capture(Command::new("dpkg-deb").arg("-x").arg(file).arg(into)).map(drop)
    }
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

    #[test]
    fn mirror_is_that_of_the_machine() {
        let files = "'http://tools.example/linux/debian/dists/bookworm/InRelease' x 0 \n\
             'http://mirror.example/debian/dists/bookworm-updates/InRelease' x 0 \n\
             'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0 \n\
             'http://mirror.example/security/dists/bookworm-security/InRelease' x 0 \n";
        let mirror = Mirror::parse(files).unwrap();
        assert_eq!(
            mirror.sources(SUITES[0]),
            "deb [arch=amd64 lang=none target=Packages] http://mirror.example/debian bookworm main\n\
             deb [arch=amd64 lang=none target=Packages] http://mirror.example/security bookworm-security main\n"
        );
        assert_eq!(Mirror::parse(""), None);
        let without =
            Mirror::parse("'http://m.example/debian/dists/trixie/InRelease' x 0").unwrap();
        assert_eq!(without.security, None);
        assert_eq!(without.sources(SUITES[0]).lines().count(), 1);
    }
}
