//! Lists of ports as a policy keeps them: the words that the user wrote, in their order.

use std::fmt;

use xdpfw_common::Transport;

use super::{PortError, PortRange, PortSet, PortWord};

/// A list of ports as written, never empty.
///
/// Its `Display` reads back as the same list on any host: `ephemeral` stays a word until
/// [`PortSpec::resolve`], because each host has its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PortSpec(Vec<PortWord>);

impl PortSpec {
    /// Every port.
    pub fn any() -> Self {
        Self(vec![PortWord::Any])
    }

    /// The list that a text means: items separated by commas, each a port (`443`), a range
    /// (`8000-8100` or `8000:8100`), a service (`https`), a named range (`well-known`,
    /// `registered`, `dynamic`, `high`, `ephemeral`) or `any`. Case does not matter.
    ///
    /// `transports` are the protocols of the rule: a service must have a port in each. With
    /// none, a service means the port that it really uses.
    pub fn parse(text: &str, transports: &[Transport]) -> Result<Self, PortError> {
        if text.trim().is_empty() {
            return Err(PortError::Empty);
        }
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        if items.contains(&"") {
            return Err(empty_item(text, &items));
        }
        let words = items
            .into_iter()
            .map(|item| PortWord::parse(item, transports));
        Ok(Self(words.collect::<Result<_, _>>()?))
    }

    /// The words, in the order they were written.
    pub fn words(&self) -> &[PortWord] {
        &self.0
    }

    /// Whether a port is among them, on a host with these ephemeral ports.
    pub fn contains(&self, port: u16, ephemeral: PortRange) -> bool {
        self.0
            .iter()
            .any(|word| word.range(ephemeral).contains(port))
    }

    /// The ports the words mean on a host with these ephemeral ports.
    pub fn resolve(&self, ephemeral: PortRange) -> PortSet {
        self.0.iter().map(|word| word.range(ephemeral)).collect()
    }
}

impl From<PortWord> for PortSpec {
    /// The list of one word.
    fn from(word: PortWord) -> Self {
        Self(vec![word])
    }
}

impl fmt::Display for PortSpec {
    /// As written, but services as numbers: `22,8000-8100,ephemeral`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{word}")?;
        }
        Ok(())
    }
}

