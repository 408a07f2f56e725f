//! Sources of policies: where the policy of a change comes from, and where it is saved.

use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::whole_file::{self, Prepared};
use crate::{
    datapath::{Record, Unsaved},
    policy::{ParseError, Policy, PolicyDocument},
    system::{Place, PlaceError},
};

/// Who may read a new policy file: root, and its group.
pub(super) const MODE: u32 = 0o640;

/// A policy, and the place that has to remember it once it is in force.
pub trait PolicySource {
    /// The policy.
    fn policy(&self) -> &Policy;

    /// The file that this place is; `None` if it is none.
    fn origin(&self) -> Option<PathBuf>;

    /// Where the policy is not what the operator wants, what it is instead, and why.
    fn fallback(&self) -> Option<&str> {
        None
    }

    /// Whether the place remembers another one.
    fn is_changed(&self) -> bool;

    /// Gets ready to make the place remember this one; `None` if it does already, or need not.
    ///
    /// # Errors
    ///
    /// It cannot; it remembers what it did before.
    fn prepare(&self) -> Result<Option<Saving<'_>>>;
}

/// A policy file that is written, and still has to come into its place.
#[must_use = "nothing is saved before it is in its place"]
pub struct Saving<'a> {
    file: &'a PolicyFile,
    prepared: Prepared,
    text: String,
}

impl Saving<'_> {
    /// What is to become of the file, for whoever goes on if this command is killed.
    pub fn unsaved(&self) -> Unsaved {
        let before = self.file.saved.as_deref().map(String::from_utf8_lossy);
        Unsaved {
            path: self.file.origin.clone(),
            before: before.map(Cow::into_owned),
            text: self.text.clone(),
        }
    }

    /// Puts it in its place.
    ///
    /// # Errors
    ///
    /// It cannot; then the old file is there.
    pub fn save(self) -> Result<()> {
        let Self { file, prepared, .. } = self;
        prepared
            .replace()
            .inspect_err(|_| file.put_back())
            .with_context(|| format!("cannot save {}", file.path.display()))
    }
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

    fn fallback(&self) -> Option<&str> {
        self.0.fallback.as_deref()
    }

    fn is_changed(&self) -> bool {
        false
    }

    fn prepare(&self) -> Result<Option<Saving<'_>>> {
        Ok(None)
    }
}

/// The policy file. Edits are of the document in it.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: PathBuf,
    /// The same without links.
    origin: PathBuf,
    /// What the file holds, or `None` where there is none.
    saved: Option<Vec<u8>>,
    /// The policy in that; `None` if it is none.
    saved_policy: Option<Policy>,
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
    /// It is not to be had, or not to be obeyed.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl PolicyFile {
    /// Reads the file; one that does not exist is an empty policy.
    ///
    /// # Errors
    ///
    /// The file cannot be read, others may write it, or it is no policy.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::at(path, &path.display().to_string(), None)
    }

    /// Takes `text`, which comes from `origin`, as the policy to be saved at `path`,
    /// whatever is there.
    ///
    /// # Errors
    ///
    /// The text is no policy, or the file cannot be read.
    pub fn replacing(path: &Path, origin: &str, text: Vec<u8>) -> Result<Self, FileError> {
        Self::at(path, origin, Some(text))
    }

    /// What the file holds; `None` where there is none.
    pub fn saved(&self) -> Option<&[u8]> {
        self.saved.as_deref()
    }

    /// The policy in what the file holds; `None` where there is none.
    pub const fn saved_policy(&self) -> Option<&Policy> {
        self.saved_policy.as_ref()
    }

    /// Whether there is a file.
    pub const fn exists(&self) -> bool {
        self.saved.is_some()
    }

    fn at(path: &Path, origin: &str, text: Option<Vec<u8>>) -> Result<Self, FileError> {
        let place = Place::find(path)?;
        let saved = place.read()?;
        let is_other = text.is_some();
        let text = text
            .or_else(|| saved.clone())
            .unwrap_or_else(|| PolicyDocument::empty().into_bytes());
        let document = PolicyDocument::parse(text).map_err(|mistake| FileError::Invalid {
            origin: origin.to_owned(),
            mistake,
        })?;
        let saved_policy = match &saved {
            Some(saved) if is_other => PolicyDocument::parse(saved.clone())
                .ok()
                .map(|document| document.policy().clone()),
            saved => saved.is_some().then(|| document.policy().clone()),
        };
        Ok(Self {
            path: path.to_owned(),
            origin: place.path(),
            saved,
            saved_policy,
            document,
        })
    }
}

impl PolicyFile {
    /// Puts the old file back where a new one came into its place that may not last. What was
    /// said of the failure is more than what would be said of this.
    fn put_back(&self) {
        let now = Place::find(&self.path).and_then(|place| place.read());
        if now.is_ok_and(|now| now != self.saved) {
            drop(self.restore());
        }
    }

    fn restore(&self) -> Result<()> {
        let place = Place::find(&self.path)?;
        match &self.saved {
            Some(contents) => whole_file::write(place, contents, MODE)?,
            None => whole_file::remove(place)?,
        }
        Ok(())
    }

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
        Some(self.origin.clone())
    }

    fn is_changed(&self) -> bool {
        self.saved.as_deref() != Some(self.contents().as_bytes())
    }

    fn prepare(&self) -> Result<Option<Saving<'_>>> {
        if !self.is_changed() {
            return Ok(None);
        }
        let prepare = || -> Result<Saving<'_>> {
            let text = self.check()?.into_owned();
            Ok(Saving {
                file: self,
                prepared: Prepared::write(Place::find(&self.path)?, text.as_bytes(), MODE)?,
                text,
            })
        };
        prepare()
            .map(Some)
            .with_context(|| format!("cannot save {}", self.path.display()))
    }
}
