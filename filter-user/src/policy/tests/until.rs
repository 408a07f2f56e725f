//! When rules end, in the policy file.

use jiff::Timestamp;

use super::super::*;

fn document(rule: &str) -> Result<PolicyDocument, ParseError> {
    let text = format!("version = 1\n\n[[rule]]\nid = \"r1\"\nallow = \"tcp 443\"\n{rule}");
    PolicyDocument::parse(text.into_bytes())
}

#[test]
fn an_end_is_read_as_a_text_or_as_the_time_that_toml_knows() {
    let noon: Timestamp = "2026-12-24T12:00:00Z".parse().unwrap();
    for until in [
        "\"2026-12-24T13:00:00+01:00\"",
        "2026-12-24T13:00:00+01:00",
        "2026-12-24 12:00:00Z",
    ] {
        let document = document(&format!("until = {until}\n")).unwrap();
        let rule = &document.policy().rules[0];
        let read = rule.until.as_ref().map(Until::timestamp);
        assert_eq!(read, Some(noon), "{until}");
        // What nobody edits stays as it is.
        assert!(document.contents().contains(until), "{until}");
    }
}

#[test]
fn what_is_no_moment_is_a_mistake_with_its_place() {
    for until in [
        "\"tomorrow\"",
        "2026-12-24",
        "2026-12-24T12:00:00",
        "12",
        "true",
        "[]",
    ] {
        let error = document(&format!("until = {until}\n")).err();
        let error = error.unwrap_or_else(|| panic!("{until} is read"));
        assert_eq!((error.line, error.column), (6, 9), "{until}: {error}");
        assert!(
            error.message.contains("2026-12-24T18:00:00+01:00"),
            "{error}"
        );
    }
}

#[test]
fn an_end_comes_changes_and_goes_with_all_else_kept() {
    let mut file = document("until = \"2026-12-24T12:00:00+00:00\"  # the shop\n").unwrap();
    let id = RuleId(1);
    let before = file.contents().into_owned();
    file.set_until(id, Some("2026-12-25T12:00:00+01:00".parse().unwrap()))
        .unwrap();
    let edited = before.replace("24T12:00:00+00", "25T12:00:00+01");
    assert_eq!(file.contents(), edited);
    file.set_until(id, None).unwrap();
    assert!(!file.contents().contains("until"), "{}", file.contents());
    assert_eq!(file.policy().rules[0].until, None);
    let read = PolicyDocument::parse(file.contents().into_owned().into_bytes());
    assert_eq!(read.unwrap().policy(), file.policy());
}

#[test]
fn rules_that_have_ended_are_left_out() {
    let mut policy = document("").unwrap().policy().clone();
    let mut rule = policy.rules[0].clone();
    (rule.id, rule.until) = (RuleId(2), Some(Until::second(100)));
    policy.rules.push(rule);
    let rules = |now| {
        let now = Timestamp::from_second(now).unwrap();
        policy.without_ended(now).rules.len()
    };
    assert_eq!([99, 100].map(rules), [2, 1]);
}
