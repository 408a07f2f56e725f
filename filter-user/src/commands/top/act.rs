//! What can be done about a row: a command that is run as if it had been typed, or a look at what
//! becomes of such packets.

use std::{
    net::IpAddr,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use super::model::{Key, Model, Popup};
use crate::{
    analysis::meaning,
    commands::{explain, privilege::named},
    policy::{Action, Carried, Match},
    text::thousands,
};

/// Peers that stand for any, where none was seen: addresses that documentation may use (RFC 5737,
/// RFC 3849).
const EXAMPLES: [&str; 2] = ["203.0.113.7", "2001:db8::7"];

/// The words of the command that allows or denies what a row is about.
///
/// # Errors
///
/// There is none, for a reason.
pub(super) fn command(
    action: Action,
    key: &Key,
    last: Option<(IpAddr, Carried)>,
) -> Result<Vec<String>, &'static str> {
    let action = action.as_str();
    let words = |carries| -> Vec<String> {
        let words = Match::for_carried(carries).words();
        words.split(' ').map(str::to_owned).collect()
    };
    let from = |address: &IpAddr| ["--from".to_owned(), address.to_string()];
    let mut command = vec![action.to_owned()];
    match (key, last) {
        (Key::Port(transport, port), _) => {
            command.extend([transport.to_string(), port.to_string()]);
        }
        // What is let in is what was dropped, and no more.
        (Key::Source(address), Some((_, carries))) if action == "allow" => {
            command.extend(words(carries));
            command.extend(from(address));
        }
        (Key::Source(address), _) => {
            command.push("any".to_owned());
            command.extend(from(address));
            command.push("--first".to_owned());
        }
        (Key::Reason(_) | Key::Rule(_), _) => {
            return Err("select a port or a source for that");
        }
    }
    Ok(command)
}

/// A command as one would type it.
pub(super) fn shown_command(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        // A word that no shell takes is shown as it is.
        shlex::try_quote(word).map_or_else(|_| word.clone(), |word| word.into_owned())
    });
    let quoted: Vec<String> = quoted.collect();
    format!("xdpfw {}", quoted.join(" "))
}

/// The flags of this command that the ones it runs need, too.
pub(super) fn global_flags(policy: Option<PathBuf>) -> Vec<String> {
    let policy = policy.and_then(|path| path.into_os_string().into_string().ok());
    let flag = |path| ["--policy".to_owned(), path];
    policy.map(flag).into_iter().flatten().collect()
}

/// Something that takes a while, done beside the screen: what to show when it is done.
pub(super) struct Job(oneshot::Receiver<Popup>);

impl Job {
    fn start(work: impl FnOnce() -> Popup + Send + 'static) -> Result<Self> {
        let (done, result) = oneshot::channel();
        thread::Builder::new()
            .name("job".to_owned())
            .spawn(move || drop(done.send(work())))
            .context("cannot start a thread")?;
        Ok(Self(result))
    }

    /// Runs a command of ours, as if it had been typed: what it refuses, it refuses here, too.
    pub(super) fn run(words: Vec<String>) -> Result<Self> {
        Self::start(move || {
            let text = output(&words).unwrap_or_else(|error| format!("error: {error:#}"));
            Popup::text(shown_command(&words), text)
        })
    }

    /// Says what becomes of packets that a row is about.
    pub(super) fn explain(asked: Asked) -> Result<Self> {
        Self::start(move || {
            let text = asked.answer().unwrap_or_else(|error| {
                let error = named(error);
                format!("error: {error:#}")
            });
            Popup::text(asked.title, text)
        })
    }

    /// Waits until it is done. Dropped while it waits, it loses nothing.
    pub(super) async fn done(&mut self) -> Popup {
        let lost = || Popup::text("error".to_owned(), "it ended without a word".to_owned());
        (&mut self.0).await.unwrap_or_else(|_| lost())
    }
}

