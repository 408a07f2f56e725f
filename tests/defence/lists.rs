//! Lists that ban: from the policy and from files, through every change.

use std::{fs, os::unix::fs::chown, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xdpfw_tests::{Host, Lab, PATIENCE, assert_is_one_error, is_dropped, policy_text, servers};

/// How long a client waits for what does not come.
const IN_VAIN: Duration = Duration::from_millis(300);

/// A policy with a list that bans, of a file beside the policy.
pub fn banning(host: &Host, more: &str) -> String {
    let file = file(host).display().to_string();
    format!("rule = [{{ allow = 'tcp 80' }}]\n[list.drop]\nfile = '{file}'\nban = true\n{more}")
}

/// The file of that list.
pub fn file(host: &Host) -> PathBuf {
    host.directory().join("drop.txt")
}

/// What `lists` says of a list.
pub fn list(host: &Host, name: &str) -> Result<Value> {
    let said = host.xdpfw(["lists"]).json();
    assert_eq!(said["schema"], "xdpfw.lists/1");
    let lists = said["lists"].as_array().context("no lists")?;
    let found = lists.iter().find(|list| list["name"] == name);
    found.cloned().context("no such list")
}

/// What `bans --list` says that it bans.
fn banned(host: &Host) -> Vec<String> {
    let said = host.xdpfw(["bans", "--list", "drop"]).json();
    let bans = said["bans"].as_array().cloned().unwrap_or_default();
    let prefixes = bans.iter().filter_map(|ban| ban["prefix"].as_str());
    prefixes.map(str::to_owned).collect()
}

/// A lab whose host has such a list with these lines.
fn lab(lines: &str) -> Result<Lab> {
    let lab = Lab::new()?;
    fs::write(file(&lab.host), lines)?;
    let policy = banning(&lab.host, "");
    Ok(lab.filtered(&policy))
}

#[test]
fn what_a_list_has_is_banned_and_its_neighbours_are_not() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address;
    fs::write(
        file(&lab.host),
        format!("{source} ; SBL1\n198.51.100.0/24\n"),
    )?;
    let policy = banning(&lab.host, "");
    let lab = lab.filtered(&policy);
    assert!(is_dropped(&lab, 80)?);
    let known = list(&lab.host, "drop")?;
    assert_eq!(
        (&known["entries4"], &known["entries6"]),
        (&2.into(), &0.into())
    );
    assert_eq!((&known["hits"], &known["error"]), (&1.into(), &Value::Null));
    assert_eq!(
        banned(&lab.host),
        [format!("{source}/32"), "198.51.100.0/24".to_owned()]
    );
    assert_eq!(lab.host.status()["lists"][0]["entries4"], 2);
    let said = lab.host.xdpfw(["status"]).ok();
    assert!(said.contains("lists: drop (2 prefixes, bans)"), "{said}");
    let said = lab.host.xdpfw(["bans"]).output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("the list drop bans 2 more, 1 packets dropped"),
        "{said}"
    );
    // What this host asks it, it may answer.
    let _server = servers::TcpServer::start(&lab.peer, 8000, "answer")?;
    servers::fetch(&lab.host, lab.link().far().at(8000), PATIENCE)?;
    // The address beside it.
    let [a, b, c, d] = source.octets();
    fs::write(
        file(&lab.host),
        format!("{a}.{b}.{c}.{}\n198.51.100.0/24\n", d ^ 1),
    )?;
    lab.host.xdpfw(["lists", "refresh"]).ok();
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn a_refresh_writes_what_has_changed() -> Result<()> {
    let lab = lab("192.0.2.1\n192.0.2.2\n198.51.100.0/24\n2001:db8::/48\n")?;
    let before = list(&lab.host, "drop")?;
    assert_eq!(
        (&before["entries4"], &before["entries6"]),
        (&3.into(), &1.into())
    );
    fs::write(
        file(&lab.host),
        "192.0.2.2\n192.0.2.3\n198.51.100.0/24\n2001:db8::/48\n",
    )?;
    let said = lab.host.xdpfw(["lists", "refresh", "drop"]).ok();
    assert_eq!(
        said,
        "drop: 3 IPv4 and 1 IPv6 prefixes, 1 added, 1 removed\n"
    );
    let expected = [
        "192.0.2.2/32",
        "192.0.2.3/32",
        "198.51.100.0/24",
        "2001:db8::/48",
    ];
    assert_eq!(banned(&lab.host), expected);
    let said = lab.host.xdpfw(["lists", "refresh"]).ok();
    assert_eq!(said, "drop: 3 IPv4 and 1 IPv6 prefixes, nothing new\n");
    assert_eq!(banned(&lab.host), expected);
    Ok(())
}

