//! Finds interfaces that are to be filtered, and attaches them.

use anyhow::Result;

use super::{Error, undo::Undo};
use crate::{
    datapath::{Attached, Refusal, Store},
    netlink::{Interface, Mode, interfaces},
    policy::Policy,
};

/// Where the program is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeWish {
    /// In the driver if it can, else in the network stack.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

/// Interfaces to be filtered.
#[derive(Debug, Default)]
pub struct Join {
    interfaces: Vec<Interface>,
    /// Whether the operator named them. Then all are attached or none; else, as many of the
    /// policy's as can be: one that is missing must not leave the others open.
    named: bool,
    mode: ModeWish,
    /// Why some of the policy's are not filtered, or not as was asked.
    failures: Vec<String>,
}

/// What became of interfaces that were to join.
#[derive(Debug, Default)]
pub struct Joined {
    /// Those that are filtered, whether they were before or not.
    pub filtered: Vec<Attached>,
    /// Why native mode could not be had, where another one was taken instead.
    pub downgraded: Vec<String>,
    failures: Vec<String>,
    fresh: bool,
}

impl Join {
    /// The interfaces that the operator named.
    ///
    /// # Errors
    ///
    /// One does not exist, or is filtered in another mode.
    pub fn named(names: &[String], mode: ModeWish, attached: &[Attached]) -> Result<Self> {
        Self::find(names, true, mode, attached)
    }

    /// The interfaces of a policy.
    ///
    /// # Errors
    ///
    /// It has none.
    pub fn of_policy(policy: &Policy, mode: ModeWish, attached: &[Attached]) -> Result<Self> {
        Self::find(&policy.interfaces, false, mode, attached)
    }

    fn find(names: &[String], named: bool, mode: ModeWish, attached: &[Attached]) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::NoInterface.into());
        }
        let known = interfaces()?;
        let mut join = Self {
            named,
            mode,
            ..Self::default()
        };
        for name in names {
            match known.iter().find(|interface| interface.name == *name) {
                Some(found) if join.interfaces.iter().any(|one| one.index == found.index) => {}
                Some(found) => join.interfaces.push(found.clone()),
                None if named => {
                    let known = known.into_iter().map(|one| one.name).collect();
                    let name = name.clone();
                    return Err(Error::UnknownInterface { name, known }.into());
                }
                None => join.failures.push(format!(
                    "{}: there is no such interface (once it is there, say `xdpfw up`)",
                    name.escape_debug()
                )),
            }
        }
        join.refuse_other_modes(attached)?;
        Ok(join)
    }

    /// An interface that is filtered in another mode stays as it is.
    fn refuse_other_modes(&mut self, attached: &[Attached]) -> Result<(), Error> {
        for interface in &self.interfaces {
            let mode = match (self.mode, mode_on(interface, attached)) {
                (ModeWish::Native, Some(mode @ Mode::Generic))
                | (ModeWish::Generic, Some(mode @ Mode::Native)) => mode,
                _ => continue,
            };
            let interface = interface.name.clone();
            let error = Error::OtherMode { interface, mode };
            if self.named {
                return Err(error);
            }
            self.failures.push(error.to_string());
        }
        Ok(())
    }

    /// The names of those that exist.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(|one| one.name.as_str())
    }

    /// Whether all of them are filtered.
    pub(super) fn is_filtered_by(&self, attached: &[Attached]) -> bool {
        let mut interfaces = self.interfaces.iter();
        interfaces.all(|interface| mode_on(interface, attached).is_some())
    }

    /// Fails if there is none to attach.
    pub(super) fn check_not_empty(&self) -> Result<(), Error> {
        if self.interfaces.is_empty() {
            return Err(Error::Unfiltered {
                filtered: Vec::new(),
                failures: self.failures.clone(),
            });
        }
        Ok(())
    }

    /// Attaches those that are not attached yet.
    ///
    /// # Errors
    ///
    /// One that the operator named refuses.
    pub(super) fn attach<'a>(
        self,
        store: &'a Store,
        attached: &[Attached],
        undo: &mut Undo<'a>,
    ) -> Result<Joined> {
        let mut joined = Joined {
            failures: self.failures,
            ..Joined::default()
        };
        for interface in self.interfaces {
            if let Some(mode) = mode_on(&interface, attached) {
                joined.filtered.push(Attached { interface, mode });
                continue;
            }
            match attach(store, &interface, self.mode) {
                Ok((mode, downgraded)) => {
                    let index = interface.index;
                    undo.push(move || store.detach(index));
                    joined.filtered.push(Attached { interface, mode });
                    joined.downgraded.extend(downgraded);
                    joined.fresh = true;
                }
                Err(error) if self.named => return Err(error),
                Err(error) => joined.failures.push(format!("{error:#}")),
            }
        }
        Ok(joined)
    }
}

impl Joined {
    /// Fails if an interface of the policy is not filtered as was asked.
    ///
    /// # Errors
    ///
    /// So it is; the others are filtered.
    pub fn check(&self) -> Result<(), Error> {
        if self.failures.is_empty() {
            return Ok(());
        }
        Err(Error::Unfiltered {
            filtered: self.names(),
            failures: self.failures.clone(),
        })
    }

    /// Fails if none is filtered.
    pub(super) fn check_not_empty(&self) -> Result<(), Error> {
        match self.filtered.is_empty() {
            true => self.check(),
            false => Ok(()),
        }
    }

    /// The names of those that are filtered.
    pub(super) fn names(&self) -> Vec<String> {
        let filtered = self.filtered.iter();
        filtered.map(|one| one.interface.name.clone()).collect()
    }

    /// Whether one is filtered that was not before.
    pub(super) const fn is_fresh(&self) -> bool {
        self.fresh
    }
}

fn mode_on(interface: &Interface, attached: &[Attached]) -> Option<Mode> {
    attached
        .iter()
        .find(|attached| attached.interface.index == interface.index)
        .map(|attached| attached.mode)
}

/// Attaches one. Also returns why native mode could not be had, where `Auto` asked for it.
fn attach(store: &Store, interface: &Interface, wish: ModeWish) -> Result<(Mode, Option<String>)> {
    let mode = match wish {
        ModeWish::Native | ModeWish::Auto => Mode::Native,
        ModeWish::Generic => Mode::Generic,
    };
    let Err(error) = store.attach(interface, mode) else {
        return Ok((mode, None));
    };
    let refusal = error.downcast::<Refusal>()?;
    // Whatever else is attached would be in the way of generic mode, too.
    if wish != ModeWish::Auto
        || interface.xdp.is_some()
        || store.attach(interface, Mode::Generic).is_err()
    {
        return Err(Error::Refused(refusal).into());
    }
    let remedy = refusal
        .remedy
        .map_or_else(String::new, |remedy| format!("; {remedy}"));
    let downgraded = format!(
        "{}: no native XDP here ({}{remedy}), so packets are dropped later, in the network stack",
        interface.name, refusal.why
    );
    Ok((Mode::Generic, Some(downgraded)))
}
