//! The interfaces that are counted apart.

use anyhow::Result;

use super::Store;

impl Store {
    /// Counts each interface apart that the filter is attached to.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn count_apart(&self) -> Result<()> {
        match self.current()? {
            Some(current) => current.count_interfaces(&self.attached_names()?),
            None => Ok(()),
        }
    }

    /// Their indices and names.
    pub(super) fn attached_names(&self) -> Result<Vec<(u32, String)>> {
        let attached = self.attached()?.into_iter();
        let names = attached.map(|one| (one.interface.index, one.interface.name));
        Ok(names.collect())
    }
}
