//! What rules say, and what they match.

mod knobs;
mod packet;
mod until;
mod words;

use super::{Match, MatchSpec};

/// A rule as on the command line, options and all.
fn parse(line: &str) -> Result<Match, String> {
    let mut text = MatchSpec::default();
    let mut part: &mut Vec<&str> = &mut text.words;
    for word in line.split_whitespace() {
        part = match word {
            "--remote-port" => text.remote.insert(Vec::new()),
            "--from" => text.from.insert(Vec::new()),
            "--to" => text.to.insert(Vec::new()),
            "--on" => text.on.insert(Vec::new()),
            "--mac" => text.mac.insert(Vec::new()),
            word => {
                part.push(word);
                part
            }
        };
    }
    Match::parse(&text).map_err(|error| error.to_string())
}
