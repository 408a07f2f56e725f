//! Reads chains from what `iptables-legacy-save` prints.

use xdpfw_common::Transport;

use super::{Chain, Condition, Program, TheirRule, Verdict};
use crate::system::published::iptables::{range, words};

/// The built-in chains of what comes in.
const HOOKS: [(&str, &str); 2] = [("INPUT", "input"), ("PREROUTING", "prerouting")];

/// The chains of what was saved of a family.
pub(super) fn chains(saved: &str, family: &str, program: Program) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(declared) = line.strip_prefix(':') {
            let mut declared = declared.split(' ');
            let name = declared.next().unwrap_or_default();
            let hook = HOOKS.iter().find(|(chain, _)| *chain == name);
            chains.push(Chain {
                program,
                family: family.to_owned(),
                table: table.to_owned(),
                name: name.to_owned(),
                // Those of NAT get no packet to decide about.
                hook: hook
                    .filter(|_| table != "nat")
                    .map(|(_, hook)| (*hook).to_owned()),
                device: None,
                drops: declared.next() == Some("DROP"),
                rules: Vec::new(),
            });
        } else if let Some(line) = line.strip_prefix("-A ") {
            let words = words(line);
            let is_it = |chain: &&mut Chain| {
                chain.table == table && words.first().is_some_and(|name| *name == chain.name)
            };
            if let Some(chain) = chains.iter_mut().find(is_it) {
                chain.rules.extend(rule(&words[1..]));
            }
        }
    }
    chains
}

/// The rule of these words; `None` if it decides nothing.
fn rule(words: &[String]) -> Option<TheirRule> {
    let mut conditions = Vec::new();
    let mut verdict = None;
    let mut negated = false;
    let mut words = words.iter().map(String::as_str);
    while let Some(option) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        let condition = match option {
            "!" => {
                negated = true;
                continue;
            }
            // What follows says what is asked.
            "-m" | "--comment" => {
                value();
                continue;
            }
            "-j" | "-g" => {
                verdict = match (option, value()) {
                    (_, "ACCEPT" | "NFQUEUE" | "TPROXY") => Some(Verdict::Accept),
                    (_, "DROP" | "REJECT") => Some(Verdict::Drop),
                    (_, "RETURN") => Some(Verdict::Return),
                    // The targets of extensions are in capitals, too; there is no chain of that
                    // name, and so nothing is decided.
                    ("-j", chain) => Some(Verdict::Jump(chain.to_owned())),
                    (_, chain) => Some(Verdict::Goto(chain.to_owned())),
                };
                // The rest are options of the target.
                break;
            }
            "-p" => {
                let name = value();
                let of = Transport::ALL.into_iter();
                Condition::Transport(of.filter(|one| one.as_str() == name).collect())
            }
            "-i" => Condition::Interface(vec![value().replace('+', "*")]),
            "--dport" | "--dports" => {
                let ranges: Option<Vec<_>> = value().split(',').map(range).collect();
                ranges.map_or(Condition::Unknown, Condition::Port)
            }
            "--ctstate" | "--state" => match value().split(',').any(|state| state == "NEW") {
                true => Condition::Not(Box::new(Condition::Never)),
                false => Condition::Never,
            },
            option if option.starts_with('-') => Condition::Unknown,
            // Values of options that are not known.
            _ => continue,
        };
        conditions.push(match negated {
            true if condition != Condition::Unknown => Condition::Not(Box::new(condition)),
            _ => condition,
        });
        negated = false;
    }
    Some(TheirRule {
        conditions,
        verdict: verdict?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_saved() {
        let saved = r#"*nat
:PREROUTING DROP [0:0]
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:mine - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "not -j DROP" -j ACCEPT
-A INPUT -s 192.0.2.0/24 -j DROP
-A INPUT -p udp -m multiport ! --dports 53,60:70 -j mine
-A INPUT -j LOG --log-prefix "-j ACCEPT"
-A INPUT -p icmp
COMMIT
"#;
        let chains = chains(saved, "ip", Program::IptablesLegacy);
        let hooks: Vec<_> = chains.iter().map(|one| one.hook.as_deref()).collect();
        assert_eq!(hooks, [None, Some("input"), None, None]);
        assert!(chains[1].drops && !chains[2].drops);
        let transport = |one| Condition::Transport(vec![one]);
        let rule = |conditions: &[Condition], verdict| TheirRule {
            conditions: conditions.to_vec(),
            verdict,
        };
        let ports = Condition::Port(vec![53..=53, 60..=70]);
        let expected = [
            rule(&[Condition::Interface(vec!["lo".into()])], Verdict::Accept),
            rule(&[Condition::Never], Verdict::Accept),
            rule(
                &[transport(Transport::Tcp), Condition::Port(vec![22..=22])],
                Verdict::Accept,
            ),
            rule(&[Condition::Unknown], Verdict::Drop),
            rule(
                &[transport(Transport::Udp), Condition::Not(Box::new(ports))],
                Verdict::Jump("mine".into()),
            ),
            rule(&[], Verdict::Jump("LOG".into())),
        ];
        assert_eq!(chains[1].rules, expected);
    }
}
