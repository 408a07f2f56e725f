//! The journal of bans, and who is banned by many at once.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use xdpfw_tests::{Host, Lab, assert_is_one_error, is_dropped};

use crate::bans::bans;

fn journal(host: &Host) -> PathBuf {
    host.history().join("bans.jsonl")
}

/// So many addresses, a line each.
fn addresses(count: u32) -> String {
    let line = |number: u32| {
        let [_, b, c, d] = number.to_be_bytes();
        format!("11.{b}.{c}.{d}\n")
    };
    (0..count).map(line).collect()
}

#[test]
fn many_are_banned_at_once_and_one_more_beside_them() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let said = host
        .xdpfw(["ban", "--stdin", "--why", "a list"])
        .stdin(addresses(100_000))
        .ok();
    assert!(said.contains("99,997 more: banned"), "{said}");
    let source = lab.link().far().address.to_string();
    host.xdpfw(["ban", &source]).ok();
    assert!(is_dropped(&lab, 80)?);
    assert_eq!(host.status()["bans"], 100_001);
    host.xdpfw(["unban", &source]).ok();
    assert!(!is_dropped(&lab, 80)?);
    host.xdpfw(["ban", &source, "--for", "1h"]).ok();
    // All of them are in the next table, too.
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    assert!(is_dropped(&lab, 80)?);
    host.xdpfw(["unban", "--all"]).ok();
    assert!(!is_dropped(&lab, 80)?);
    assert!(bans(host)?.is_empty());
    Ok(())
}

#[test]
fn where_there_is_no_room_nothing_has_changed() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    host.xdpfw(["ban", "11.0.0.0/31", "--why", "first"]).ok();
    let before = fs::read(journal(host))?;
    let nets: String = addresses(140_000)
        .lines()
        .step_by(2)
        .map(|address| format!("{address}/31\n"))
        .collect();
    let said = host.xdpfw(["ban", "--stdin"]).stdin(nets).fails(1);
    assert!(said.contains("no room"), "{said}");
    assert_eq!(fs::read(journal(host))?, before);
    let left = bans(host)?;
    assert_eq!((left.len(), left[0]["why"].as_str()), (1, Some("first")));
    assert!(left[0]["packets"].is_u64());
    // There is room for others.
    let source = lab.link().far().address;
    host.xdpfw(["ban", &source.to_string()]).ok();
    assert!(is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn lines_that_are_not_understood_are_named_and_the_others_are_done() -> Result<()> {
    let lab = Lab::new()?.filtered("trusted = '192.0.2.0/24'\nrule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let source = lab.link().far().address;
    let input = format!(
        "# a list\n\n{source} 1h from a list\nnobody\u{1b}[2J\n192.0.2.7\n198.51.100.0/24\n"
    );
    let said = host
        .xdpfw(["ban", "--stdin", "--for", "2h"])
        .stdin(input)
        .fails(1);
    assert!(
        said.contains("line 4: ") && !said.contains('\u{1b}'),
        "{said}"
    );
    assert!(
        said.contains("skipped; 192.0.2.7/32 is in 192.0.2.0/24"),
        "{said}"
    );
    assert!(
        said.contains("1 line of the input not understood"),
        "{said}"
    );
    assert!(is_dropped(&lab, 80)?);
    let list = bans(host)?;
    assert_eq!(list.len(), 2);
    let of = |prefix: String| {
        list.iter()
            .find(|ban| ban["prefix"] == prefix)
            .context("not there")
    };
    assert_eq!(of(format!("{source}/32"))?["why"], "from a list");
    assert!(of("198.51.100.0/24".into())?["until"].is_string());
    // JSON, of which one is trusted.
    let json = r#"[{"prefix":"203.0.113.7","for":"1h","why":"x"},{"prefix":"192.0.2.9"}]"#;
    host.xdpfw(["ban", "--stdin"]).stdin(json).ok();
    assert_eq!(bans(host)?.len(), 3);
    let input = format!("{source}\n203.0.113.7\n203.0.113.8\n");
    host.xdpfw(["unban", "--stdin"]).stdin(input).ok();
    assert_eq!(bans(host)?.len(), 1);
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn who_comes_back_is_banned_for_longer() -> Result<()> {
    let lab = Lab::new()?.filtered("ban.repeat = [1, 2, 6]");
    let mut lasted = Vec::new();
    for _ in 0..4 {
        lab.host.xdpfw(["ban", "203.0.113.7", "--for", "1h"]).ok();
        let list = bans(&lab.host)?;
        let moment = |field: &str| -> Result<jiff::Timestamp> {
            Ok(list[0][field].as_str().context("no time")?.parse()?)
        };
        let lasts = moment("until")?.duration_since(moment("since")?);
        lasted.push((list[0]["times"].as_u64(), lasts.as_hours()));
        lab.host.xdpfw(["unban", "203.0.113.7"]).ok();
    }
    assert_eq!(
        lasted,
        [(Some(1), 1), (Some(2), 2), (Some(3), 6), (Some(4), 6)]
    );
    let said = lab
        .host
        .xdpfw(["apply", "-"])
        .stdin("version = 1\n[ban]\nrepeat = [0]\n")
        .fails(3);
    assert!(
        said.contains("repeat: 0 is not within 1 to 10000"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_power_cut_costs_a_line_and_damage_is_named() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let source = lab.link().far().address.to_string();
    host.xdpfw(["ban", &source]).ok();
    host.xdpfw(["ban", "203.0.113.7"]).ok();
    let path = journal(host);
    let whole = fs::read(&path)?;
    fs::write(&path, &whole[..whole.len() - 9])?;
    let said = host.xdpfw(["bans"]).output()?;
    assert!(String::from_utf8(said.stderr)?.contains("broke off"));
    assert_eq!(bans(host)?.len(), 1);
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    assert!(is_dropped(&lab, 80)?);
    host.xdpfw(["ban", "203.0.113.8"]).ok();
    assert_eq!(bans(host)?.len(), 2);
    // In the middle.
    let text = String::from_utf8(fs::read(&path)?)?;
    fs::write(&path, text.replacen("\"ban\"", "\"bin\"", 1))?;
    for words in [&["bans"][..], &["ban", "203.0.113.9"]] {
        let said = host.xdpfw(words).fails(1);
        assert_is_one_error(&said, &path.display().to_string());
        assert!(
            said.contains("line 2 is damaged") && said.contains("remove that line"),
            "{said}"
        );
    }
    let status = host.xdpfw(["status"]).json_with(|_| 8);
    assert_eq!(status["warnings"][0]["kind"], "bans-damaged");
    Ok(())
}
