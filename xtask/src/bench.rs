//! Owns the bench.

use anyhow::{Result, bail};

/// Runs it.
pub(crate) fn run() -> Result<()> {
    bail!("the bench is not written yet")
}
