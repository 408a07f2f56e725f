//! Which interfaces a policy is for.

use wildmatch::WildMatch;

use super::is_interface_name;

/// What stands in front of a name or pattern of interfaces that are not meant.
const NOT: char = '!';
/// What stands for any characters, and for any one.
const WILDCARDS: [char; 2] = ['*', '?'];

/// The interfaces of a policy: names, and patterns as a shell has them, `en*`, `eth?`; not those
/// of `!en5`, wherever that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceList(Vec<String>);

impl InterfaceList {
    /// Reads the words of a list.
    ///
    /// # Errors
    ///
    /// One is no name and no pattern; its place in the list, and what is wrong with it.
    pub fn parse(words: Vec<String>) -> Result<Self, (usize, String)> {
        for (place, word) in words.iter().enumerate() {
            let name = word.strip_prefix(NOT).unwrap_or(word);
            if !is_interface_name(name) {
                let word = word.escape_debug();
                return Err((place, format!("`{word}` is not an interface name")));
            }
        }
        let list = Self(words);
        match list.0.iter().all(|word| word.starts_with(NOT)) {
            true if !list.0.is_empty() => {
                let message = "names only what is not meant (say `\"*\"` for all others)";
                Err((0, message.to_owned()))
            }
            _ => Ok(list),
        }
    }

    /// One for tests.
    #[cfg(test)]
    pub(crate) fn of_tests(words: &[&str]) -> Self {
        Self::parse(words.iter().copied().map(str::to_owned).collect()).unwrap()
    }

    /// Every interface that can be filtered.
    pub fn all() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// The words as they are written.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the interface of this name is meant.
    pub fn contains(&self, name: &str) -> bool {
        let (not, meant) = self.split();
        !not.iter().any(|word| matches(word, name)) && meant.iter().any(|word| matches(word, name))
    }

    /// The word that takes the interface of this name out.
    pub fn excluded_by(&self, name: &str) -> Option<&str> {
        let mut words = self.0.iter();
        let word = words.find(|word| {
            word.strip_prefix(NOT)
                .is_some_and(|pattern| matches(pattern, name))
        });
        word.map(String::as_str)
    }

    /// The interfaces that are meant by their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (_, meant) = self.split();
        let names = meant.into_iter().filter(|word| !word.contains(WILDCARDS));
        names.filter(|name| self.contains(name))
    }

    /// Whether some are meant by a pattern, so that who they are depends on the host.
    pub fn has_patterns(&self) -> bool {
        self.split().1.iter().any(|word| word.contains(WILDCARDS))
    }

    /// The same with one more, which is not in it.
    pub(super) fn with(mut self, name: String) -> Self {
        self.0.push(name);
        self
    }

    /// Those that are not meant, and those that are.
    fn split(&self) -> (Vec<&str>, Vec<&str>) {
        let (not, meant): (Vec<&str>, Vec<&str>) = self
            .0
            .iter()
            .map(String::as_str)
            .partition(|word| word.starts_with(NOT));
        let not = not.into_iter().filter_map(|word| word.strip_prefix(NOT));
        (not.collect(), meant)
    }
}

/// Whether a name or pattern is that of an interface.
fn matches(word: &str, name: &str) -> bool {
    // A name may hold what is a wildcard elsewhere.
    word == name || WildMatch::new(word).matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_are_meant_but_for_those_that_are_not() {
        let list = InterfaceList::of_tests(&["!en5", "en*", "wg0", "!enx*", "eth?"]);
        for (name, is_meant) in [
            ("en0", true),
            ("enp3s0", true),
            ("en5", false),
            ("enx001122334455", false),
            ("wg0", true),
            ("wg1", false),
            ("eth1", true),
            ("eth10", false),
            ("eth", false),
            ("veth0", false),
        ] {
            assert_eq!(list.contains(name), is_meant, "{name}");
        }
        assert_eq!(list.names().collect::<Vec<_>>(), ["wg0"]);
        assert!(list.has_patterns());
        assert_eq!(list.excluded_by("en5"), Some("!en5"));
        assert_eq!(list.excluded_by("wg1"), None);
        assert!(InterfaceList::all().contains("eth0"));
    }

    #[test]
    fn one_that_is_named_may_be_taken_out_again() {
        let list = InterfaceList::of_tests(&["eth0", "eth1", "!eth1"]);
        assert_eq!(list.names().collect::<Vec<_>>(), ["eth0"]);
        assert!(!list.contains("eth1"));
        assert!(!list.has_patterns());
    }

    #[test]
    fn what_is_no_list_of_interfaces_is_refused() {
        for (words, place) in [
            (&["eth0", "a/b"][..], 1),
            (&["!"], 0),
            (&["!!eth0", "a b"], 1),
            (&["!eth0"], 0),
            (&["abcdefghijklmnop"], 0),
        ] {
            let words = words.iter().copied().map(str::to_owned).collect();
            assert_eq!(InterfaceList::parse(words).unwrap_err().0, place);
        }
        assert!(InterfaceList::parse(Vec::new()).unwrap().is_empty());
    }
}
