//! Mistakes in ports that a user wrote, in the words the user sees.

use xdpfw_common::Transport;

/// Why a text is not a list of ports; its `Display` is one line that ends with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is no such port; the number as written, since it may not fit any integer.
    #[error("port {0} is out of range (1-65535)")]
    OutOfRange(String),

    /// The range's first port is above its last.
    #[error("port range {first}-{last} is backwards (say {last}-{first})")]
    Backwards {
        /// The port before the dash, the higher one.
        first: u16,
        /// The port after the dash, the lower one.
        last: u16,
    },

    /// Neither a number, nor a range, nor a name that anybody uses.
    #[error("`{word}` is not a port, range or service name{}", meant(*suggestion))]
    Unknown {
        /// The word as written, control characters escaped.
        word: String,
        /// A name that was perhaps meant.
        suggestion: Option<&'static str>,
    },

    /// The service exists, but not over the rule's protocol.
    #[error("`{name}` has no {missing} port (it is {present} {port})")]
    OtherProtocol {
        /// The service's name as written.
        name: String,
        /// The protocol of the rule.
        missing: Transport,
        /// The protocol that the service uses.
        present: Transport,
        /// Its port there.
        port: u16,
    },

    /// The rule has both protocols, and the service has another port in each.
    #[error("`{name}` is tcp {tcp} but udp {udp} (say the protocol or the numbers)")]
    TwoPorts {
        /// The service's name as written.
        name: String,
        /// Its TCP port.
        tcp: u16,
        /// Its UDP port.
        udp: u16,
    },

    /// Nothing between two commas, or after the last or before the first one.
    #[error("port list `{list}` has an empty item (say {remedy})")]
    EmptyItem {
        /// The list as written, control characters escaped.
        list: String,
        /// The list without the empty items.
        remedy: String,
    },

    /// No word at all.
    #[error("port list is empty (say a port, a range, a service name or any)")]
    Empty,
}

/// The end of the message about an unknown word.
fn meant(suggestion: Option<&'static str>) -> String {
    match suggestion {
        Some(name) => format!(" (did you mean `{name}`?)"),
        None => " (say for example 443, 8000-8100 or https)".to_owned(),
    }
}
