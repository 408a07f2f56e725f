//! Those who listen to what the filter reports.

use anyhow::Result;
use xdpfw_common::abi::Wanted;

use super::Store;
use crate::datapath::{Generation, Listening};

/// Directory of their places, each a directory that is marked if it is taken.
pub(super) const LISTENERS: &str = "listeners";

impl Store {
    /// Listens to the generation in force, and to those that come after it.
    ///
    /// # Errors
    ///
    /// Too many do already, or the kernel refuses.
    pub fn listen(&self, generation: &Generation, wanted: Wanted) -> Result<Listening> {
        let marks = self.existing()?.make_directory(LISTENERS)?;
        generation.listen(&marks, wanted)
    }
}
