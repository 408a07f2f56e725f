//! Messages to a syslog daemon of this host: RFC 3164 without a host name, as the C library
//! sends them.

use std::process;

use jiff::Zoned;

use super::{FACILITY, Logged, NAME, SEVERITY, line};

/// An event as a line.
pub(super) fn message(event: &impl Logged) -> Vec<u8> {
    let priority = FACILITY << 3 | SEVERITY;
    let now = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    let (process, line) = (process::id(), line(event));
    format!("<{priority}>{now} {NAME}[{process}]: {line}").into_bytes()
}