#[test]
fn what_a_list_and_the_operator_ban_stays_until_both_take_it_back() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address.to_string();
    let host = &lab.host;
    fs::write(file(host), format!("{source}\n192.0.2.1\n"))?;
    let policy = banning(host, "");
    let lab = lab.filtered(&policy);
    let host = &lab.host;
    let without = || -> Result<()> {
        fs::write(file(host), "192.0.2.1\n")?;
        host.xdpfw(["lists", "refresh"]).ok();
        Ok(())
    };
    let with = || -> Result<()> {
        fs::write(file(host), format!("{source}\n192.0.2.1\n"))?;
        host.xdpfw(["lists", "refresh"]).ok();
        Ok(())
    };
    // First the list goes, then the ban.
    host.xdpfw(["ban", &source, "--for", "1h"]).ok();
    without()?;
    assert!(is_dropped(&lab, 80)?);
    host.xdpfw(["unban", &source]).ok();
    assert!(!is_dropped(&lab, 80)?);
    // First the ban.
    with()?;
    host.xdpfw(["ban", &source]).ok();
    host.xdpfw(["unban", &source]).ok();
    assert!(is_dropped(&lab, 80)?);
    // A ban that ends while the list has it, too.
    host.xdpfw(["ban", &source, "--for", "1s"]).ok();
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(is_dropped(&lab, 80)?);
    without()?;
    assert!(!is_dropped(&lab, 80)?);
    // A hard one ends as such, and the list stays.
    let _server = servers::TcpServer::start(&lab.peer, 8000, "answer")?;
    let asks = || servers::fetch(host, lab.link().far().at(8000), IN_VAIN).is_ok();
    with()?;
    host.xdpfw(["ban", &source, "--hard"]).ok();
    assert!(is_dropped(&lab, 80)? && !asks());
    host.xdpfw(["unban", &source]).ok();
    assert!(is_dropped(&lab, 80)? && asks());
    Ok(())
}

