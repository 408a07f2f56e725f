//! The second disk of a guest: the package, and the same package as a later version.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use xdpfw_tests::capture;

use crate::image::file_system;

const SIZE: &str = "200M";
/// Where the package is in the guest.
pub const PACKAGE: &str = "/mnt/xdpfw.deb";
/// Where the later version is, and what that ends in.
pub const NEXT_PACKAGE: &str = "/mnt/xdpfw-next.deb";
/// See [`NEXT_PACKAGE`].
pub const NEXT_VERSION: &str = "+next";

/// What is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The package.
    pub package: PathBuf,
}

impl Payload {
    /// The package that is named, else the newest in a directory.
    pub fn find(named: Option<&Path>, directory: &Path) -> Result<Self> {
        let newest = || {
            fs::read_dir(directory)
                .ok()?
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|it| it == "deb"))
                .max_by_key(|path| path.metadata().and_then(|it| it.modified()).ok())
        };
        let package = named.map(Path::to_owned).or_else(newest).with_context(|| {
            format!(
                "no package is in {}; `cargo xtask package` builds it",
                directory.display()
            )
        })?;
        Ok(Self { package })
    }

    /// Writes the disk.
    pub fn write(&self, disk: &Path) -> Result<()> {
        let directory = disk.with_extension("files");
        let _ = fs::remove_dir_all(&directory);
        let fill = || -> Result<()> {
            fs::create_dir_all(&directory)?;
            fs::copy(&self.package, directory.join("xdpfw.deb"))?;
            later(&self.package, &directory)
        };
        fill().with_context(|| format!("cannot unpack {self}"))?;
        file_system(disk, &directory, "payload", SIZE)?;
        fs::remove_dir_all(&directory).context("cannot remove the payload's files")
    }
}

/// Makes a package of the same files with a later version.
fn later(package: &Path, directory: &Path) -> Result<()> {
    let tree = directory.join("tree");
    let deb = |words: &[&str], paths: [&Path; 2]| {
        capture(Command::new("dpkg-deb").args(words).args(paths))
    };
    deb(&["-R"], [package, &tree])?;
    let control = tree.join("DEBIAN/control");
    let lines: Vec<String> = fs::read_to_string(&control)?
        .lines()
        .map(|line| match line.strip_prefix("Version: ") {
            Some(version) => format!("Version: {version}{NEXT_VERSION}"),
            None => line.to_owned(),
        })
        .collect();
    fs::write(&control, lines.join("\n") + "\n")?;
    let next = directory.join("xdpfw-next.deb");
    // Quickly, rather than small.
    deb(&["-Zgzip", "-z1", "-b"], [&tree, &next])?;
    fs::remove_dir_all(&tree).context("cannot remove the later package's files")
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.package.display())
    }
}
