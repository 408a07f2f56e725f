//! Messages to journald, by its own protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).

use super::{FACILITY, Field, Logged, NAME, SEVERITY, line};

/// An event as an entry: the same line that syslog gets, and each thing that is known in a field
/// of its own.
pub(super) fn message<T: Logged>(event: &T) -> Vec<u8> {
    let mut message = Vec::new();
    let mut add = |name: &str, value: &str| {
        message.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            message.push(b'\n');
            message.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            message.push(b'=');
        }
        message.extend_from_slice(value.as_bytes());
        message.push(b'\n');
    };
    add("MESSAGE", &line(event));
    add("PRIORITY", &SEVERITY.to_string());
    add("SYSLOG_FACILITY", &FACILITY.to_string());
    add("SYSLOG_IDENTIFIER", NAME);
    add(T::WORD, event.word());
    for Field { name, value, .. } in event.fields() {
        add(name, &value);
    }
    message
}