fn empty_item(text: &str, items: &[&str]) -> PortError {
    let kept: Vec<&str> = items
        .iter()
        .copied()
        .filter(|item| !item.is_empty())
        .collect();
    if kept.is_empty() {
        return PortError::Empty;
    }
    PortError::EmptyItem {
        list: text.escape_debug().to_string(),
        remedy: kept.join(",").escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::NamedRange;
    use super::*;

    const TCP: &[Transport] = &[Transport::Tcp];
    const UDP: &[Transport] = &[Transport::Udp];
    const BOTH: &[Transport] = &Transport::ALL;

    fn error(text: &str, transports: &[Transport]) -> String {
        PortSpec::parse(text, transports).unwrap_err().to_string()
    }

    #[test]
    fn words_are_kept_and_services_become_numbers() {
        for (text, transports, kept) in [
            ("443", TCP, "443"),
            ("0443", TCP, "443"),
            ("65535", TCP, "65535"),
            ("443,80,443", TCP, "443,80,443"),
            (" 80, 443 ", TCP, "80,443"),
            ("8000-8100", TCP, "8000-8100"),
            ("8000:8100", TCP, "8000-8100"),
            ("80-80", TCP, "80"),
            ("0-1023", TCP, "0-1023"),
            ("HTTPS", TCP, "443"),
            ("ssh,443", TCP, "22,443"),
            ("https", UDP, "443"),
            ("dns", BOTH, "53"),
            ("http3", &[], "443"),
            ("ntp", &[], "123"),
            ("Any", TCP, "any"),
            ("ssh,Ephemeral", TCP, "22,ephemeral"),
            (
                "well-known,registered,dynamic,high",
                TCP,
                "well-known,registered,dynamic,high",
            ),
            // Services with a digit, a dash or both in front.
            ("3com-tsmux", TCP, "106"),
        ] {
            let spec = PortSpec::parse(text, transports).unwrap();
            assert_eq!(spec.to_string(), kept, "{text}");
        }
    }

    #[test]
    fn ephemeral_is_each_hosts_own() {
        let spec = PortSpec::parse("ephemeral", TCP).unwrap();
        for (first, last) in [(32768, 60999), (1024, 65535)] {
            let range = PortRange { first, last };
            assert_eq!(spec.resolve(range).ranges(), [range]);
        }
    }

    #[test]
    fn errors_end_with_the_remedy() {
        for (text, transports, message) in [
            ("99999", TCP, "port 99999 is out of range (1-65535)"),
            ("65536", TCP, "port 65536 is out of range (1-65535)"),
            ("0", TCP, "port 0 is out of range (1-65535)"),
            ("80-99999", TCP, "port 99999 is out of range (1-65535)"),
            (
                "184467440737095516160",
                TCP,
                "port 184467440737095516160 is out of range (1-65535)",
            ),
            ("90-80", TCP, "port range 90-80 is backwards (say 80-90)"),
            (
                "htps",
                TCP,
                "`htps` is not a port, range or service name (did you mean `https`?)",
            ),
            (
                "22,ephemral",
                TCP,
                "`ephemral` is not a port, range or service name (did you mean `ephemeral`?)",
            ),
            (
                "80-",
                TCP,
                "`80-` is not a port, range or service name (say for example 443, 8000-8100 or https)",
            ),
            (
                "-1",
                TCP,
                "`-1` is not a port, range or service name (say for example 443, 8000-8100 or https)",
            ),
            ("ntp", TCP, "`ntp` has no tcp port (it is udp 123)"),
            ("ntp", BOTH, "`ntp` has no tcp port (it is udp 123)"),
            ("ssh", UDP, "`ssh` has no udp port (it is tcp 22)"),
            (
                "raid-am",
                BOTH,
                "`raid-am` is tcp 2013 but udp 2007 (say the protocol or the numbers)",
            ),
            (
                "80,,443",
                TCP,
                "port list `80,,443` has an empty item (say 80,443)",
            ),
            ("80,", TCP, "port list `80,` has an empty item (say 80)"),
            (
                " ",
                TCP,
                "port list is empty (say a port, a range, a service name or any)",
            ),
            (
                ",",
                TCP,
                "port list is empty (say a port, a range, a service name or any)",
            ),
        ] {
            assert_eq!(error(text, transports), message);
        }
    }

    #[test]
    fn an_error_is_one_line_whatever_was_written() {
        assert_eq!(error("a\nb", TCP).lines().count(), 1);
        assert_eq!(error("80,,\n,\u{1b}[2J", TCP).lines().count(), 1);
    }

    fn word() -> impl Strategy<Value = PortWord> {
        prop_oneof![
            (1..=u16::MAX).prop_map(PortWord::Port),
            (0..u16::MAX, 1..=u16::MAX).prop_map(|(first, more)| {
                let last = first.saturating_add(more);
                PortWord::Range(PortRange { first, last })
            }),
            prop::sample::select(&NamedRange::ALL[..]).prop_map(PortWord::Named),
            Just(PortWord::Any),
        ]
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same_words(
            words in prop::collection::vec(word(), 1..8),
        ) {
            let spec = PortSpec(words);
            prop_assert_eq!(PortSpec::parse(&spec.to_string(), TCP), Ok(spec));
        }

        #[test]
        fn no_text_panics_and_what_parses_is_stable(text in "[0-9a-z:, -]{0,12}|.{0,12}") {
            if let Ok(spec) = PortSpec::parse(&text, TCP) {
                prop_assert_eq!(PortSpec::parse(&spec.to_string(), TCP), Ok(spec));
            }
        }
    }
}
