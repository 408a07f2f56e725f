//! Decides where what leaves is recorded.

use anyhow::Result;

use super::undo::Undo;
use crate::{
    datapath::Store,
    netlink::{Interface, interfaces},
    policy::{Policy, Replies},
};

/// Whether what leaves may have to be recorded under a policy, so that it may be answered.
pub fn records_answers(policy: &Policy) -> bool {
    policy.replies == Replies::Flows
}

/// Attaches the egress half where packets leave that may be answered under one of these
/// policies: on the interfaces that are filtered, or are about to be, and on those that it names
/// beside them. Returns
/// why some of the latter are not to be had: they must not keep a policy from being applied.
///
/// # Errors
///
/// Netlink or the kernel does not tell.
pub(super) fn attach_wanted<'a>(
    store: &'a Store,
    policies: &[&Policy],
    filtered: &[u32],
    undo: &mut Undo<'a>,
) -> Result<Vec<String>> {
    let policies = recording(policies);
    if policies.is_empty() {
        return Ok(Vec::new());
    }
    let known = interfaces()?;
    let missing = beside(&policies).filter(|name| {
        let mut known = known.iter();
        known.all(|interface| interface.name != **name)
    });
    let mut failures: Vec<String> = missing
        .map(|name| {
            let name = name.escape_debug();
            format!("{name}: in answers_from, but there is no such interface")
        })
        .collect();
    for interface in &known {
        let index = interface.index;
        let is_beside = beside(&policies).any(|name| *name == interface.name);
        if !is_beside && !filtered.contains(&index) || store.egress_on(index)?.is_some() {
            continue;
        }
        match store.attach_egress(interface) {
            Ok(_) => undo.push(move || store.detach_egress(index)),
            Err(error) if is_beside => failures.push(format!("{error:#}")),
            // Tried and reported again when it is to be filtered.
            Err(_) => {}
        }
    }
    Ok(failures)
}

/// Detaches the egress half where it is of no use any more.
///
/// # Errors
///
/// Netlink does not answer, or a pin cannot be removed.
pub(super) fn detach_unwanted(store: &Store, policies: &[&Policy], filtered: &[u32]) -> Result<()> {
    let policies = recording(policies);
    for Interface { index, name, .. } in interfaces()? {
        let is_wanted = filtered.contains(&index) || beside(&policies).any(|one| *one == name);
        if policies.is_empty() || !is_wanted {
            store.detach_egress(index)?;
        }
    }
    Ok(())
}

/// Those of the policies under which what leaves may have to be recorded.
fn recording<'a>(policies: &[&'a Policy]) -> Vec<&'a Policy> {
    let policies = policies.iter().copied();
    policies.filter(|policy| records_answers(policy)).collect()
}

/// The interfaces that policies name beside those that are filtered.
fn beside<'a>(policies: &[&'a Policy]) -> impl Iterator<Item = &'a String> {
    policies.iter().flat_map(|policy| &policy.answers_from)
}
