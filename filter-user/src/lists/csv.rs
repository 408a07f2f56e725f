//! Lists in CSV (RFC 4180), whose prefixes are in a column. The first line may name the columns.

use super::{NoList, Reading, parse};

/// Reads a column, counted from 1.
pub(super) fn read(bytes: &[u8], column: u32, reading: &mut Reading) -> Result<(), NoList> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let column = column as usize - 1;
    let mut record = csv::ByteRecord::new();
    let mut is_first = true;
    loop {
        // It reads from memory, and takes all bytes: what it calls an error, it goes on behind.
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                reading.garbage.add(line, "", "is no CSV");
                return Ok(());
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        if record.as_slice().starts_with(b"#") {
            continue;
        }
        let is_head = std::mem::take(&mut is_first);
        match record.get(column).map(std::str::from_utf8) {
            Some(Ok(word)) if is_head && parse(word).is_err() => {}
            Some(Ok(word)) => reading.add_word(word, line, word)?,
            Some(Err(_)) => reading.garbage.add(line, "", "is no text in UTF-8"),
            None => {
                let text = String::from_utf8_lossy(record.as_slice()).into_owned();
                let why = format!("has no column {}", column + 1);
                reading.garbage.add(line, &text, &why);
            }
        }
    }
}
