//! Runs the coverage-guided fuzzer: libFuzzer, built with the compiler's own
//! instrumentation, which stable compilers have, too.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    command::{capture, cargo, root_dir, run as run_command, say, target_dir},
    packages,
};

/// What cargo-fuzz gives the compiler, too, where it is told to do without a sanitizer.
const INSTRUMENTATION: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cforce-frame-pointers=yes",
];

/// The longest input, in bytes.
const LONGEST: usize = 512;

/// Edges that a fuzzer sees at least when it sees anything.
const FEW: u64 = 100;

/// Builds the fuzzer and lets it run for so many seconds.
pub(super) fn run(seconds: u64, seed: u64) -> Result<()> {
    packages::install_compiler_of_cpp()?;
    say(format_args!("fuzz: building the fuzzer"));
    let fuzzer = build()?;
    let work = target_dir()?.join("fuzz");
    let [corpus, seeds, artifacts] = ["corpus", "seeds", "artifacts"].map(|name| work.join(name));
    for directory in [&corpus, &seeds, &artifacts] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    run_command(
        cargo()?
            .args(["run", "--quiet", "--package", "xdpfw-model", "--"])
            .args([seeds.as_os_str(), seed.to_string().as_ref()]),
    )?;

    say(format_args!(
        "fuzz: {seconds} seconds of {}",
        fuzzer.display()
    ));
    let mut command = Command::new(&fuzzer);
    command
        .args([&corpus, &seeds])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        // Zero would be a random one.
        .arg(format!("-seed={}", (seed % 0xffff_ffff).max(1)))
        .args(["-timeout=10", "-print_final_stats=1"])
        .env("RUST_BACKTRACE", "0")
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start the fuzzer")?;
    let mut seen = Seen::default();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.context("cannot read what the fuzzer says")?;
            seen.note(&line);
            if !is_chatter(&line) {
                say(format_args!("{line}"));
            }
        }
    }
    let status = child.wait().context("cannot wait for the fuzzer")?;
    ensure!(
        status.success(),
        "the fuzzer found something ({status}); the input is in {}",
        artifacts.display()
    );
    seen.check()
}

/// Builds it, for this machine, and returns where it is.
fn build() -> Result<PathBuf> {
    // With a target named, build scripts and macros are spared the instrumentation.
    let target = capture(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let target = target.trim();
    run_command(
        fuzzer()?
            .args(["build", "--locked", "--release", "--target", target])
            .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f")),
    )?;
    Ok(target_dir()?
        .join("fuzz")
        .join(target)
        .join("release/judge"))
}

/// The cargo that runs us, for the fuzzer: a workspace of its own.
pub(crate) fn fuzzer() -> Result<Command> {
    let mut command = cargo()?;
    command
        .current_dir(root_dir().join("tests/fuzz"))
        .env("CARGO_TARGET_DIR", target_dir()?.join("fuzz"));
    Ok(command)
}

/// Whether a line of the fuzzer's is about a single input that led to something new,
/// or about words that it would like to be given.
fn is_chatter(line: &str) -> bool {
    let is_progress = ["INITED", "pulse", "DONE"]
        .iter()
        .any(|word| line.contains(word));
    line.starts_with('"') || line.starts_with('#') && !is_progress
}

/// What the fuzzer printed.
#[derive(Debug, Default)]
struct Seen {
    /// Edges that the instrumentation counts.
    counters: u64,
    /// Edges that some input has taken.
    covered: u64,
    /// Inputs tried.
    inputs: u64,
}

impl Seen {
    fn note(&mut self, line: &str) {
        let number_after = |word: &str| -> Option<u64> {
            let (_, rest) = line.split_once(word)?;
            let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit());
            digits.into_iter().next()?.parse().ok()
        };
        if line.contains("inline 8-bit counters") {
            self.counters = number_after("modules   (").unwrap_or(self.counters);
        }
        self.covered = number_after(" cov: ").unwrap_or(self.covered);
        self.inputs = number_after("stat::number_of_executed_units:").unwrap_or(self.inputs);
    }

    /// Claims that the fuzzer was guided by something.
    fn check(&self) -> Result<()> {
        let Self {
            counters,
            covered,
            inputs,
        } = self;
        if self.covered < FEW || self.counters < FEW {
            bail!(
                "the fuzzer ran blind: {covered} of {counters} edges in {inputs} inputs; \
                 the instrumentation is not active"
            );
        }
        say(format_args!(
            "fuzz: {inputs} inputs took {covered} of {counters} edges, and none told the packet \
             logic from the model"
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_says_is_understood() {
        let mut seen = Seen::default();
        for line in [
            "INFO: Running with entropic power schedule (0xFF, 100).",
            "INFO: Loaded 1 modules   (4053 inline 8-bit counters): 4053 [0x1, 0x2), ",
            "INFO: Loaded 1 PC tables (4053 PCs): 4053 [0x5,0x6), ",
            "#2\tINITED cov: 61 ft: 62 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#300\tDONE   cov: 433 ft: 900 corp: 62/8Kb lim: 21 exec/s: 0 rss: 41Mb",
            "stat::number_of_executed_units: 300",
        ] {
            seen.note(line);
        }
        assert_eq!((seen.counters, seen.covered, seen.inputs), (4053, 433, 300));
        assert!(seen.check().is_ok());
    }

    #[test]
    fn a_blind_fuzzer_is_an_error() {
        let mut seen = Seen::default();
        seen.note("#2\tINITED exec/s: 0 rss: 40Mb");
        seen.note("stat::number_of_executed_units: 300");
        assert!(seen.check().is_err());
    }
}
