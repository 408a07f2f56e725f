//! Proves that an interface is what the kernel says it is, whatever its name: it may
//! be unknown, be renamed, vanish and come back, or belong to another program.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, assert_nothing_is_left, ifindex, interfaces_up, is_dropped,
    is_dropped_on, link, pinned, policy_text, state, text, xdp,
};

#[test]
fn an_unknown_interface_is_named_with_those_there_are() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    for arguments in [
        &["up", "nope"][..],
        &["up", "eth0", "nope"],
        &["up", "nope", "eth0"],
    ] {
        let said = host.xdpfw(arguments).fails(5);
        assert_is_one_error(&said, "`nope`");
        for name in ["lo", "eth0", "eth1"] {
            assert!(said.contains(name), "{said}");
        }
        assert_nothing_is_left(host, &["eth0", "eth1"])?;
        assert!(!host.policy().exists(), "{arguments:?}");
    }
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    host.xdpfw(["up", "eth1", "nope"]).fails(5);
    assert_eq!(state(host, &["eth0", "eth1"])?, before);
    Ok(())
}

/// The kernel takes names that no policy can have.
#[test]
fn a_name_that_could_not_be_read_again_is_not_written() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "set", "eth0", "down"])?;
    host.run("ip", ["link", "set", "eth0", "name", "e\u{1}0"])?;
    host.run("ip", ["link", "set", "e\u{1}0", "up"])?;
    let said = host.xdpfw(["up", "e\u{1}0"]).fails(2);
    assert_is_one_error(&said, "is no name for a policy");
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
    assert!(!host.policy().exists());
    host.xdpfw(["allow", "tcp", "22"]).ok();
    Ok(())
}

#[test]
fn names_with_dots_are_names() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let mut old = "eth0";
    for name in ["eth0.100", "a.b.c-d_e", "…"] {
        rename(host, old, name)?;
        old = name;
        host.xdpfw(["up", name]).ok();
        assert_eq!(interfaces_up(host), [name]);
        host.xdpfw(["down", name]).ok();
        assert_nothing_is_left(host, &[name])?;
        fs::remove_file(host.policy())?;
    }
    Ok(())
}

#[test]
fn a_renamed_interface_stays_filtered() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let before = xdp(host, "eth0")?;
    rename(host, "eth0", "wan0")?;
    assert_eq!(xdp(host, "wan0")?, before);
    assert_eq!(interfaces_up(host), ["wan0"]);
    let said = host.xdpfw(["allow", "tcp", "443"]).ok();
    assert!(said.ends_with("live on wan0\n"), "{said}");
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?);

    // Another one takes the old name.
    host.run("ip", ["link", "add", "eth0", "type", "veth"])?;
    assert_eq!(interfaces_up(host), ["wan0"]);
    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(interfaces_up(host), ["eth0", "wan0"]);
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0", "wan0"])
}

#[test]
fn an_interface_that_came_back_is_missed_and_filtered_again_by_up() -> Result<()> {
    // Alone or beside another; with a new number or the old one.
    for (others, same_number) in [(0, false), (0, true), (1, false), (1, true)] {
        let lab = Lab::with_links(1 + others)?;
        let host = &lab.host;
        let mut arguments = vec!["up", "eth0"];
        if others > 0 {
            arguments.push("eth1");
        }
        host.xdpfw(["allow", "tcp", "443"]).ok();
        host.xdpfw(&arguments).ok();
        let number = ifindex(host, "eth0")?;
        host.run("ip", ["link", "delete", "eth0"])?;
        let gone = status_text(host, 8)?;
        assert!(
            gone.contains("warning: ") && gone.contains("xdpfw up"),
            "{gone}"
        );

        come_back(&lab, same_number.then_some(number))?;
        let case = format!("{others} others, same number: {same_number}");
        assert_eq!(xdp(host, "eth0")?, None, "{case}");
        let back = status_text(host, 8)?;
        assert!(back.contains("warning: "), "{case}: {back}");
        assert!(!interfaces_up(host).contains(&"eth0".to_owned()), "{case}");

        host.xdpfw(["up"]).ok();
        assert_eq!(interfaces_up(host), arguments[1..], "{case}");
        let healed = status_text(host, 0)?;
        assert!(!healed.contains("warning: "), "{case}: {healed}");
        assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?, "{case}");
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &["eth0"])?;
    }
    Ok(())
}

