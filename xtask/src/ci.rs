//! Owns the order of what continuous integration runs.

use anyhow::Result;

use crate::{demo, fuzz, lint, test};

/// Lint, all tests, the fuzzer for a moment, the demo; the first failure ends it.
pub(crate) fn run() -> Result<()> {
    lint::run()?;
    test::run(&[])?;
    fuzz::briefly()?;
    demo::run()
}
