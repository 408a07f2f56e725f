//! The prefixes of the lists that rules are for.

use std::collections::BTreeMap;

use anyhow::Result;
use ipnet::IpNet;

use super::saved::Saved;
use crate::{
    datapath::Record,
    engine::{Error, History},
    lists::Read,
    policy::{Action, ListSource, Policy},
};

/// Prefixes of a list that a rule may be for. Each of them goes through the compiler, with every
/// change.
const MAX_IN_RULES: usize = 100_000;

/// The prefixes of those lists of a policy that its rules are for. `in_force` is what is in force:
/// what was read of a list may be nowhere else.
///
/// # Errors
///
/// A rule denies what comes from a list of which nothing is known: it would deny nobody. Or a list is
/// too long for rules.
pub(in crate::engine) fn of_rules(
    policy: &Policy,
    in_force: Option<&Record>,
) -> Result<BTreeMap<String, Vec<IpNet>>> {
    let mut found = BTreeMap::new();
    let mut history = None;
    for (list, rule) in policy.lists_of_rules() {
        let prefixes = match &list.source {
            ListSource::Prefixes(prefixes) => {
                let read = Read::from_prefixes(list, prefixes);
                Some(read.prefixes.iter().collect())
            }
            _ => {
                let history = history.get_or_insert_with(History::own);
                let saved = Saved::read_for(history, list)?;
                saved.map(|saved| saved.prefixes.iter().collect())
            }
        };
        let prefixes: Option<Vec<IpNet>> = prefixes.or_else(|| {
            let record = in_force.filter(|record| record.policy.list(&list.name) == Some(list))?;
            record.environment.lists.get(&list.name).cloned()
        });
        let Some(prefixes) = prefixes else {
            let mut rules = policy.rules.iter();
            let denies = rules.find(|rule| {
                rule.action == Action::Deny && rule.matches.from_lists.contains(&list.name)
            });
            match denies {
                Some(denies) => {
                    return Err(Error::UnreadList {
                        rule: denies.id,
                        list: list.name.clone(),
                    }
                    .into());
                }
                None => continue,
            }
        };
        // Here, a wider prefix is as good as two.
        let prefixes = IpNet::aggregate(&prefixes);
        if prefixes.len() > MAX_IN_RULES {
            return Err(Error::TooComplex(format!(
                "list {} of {} has {} prefixes, and rules bear {MAX_IN_RULES} of a list (to drop \
                 what comes from it, say `ban = true` instead)",
                list.name,
                rule.id,
                prefixes.len()
            ))
            .into());
        }
        found.insert(list.name.clone(), prefixes);
    }
    Ok(found)
}