#[test]
fn status_names_the_interfaces_of_the_policy_that_are_not_filtered() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    let warnings = || host.status()["warnings"].clone();
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    assert_eq!(warnings(), json!([]));
    assert!(!status_text(host, 0)?.contains("warning: "));

    let warning = |name: &str, kind: &str, text: &str| {
        json!({
            "kind": kind,
            "text": format!("{name}: in the policy, but {text}"),
            "remedy": format!("xdpfw up {name}"),
        })
    };
    let unfiltered = |name| warning(name, "interface-not-filtered", "not filtered");
    host.xdpfw(["down", "eth1"]).ok();
    assert_eq!(warnings(), json!([unfiltered("eth1")]));
    let said = status_text(host, 8)?;
    let line = "\nwarning: eth1: in the policy, but not filtered (say `xdpfw up eth1`)\n";
    assert!(said.ends_with(line), "{said}");

    host.run("ip", ["link", "delete", "eth1"])?;
    let missing = warning("eth1", "interface-missing", "there is no such interface");
    assert_eq!(warnings(), json!([missing]));
    assert_eq!(interfaces_up(host), ["eth0"]);

    // Also where nothing is filtered at all, as after a boot script that failed.
    host.xdpfw(["down"]).ok();
    assert_eq!(warnings(), json!([unfiltered("eth0"), missing]));
    assert!(status_text(host, 8)?.contains("\nwarning: eth0: "));
    Ok(())
}

/// What a person reads in `xdpfw status`, which exits with this code.
fn status_text(host: &Host, code: i32) -> Result<String> {
    let output = host.xdpfw(["status"]).output()?;
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    Ok(text(&output.stdout))
}

#[test]
fn a_rule_for_an_interface_that_comes_later_matches_after_up() -> Result<()> {
    let mut lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    let later = ["allow", "tcp", "80", "--on", "eth1"];
    lab.host.xdpfw(later).ok();
    assert!(is_dropped(&lab, 80)?);

    lab.links.push(link(&lab.host, &lab.peer)?);
    lab.host.xdpfw(["up", "eth1"]).ok();
    assert!(is_dropped(&lab, 80)? && !is_dropped_on(&lab, 1, 80)?);
    assert!(is_dropped_on(&lab, 1, 81)?);

    Ok(())
}

/// Where a rule lets the operator in, no other command may let it go astray.
#[test]
fn rules_follow_a_renamed_interface_through_every_command() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "80", "--on", "eth0"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    rename(host, "eth0", "wan0")?;
    let kinds = || -> Vec<String> {
        let warnings = host.status()["warnings"].clone();
        let warnings = warnings.as_array().cloned().unwrap_or_default();
        let kinds = warnings.iter().filter_map(|one| one["kind"].as_str());
        kinds.map(str::to_owned).collect()
    };
    let renamed = "interface-renamed".to_owned();
    assert!(kinds().contains(&renamed), "{:?}", kinds());
    assert!(text(&host.xdpfw(["list"]).output()?.stderr).contains("called wan0 now"));
    for arguments in [
        &["stats", "--reset"][..],
        &["allow", "tcp", "443"],
        &["allow", "tcp", "443"],
        &["default", "drop"],
        &["apply"],
        &["allow", "tcp", "22", "--force"],
    ] {
        host.xdpfw(arguments).ok();
        assert!(
            !is_dropped(&lab, 80)? && is_dropped(&lab, 81)?,
            "{arguments:?}"
        );
    }

    // Another one takes the name: the rule stays where it was, until somebody says otherwise.
    rename(host, "eth1", "eth0")?;
    host.xdpfw(["stats", "--reset"]).ok();
    for arguments in [&["allow", "tcp", "23"][..], &["apply"], &["up", "eth0"]] {
        let said = host.xdpfw(arguments).fails(1);
        assert_is_one_error(
            &said,
            "rules for eth0 are in force for the interface that is called wan0",
        );
        assert!(!is_dropped(&lab, 80)?, "{arguments:?}");
    }
    assert!(kinds().contains(&renamed), "{:?}", kinds());
    host.xdpfw(["up", "eth0", "--force"]).ok();
    assert!(is_dropped(&lab, 80)? && !is_dropped_on(&lab, 1, 80)?);
    assert!(!kinds().contains(&renamed), "{:?}", kinds());
    Ok(())
}

