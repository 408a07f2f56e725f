//! The policies under which the programs are measured. Each uses another part of the
//! program, whose rest the verifier removes; the last uses most of it.

/// The interface that they name.
pub(super) const INTERFACE: &str = "tap0";

/// A policy, without what all have in common.
#[derive(Debug)]
pub(super) struct Policy {
    /// What is particular about it.
    pub(super) name: &'static str,
    /// Its settings and rules.
    pub(super) text: &'static str,
}

const fn policy(name: &'static str, text: &'static str) -> Policy {
    Policy { name, text }
}

/// All of them. No two are equal: putting one in force twice would change nothing.
pub(super) const POLICIES: &[Policy] = &[
    policy("default drop, no rules", ""),
    policy("one port", "rule = [{ allow = \"tcp 443\" }]"),
    policy(
        "icmp types",
        "rule = [
            { allow = \"icmp echo-request\" },
            { allow = \"icmp6 echo-request\" },
            { allow = \"proto gre\" },
        ]",
    ),
    policy(
        "remote ports",
        "rule = [{ allow = \"udp 53\", remote_ports = [\"high\"] }]",
    ),
    policy(
        "interface",
        "rule = [{ allow = \"tcp 443\", on = \"tap0\" }]",
    ),
    policy(
        "source prefixes",
        "rule = [{ allow = \"tcp 22\", from = [\"192.0.2.0/24\", \"2001:db8::/32\"] }]",
    ),
    policy(
        "destination prefixes",
        "rule = [{ allow = \"tcp 22\", to = [\"192.0.2.1\", \"2001:db8::1\"] }]",
    ),
    policy(
        "source prefixes, any",
        "rule = [{ deny = \"any\", from = [\"192.0.2.0/24\", \"2001:db8::/32\"] }]",
    ),
    policy(
        "until",
        "rule = [
            { allow = \"tcp 22\", until = 2126-01-01T00:00:00Z },
            { deny = \"any\", until = 2126-01-02T00:00:00Z },
        ]",
    ),
    policy(
        "mac",
        "rule = [{ allow = \"tcp 22\", mac = [\"02:00:0a:00:00:02\"] }]",
    ),
    policy("limit", "rule = [{ limit = \"udp 53\", rate = \"10/s\" }]"),
    policy(
        "syn cookies",
        "rule = [{ allow = \"tcp 443\", syn_cookies = true }]",
    ),
    policy("default pass", "default = \"pass\""),
    policy("fragments drop", "fragments = \"drop\""),
    policy("replies sockets", "replies = \"sockets\""),
    policy("replies off", "replies = \"off\""),
    policy("non_ip drop", "non_ip = \"drop\""),
    policy("icmp_errors pass", "icmp_errors = \"pass\""),
    policy("dhcp_client false", "dhcp_client = false"),
    policy("discovery true", "discovery = true"),
    policy(
        "all of these",
        "fragments = \"drop\"
        rule = [
            { allow = \"icmp echo-request\" },
            { allow = \"icmp6 echo-request\" },
            { allow = \"proto gre\" },
            { allow = \"tcp 443\", on = \"tap0\", syn_cookies = true },
            { limit = \"tcp 80\", rate = \"10/s\" },
            { allow = \"udp 53\", remote_ports = [\"high\"], on = \"tap0\" },
            { allow = \"tcp 22\", from = [\"192.0.2.0/24\", \"2001:db8::/32\"] },
            { deny = \"any\", to = [\"192.0.2.1\", \"2001:db8::1\"] },
            { deny = \"any\", from = [\"198.51.100.0/24\"], on = \"tap0\" },
            { deny = \"any\", mac = [\"02:00:0a:00:00:02\"], until = 2126-01-01T00:00:00Z },
        ]",
    ),
];
