//! Which program is to run behind the filter after a change.

use anyhow::Result;

use crate::datapath::{Generation, NextProgram, Then};

/// Which program is to run behind the filter.
#[derive(Debug, Default)]
pub enum Following {
    /// The one that does, if one does.
    #[default]
    AsBefore,
    /// This one.
    Program(NextProgram),
    /// None.
    Nothing,
}

impl Following {
    /// Whether it is not what runs behind a generation.
    pub(super) fn is_change(&self, generation: &Generation) -> Result<bool> {
        let in_force = &generation.record().then;
        match self {
            Self::AsBefore => Ok(false),
            Self::Program(program) => {
                let wanted = program.then();
                let is_known = in_force.as_ref() == Some(wanted);
                // Its array may have been emptied.
                Ok(!is_known || generation.next_program()? != Some(wanted.id))
            }
            Self::Nothing => Ok(in_force.is_some()),
        }
    }

    /// What the next generation is to remember of it.
    pub(super) fn after(&self, in_force: Option<&Generation>) -> Option<Then> {
        match self {
            Self::AsBefore => in_force?.record().then.clone(),
            Self::Program(program) => Some(program.then().clone()),
            Self::Nothing => None,
        }
    }
}
