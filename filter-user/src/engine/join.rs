//! Finds interfaces that are to be filtered, and attaches them.

use std::rc::Rc;

use anyhow::Result;

use super::{Error, NoCookies, cookies::is_mute, undo::Undo};
use crate::{
    datapath::{Attached, Changes, EgressRefusal, Refusal, Store},
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
    /// Whether programs of others are taken off.
    replace: bool,
    /// Those of the policy that do not exist.
    missing: Vec<String>,
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
    /// What was changed at them.
    pub changes: Vec<Rc<Changes>>,
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
        Self::find(names, interfaces()?, true, mode, attached)
    }

    /// The interfaces of a policy.
    ///
    /// # Errors
    ///
    /// It has none.
    pub fn of_policy(policy: &Policy, mode: ModeWish, attached: &[Attached]) -> Result<Self> {
        if policy.interfaces.is_empty() {
            return Err(Error::NoInterface.into());
        }
        let known = interfaces()?;
        let names = wanted(policy, &known);
        Self::find(&names, known, false, mode, attached)
    }

    /// One of the policy's that came.
    ///
    /// # Errors
    ///
    /// Netlink does not answer.
    pub fn came(name: &str, attached: &[Attached]) -> Result<Self> {
        Self::find(
            &[name.to_owned()],
            interfaces()?,
            false,
            ModeWish::Auto,
            attached,
        )
    }

    /// Forgets those that do not exist: they may come later.
    pub fn without_missing(mut self) -> Self {
        self.missing.clear();
        self
    }

    /// Whether there is nothing to attach, and nothing wrong with that.
    pub const fn is_empty(&self) -> bool {
        self.interfaces.is_empty() && self.failures.is_empty() && self.missing.is_empty()
    }

    fn find(
        names: &[String],
        known: Vec<Interface>,
        named: bool,
        mode: ModeWish,
        attached: &[Attached],
    ) -> Result<Self> {
        let mut join = Self {
            named,
            mode,
            ..Self::default()
        };
        for name in names {
            let found = known.iter().find(|interface| interface.name == *name);
            if let Some(error) = found.and_then(|found| in_vain(found, &known)) {
                if named {
                    return Err(error.into());
                }
                join.failures.push(error.to_string());
                continue;
            }
            match found {
                Some(found) if join.interfaces.iter().any(|one| one.index == found.index) => {}
                Some(found) => join.interfaces.push(found.clone()),
                None if named => {
                    let known = known.into_iter().map(|one| one.name).collect();
                    let name = name.clone();
                    return Err(Error::UnknownInterface { name, known }.into());
                }
                None => join.missing.push(name.clone()),
            }
        }
        lowest_first(&mut join.interfaces);
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

    /// Says whether to take programs of others off.
    pub fn replacing(self, replace: bool) -> Self {
        Self { replace, ..self }
    }

    /// The names of those that exist.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(|one| one.name.as_str())
    }

    /// The numbers of those that exist.
    pub(super) fn indices(&self) -> impl Iterator<Item = u32> {
        self.interfaces.iter().map(|one| one.index)
    }

    /// The numbers of those that are not filtered yet.
    pub(super) fn joined(&self, attached: &[Attached]) -> Vec<u32> {
        let is_new = |index: &u32| attached.iter().all(|one| one.interface.index != *index);
        self.indices().filter(is_new).collect()
    }

    /// Fails if there is none to attach.
    pub(super) fn check_not_empty(&self) -> Result<(), Error> {
        if self.interfaces.is_empty() {
            return Err(Error::Unfiltered {
                filtered: Vec::new(),
                failures: self.failures(),
            });
        }
        Ok(())
    }

    /// Why some of the policy's are not filtered.
    fn failures(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|name| {
            format!(
                "{}: there is no such interface (once it is there, say `xdpfw up`)",
                name.escape_debug()
            )
        });
        missing.chain(self.failures.iter().cloned()).collect()
    }

    /// Attaches those that are not attached yet, and what of those that are is not; the
    /// egress half only if `egress` says so. Where there are `answers`, they must arrive.
    ///
    /// # Errors
    ///
    /// One that the operator named refuses.
    pub(super) fn attach<'a>(
        self,
        store: &'a Store,
        attached: &[Attached],
        egress: bool,
        answers: bool,
        undo: &mut Undo<'a>,
    ) -> Result<Joined> {
        let mut joined = Joined {
            failures: self.failures(),
            ..Joined::default()
        };
        for interface in self.interfaces {
            let index = interface.index;
            if let Some(found) = find(&interface, attached) {
                let mut found = found.clone();
                if egress && found.egress.is_none() {
                    match store.attach_egress(&interface) {
                        Ok(attached) => {
                            undo.push(move || store.detach_egress(index));
                            found.egress = Some(attached);
                            joined.fresh = true;
                        }
                        Err(error) if self.named => return Err(refused(error)),
                        Err(error) => joined.failures.push(format!("{error:#}")),
                    }
                }
                joined.filtered.push(found);
                continue;
            }
            match attach(store, &interface, self.mode, egress, self.replace, answers) {
                Ok(New {
                    attached,
                    changes,
                    downgraded,
                }) => {
                    let changes = Rc::new(changes);
                    let before = Rc::clone(&changes);
                    undo.push(move || {
                        store.detach(index)?;
                        before.put_back()
                    });
                    joined.filtered.push(attached);
                    joined.downgraded.extend(downgraded);
                    joined.changes.push(changes);
                    joined.fresh = true;
                }
                Err(error) if self.named => return Err(refused(error)),
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

/// An interface that a policy is for, and that is not filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfiltered {
    /// Its name.
    pub name: String,
    /// Whether there is such an interface.
    pub exists: bool,
}

/// The interfaces that a policy is for, but for those of the names `filtered`.
///
/// # Errors
///
/// Netlink does not answer.
pub fn unfiltered(policy: &Policy, filtered: &[String]) -> Result<Vec<Unfiltered>> {
    let known = interfaces()?;
    let mut names = wanted(policy, &known);
    names.retain(|name| !filtered.contains(name));
    let unfiltered = names.into_iter().map(|name| Unfiltered {
        exists: known.iter().any(|interface| interface.name == name),
        name,
    });
    Ok(unfiltered.collect())
}

/// The interfaces that a policy is for: those it names, and those that are there and fit a
/// pattern. A pattern means none that would be filtered in vain.
fn wanted(policy: &Policy, known: &[Interface]) -> Vec<String> {
    let list = &policy.interfaces;
    let mut names: Vec<String> = list.names().map(str::to_owned).collect();
    for interface in known {
        let is_meant = list.contains(&interface.name) && in_vain(interface, known).is_none();
        if is_meant && !names.contains(&interface.name) {
            names.push(interface.name.clone());
        }
    }
    names
}

/// Why an interface is not to be filtered: no packet would be seen there, or those that nobody
/// from outside has sent.
fn in_vain(interface: &Interface, known: &[Interface]) -> Option<Error> {
    if interface.is_loopback {
        return Some(Error::Loopback);
    }
    let unseen = interface.unseen?;
    let below = known.iter().filter(|other| interface.is_above(other));
    Some(Error::Unseen {
        interface: interface.name.clone(),
        unseen,
        instead: below.map(|other| other.name.clone()).collect(),
    })
}

/// Puts each interface behind those below it: once a bridge has a program, the kernel lets none
/// onto its ports. Else the order stays.
fn lowest_first(interfaces: &mut Vec<Interface>) {
    let mut rest = std::mem::take(interfaces);
    while !rest.is_empty() {
        let is_lowest = |one: &Interface| !rest.iter().any(|other| one.is_above(other));
        // There is always one, unless netlink shows a circle.
        let lowest = rest.iter().position(is_lowest).unwrap_or(0);
        interfaces.push(rest.remove(lowest));
    }
}

fn find<'a>(interface: &Interface, attached: &'a [Attached]) -> Option<&'a Attached> {
    let mut attached = attached.iter();
    attached.find(|attached| attached.interface.index == interface.index)
}