#[test]
fn of_two_lists_each_keeps_what_it_has() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address.to_string();
    fs::write(file(&lab.host), format!("{source}\n192.0.2.1\n"))?;
    let second = format!("[list.more]\nprefixes = ['{source}', '198.51.100.0/24']\nban = true\n");
    let both = banning(&lab.host, &second);
    let lab = lab.filtered(&both);
    let apply = |policy: &str| {
        let policy = format!("version = 1\ninterfaces = ['eth0']\n{policy}");
        lab.host.xdpfw(["apply", "-"]).stdin(policy).ok();
    };
    assert!(is_dropped(&lab, 80)?);
    apply(&banning(&lab.host, ""));
    assert!(is_dropped(&lab, 80)?);
    apply(&both);
    fs::write(file(&lab.host), "192.0.2.1\n")?;
    lab.host.xdpfw(["lists", "refresh", "drop"]).ok();
    assert!(is_dropped(&lab, 80)?);
    apply("rule = [{ allow = 'tcp 80' }]\n");
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn lists_outlast_changes_down_and_up_and_what_is_lost() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address.to_string();
    fs::write(file(&lab.host), format!("{source}\n192.0.2.1\n"))?;
    let policy = banning(&lab.host, "");
    let lab = lab.filtered(&policy);
    let host = &lab.host;
    // As after a reboot: neither the file nor a server is there.
    fs::remove_file(file(host))?;
    for words in [&["allow", "udp", "53"][..], &["default", "pass"], &["up"]] {
        host.xdpfw(words).ok();
        assert!(is_dropped(&lab, 80)?, "{words:?}");
    }
    host.xdpfw(["default", "drop"]).ok();
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up"]).ok();
    assert!(is_dropped(&lab, 80)?);
    let said = host.xdpfw(["lists", "refresh"]).fails(1);
    assert!(
        said.starts_with("error: drop: not refreshed: there is no file "),
        "{said}"
    );
    assert!(is_dropped(&lab, 80)?);
    let error = list(host, "drop")?["error"].clone();
    assert!(
        error
            .as_str()
            .is_some_and(|error| error.starts_with("there is no file")),
        "{error}"
    );
    // Nobody knows any more which bit is whose: the table itself tells.
    fs::remove_file(host.history().join("lists/state.json"))?;
    fs::write(file(host), format!("{source}\n192.0.2.2\n"))?;
    host.xdpfw(["lists", "refresh"]).ok();
    assert_eq!(
        banned(host),
        [format!("{source}/32"), "192.0.2.2/32".to_owned()]
    );
    fs::remove_file(host.history().join("lists/state.json"))?;
    fs::write(host.history().join("lists/drop.list"), "half a fi")?;
    fs::write(file(host), "192.0.2.2\n")?;
    host.xdpfw(["lists", "refresh"]).ok();
    assert_eq!(banned(host), ["192.0.2.2/32"]);
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn a_list_that_shrinks_by_more_than_half_is_kept_as_it_was() -> Result<()> {
    let lab = lab("192.0.2.1\n192.0.2.2\n192.0.2.3\n")?;
    fs::write(file(&lab.host), "192.0.2.1\n")?;
    let said = lab.host.xdpfw(["lists", "refresh"]).fails(1);
    assert!(
        said.contains("shrinks from 3 to 1 prefixes") && said.contains("--force drop"),
        "{said}"
    );
    assert_eq!(banned(&lab.host).len(), 3);
    lab.host.xdpfw(["lists", "refresh", "--force", "drop"]).ok();
    assert_eq!(banned(&lab.host), ["192.0.2.1/32"]);
    Ok(())
}

#[test]
fn a_list_that_the_policy_has_otherwise_is_followed() -> Result<()> {
    let source = |lab: &Lab| lab.link().far().address;
    let lab = Lab::new()?;
    let policy = |lists: &str| format!("version = 1\nrule = [{{ allow = 'tcp 80' }}]\n{lists}");
    let prefixes =
        |prefix: &str| policy(&format!("[list.drop]\nprefixes = ['{prefix}']\nban = true"));
    let apply = |policy: String| lab.host.xdpfw(["apply", "-"]).stdin(policy).ok();
    lab.host.xdpfw(["up", "eth0"]).ok();
    apply(prefixes("198.51.100.0/24"));
    assert_eq!(banned(&lab.host), ["198.51.100.0/24"]);
    apply(prefixes(&source(&lab).to_string()));
    assert_eq!(banned(&lab.host), [format!("{}/32", source(&lab))]);
    assert!(is_dropped(&lab, 80)?);

    // From another place: what it had stays until it is read from there.
    fs::write(file(&lab.host), "198.51.100.7\n")?;
    let in_file = policy(&format!(
        "[list.drop]\nfile = '{}'\nban = true",
        file(&lab.host).display()
    ));
    apply(in_file);
    assert_eq!(banned(&lab.host), ["198.51.100.7/32"]);
    apply(policy(
        "[list.drop]\nurl = 'https://192.0.2.1/'\nban = true",
    ));
    assert_eq!(banned(&lab.host), ["198.51.100.7/32"]);
    // One that did not ban before begins with nothing.
    apply(policy("[list.drop]\nprefixes = ['192.0.2.0/24']"));
    apply(policy(
        "[list.drop]\nurl = 'https://192.0.2.1/'\nban = true",
    ));
    assert!(banned(&lab.host).is_empty());
    Ok(())
}

