//! Proves that rules for addresses, interfaces, ICMP and other protocols are kept as they
//! were said and do so, and that what may not be meant is warned of.

use anyhow::Result;
use serde_json::{Value, json};
use xdpfw_tests::{Host, Lab, is_dropped, policy_text, text};

#[test]
fn addresses_and_interfaces_are_written_and_said_again() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let file = |rules: &str| format!("version = 1\ninterfaces = [\"eth0\"]\n{rules}");
    let mut rules = String::new();
    let cases: &[(&[&str], &str, &str)] = &[
        (
            &["tcp", "443", "--from", "192.0.2.0/24,2001:db8::1"],
            "allow tcp 443 --from 192.0.2.0/24,2001:db8::1 (https)",
            "allow = \"tcp 443\"\nfrom = [\"192.0.2.0/24\", \"2001:db8::1\"]\n",
        ),
        (
            &[
                "udp",
                "any",
                "--remote-port",
                "53,high",
                "--to",
                "10.0.0.1",
                "--on",
                "eth0",
            ],
            "allow udp any --remote-port 53,high --to 10.0.0.1 --on eth0",
            "allow = \"udp any\"\nremote_ports = [\"53\", \"high\"]\nto = [\"10.0.0.1\"]\non = [\"eth0\"]\n",
        ),
        (
            &["icmp", "ping,3-4", "--comment", "reachable"],
            "allow icmp echo-request,3-4",
            "allow = \"icmp echo-request,3-4\"\ncomment = \"reachable\"\n",
        ),
        (
            &["icmp6", "nd-neighbor-solicit"],
            "allow icmp6 neighbor-solicitation",
            "allow = \"icmp6 neighbor-solicitation\"\n",
        ),
        (
            &["proto", "47"],
            "allow proto gre",
            "allow = \"proto gre\"\n",
        ),
    ];
    for (id, (words, shown, written)) in (1..).zip(cases) {
        let said = host.xdpfw([&["allow"], *words].concat()).ok();
        assert_eq!(said, format!("r{id}  {shown}   live on eth0\n"));
        rules += &format!("\n[[rule]]\nid = \"r{id}\"\n{written}");
        assert_eq!(policy_text(host)?, file(&rules));
        let again = host.xdpfw([&["allow"], *words].concat()).ok();
        assert!(again.contains("already there"), "{again}");
    }
    // What is live is what is in the file, through the record in the kernel.
    host.xdpfw(["apply", "--check"]).ok();
    let list = host.xdpfw(["list"]).ok();
    for (_, shown, _) in cases {
        assert!(list.contains(shown), "{list}");
    }
    for (words, shown, _) in cases {
        // Without its options, it is another rule.
        if words.contains(&"--from") {
            host.xdpfw([&["delete", "allow"], &words[..2]].concat())
                .fails(1);
        }
        let words: Vec<&str> = words
            .iter()
            .copied()
            .take_while(|&w| w != "--comment")
            .collect();
        let said = host
            .xdpfw([&["delete", "allow"], words.as_slice()].concat())
            .ok();
        assert!(said.contains(&format!("{shown}   deleted")), "{said}");
    }
    assert_eq!(policy_text(host)?, file(""));
    Ok(())
}

#[test]
fn addresses_and_interfaces_decide_in_the_kernel() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near().address, lab.link().far().address);
    let [near, far] = [near, far].map(|address| address.to_string());
    host.xdpfw(["up", "eth0"]).ok();
    for (options, matches) in [
        (&["--from", &far][..], true),
        (&["--from", &near], false),
        (&["--from", "2001:db8::/32", "--from", &far], true),
        (&["--from", "::/0"], false),
        (&["--to", &near, "--from", "0.0.0.0/0"], true),
        (&["--to", &far], false),
        (&["--on", "eth0"], true),
        (&["--on", "eth1"], false),
        (&["--on", "eth1,eth0", "--to", &near], true),
    ] {
        // Options may stand in front of the words.
        host.xdpfw([&["allow"], options, &["tcp", "80"]].concat())
            .ok();
        assert_eq!(is_dropped(&lab, 80)?, !matches, "allow {options:?}");
        host.xdpfw([&["delete", "allow", "tcp", "80"], options].concat())
            .ok();
        assert!(is_dropped(&lab, 80)?, "{options:?}");
    }
    Ok(())
}