fn mode_on(interface: &Interface, attached: &[Attached]) -> Option<Mode> {
    find(interface, attached).map(|attached| attached.mode)
}

/// The same as this module's error, which has an exit code, if it is a refusal.
fn refused(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<EgressRefusal>() {
        Ok(refusal) => Error::EgressRefused(refusal).into(),
        Err(error) => error,
    }
}

/// An interface that was just attached.
struct New {
    attached: Attached,
    /// What was changed for it.
    changes: Changes,
    /// Why native mode could not be had, where `Auto` asked for it.
    downgraded: Option<String>,
}

/// Attaches one; where `answers` are sent back, in a mode in which they arrive.
fn attach(
    store: &Store,
    interface: &Interface,
    wish: ModeWish,
    egress: bool,
    replace: bool,
    answers: bool,
) -> Result<New> {
    let is_mute = wish != ModeWish::Generic && answers && is_mute(interface)?;
    let mode = match wish {
        ModeWish::Native if is_mute => {
            return Err(NoCookies::Veth(interface.name.clone()).into());
        }
        ModeWish::Native => Mode::Native,
        ModeWish::Auto if !is_mute => Mode::Native,
        ModeWish::Auto | ModeWish::Generic => Mode::Generic,
    };
    let error = match store.attach(interface, mode, egress, replace) {
        Ok((attached, changes)) => {
            return Ok(New {
                attached,
                changes,
                downgraded: is_mute.then(|| {
                    format!(
                        "{}: a veth in native mode hands no SYN cookies back, so packets are dropped \
                         later, in the network stack",
                        interface.name
                    )
                }),
            });
        }
        Err(error) => error,
    };
    let refusal = error.downcast::<Refusal>()?;
    // Whatever else is attached would be in the way of generic mode, too.
    if wish != ModeWish::Auto || (interface.xdp.is_some() && !replace) {
        return Err(Error::Refused(refusal).into());
    }
    let generic = store.attach(interface, Mode::Generic, egress, replace);
    let Ok((attached, changes)) = generic else {
        return Err(Error::Refused(refusal).into());
    };
    let remedy = refusal
        .remedy
        .map_or_else(String::new, |remedy| format!("; {remedy}"));
    let downgraded = format!(
        "{}: no native XDP here ({}{remedy}), so packets are dropped later, in the network stack",
        interface.name, refusal.why
    );
    Ok(New {
        attached,
        changes,
        downgraded: Some(downgraded),
    })
}
