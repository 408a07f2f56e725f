//! Owns the tests on kernels other than this machine's: Debian's, booted in virtual
//! machines that run the end-to-end tests and nothing else.

mod cpio;
mod debian;
mod guest;
mod initramfs;
mod modules;
mod report;

use std::{fmt, path::PathBuf, process::Stdio, str::FromStr, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use self::{guest::Guest, report::Report};
use crate::{
    build::Build,
    command::{capture, cargo, say},
    interrupt::Interrupted,
};

/// The kernels of Debian's stable releases, which continuous integration tests.
pub(crate) const STABLE: [Version; 2] = [
    Version { major: 6, minor: 1 },
    Version {
        major: 6,
        minor: 12,
    },
];

/// A test binary that does not run in a guest, and why.
struct Excluded {
    file: &'static str,
    reason: &'static str,
}

/// The test binaries that do not run in a guest, which runs whole ones.
const EXCLUDED: [Excluded; 4] = {
    const WORDS: &str = "about words and files, or waits for less than emulation takes";
    const SLOW: &str = "takes a quarter of an hour under emulation";
    const CLOCK: &str = "waits for less than emulation takes";
    const fn excluded(file: &'static str, reason: &'static str) -> Excluded {
        Excluded { file, reason }
    }
    [
        excluded("command_line", WORDS),
        excluded("policy_life", SLOW),
        excluded("verdicts", SLOW),
        excluded("real_programs", CLOCK),
    ]
};

/// The version of a kernel, `6.1` for example; which of its releases is Debian's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// Whether a release, `6.1.0-9-amd64` for example, is of this version.
    fn is_of(&self, release: &str) -> bool {
        release
            .strip_prefix(&self.to_string())
            .is_some_and(|rest| !rest.starts_with(|character: char| character.is_ascii_digit()))
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        };
        parse().ok_or_else(|| "a kernel's version has two numbers, as in 6.1".to_owned())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A compiled file of tests.
struct TestBinary {
    name: String,
    path: PathBuf,
}

/// Runs the end-to-end tests of `package` on each of these kernels, with `args` for the
/// test binaries. All kernels are tried before a failure is reported.
pub(crate) fn test(
    versions: &[Version],
    build: &Build,
    package: &str,
    args: &[String],
) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "other kernels are booted on x86-64 only"
    );
    Interrupted::watch("test", |interrupted| {
        say(format_args!("kernels: building the tests"));
        let tests = compile(build, package)?;
        for Excluded { file, reason } in &EXCLUDED {
            say(format_args!("kernels: without {file}: {reason}"));
        }
        let mut failed = Vec::new();
        for version in versions {
            interrupted.check()?;
            if let Err(error) = test_on(version, build, &tests, args, interrupted) {
                interrupted.check()?;
                say(format_args!("kernel {version}: {error:#}"));
                failed.push(version.to_string());
            }
        }
        if !failed.is_empty() {
            bail!("tests failed on kernel {}", failed.join(" and on "));
        }
        Ok(())
    })
}

fn test_on(
    version: &Version,
    build: &Build,
    tests: &[TestBinary],
    args: &[String],
    interrupted: &Interrupted,
) -> Result<()> {
    let kernel = debian::obtain(version)?;
    say(format_args!("kernel {version}: {}", kernel.release));
    // What this machine's kernel may lack is there.
    let args: Vec<&str> = ["--include-ignored", "--color=never"]
        .into_iter()
        .chain(args.iter().map(String::as_str))
        .collect();
    let initramfs = initramfs::write(&kernel, build, tests, &args)?;
    let names = tests.iter().map(|test| test.name.as_str()).collect();
    let started = Instant::now();
    let mut report = Report::new(std::io::stderr(), version, names);
    let console = kernel.directory.join("console.log");
    Guest::boot(&kernel.image, &initramfs, &console)?
        .read(interrupted, |line| report.line(line))
        .and_then(|()| report.finish())
        .with_context(|| format!("all it said is in {}", console.display()))?;
    say(format_args!(
        "kernel {version}: {} tests passed in {} s",
        report.passed(),
        started.elapsed().as_secs()
    ));
    Ok(())
}

/// Compiles the tests of `package` and says where they are.
fn compile(build: &Build, package: &str) -> Result<Vec<TestBinary>> {
    let mut command = cargo()?;
    command
        .args(["test", "--no-run", "--package", package])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let messages = capture(build.export(&mut command))?;
    let mut tests: Vec<TestBinary> = messages.lines().filter_map(test_binary).collect();
    for Excluded { file, .. } in &EXCLUDED {
        ensure!(
            tests.iter().any(|test| test.name == *file),
            "there is no {file} to leave out"
        );
    }
    tests.retain(|test| EXCLUDED.iter().all(|excluded| excluded.file != test.name));
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!tests.is_empty(), "{package} has no tests");
    Ok(tests)
}

/// The test binary that one of cargo's messages is about.
fn test_binary(message: &str) -> Option<TestBinary> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    is_test.then_some(TestBinary {
        name: message["target"]["name"].as_str()?.to_owned(),
        path: message["executable"].as_str()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_two_numbers() {
        let version: Version = "6.1".parse().unwrap();
        assert_eq!(version, Version { major: 6, minor: 1 });
        assert_eq!(version.to_string(), "6.1");
        for wrong in ["", "6", "6.", "6.1.2", "v6.1", "6.1-rc1"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn releases_belong_to_one_version() {
        let version: Version = "6.1".parse().unwrap();
        for release in ["6.1.0-9-amd64", "6.1-rc1", "6.1"] {
            assert!(version.is_of(release), "{release}");
        }
        for release in ["6.12.0-amd64", "6.10", "16.1.0", "6.0.1"] {
            assert!(!version.is_of(release), "{release}");
        }
    }

    #[test]
    fn test_binaries_are_read_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"swap"},
            "profile":{"test":true},"executable":"/t/swap-1"}"#;
        let test = test_binary(message).unwrap();
        assert_eq!((&*test.name, test.path), ("swap", "/t/swap-1".into()));
        for other in [
            &message.replace("true", "false"),
            &message.replace("\"/t/swap-1\"", "null"),
            r#"{"reason":"build-finished","success":true}"#,
            "no JSON",
        ] {
            assert!(test_binary(other).is_none(), "{other}");
        }
    }
}
