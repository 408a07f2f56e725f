//! Commands that put one rule in another's place.

use jiff::Timestamp;

use crate::{
    analysis::doctor::command,
    policy::{Match, Rule},
};

/// The longest command that is offered, in bytes; a terminal takes no line of 4,096.
const LONGEST: usize = 2000;

/// The command that removes a rule.
pub(super) fn delete(rule: &Rule) -> String {
    format!("xdpfw delete {}", rule.id)
}

/// The commands that put rules in the place of one, which say the same but for these matches;
/// `None` if they would be too long for anybody.
pub(super) fn replace(rule: &Rule, by: &[Match], now: Timestamp) -> Option<String> {
    let mut commands = Vec::new();
    for matching in by {
        let mut words = vec!["xdpfw".to_owned(), rule.action.to_string()];
        // No word of a rule has a blank in it.
        words.extend(matching.to_string().split(' ').map(str::to_owned));
        if let Some(until) = &rule.until {
            words.extend(["--for".to_owned(), until.left(now)?.to_string()]);
        }
        if let Some(comment) = &rule.comment {
            words.extend(["--comment".to_owned(), comment.clone()]);
        }
        words.extend(["--before".to_owned(), rule.id.to_string()]);
        commands.push(command(&words));
    }
    commands.push(delete(rule));
    let commands = commands.join(" && ");
    (commands.len() <= LONGEST).then_some(commands)
}
