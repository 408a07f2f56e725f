use super::{
    super::{
        Severity::Fault,
        examine,
        tests::{assert_finds, healthy},
    },
    *,
};
use crate::{analysis::test_policy::policy, netlink::Mode};

fn tcp() -> Condition {
    Condition::Transport(vec![Transport::Tcp])
}

fn port(port: u16) -> Condition {
    Condition::Port(vec![port..=port])
}

fn by(name: &str) -> Condition {
    Condition::Interface(vec![name.to_owned()])
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn chain(name: &str, hook: Option<&str>, rules: &[(&[Condition], Verdict)]) -> Chain {
    let rule = |(conditions, verdict): &(&[Condition], Verdict)| TheirRule {
        conditions: conditions.to_vec(),
        verdict: verdict.clone(),
    };
    Chain {
        program: Program::Nft,
        family: "inet".to_owned(),
        table: "t".to_owned(),
        name: name.to_owned(),
        hook: hook.map(str::to_owned),
        device: None,
        drops: hook.is_some(),
        rules: rules.iter().map(rule).collect(),
    }
}

/// A filtered host that allows TCP port 443, with these chains.
fn host(chains: Vec<Chain>) -> Facts {
    let mut facts = healthy();
    facts.policy = policy(&["allow tcp 443"], &["eth0"]);
    facts.devices[0].filtered = Some(Mode::Native);
    facts.chains = chains;
    facts
}

#[test]
fn what_no_rule_of_theirs_accepts_is_dropped() {
    use Verdict::{Accept, Drop, Goto, Jump, Return};
    let jump = |name: &str| Jump(name.to_owned());
    for (rules, is_dropped) in [
        (&[][..], true),
        (&[(&[tcp(), port(443)][..], Accept)], false),
        (&[(&[tcp(), port(22)], Accept)], true),
        (&[(&[Condition::Never], Accept)], true),
        (&[(&[not(Condition::Never)], Accept)], false),
        (&[(&[by("lo")], Accept)], true),
        (&[(&[by("eth0")], Accept)], false),
        (&[(&[by("eth*")], Accept)], false),
        (&[(&[not(by("eth0"))], Accept)], true),
        // It cannot be told, so nothing is claimed.
        (&[(&[Condition::Unknown], Accept)], false),
        (&[(&[Condition::Unknown], Drop), (&[], Accept)], false),
        (&[(&[], Drop), (&[], Accept)], true),
        (&[(&[tcp()], jump("mine"))], false),
        (&[(&[tcp()], Goto("mine".to_owned()))], false),
        (&[(&[], Goto("empty".to_owned())), (&[], Accept)], true),
        (&[(&[], jump("empty")), (&[], Accept)], false),
        (&[(&[], jump("round")), (&[], Accept)], false),
        (&[(&[], jump("gone"))], true),
        (&[(&[], Return), (&[], Accept)], true),
    ] {
        let facts = host(vec![
            chain("in", Some("input"), rules),
            chain("mine", None, &[(&[port(443)], Accept)]),
            chain("empty", None, &[]),
            chain("round", None, &[(&[], jump("round"))]),
        ]);
        match is_dropped {
            true => {
                let remedy = "nft insert rule inet t in tcp dport 443 accept";
                assert_finds(&facts, Fault, "firewall-drops", "inet t in", Some(remedy));
            }
            false => assert_eq!(examine(&facts), [], "{rules:?}"),
        }
    }
}

#[test]
fn a_chain_that_passes_by_default_may_drop_all_the_same() {
    let mut drops = chain("in", Some("input"), &[(&[port(443)], Verdict::Drop)]);
    drops.drops = false;
    let remedy = "nft insert rule inet t in tcp dport 443 accept";
    assert_finds(
        &host(vec![drops.clone()]),
        Fault,
        "firewall-drops",
        "inet t in",
        Some(remedy),
    );
    drops.rules.clear();
    assert_eq!(examine(&host(vec![drops])), []);
}

#[test]
fn chains_of_other_interfaces_and_ports_that_nobody_allows_do_not_matter() {
    let mut other = chain("in", Some("ingress"), &[]);
    other.device = Some("eth1".to_owned());
    assert_eq!(examine(&host(vec![other])), []);
    for line in [
        "deny tcp 443",
        "allow icmp any",
        "allow any",
        "allow tcp any",
    ] {
        let mut facts = host(vec![chain("in", Some("input"), &[])]);
        facts.policy = policy(&[line], &["eth0"]);
        assert_eq!(examine(&facts), [], "{line}");
    }
}

#[test]
fn each_packet_filter_has_its_own_remedy() {
    let base = |family: &str, table: &str, name: &str| Chain {
        family: family.to_owned(),
        table: table.to_owned(),
        ..chain(name, Some("input"), &[])
    };
    let mut legacy = base("ip", "filter", "INPUT");
    legacy.program = Program::IptablesLegacy;
    let mut ip6tables = base("ip6", "filter", "INPUT");
    ip6tables.program = Program::Ip6tables;
    let mut ufw = base("ip", "filter", "INPUT");
    ufw.rules = vec![TheirRule {
        conditions: Vec::new(),
        verdict: Verdict::Jump("ufw-before-input".to_owned()),
    }];
    for (chain, object, remedy) in [
        (
            base("inet", "my table", "in"),
            "inet my table in",
            "nft insert rule inet 'my table' in udp dport 8000-8100 accept",
        ),
        (
            ip6tables,
            "ip6tables-nft filter INPUT",
            "ip6tables-nft -t filter -I INPUT -p udp --dport 8000:8100 -j ACCEPT",
        ),
        (
            legacy,
            "iptables-legacy filter INPUT",
            "iptables-legacy -t filter -I INPUT -p udp --dport 8000:8100 -j ACCEPT",
        ),
        (ufw, "ip filter INPUT", "ufw allow 8000:8100/udp"),
        (
            base("inet", "firewalld", "filter_INPUT"),
            "inet firewalld filter_INPUT",
            "firewall-cmd --add-port=8000-8100/udp && firewall-cmd --permanent \
             --add-port=8000-8100/udp",
        ),
    ] {
        let mut facts = host(vec![chain]);
        facts.policy = policy(&["allow udp 8000-8100"], &["eth0"]);
        assert_finds(&facts, Fault, "firewall-drops", object, Some(remedy));
    }
}
