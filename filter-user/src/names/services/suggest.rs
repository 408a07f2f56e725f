//! Guesses which service was meant by a name that does not exist. It never decides anything.

use std::collections::BTreeSet;

use super::table::{COMMON, IANA, Table};
use crate::names::nearest;

/// The nearest name for a typo: `htps` → `https`.
///
/// Names in common use win over those that are only registered, which must moreover begin
/// with the letter that was typed: among 6,000 names something is near to almost any word.
/// `None` when nothing is near.
pub fn suggest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let first = name.chars().next()?;
    let common = COMMON.entries().iter().flat_map(|entry| entry.names.all());
    let iana = IANA.entries().iter().flat_map(|entry| entry.names.all());
    nearest(
        &name,
        common.chain(iana.filter(|candidate| candidate.starts_with(first))),
    )
}

/// The names in common use, and their aliases.
pub fn common_names() -> impl Iterator<Item = &'static str> {
    names(&COMMON)
}

/// The names of the IANA registry.
pub fn registered_names() -> impl Iterator<Item = &'static str> {
    names(&IANA)
}

/// Each once, sorted.
fn names(table: &'static Table) -> impl Iterator<Item = &'static str> {
    let names = table.entries().iter().flat_map(|entry| entry.names.all());
    names.collect::<BTreeSet<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_the_name() {
        for (typo, name) in [
            ("htps", "https"),
            ("HTPPS", "https"),
            ("shh", "ssh"),
            ("postgress", "postgres"),
            ("elasticsaerch", "elasticsearch"),
            ("wiregaurd", "wireguard"),
            ("telent", "telnet"),
        ] {
            assert_eq!(suggest(typo), Some(name), "{typo}");
        }
    }

    #[test]
    fn what_is_near_to_nothing_finds_nothing() {
        for word in ["", "x", "zz", "not-a-service-at-all", "été", "8o"] {
            assert_eq!(suggest(word), None, "{word}");
        }
    }
}
