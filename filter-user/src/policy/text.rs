//! The policy in writing: the keys and words of the policy file, which are also
//! what a generation records of the policy it was made from.

use serde::{Deserialize, Serialize};

use super::{Action, DefaultAction, Fragments, Policy, Rule, RuleId, UdpReplies, What};
use crate::ports::PortSpec;

/// The only version of the policy's format.
pub const VERSION: u32 = 1;

/// A policy as written, not yet understood.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    version: u32,
    #[serde(default)]
    interfaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragments: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    udp_replies: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dhcp_client: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rule: Vec<RuleText>,
}

/// A rule as written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deny: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote_ports: Option<Ports>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// Ports in a policy file: a word, a number, or a list of both.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a port, a range, a service name, or a list of them"
)]
enum Ports {
    One(Port),
    Many(Vec<Port>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Port {
    Number(i64),
    Word(String),
}

impl Ports {
    fn words(&self) -> Vec<String> {
        let word = |port: &Port| match port {
            Port::Number(number) => number.to_string(),
            Port::Word(word) => word.clone(),
        };
        match self {
            Self::One(port) => vec![word(port)],
            Self::Many(ports) => ports.iter().map(word).collect(),
        }
    }
}

/// What is wrong with a policy, and where it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The rule, counted from 0, or `None` for the policy itself.
    pub rule: Option<usize>,
    /// The key.
    pub key: &'static str,
    /// One line: what is wrong, and what would be right.
    pub message: String,
}

impl PolicyText {
    /// Understands the words.
    ///
    /// Rules without an id get the next free ones, in their order.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub fn read(&self) -> Result<Policy, Mistake> {
        let mistake = |key, message| Mistake {
            rule: None,
            key,
            message,
        };
        if self.version != VERSION {
            return Err(mistake(
                "version",
                format!("version {} is not known (say {VERSION})", self.version),
            ));
        }
        let mut policy = Policy {
            interfaces: self.interfaces.clone(),
            default: word(&self.default, DefaultAction::from_word, "drop or pass")
                .map_err(|message| mistake("default", message))?,
            fragments: word(&self.fragments, Fragments::from_word, "pass or drop")
                .map_err(|message| mistake("fragments", message))?,
            udp_replies: word(
                &self.udp_replies,
                UdpReplies::from_word,
                "connected, bound or off",
            )
            .map_err(|message| mistake("udp_replies", message))?,
            dhcp_client: self.dhcp_client.unwrap_or(true),
            rules: Vec::with_capacity(self.rule.len()),
        };
        if let Some(name) = policy
            .interfaces
            .iter()
            .find(|name| !is_interface_name(name))
        {
            return Err(mistake(
                "interfaces",
                format!("`{}` is not an interface name", name.escape_debug()),
            ));
        }
        for (index, text) in self.rule.iter().enumerate() {
            let rule = text.read().map_err(|(key, message)| Mistake {
                rule: Some(index),
                key,
                message,
            })?;
            policy.rules.push(rule);
        }
        self.settle_ids(&mut policy)?;
        Ok(policy)
    }

    /// Whether every rule has its id in writing.
    pub(super) fn has_all_ids(&self) -> bool {
        self.rule.iter().all(|rule| rule.id.is_some())
    }

    /// Checks that no id stands twice, and gives one to rules that have none.
    fn settle_ids(&self, policy: &mut Policy) -> Result<(), Mistake> {
        let mut seen = std::collections::HashSet::new();
        for (index, rule) in policy.rules.iter().enumerate() {
            if rule.id != UNNAMED && !seen.insert(rule.id) {
                return Err(Mistake {
                    rule: Some(index),
                    key: "id",
                    message: format!("rule id {} stands twice", rule.id),
                });
            }
        }
        let mut next = policy.free_id();
        for rule in policy.rules.iter_mut().filter(|rule| rule.id == UNNAMED) {
            rule.id = next;
            next = RuleId(next.0 + 1);
        }
        Ok(())
    }
}

/// Stands for an id that is still to be given.
const UNNAMED: RuleId = RuleId(0);

impl RuleText {
    fn read(&self) -> Result<Rule, (&'static str, String)> {
        let id = match &self.id {
            Some(id) => id.parse().map_err(|message| ("id", message))?,
            None => UNNAMED,
        };
        let (key, action, words) = match (&self.allow, &self.deny) {
            (Some(words), None) => ("allow", Action::Allow, words),
            (None, Some(words)) => ("deny", Action::Deny, words),
            (None, None) => {
                return Err(("", "a rule needs `allow` or `deny`".to_owned()));
            }
            (Some(_), Some(_)) => {
                return Err((
                    "deny",
                    "a rule has either `allow` or `deny`, not both".to_owned(),
                ));
            }
        };
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let remote = self.remote_ports.as_ref().map(Ports::words);
        // The words alone first, so that a mistake is blamed on the right key.
        What::parse(&words, &[]).map_err(|message| (key, message))?;
        let what = What::parse(&words, &remote.unwrap_or_default())
            .map_err(|message| ("remote_ports", message))?;
        Ok(Rule {
            id,
            action,
            what,
            comment: self.comment.clone(),
        })
    }
}

impl From<&Rule> for RuleText {
    fn from(rule: &Rule) -> Self {
        let words = Some(rule.what.words());
        let (allow, deny) = match rule.action {
            Action::Allow => (words, None),
            Action::Deny => (None, words),
        };
        let remote_ports = (rule.what.remote != PortSpec::any()).then(|| {
            let words = rule.what.remote.words().iter();
            Ports::Many(words.map(|word| Port::Word(word.to_string())).collect())
        });
        Self {
            id: Some(rule.id.to_string()),
            allow,
            deny,
            remote_ports,
            comment: rule.comment.clone(),
        }
    }
}

impl From<&Policy> for PolicyText {
    fn from(policy: &Policy) -> Self {
        Self {
            version: VERSION,
            interfaces: policy.interfaces.clone(),
            default: Some(policy.default.to_string()),
            fragments: Some(policy.fragments.to_string()),
            udp_replies: Some(policy.udp_replies.to_string()),
            dhcp_client: Some(policy.dhcp_client),
            rule: policy.rules.iter().map(RuleText::from).collect(),
        }
    }
}

fn word<T: Default>(
    text: &Option<String>,
    from_word: impl Fn(&str) -> Option<T>,
    choices: &str,
) -> Result<T, String> {
    match text {
        None => Ok(T::default()),
        Some(text) => from_word(text)
            .ok_or_else(|| format!("`{}` is not known (say {choices})", text.escape_debug())),
    }
}

/// Longest name of an interface, in bytes (`IFNAMSIZ` in linux/if.h, less the
/// terminating zero).
const INTERFACE_NAME_LEN: usize = 15;

/// Whether the kernel would take this name (`dev_valid_name` in net/core/dev.c).
pub fn is_interface_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= INTERFACE_NAME_LEN
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
}
