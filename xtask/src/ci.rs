//! Owns the order of what continuous integration runs.

use anyhow::Result;

use crate::{demo, kernels, lint, test};

/// Lint, all tests, the demo, the kernel tests on other kernels; the first failure ends
/// it.
pub(crate) fn run() -> Result<()> {
    lint::run()?;
    test::run(&test::Args::default())?;
    demo::run()?;
    test::run(&test::Args::on_kernels(&kernels::STABLE))
}
