//! What a policy file says besides its rules, and keys that were renamed.

use crate::policy::{FlowSizes, IcmpErrors, NonIp, PolicyDocument, Replies, Scan};

fn document(text: &str) -> Result<PolicyDocument, String> {
    let text = format!("version = 1\n{text}");
    PolicyDocument::parse(text.into_bytes()).map_err(|error| error.to_string())
}

#[test]
fn answers_are_told_by_flows_unless_the_file_says_otherwise() {
    let policy = document("").unwrap().policy().clone();
    assert_eq!(policy.replies, Replies::Flows);
    assert_eq!(policy.icmp_errors, IcmpErrors::Related);
    assert_eq!(policy.non_ip, NonIp::Pass);
    let FlowSizes { tcp, other } = policy.flows;
    assert_eq!((tcp, other), (65_536, 65_536));
    assert!(!policy.discovery);
    assert!(document("discovery = true").unwrap().policy().discovery);
    let text = "replies = 'off'\nicmp_errors = 'pass'\nnon_ip = 'drop'\nanswers_from = ['eth1']\n[flows]\ntcp = 4096\n";
    let policy = document(text).unwrap().policy().clone();
    assert_eq!(policy.replies, Replies::Off);
    assert_eq!(policy.icmp_errors, IcmpErrors::Pass);
    assert_eq!(policy.non_ip, NonIp::Drop);
    assert_eq!(policy.answers_from, ["eth1"]);
    let FlowSizes { tcp, other } = policy.flows;
    assert_eq!((tcp, other), (4096, 65_536));
}

#[test]
fn scans_are_looked_for_where_the_file_says_so() {
    let scan = |text: &str| document(text).unwrap().policy().scan;
    assert_eq!(scan(""), None);
    let usual = scan("[scan]").unwrap();
    assert_eq!(usual.to_string(), "16 ports in 10s, not banned");
    let text = "[scan]\nports = 64\nwindow = '90s'\nban = '2h'";
    let Scan { ports, window, ban } = scan(text).unwrap();
    assert_eq!((ports, window.to_string()), (64, "1m 30s".to_owned()));
    assert_eq!(ban.unwrap().to_string(), "2h");
    // As it is recorded, it is read again.
    let again = PolicyDocument::of(document(text).unwrap().policy()).unwrap();
    assert!(again.contents().contains("window = \"90s\""));
    let again = PolicyDocument::parse(again.contents().into_owned().into_bytes()).unwrap();
    assert_eq!(again.policy().scan, scan(text));
}

#[test]
fn the_key_of_before_is_rewritten_where_it_stood() {
    for (old, new) in [("connected", "sockets"), ("off", "off")] {
        let text = format!(
            "# first\nudp_replies = \"{old}\"  # why\n\n[[rule]]\nid = \"r1\"\nallow = \"ssh\"\n"
        );
        let contents = document(&text).unwrap().contents().into_owned();
        assert!(!contents.contains("udp_replies"), "{contents}");
        let line = format!("# first\nreplies = \"{new}\"  # why\n");
        assert!(contents.contains(&line), "{contents}");
        // What was rewritten reads as the same.
        let again = PolicyDocument::parse(contents.clone().into_bytes()).unwrap();
        assert_eq!(again.contents(), contents);
        assert_eq!(again.policy().replies.as_str(), new);
    }
}

#[test]
fn mistakes_name_the_value_and_what_would_be_right() {
    for (text, message) in [
        (
            "udp_replies = 'bound'",
            "2:15: `bound` opened every UDP service to whoever picks the source port (say \
             `replies = \"flows\"` instead)",
        ),
        (
            "replies = 'sockets'\ndiscovery = true",
            "3:13: needs what is asked to be recorded (say `replies = \"flows\"`)",
        ),
        (
            "udp_replies = 'x'",
            "2:15: `x` is not known (say `replies = \"flows\"` instead)",
        ),
        (
            "replies = 'off'\nudp_replies = 'off'",
            "3:15: is now called `replies`, which is there, too",
        ),
        (
            "replies = 'bound'",
            "2:11: `bound` is not known (say flows, sockets or off)",
        ),
        (
            "non_ip = 'deny'",
            "2:10: `deny` is not known (say pass or drop)",
        ),
        (
            "icmp_errors = 'drop'",
            "2:15: `drop` is not known (say related or pass)",
        ),
        ("[scan]\nports = 3", "2:1: ports = 3 is not within 4 to 128"),
        (
            "[scan]\nports = 129",
            "2:1: ports = 129 is not within 4 to 128",
        ),
        (
            "[scan]\nwindow = 'soon'",
            "2:1: window: a duration is a number and its unit: 30s, 10m, 2h, 7d",
        ),
        ("[scan]\nwindow = '2h'", "2:1: window: at most 3600s"),
        ("[scan]\nban = '0s'", "2:1: ban: a duration is at least 1s"),
        (
            "replies = 'off'\n[scan]\nban = '10m'",
            "3:1: `ban` needs to know what is open (say `replies = \"flows\"`)",
        ),
        (
            "answers_from = ['eth1', 'a/b']",
            "2:25: `a/b` is not an interface name",
        ),
    ] {
        assert_eq!(document(text).unwrap_err(), message, "{text}");
    }
    for size in [0, 127, 16_777_217] {
        let error = document(&format!("[flows]\nother = {size}")).unwrap_err();
        let message = format!("other = {size} is not within 128 to 16777216");
        assert!(error.ends_with(&message), "{error}");
    }
}