#[test]
fn a_list_of_a_file_that_is_not_applied_is_not_refreshed() -> Result<()> {
    let lab = lab("192.0.2.1\n")?;
    let written = policy_text(&lab.host)?;
    fs::write(
        lab.host.policy(),
        written.replace("ban = true", "ban = true\ncolumn = 1"),
    )?;
    let said = lab.host.xdpfw(["lists", "refresh"]).fails(1);
    assert!(said.contains("(say `xdpfw apply`)"), "{said}");
    assert_eq!(banned(&lab.host), ["192.0.2.1/32"]);
    lab.host.xdpfw(["apply"]).ok();
    lab.host.xdpfw(["lists", "refresh"]).ok();
    assert_eq!(banned(&lab.host), ["192.0.2.1/32"]);
    Ok(())
}

#[test]
fn the_other_end_of_a_session_is_left_out() -> Result<()> {
    let lab = Lab::new()?;
    let (near, far) = (lab.link().near().clone(), lab.link().far().clone());
    let session = format!("{} 50000 {} 22", far.address, near.address);
    let [a, b, c, _] = far.address.octets();
    fs::write(file(&lab.host), format!("{a}.{b}.{c}.0/24\n192.0.2.1\n"))?;
    let policy = banning(&lab.host, "");
    lab.host.xdpfw(["up", "eth0"]).ok();
    let policy = format!("version = 1\ninterfaces = ['eth0']\n{policy}");
    let apply = lab.host.xdpfw(["apply", "-", "--force"]).stdin(policy);
    let said = apply.env("SSH_CONNECTION", &session).output()?;
    assert_eq!(said.status.code(), Some(0));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains(&format!("list drop: {a}.{b}.{c}.0/24 is not banned")),
        "{said}"
    );
    assert!(!is_dropped(&lab, 80)?);
    assert_eq!(banned(&lab.host), ["192.0.2.1/32"]);
    assert_eq!(
        list(&lab.host, "drop")?["left_out"],
        serde_json::json!([format!("{a}.{b}.{c}.0/24")])
    );
    // When he is gone it is banned, and with the next change he is trusted no more.
    lab.host.xdpfw(["lists", "refresh"]).ok();
    assert_eq!(
        banned(&lab.host),
        [format!("{a}.{b}.{c}.0/24"), "192.0.2.1/32".to_owned()]
    );
    assert!(!is_dropped(&lab, 80)?);
    lab.host.xdpfw(["allow", "tcp", "81"]).ok();
    assert!(is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn garbage_is_named_and_skipped_or_refused() -> Result<()> {
    let lab = lab("192.0.2.1\nhello\n0.0.0.0/0\n")?;
    assert_eq!(banned(&lab.host), ["192.0.2.1/32"]);
    let said = lab.host.xdpfw(["lists", "refresh"]).output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let named = "list drop: 2 lines are none of a list: line 2 `hello` is no address or prefix; \
                 line 3 `0.0.0.0/0` is wider than /8, which no list bans";
    assert!(said.contains(named), "{said}");
    let strict = banning(&lab.host, "garbage = 'refuse'\n");
    let policy = format!("version = 1\ninterfaces = ['eth0']\n{strict}");
    lab.host.xdpfw(["apply", "-"]).stdin(policy).ok();
    let said = lab.host.xdpfw(["lists", "refresh"]).output()?;
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(banned(&lab.host), ["192.0.2.1/32"]);
    Ok(())
}

#[test]
fn a_list_that_cannot_be_is_a_mistake_of_the_policy() -> Result<()> {
    let host = Host::new()?;
    for (list, said) in [
        ("[list.x]", "a list needs `prefixes`, `file` or `url`"),
        (
            "[list.x]\nfile = '/a'\nurl = 'https://b/'",
            "a list has one of",
        ),
        ("[list.x]\nfile = 'a'", "does not begin with /"),
        ("[list.x]\nurl = 'http://a/'", "insecure = true"),
        ("[list.x]\nurl = 'file:///a'", "say `file = …`"),
        ("[list.x]\nurl = 'ftp://a/'", "is not a URL of a server"),
        ("[list.x]\nprefixes = ['10.0.0.1/8']", "has host bits set"),
        (
            "[list.x]\nprefixes = ['10.0.0.0/8']\nrefresh = '1h'",
            "is for a `file` or a `url`",
        ),
        (
            "[list.x]\nfile = '/a'\nrefresh = 'soon'",
            "a duration is a number and its unit",
        ),
        (
            "[list.x]\nfile = '/a'\ncountry = ['Holland']",
            "is not a country",
        ),
        (
            "[list.x]\nfile = '/a'\ncolumn = 0",
            "columns are counted from 1",
        ),
        ("[list.manual]\nfile = '/a'", "cannot name a list"),
        ("[list.\"a b\"]\nfile = '/a'", "cannot name a list"),
        (
            "[list.x]\nfile = '/a'\ngarbage = 'eat'",
            "say skip or refuse",
        ),
        (
            "[list.x]\nfile = '/a'\ncolour = 'red'",
            "unknown key `colour`",
        ),
    ] {
        let policy = format!("version = 1\n{list}\n");
        let error = host.xdpfw(["apply", "-", "--check"]).stdin(policy).fails(3);
        assert_is_one_error(&error, "standard input:");
        assert!(error.contains(said), "{list}: {error}");
        assert!(
            !error.starts_with("xdpfw: standard input:1:"),
            "{list}: {error}"
        );
    }
    let error = host.xdpfw(["lists", "refresh", "nobody"]).fails(1);
    assert_is_one_error(&error, "no list `nobody` (say `[list.nobody]`");
    Ok(())
}

#[test]
fn what_cannot_be_read_of_a_list_is_said_and_in_nobodys_way() -> Result<()> {
    const OTHER: u32 = 12_345;
    let lab = lab("198.51.100.0/24\n")?;
    let kept = lab.host.history();
    chown(&kept, Some(OTHER), None)?;
    let status = lab.host.status();
    let warnings = status["warnings"].as_array().context("no warnings")?;
    let text = |kind: &str| {
        let warning = warnings.iter().find(|warning| warning["kind"] == kind);
        warning.map_or_else(String::new, |warning| warning["text"].to_string())
    };
    let owner = format!("belongs to user {OTHER}, not to root");
    assert!(text("list-not-read").contains(&owner), "{warnings:?}");
    assert!(text("bans-damaged").contains(&owner), "{warnings:?}");
    chown(&kept, Some(0), None)?;
    assert_eq!(lab.host.status()["warnings"], json!([]));
    Ok(())
}

#[test]
fn a_list_may_have_many_prefixes_in_the_policy() -> Result<()> {
    let lab = Lab::new()?;
    let prefixes: Vec<String> = (0..1_000)
        .map(|number| format!("'10.{}.{}.0/24'", number / 250, number % 250))
        .collect();
    let list = format!(
        "[list.drop]\nban = true\nprefixes = [{}]\n",
        prefixes.join(", ")
    );
    let lab = lab.filtered(&format!("rule = [{{ allow = 'tcp 80' }}]\n{list}"));
    assert_eq!(banned(&lab.host).len(), 1_000);
    let status = lab.host.status();
    assert_eq!(status["warnings"], json!([]));
    assert_eq!(status["lists"][0]["entries4"], 1_000);
    Ok(())
}