#[test]
fn commands_that_change_no_rule_keep_the_ephemeral_ports() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let range = |range| host.sysctl("net/ipv4/ip_local_port_range", range);
    range("2000 2100")?;
    host.xdpfw(["allow", "tcp", "ephemeral"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    range("2200 2300")?;
    for arguments in [
        &["stats", "--reset"][..],
        &["allow", "tcp", "ephemeral"],
        &["default", "drop"],
    ] {
        host.xdpfw(arguments).ok();
        assert!(
            !is_dropped(&lab, 2000)? && is_dropped(&lab, 2200)?,
            "{arguments:?}"
        );
        let kind = host.status()["warnings"][0]["kind"].clone();
        assert_eq!(kind, "ephemeral-changed", "{arguments:?}");
    }
    let output = host.xdpfw(["allow", "tcp", "22"]).output()?;
    let said = text(&output.stderr);
    assert!(
        said.contains("the ephemeral ports are 2200-2300 now, and were 2000-2100"),
        "{said}"
    );
    assert!(is_dropped(&lab, 2000)? && !is_dropped(&lab, 2200)?);
    assert_eq!(host.status()["warnings"], json!([]));
    Ok(())
}

#[test]
fn an_interface_that_moved_away_stays_filtered_until_down() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let (host, elsewhere) = (&lab.host, Host::new()?);
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    let before = xdp(host, "eth0")?;
    host.run("ip", ["link", "set", "eth0", "netns", elsewhere.name()])?;
    let gone = status_text(host, 8)?;
    assert!(gone.contains("\nwarning: eth0: "), "{gone}");
    assert_eq!(interfaces_up(host), ["eth1"]);
    assert_eq!(xdp(&elsewhere, "eth0")?, before);
    // A stranger there, and no interface here.
    let said = elsewhere.xdpfw(["up", "eth0"]).fails(5);
    assert!(said.contains("eth0"), "{said}");
    assert_is_one_error(&host.xdpfw(["up", "eth0"]).fails(5), "no interface `eth0`");
    assert_eq!(xdp(&elsewhere, "eth0")?, before);

    let one = "1 interface that is in another network namespace now: detached\n";
    assert_eq!(host.xdpfw(["down"]).ok(), format!("eth1: detached\n{one}"));
    assert_eq!(xdp(&elsewhere, "eth0")?, None);
    assert_nothing_is_left(host, &["eth1"])?;

    // Where it was the only one, too.
    host.xdpfw(["up", "eth1"]).ok();
    host.run("ip", ["link", "set", "eth1", "netns", elsewhere.name()])?;
    assert_eq!(host.xdpfw(["down"]).ok(), one);
    assert_eq!(xdp(&elsewhere, "eth1")?, None);
    assert_nothing_is_left(host, &[])
}

/// A filter that begins anew cannot keep the interfaces of the one before.
#[test]
fn up_says_what_it_lets_go_of_elsewhere() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let (host, elsewhere) = (&lab.host, Host::new()?);
    host.xdpfw(["up", "eth0"]).ok();
    host.run("ip", ["link", "set", "eth0", "netns", elsewhere.name()])?;
    let output = host.xdpfw(["up", "eth1"]).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stderr);
    let warning = "warning: 1 interface that is in another network namespace now: detached\n";
    assert!(said.starts_with(warning), "{said}");
    assert_eq!(xdp(&elsewhere, "eth0")?, None);
    assert_eq!(interfaces_up(host), ["eth1"]);
    Ok(())
}

