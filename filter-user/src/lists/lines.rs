//! Lists with a prefix a line, with remarks behind it or without, and what `ipset save` writes.

use super::{NoList, Reading};

/// Reads the lines.
pub(super) fn read(bytes: &[u8], reading: &mut Reading) -> Result<(), NoList> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
            continue;
        }
        match std::str::from_utf8(line) {
            Ok(text) => one(text, number, reading)?,
            Err(_) => {
                let text = String::from_utf8_lossy(line);
                reading.garbage.add(number, &text, "is no text in UTF-8");
            }
        }
    }
    Ok(())
}

/// Reads a line that is not empty.
fn one(text: &str, number: u64, reading: &mut Reading) -> Result<(), NoList> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    match first {
        // Of `ipset save`: what makes a set, and ends it.
        "create" | "flush" | "COMMIT" => Ok(()),
        "add" => {
            let member = words.nth(1).unwrap_or_default();
            if words.any(|word| word == "nomatch") {
                reading.garbage.add(number, text, "is an exception");
                return Ok(());
            }
            reading.add_word(member, number, text)
        }
        _ => {
            let end = first.find(['#', ';']).unwrap_or(first.len());
            reading.add_word(&first[..end], number, text)
        }
    }
}
