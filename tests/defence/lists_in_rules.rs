//! Lists that rules are for.

use std::fs;

use anyhow::Result;
use xdpfw_tests::{Lab, assert_is_one_error, generation, is_dropped, policy_text};

use crate::lists::file;

#[test]
fn a_rule_is_for_who_is_in_a_list() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address.to_string();
    let policy = format!("[list.office]\nprefixes = ['{source}', '192.0.2.0/24']\n");
    let lab = lab.filtered(&policy);
    assert!(is_dropped(&lab, 80)?);
    let said = lab
        .host
        .xdpfw(["allow", "tcp", "80", "--from", "@office,198.51.100.7"])
        .ok();
    assert!(
        said.contains("allow tcp 80 --from 198.51.100.7,@office"),
        "{said}"
    );
    assert!(!is_dropped(&lab, 80)? && is_dropped(&lab, 81)?);
    assert!(policy_text(&lab.host)?.contains("\"@office\""));
    let rules = lab.host.xdpfw(["list"]).json();
    assert_eq!(
        rules["rules"][0]["from"],
        serde_json::json!(["198.51.100.7", "@office"])
    );
    // As it is in force after a restart, too.
    lab.host.xdpfw(["down"]).ok();
    lab.host.xdpfw(["up"]).ok();
    assert!(!is_dropped(&lab, 80)? && is_dropped(&lab, 81)?);
    lab.host
        .xdpfw([
            "delete",
            "allow",
            "tcp",
            "80",
            "--from",
            "198.51.100.7,@office",
        ])
        .ok();
    assert!(is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn a_rule_for_an_empty_list_is_for_nobody() -> Result<()> {
    let lab = Lab::new()?;
    let policy = "rule = [{ allow = 'tcp 80', from = '@office' }, { deny = 'tcp 81', from = ['@office'] }, { allow = 'tcp 81' }]\n[list.office]\nprefixes = []\n";
    let lab = lab.filtered(policy);
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 81)?);
    Ok(())
}

#[test]
fn a_list_that_was_never_read_lets_nobody_in_and_denies_nothing_in_silence() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let policy = |action: &str| {
        let url = "https://192.0.2.1/office.txt";
        format!(
            "version = 1\ninterfaces = ['eth0']\nrule = [{{ {action} = 'tcp 80', from = '@office' }}]\n[list.office]\nurl = '{url}'\n"
        )
    };
    let said = lab
        .host
        .xdpfw(["apply", "-"])
        .stdin(policy("deny"))
        .fails(1);
    assert_is_one_error(
        &said,
        "r1 denies what comes from the list office, of which nothing was read",
    );
    assert!(!is_dropped(&lab, 80)?);
    let said = lab
        .host
        .xdpfw(["apply", "-"])
        .stdin(policy("allow"))
        .output()?;
    assert_eq!(said.status.code(), Some(0));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("r1 lets nobody in by the list office"),
        "{said}"
    );
    assert!(is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn a_list_that_there_is_not_is_a_mistake_of_the_policy() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let said = lab
        .host
        .xdpfw(["allow", "tcp", "22", "--from", "@office"])
        .fails(3);
    assert_is_one_error(
        &said,
        "no list `office` (say `[list.office]` in the policy file)",
    );
    let policy = "version = 1\nrule = [{ allow = 'tcp 22', from = ['@office'] }]\n";
    let said = lab.host.xdpfw(["apply", "-"]).stdin(policy).fails(3);
    assert_is_one_error(&said, "standard input:2:");
    assert!(said.contains("no list `office`"), "{said}");
    let said = lab.host.xdpfw(["ban", "@office"]).fails(2);
    assert_is_one_error(&said, "`@office` is not an address");
    Ok(())
}

#[test]
fn a_refresh_puts_rules_in_force_anew_where_a_list_has_changed() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address.to_string();
    fs::write(file(&lab.host), format!("{source}\n192.0.2.1\n"))?;
    let path = file(&lab.host).display().to_string();
    let policy = format!(
        "rule = [{{ allow = 'tcp 80', from = ['@office'] }}]\n[list.office]\nfile = '{path}'\n"
    );
    let lab = lab.filtered(&policy);
    assert!(!is_dropped(&lab, 80)?);
    let before = generation(&lab.host);
    lab.host.xdpfw(["lists", "refresh"]).ok();
    assert_eq!(generation(&lab.host), before, "nothing has changed");
    fs::write(file(&lab.host), "192.0.2.1\n192.0.2.2\n")?;
    lab.host.xdpfw(["lists", "refresh"]).ok();
    assert!(is_dropped(&lab, 80)?);
    assert_eq!(generation(&lab.host), before + 1);
    // The operator's way in is not lost by it.
    fs::write(file(&lab.host), format!("{source}\n192.0.2.1\n"))?;
    lab.host.xdpfw(["lists", "refresh"]).ok();
    Ok(())
}

/// By a list that changes, an operator may be locked out as by any change.
#[test]
fn a_refresh_that_would_lock_the_operator_out_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let (near, far) = (lab.link().near().clone(), lab.link().far().clone());
    fs::write(file(&lab.host), format!("{}\n192.0.2.1\n", far.address))?;
    let path = file(&lab.host).display().to_string();
    let policy = format!(
        "rule = [{{ allow = 'tcp 22', from = ['@office'] }}]\n[list.office]\nfile = '{path}'\n"
    );
    let lab = lab.filtered(&policy);
    fs::write(file(&lab.host), "192.0.2.1\n192.0.2.2\n")?;
    let session = format!("{} 50000 {} 22", far.address, near.address);
    let refresh = |words: &[&str]| {
        let words = [&["lists", "refresh"][..], words].concat();
        lab.host.xdpfw(words).env("SSH_CONNECTION", &session)
    };
    let said = refresh(&[]).output()?;
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.starts_with("error: office: not refreshed: refused; "),
        "{said}"
    );
    assert!(!is_dropped(&lab, 22)?);
    // What was kept is what is in force.
    lab.host.xdpfw(["allow", "tcp", "80"]).ok();
    assert!(!is_dropped(&lab, 22)?);
    refresh(&["--force"]).ok();
    assert!(is_dropped(&lab, 22)?);
    Ok(())
}