#[test]
fn what_may_not_be_meant_is_warned_of_and_done() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let warnings = |arguments: &[&str]| -> Result<String> {
        let output = host.xdpfw(arguments).output()?;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(text(&output.stderr))
    };
    for (arguments, warning) in [
        (
            &["allow", "tcp", "443", "--on", "wg0"][..],
            "wg0: r1 names it, but the policy is for eth0 (say `xdpfw up wg0`)",
        ),
        (&["allow", "tcp", "443", "--on", "eth0"], ""),
        (&["deny", "icmp6", "any", "--from", "2001:db8::/32"], ""),
        (
            &["deny", "icmp6", "any"],
            "r4 denies IPv6 neighbour discovery, without which IPv6 ends within minutes (say \
             `xdpfw allow icmp6 133-137 --before r4`)",
        ),
        // Once is enough.
        (&["allow", "tcp", "80"], ""),
        // As it was said.
        (&["allow", "icmp6", "133-137", "--before", "r4"], ""),
        (
            &["delete", "r6"],
            "r4 denies IPv6 neighbour discovery, without which IPv6 ends within minutes (say \
             `xdpfw allow icmp6 133-137 --before r4`)",
        ),
    ] {
        let expected = match warning {
            "" => String::new(),
            warning => format!("warning: {warning}\n"),
        };
        assert_eq!(warnings(arguments)?, expected, "{arguments:?}");
    }
    // All of them again.
    let said = warnings(&["apply"])?;
    assert!(
        said.contains("wg0: r1") && said.contains("r4 denies"),
        "{said}"
    );
    Ok(())
}

#[test]
fn rules_that_can_never_match_are_named_with_those_in_front() -> Result<()> {
    let host = Host::new()?;
    let said = |arguments: &[&str], stdin: &str| -> Result<String> {
        let output = host.xdpfw(arguments).stdin(stdin).output()?;
        Ok(text(&output.stderr).replace("not up; the rules are those of the policy file\n", ""))
    };
    let warning = |rule: &str, by: &str, take: &str| {
        format!("warning: {rule} can never match: {by} in front of it {take} all its packets\n")
    };
    let pair = warning("r3", "r1 and r2", "take");
    let single = warning("r4", "r1", "takes");
    let too_late = |warning: &str| warning.replace('\n', " (say it again with --first)\n");
    for (arguments, warning) in [
        (&["deny", "tcp", "1-1023"][..], ""),
        (&["deny", "tcp", "high", "--from", "192.0.2.0/24"], ""),
        (
            &["allow", "tcp", "1-65535", "--from", "192.0.2.0/25"],
            &too_late(&pair),
        ),
        (
            &["allow", "tcp", "22", "--from", "192.0.2.7"],
            &too_late(&single),
        ),
        // What was told is not told again; what is new is.
        (&["allow", "udp", "any"], ""),
        (&["list"], &format!("{pair}{single}")),
        (&["delete", "r2"], ""),
        (&["list"], &single),
    ] {
        assert_eq!(said(arguments, "")?, warning, "{arguments:?}");
    }
    // Put in front, it is what others are in vain for.
    let in_front = ["deny", "any", "--from", "192.0.2.0/24", "--before", "r1"];
    let told = said(&[&in_front[..], &["--dry-run"]].concat(), "")?;
    assert_eq!(
        told,
        warning("r3", "r6", "takes") + &warning("r4", "r6", "takes")
    );
    let list = host.xdpfw(["list"]).json();
    let unreachable = |place: usize| list["rules"][place]["unreachable"].clone();
    assert_eq!(
        [unreachable(0), unreachable(1), unreachable(2)],
        [Value::Null, Value::Null, json!(["r1"])]
    );
    let file = "version = 1\n[[rule]]\nallow = \"any\"\n[[rule]]\ndeny = \"icmp any\"\n";
    let said = said(&["apply", "--check", "-"], file)?;
    assert!(
        said.starts_with("warning: r2 can never match: r1 in front of it takes all its packets\n"),
        "{said}"
    );
    Ok(())
}