#[test]
fn another_program_stays_where_it_is() -> Result<()> {
    for attach in [attach_by_link, attach_by_netlink, attach_generic] {
        // The peer's filter lends its program.
        let lab = Lab::with_links(2)?;
        let host = &lab.host;
        lab.peer.xdpfw(["up", "eth1"]).ok();
        let taken = attach(&lab)?;
        let other = xdp(host, &taken)?.context("nothing is attached")?;

        for mode in ["auto", "native", "generic"] {
            for arguments in [
                &["up", &taken, "--mode", mode][..],
                &["up", "eth0", &taken, "--mode", mode],
            ] {
                let said = host.xdpfw(arguments).fails(5);
                assert_is_one_error(&said, "another XDP program");
                assert!(said.contains(&taken), "{said}");
                assert!(
                    said.contains(&other.1.to_string()),
                    "no {}: {said}",
                    other.1
                );
                assert_eq!(xdp(host, &taken)?, Some(other.clone()), "{arguments:?}");
                assert_nothing_is_left(host, &["eth0"])?;
                assert!(!host.policy().exists(), "{arguments:?}");
            }
        }

        // Neither does it disturb, nor is it disturbed.
        host.xdpfw(["up", "eth0"]).ok();
        assert_eq!(interfaces_up(host), ["eth0"]);
        host.xdpfw(["up", &taken]).fails(5);
        assert_eq!(interfaces_up(host), ["eth0"]);
        assert!(is_dropped(&lab, 80)?);
        host.xdpfw(["down"]).ok();
        assert_eq!(xdp(host, &taken)?, Some(other));
    }
    Ok(())
}

/// At boot, nobody is there to say it again: one interface of the policy that is missing or
/// taken leaves no other one open.
#[test]
fn up_filters_the_interfaces_of_the_policy_that_it_can() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    lab.peer.xdpfw(["up", "eth1"]).ok();
    let taken = attach_generic(&lab)?;
    let other = xdp(host, &taken)?;
    let policy = |names: &[&str]| {
        let text = format!("version = 1\ninterfaces = {names:?}\n");
        fs::write(host.policy(), &text).map(|()| text)
    };

    let saved = policy(&["gone0", &taken, "eth0", "gone1"])?;
    // The second time, eth0 is up.
    for _ in 0..2 {
        let output = host.xdpfw(["up"]).output()?;
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let line = "eth0: native XDP (veth), default drop, 0 rules\n";
        assert_eq!(text(&output.stdout), line);
        let said = text(&output.stderr);
        assert_is_one_error(&said, "only eth0 is filtered: gone0: ");
        for name in ["; gone1: ", "; eth1: another XDP program"] {
            assert!(said.contains(name), "{said}");
        }
        assert!(is_dropped(&lab, 2375)?);
        assert_eq!(interfaces_up(host), ["eth0"]);
        assert_eq!(xdp(host, &taken)?, other);
        assert_eq!(policy_text(host)?, saved);
        let warnings = host.status()["warnings"].clone();
        let warned: Vec<_> = (0..5)
            .map(|index| warnings[index]["kind"].as_str())
            .collect();
        let [missing, open] = [Some("interface-missing"), Some("interface-not-filtered")];
        // What it is taken by is the peer's own filter.
        let elsewhere = Some("interface-elsewhere");
        assert_eq!(warned, [missing, open, missing, elsewhere, None]);
    }

    // Named on the command line: all or none.
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up", "eth0", &taken]).fails(5);
    host.xdpfw(["up", "eth0", "gone0"]).fails(5);
    assert_nothing_is_left(host, &["eth0"])?;

    // None that can be filtered.
    policy(&["gone0", &taken])?;
    let said = host.xdpfw(["up"]).fails(5);
    assert_is_one_error(&said, "nothing is filtered: gone0: ");
    assert_nothing_is_left(host, &["eth0"])?;
    policy(&["gone0"])?;
    assert_is_one_error(&host.xdpfw(["up"]).fails(5), "nothing is filtered: gone0: ");
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn up_in_a_mode_leaves_no_interface_of_the_policy_open() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0", "--mode", "generic"]).ok();
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    let policy = "version = 1\ninterfaces = [\"eth0\", \"br0\", \"eth1\"]\n";
    fs::write(host.policy(), policy)?;
    let said = host.xdpfw(["up", "--mode", "native"]).fails(5);
    assert_is_one_error(
        &said,
        "only eth0 and eth1 are filtered: eth0: is up in generic",
    );
    assert!(
        said.contains("; br0: its driver (bridge) has no native XDP"),
        "{said}"
    );
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    assert!(is_dropped(&lab, 80)? && is_dropped_on(&lab, 1, 80)?);
    Ok(())
}

