//! Owns the order of what continuous integration runs.

use anyhow::Result;

use crate::{bench, demo, fuzz, kernels, lint, test, verifier};

/// Lint, all tests, the bounds of what the verifier walks, the bench and the fuzzer for a
/// moment, the demo, the kernel tests on other kernels; the first failure ends it.
pub(crate) fn run() -> Result<()> {
    lint::run()?;
    test::run(&test::Args::default())?;
    verifier::run(&verifier::Args::default())?;
    bench::briefly()?;
    fuzz::briefly()?;
    demo::run()?;
    test::run(&test::Args::on_kernels(&kernels::STABLE))
}
