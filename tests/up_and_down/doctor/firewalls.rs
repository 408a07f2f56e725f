//! Other packet filters that drop what ours lets pass.

use anyhow::Result;
use xdpfw_tests::{
    Lab, PATIENCE,
    servers::{TcpServer, fetch},
};

use super::{assert_has_no_fault, assert_is_mended, doctor, find};

/// A filtered host that allows HTTPS and SSH.
fn lab() -> Result<Lab> {
    Ok(Lab::new()?.filtered(
        "rule = [{ id = \"r1\", allow = \"tcp 443\" }, { id = \"r2\", allow = \"tcp 22\" }]",
    ))
}

/// Asserts that a port of the host is reached by the peer, through both filters.
fn assert_is_served(lab: &Lab) -> Result<()> {
    let server = TcpServer::start_at(&lab.host, lab.link().near().at(443).into(), "hello")?;
    let said = fetch(&lab.peer, lab.link().near().at(443), PATIENCE)?;
    assert_eq!(said, "hello");
    drop(server);
    Ok(())
}

#[test]
fn ports_that_no_rule_of_nft_accepts_are_named_and_opened() -> Result<()> {
    let lab = lab()?;
    let rules = "table inet mine {
        chain services { tcp dport { 22, 80 } accept; }
        chain in {
            type filter hook input priority 0; policy drop;
            ct state established,related accept
            iifname lo accept
            ip saddr 192.0.2.1 drop
            jump services
        }
    }";
    lab.host.run("nft", [rules])?;
    // The other one is accepted.
    let said = doctor(&lab.host);
    let drops = said["findings"].as_array().into_iter().flatten();
    let drops = drops.filter(|one| one["kind"] == "firewall-drops");
    assert_eq!(drops.count(), 1, "{said:#}");
    let remedy = "nft insert rule inet mine in tcp dport 443 accept";
    assert_is_mended(&lab.host, "firewall-drops", "inet mine in", remedy)?;
    assert_has_no_fault(&lab.host);
    assert_is_served(&lab)
}

#[test]
fn chains_that_accept_what_we_do_are_no_fault() -> Result<()> {
    let lab = lab()?;
    let rules = "table inet mine {
        chain in {
            type filter hook input priority 0; policy drop;
            ct state vmap { established : accept, new : jump fresh }
        }
        chain fresh { tcp dport vmap { 22 : accept, 443 : accept, 25 : drop }; }
        chain forwarded { type filter hook forward priority 0; policy drop; }
    }";
    // What is jumped to must be there.
    let rules = rules.replace("chain in {", "chain fresh { }\n chain in {");
    lab.host.run("nft", [rules.as_str()])?;
    assert_has_no_fault(&lab.host);
    assert_is_served(&lab)
}

#[test]
fn ports_that_iptables_drops_are_named_and_opened() -> Result<()> {
    for program in ["iptables-legacy", "iptables-nft"] {
        let lab = lab()?;
        for line in [
            "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "-A INPUT -p tcp --dport 22 -j ACCEPT",
            "-A INPUT -i eth0 -j DROP",
        ] {
            lab.host.run(program, line.split(' '))?;
        }
        let object = &format!("{program} filter INPUT");
        let remedy = format!("{program} -t filter -I INPUT -p tcp --dport 443 -j ACCEPT");
        assert_is_mended(&lab.host, "firewall-drops", object, &remedy)?;
        assert_eq!(find(&doctor(&lab.host), "firewall-drops", object), None);
        assert_is_served(&lab)?;
    }
    Ok(())
}
