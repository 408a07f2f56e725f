//! Sources of policies: where the policy of a change comes from, and where it is saved.

use std::{
    borrow::Cow,
    fs, io,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::whole_file;
use crate::{
    datapath::Record,
    policy::{ParseError, Policy, PolicyDocument},
};

/// A policy, and the place that has to remember it once it is in force.
pub trait PolicySource {
    /// The policy.
    fn policy(&self) -> &Policy;

    /// The file that this place is; `None` if it is none.
    fn origin(&self) -> Option<PathBuf>;

    /// Whether the place remembers another one.
    fn is_changed(&self) -> bool;

    /// Makes the place remember this one.
    ///
    /// # Errors
    ///
    /// It cannot; then it remembers what it did before.
    fn save(&self) -> Result<()>;

    /// Makes the place remember what it did before.
    ///
    /// # Errors
    ///
    /// It cannot.
    fn restore(&self) -> Result<()>;
}

/// The policy that is in force already: nothing has to be remembered.
pub struct InForce<'a>(pub &'a Record);

impl PolicySource for InForce<'_> {
    fn policy(&self) -> &Policy {
        &self.0.policy
    }

    fn origin(&self) -> Option<PathBuf> {
        self.0.origin.clone()
    }

    fn is_changed(&self) -> bool {
        false
    }

    fn save(&self) -> Result<()> {
        Ok(())
    }

    fn restore(&self) -> Result<()> {
        Ok(())
    }
}

/// The policy file. Edits are of the document in it.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: PathBuf,
    /// What the file holds, or `None` where there is none.
    saved: Option<Vec<u8>>,
    document: PolicyDocument,
}

/// Why there is no policy to be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is no policy.
    #[error("{origin}:{mistake}")]
    Invalid {
        /// Its path, or what else the text came from.
        origin: String,
        /// The first mistake.
        mistake: ParseError,
    },
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl PolicyFile {
    /// Reads the file; one that does not exist is an empty policy.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no policy.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let saved = saved(path)?;
        let text = saved
            .clone()
            .unwrap_or_else(|| PolicyDocument::empty().into_bytes());
        Self::of(path, saved, &path.display().to_string(), text)
    }

    /// Takes `text`, which comes from `origin`, as the policy to be saved at `path`,
    /// whatever is there.
    ///
    /// # Errors
    ///
    /// The text is no policy, or the file cannot be read.
    pub fn replacing(path: &Path, origin: &str, text: Vec<u8>) -> Result<Self, FileError> {
        Self::of(path, saved(path)?, origin, text)
    }

    /// Whether there is a file.
    pub const fn exists(&self) -> bool {
        self.saved.is_some()
    }

    fn of(
        path: &Path,
        saved: Option<Vec<u8>>,
        origin: &str,
        text: Vec<u8>,
    ) -> Result<Self, FileError> {
        let document = PolicyDocument::parse(text).map_err(|mistake| FileError::Invalid {
            origin: origin.to_owned(),
            mistake,
        })?;
        Ok(Self {
            path: path.to_owned(),
            saved,
            document,
        })
    }
}

impl PolicyFile {
    /// What is to be saved. It is read back first: a file that the next command could not read
    /// would leave nothing but `down` to be done.
    fn check(&self) -> Result<Cow<'_, str>> {
        let contents = self.contents();
        let read = PolicyDocument::parse(contents.clone().into_owned().into_bytes())?;
        ensure!(
            read.policy() == self.policy(),
            "what was written says something else than was meant"
        );
        Ok(contents)
    }
}

impl Deref for PolicyFile {
    type Target = PolicyDocument;

    fn deref(&self) -> &PolicyDocument {
        &self.document
    }
}

impl DerefMut for PolicyFile {
    fn deref_mut(&mut self) -> &mut PolicyDocument {
        &mut self.document
    }
}

impl PolicySource for PolicyFile {
    fn policy(&self) -> &Policy {
        self.document.policy()
    }

    fn origin(&self) -> Option<PathBuf> {
        Some(whole_file::real_path(&self.path))
    }

    fn is_changed(&self) -> bool {
        self.saved.as_deref() != Some(self.contents().as_bytes())
    }

    fn save(&self) -> Result<()> {
        if !self.is_changed() {
            return Ok(());
        }
        self.check()
            .and_then(|contents| Ok(whole_file::write(&self.path, contents.as_bytes())?))
            .with_context(|| format!("cannot save {}", self.path.display()))
    }

    fn restore(&self) -> Result<()> {
        if !self.is_changed() {
            return Ok(());
        }
        match &self.saved {
            Some(contents) => whole_file::write(&self.path, contents),
            None => fs::remove_file(&self.path),
        }
        .with_context(|| format!("cannot restore {}", self.path.display()))
    }
}

/// What a file holds, `None` if it does not exist.
fn saved(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::Unreadable {
            path: path.to_owned(),
            error,
        }),
    }
}
