//! Runs what continuous integration runs, in its order.

use anyhow::Result;

use crate::{
    fuzz, kernels, lint,
    program::{BENCH, DEMO, VERIFIER},
    test,
};

/// How it is called.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("ci").about("What continuous integration runs: lint, test, verifier, bench, fuzz, demo, tests on other kernels")
}

/// Lint, all tests, the bounds of what the verifier walks, the bench and the fuzzer for a
/// moment, the demo, the kernel tests on other kernels; the first failure ends it.
pub(crate) fn run() -> Result<()> {
    lint::run()?;
    test::run(&test::Args::default())?;
    VERIFIER.run(&[])?;
    // Sees that everything can still be measured, not how well.
    BENCH.run(&["--only", "packet,live", "--rounds", "1"])?;
    fuzz::briefly()?;
    DEMO.run(&[])?;
    test::run(&test::Args::on_kernels(&kernels::STABLE))
}