/// Attached as xdpfw does it: in the peer, whence the interface moves here.
fn attach_by_link(lab: &Lab) -> Result<String> {
    lab.peer.run(
        "ip",
        [
            "link",
            "set",
            "eth1",
            "netns",
            lab.host.name(),
            "name",
            "ext1",
        ],
    )?;
    Ok("ext1".into())
}

fn attach_by_netlink(lab: &Lab) -> Result<String> {
    attach_pinned(lab, "xdpdrv")
}

fn attach_generic(lab: &Lab) -> Result<String> {
    attach_pinned(lab, "xdpgeneric")
}

fn attach_pinned(lab: &Lab, mode: &str) -> Result<String> {
    let pin = pinned(&lab.peer)
        .into_iter()
        .find(|pin| pin.ends_with("dispatcher"))
        .context("the peer has no program")?;
    let pin = pin.to_str().context("no UTF-8")?;
    lab.host
        .run("ip", ["link", "set", "dev", "eth1", mode, "pinned", pin])?;
    Ok("eth1".into())
}

/// Renames an interface; older kernels do so only while it is down.
fn rename(host: &Host, old: &str, new: &str) -> Result<()> {
    host.run("ip", ["link", "set", old, "down"])?;
    host.run("ip", ["link", "set", old, "name", new])?;
    host.run("ip", ["link", "set", new, "up"])?;
    Ok(())
}

/// Makes the lab's first pair again, as it was but for its number.
fn come_back(lab: &Lab, number: Option<u64>) -> Result<()> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut words = vec!["link".to_owned(), "add".into(), near.interface.clone()];
    if let Some(number) = number {
        words.extend(["index".to_owned(), number.to_string()]);
    }
    words.extend(["type", "veth", "peer", "name"].map(str::to_owned));
    words.extend([
        far.interface.clone(),
        "netns".into(),
        lab.peer.name().into(),
    ]);
    lab.host.run("ip", &words)?;
    for (host, end) in [(&lab.host, near), (&lab.peer, far)] {
        let address = format!("{}/24", end.address);
        let mac = end.mac_text();
        host.run("ip", ["link", "set", &end.interface, "address", &mac, "up"])?;
        host.run("ip", ["address", "add", &address, "dev", &end.interface])?;
    }
    // As the harness has it, nobody asks for anybody's address.
    for (host, end, other) in [(&lab.host, near, far), (&lab.peer, far, near)] {
        let (address, mac) = (other.address.to_string(), other.mac_text());
        host.run(
            "ip",
            [
                "neigh",
                "replace",
                &address,
                "lladdr",
                &mac,
                "nud",
                "permanent",
                "dev",
                &end.interface,
            ],
        )?;
    }
    Ok(())
}

/// Once an interface has a program, the kernel lets none onto those below it.
#[test]
fn interfaces_below_others_are_filtered_with_them() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    host.run("ip", ["link", "set", "eth0", "master", "br0"])?;
    host.run("ip", ["link", "set", "br0", "up"])?;
    host.xdpfw(["up", "br0"]).ok();
    for mode in ["auto", "native", "generic"] {
        let said = host.xdpfw(["up", "eth0", "--mode", mode]).fails(5);
        assert_is_one_error(
            &said,
            "eth0: br0 is above it and has an XDP program already",
        );
        let remedy = "say `xdpfw down br0`, then `xdpfw up eth0 br0`\n";
        assert!(said.ends_with(remedy), "{said}");
        assert_eq!(interfaces_up(host), ["br0"]);
    }
    host.xdpfw(["down"]).ok();
    // In whatever order they are said, or stand in the policy.
    host.xdpfw(["up", "br0", "eth0"]).ok();
    assert_eq!(interfaces_up(host), ["br0", "eth0"]);
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up"]).ok();
    assert_eq!(interfaces_up(host), ["br0", "eth0"]);
    Ok(())
}
