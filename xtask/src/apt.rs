//! An apt with sources and lists of its own: for packages that are unpacked and installed
//! nowhere, and for backports. This machine's own lists and settings stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::command::{capture, empty, target_dir};

/// Parts of Debian's archive, those together whose lists are fetched together. Of a release,
/// those of the security mirror are the newest.
pub(crate) const SUITES: [&[&str]; 6] = [
    &["bookworm", "bookworm-security"],
    &["bookworm-backports"],
    &["trixie", "trixie-security"],
    &["trixie-backports"],
    &["sid"],
    &["bullseye", "bullseye-security"],
];

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

/// Unpacks packages of this machine's own release in a directory, with those that they need
/// and this machine lacks. Nothing is installed, and no script of theirs runs.
pub(crate) fn unpack(packages: &[&str], directory: &Path) -> Result<()> {
    let downloads = directory.with_extension("downloads");
    empty(&downloads.join("partial"))?;
    let archives = format!("Dir::Cache::archives={}", downloads.display());
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-y", "--no-install-recommends", "--reinstall"])
        .args(["--download-only", "-o", &archives])
        // Nobody else uses this directory, and the user that root's apt fetches as may not.
        .args([
            "-o",
            "Debug::NoLocking=true",
            "-o",
            "APT::Sandbox::User=root",
        ])
        .arg("install")
        .args(packages);
    capture(&mut command)?;
    empty(directory)?;
    for entry in fs::read_dir(&downloads)?.flatten() {
        if entry.path().extension().is_some_and(|it| it == "deb") {
            capture(
                Command::new("dpkg-deb")
                    .arg("-x")
                    .args([&entry.path(), directory]),
            )?;
        }
    }
    fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {}", downloads.display()))
}

/// Where this machine gets its packages.
#[derive(Debug, PartialEq)]
pub(crate) struct Mirror {
    main: String,
    security: Option<String>,
}

impl Mirror {
    pub(crate) fn of_this_machine() -> Result<Self> {
        let files = capture(Command::new("apt-get").args(["--print-uris", "update"]))
            .context("this takes Debian's packages, with apt")?;
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
    pub(crate) fn sources(&self, suites: &[&str]) -> String {
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
pub(crate) struct Apt(PathBuf);

impl Apt {
    pub(crate) fn in_directory(directory: PathBuf) -> Result<Self> {
        let prepare = || {
            fs::create_dir_all(directory.join("lists/partial"))?;
            fs::create_dir_all(directory.join("cache/archives/partial"))?;
            fs::write(directory.join("status"), "")
        };
        prepare().with_context(|| format!("cannot write to {}", directory.display()))?;
        Ok(Self(directory))
    }

    /// Fetches the lists of these sources.
    pub(crate) fn update(&self, sources: &str) -> Result<()> {
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

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
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
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> Result<()> {
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

/// What a directory has in it, if it is only one thing.
pub(crate) fn only_entry(directory: &Path) -> Option<PathBuf> {
    Some(fs::read_dir(directory).ok()?.next()?.ok()?.path())
}

#[cfg(test)]
mod tests {
    use super::*;

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