fn output(words: &[String]) -> Result<String> {
    // The program that runs, whatever has taken its place in the file system.
    let output = Command::new("/proc/self/exe")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("cannot run it")?;
    let text: String = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat();
    Ok(match text.trim() {
        "" => format!("({})", output.status),
        text => text.to_owned(),
    })
}

/// What is asked about a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) title: String,
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    /// Words of `explain`, one set after the other until one can be judged.
    Packets(Vec<Vec<String>>, Vec<String>),
    /// There is nothing to judge.
    Known(String),
}

impl Asked {
    /// About a row of the model.
    pub(super) fn about(model: &Model, key: &Key) -> Self {
        let interfaces = model.header.iter().flat_map(|header| &header.interfaces);
        let interfaces = interfaces.map(|one| one.name.clone()).collect();
        let packets = |packets: Vec<Vec<String>>| How::Packets(packets, interfaces);
        let asker = model.asker(key);
        match key {
            Key::Port(transport, port) => {
                let examples = EXAMPLES
                    .map(|peer| vec![transport.to_string(), peer.to_owned(), port.to_string()]);
                Self {
                    title: format!("a packet to {transport} {port}"),
                    how: packets(match asker {
                        Some((peer, carries)) => vec![words(peer, carries)],
                        None => examples.to_vec(),
                    }),
                }
            }
            Key::Source(address) => Self {
                title: format!("a packet from {address}"),
                how: match asker {
                    Some((peer, carries)) => packets(vec![words(peer, carries)]),
                    None => How::Known("nothing of it was seen lately".to_owned()),
                },
            },
            Key::Reason(reason) => Self {
                title: format!("{} {reason}", reason.verdict()),
                how: How::Known(format!(
                    "{} for this reason: {}.\n\n{} packets since counting began.",
                    reason.verdict(),
                    meaning(*reason),
                    thousands(model.reason_packets(*reason)),
                )),
            },
            Key::Rule(id) => Self {
                title: format!("rule {id}"),
                how: How::Known(match model.rule(id) {
                    Some(row) => format!(
                        "{}\n{}\n{} packets, {} bytes since counting began.\n\nThe first rule that \
                         matches decides; to see what it keeps from others, say `xdpfw list`.",
                        row.rule.text,
                        row.rule.comment.as_deref().unwrap_or_default(),
                        thousands(row.hits.packets),
                        thousands(row.hits.bytes),
                    ),
                    None => "it is gone".to_owned(),
                }),
            },
        }
    }

    fn answer(&self) -> Result<String> {
        let (packets, interfaces) = match &self.how {
            How::Known(text) => return Ok(text.clone()),
            How::Packets(packets, interfaces) => (packets, interfaces),
        };
        let mut refused = None;
        for words in packets {
            // By the way that it would come, or else by any.
            let ways = std::iter::once(None).chain(interfaces.iter().cloned().map(Some));
            for on in ways {
                match explain::of_words(words.clone(), on) {
                    Ok(explained) => return Ok(explained.to_string()),
                    Err(error) => drop(refused.get_or_insert(error)),
                }
            }
        }
        Err(refused.context("there is no packet to judge")?)
    }
}

/// A packet in the words of `explain`.
fn words(peer: IpAddr, carries: Carried) -> Vec<String> {
    let end = |port: u16| match port {
        0 => peer.to_string(),
        port => std::net::SocketAddr::new(peer, port).to_string(),
    };
    match carries {
        Carried::Tcp { local, remote } => vec!["tcp".into(), end(remote), local.to_string()],
        Carried::Udp { local, remote } => vec!["udp".into(), end(remote), local.to_string()],
        Carried::Icmp(number) => vec!["icmp".into(), peer.to_string(), number.to_string()],
        Carried::Icmp6(number) => vec!["icmp6".into(), peer.to_string(), number.to_string()],
        Carried::Other(number) => vec!["proto".into(), number.to_string(), peer.to_string()],
    }
}

impl Popup {
    fn text(title: String, text: String) -> Self {
        Self::Text {
            title,
            text,
            scrolled: 0,
        }
    }
}
