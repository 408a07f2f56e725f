//! The vocabulary of ports: the words that users write (`443`, `8000-8100`, `https`,
//! `ephemeral`) and the sets of port numbers that they mean. It is pure: whatever it must
//! know of the host is passed in.
//!
//! ```text
//! "ssh,8000-8100,ephemeral" ── PortSpec ──────────────── PortSet
//!                              22,8000-8100,ephemeral    22,8000-8100,32768-60999
//!                              what a policy keeps       what the compiler takes
//! ```

mod class;
mod error;
mod range;
mod set;
mod spec;
mod word;

pub use class::PortClass;
pub use error::PortError;
pub use range::{NamedRange, PortRange};
pub use set::PortSet;
pub use spec::PortSpec;
pub use word::PortWord;
