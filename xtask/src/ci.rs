//! Owns the order of what continuous integration runs.

use anyhow::Result;

use crate::{demo, lint, test};

/// Lint, all tests, the demo; the first failure ends it.
pub(crate) fn run() -> Result<()> {
    lint::run()?;
    test::run(&test::Args::default())?;
    demo::run()
}
