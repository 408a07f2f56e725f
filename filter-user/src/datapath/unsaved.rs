//! A policy file that still has to be replaced: because the change is not confirmed yet, or
//! because the command that makes it was killed.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    pins::PinDirectory,
    record::{json_from_pin, pin_json},
};

/// Its pin. It is there for as long as the file is not saved.
const UNSAVED: &str = "unsaved";

/// What is to become of the policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsaved {
    /// Its path.
    pub path: PathBuf,
    /// What it held when the change began; `None` if there was none.
    pub before: Option<String>,
    /// What it is to hold.
    pub text: String,
}

impl Unsaved {
    pub(super) fn pin(&self, directory: &PinDirectory) -> Result<()> {
        pin_json(self, &directory.pin(UNSAVED))
    }

    pub(super) fn open(directory: &PinDirectory) -> Result<Option<Self>> {
        match directory.has(UNSAVED) {
            true => json_from_pin(&directory.pin(UNSAVED)).map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn remove(directory: &PinDirectory) -> Result<()> {
        directory.remove(UNSAVED)
    }
}
