//! Who is trusted is never banned: by the policy, or because this host depends on it.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Host, Lab, assert_is_one_error, is_dropped};

use crate::bans::bans;

/// Why a prefix is trusted; empty if it is not.
fn why(host: &Host, prefix: &str) -> Result<Vec<String>> {
    let said = host.xdpfw(["bans", "--trusted"]).json();
    let trusted = said["trusted"].as_array().context("no list")?;
    let found = trusted.iter().find(|one| one["prefix"] == prefix);
    let why = found.and_then(|one| one["why"].as_array());
    let words = why.into_iter().flatten();
    Ok(words.filter_map(Value::as_str).map(str::to_owned).collect())
}

#[test]
fn whom_the_policy_trusts_is_not_banned_and_its_neighbour_is() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.link().far().address;
    let [a, b, c, _] = far.octets();
    let lab = lab.filtered(&format!(
        "trusted = ['{a}.{b}.{c}.0/24', '2001:db8::/32']\nrule = [{{ allow = 'tcp 80' }}]"
    ));
    let host = &lab.host;
    assert_eq!(why(host, &format!("{a}.{b}.{c}.0/24"))?, ["policy"]);
    let said = host
        .xdpfw(["ban", "203.0.113.7", &far.to_string()])
        .fails(6);
    assert_is_one_error(&said, "refused; ");
    assert!(
        said.contains(&format!("{a}.{b}.{c}.0/24")) && said.contains("policy"),
        "{said}"
    );
    assert!(bans(host)?.is_empty(), "nothing is half done");
    // What is around it is banned, and it is not.
    let around = format!("{a}.{b}.0.0/16");
    let said = host.xdpfw(["ban", &around]).output()?;
    assert!(said.status.success());
    let note = String::from_utf8(said.stderr)?;
    assert!(
        note.contains("not for") && note.contains("(policy)"),
        "{note}"
    );
    assert!(!is_dropped(&lab, 80)?);
    // Without a change of bans.
    host.xdpfw(["apply", "-"])
        .stdin("version = 1\ninterfaces = ['eth0']\nrule = [{ allow = 'tcp 80' }]")
        .ok();
    assert!(is_dropped(&lab, 80)?);
    host.xdpfw(["rollback"]).ok();
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn trust_goes_back_with_a_change_that_is_not_confirmed() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let far = lab.link().far().address.to_string();
    lab.host.xdpfw(["ban", &far]).ok();
    lab.host
        .xdpfw(["apply", "-", "--confirm", "60s"])
        .stdin(format!(
            "version = 1\ninterfaces = ['eth0']\ntrusted = '{far}'\nrule = [{{ allow = 'tcp 80' }}]"
        ))
        .ok();
    assert!(!is_dropped(&lab, 80)?);
    lab.host.xdpfw(["rollback"]).ok();
    assert!(is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn routers_resolvers_and_sessions_are_trusted_without_being_asked() -> Result<()> {
    let lab = Lab::new()?;
    let peer = lab.link().far().address.to_string();
    let etc = format!("/etc/netns/{}", lab.host.name());
    fs::create_dir_all(&etc)?;
    fs::write(
        format!("{etc}/resolv.conf"),
        format!("nameserver {peer}\nnameserver 127.0.0.53\n"),
    )?;
    let via = ["route", "add", "default", "via", &peer];
    lab.host.run("ip", via)?;
    let lab = lab.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let prefix = format!("{peer}/32");
    assert_eq!(why(host, &prefix)?, ["gateway", "resolver"]);
    assert!(why(host, &format!("{}/32", lab.link().near().address))?.is_empty());
    let said = host.xdpfw(["ban", &peer]).fails(6);
    assert_is_one_error(&said, "refused; ");
    assert!(said.contains("(gateway, resolver)"), "{said}");
    // What is one no longer is not trusted any more.
    fs::write(format!("{etc}/resolv.conf"), "nameserver 203.0.113.53\n")?;
    host.run("ip", ["route", "del", "default"])?;
    let session = format!("{peer} 50000 {} 22", lab.link().near().address);
    let said = host
        .xdpfw(["ban", &peer])
        .env("SSH_CONNECTION", &session)
        .fails(6);
    assert!(said.contains("(ssh session)"), "{said}");
    assert_eq!(why(host, &prefix)?, ["ssh session"]);
    host.xdpfw(["ban", "198.51.100.7"]).ok();
    assert!(why(host, &prefix)?.is_empty());
    assert_eq!(why(host, "203.0.113.53/32")?, ["resolver"]);
    host.xdpfw(["ban", &peer]).ok();
    assert!(is_dropped(&lab, 80)?);
    fs::remove_dir_all(etc)?;
    Ok(())
}

#[test]
fn a_mistake_in_trusted_is_one_of_the_policy() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    for (trusted, part) in [
        ("'10.0.0.1/8'", "host bits"),
        ("'any'", "nobody would ever be banned"),
        ("['192.0.2.1', '0.0.0.0/0']", "nobody would ever be banned"),
        ("'here'", "is a name"),
    ] {
        let text = format!("version = 1\ninterfaces = ['eth0']\ntrusted = {trusted}\n");
        let said = lab.host.xdpfw(["apply", "-"]).stdin(text).fails(3);
        assert!(said.contains(part), "{said}");
    }
    Ok(())
}

#[test]
fn status_says_who_is_trusted_and_how_many_are_banned() -> Result<()> {
    let lab = Lab::new()?.filtered("trusted = '10.99.0.0/16'");
    lab.host
        .xdpfw(["ban", "203.0.113.7", "198.51.100.0/24"])
        .ok();
    let status = lab.host.status();
    assert_eq!(status["bans"], 2);
    let trusted = status["trusted"].as_array().context("no list")?;
    assert!(
        trusted
            .iter()
            .any(|one| one["prefix"] == "10.99.0.0/16" && one["why"][0] == "policy")
    );
    let said = lab.host.xdpfw(["status"]).ok();
    assert!(
        said.contains("banned: 2") && said.contains("10.99.0.0/16 (policy)"),
        "{said}"
    );
    Ok(())
}
