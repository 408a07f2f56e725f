//! Measures what each feature of xdpfw costs: one packet through the program of policies that
//! use one of them each.

use anyhow::Result;
use aya::programs::Xdp;
use xdpfw_tests::Process;

use crate::{
    measure::{
        Run,
        packet::{self, Callee, DROP, PASS},
    },
    report::{
        chapter::Chapter,
        names::{self, chapters, subjects},
    },
    stage::{Stage, filter::attached, yardsticks::Spread},
};

/// The packets of an interface of this MTU come in several buffers.
const LARGE_MTU: &str = "3000";

/// The rule of most policies; a feature may add to it.
const RULE: &str = "[[rule]]\nallow = \"tcp 443\"\n";

/// A policy that uses one feature.
struct Feature {
    name: &'static str,
    /// Before the rule.
    settings: &'static str,
    /// What the rule has besides.
    rule: &'static str,
    /// What becomes of all packets, where there is no rule.
    verdict: Option<u32>,
    surroundings: Surroundings,
}

/// What a feature takes besides a policy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Surroundings {
    Usual,
    /// An interface with large packets.
    LargePackets,
    /// Commands that look on, and how many of them listen to packets.
    Watched(&'static [&'static str], usize),
}

impl Feature {
    const fn new(name: &'static str, settings: &'static str, rule: &'static str) -> Self {
        Self {
            name,
            settings,
            rule,
            verdict: None,
            surroundings: Surroundings::Usual,
        }
    }

    const fn without_rule(name: &'static str, settings: &'static str, verdict: u32) -> Self {
        Self {
            verdict: Some(verdict),
            ..Self::new(name, settings, "")
        }
    }

    const fn with(name: &'static str, surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            ..Self::new(name, "", "")
        }
    }

    /// The policy file.
    fn policy(&self, interface: &str) -> String {
        let Self { settings, rule, .. } = self;
        let mut text = format!("version = 1\ninterfaces = [\"{interface}\"]\n");
        if !settings.contains("default") {
            text += "default = \"drop\"\n";
        }
        text += settings;
        if self.verdict.is_none() {
            text += RULE;
            text += rule;
        }
        text
    }
}

const FEATURES: [Feature; 16] = [
    Feature::new(subjects::ONE_PORT, "", ""),
    Feature::without_rule("no rules", "", DROP),
    Feature::new("remote port", "", "remote_ports = [\"high\"]\n"),
    Feature::new("source prefix", "", "from = [\"10.0.0.0/16\"]\n"),
    Feature::new("destination prefix", "", "to = [\"10.0.0.0/16\"]\n"),
    Feature::new("interface", "", "on = [\"eth0\"]\n"),
    Feature::new(
        "any from a prefix",
        "[[rule]]\ndeny = \"any\"\nfrom = [\"192.0.2.0/24\"]\n",
        "",
    ),
    Feature::new("replies by sockets", "replies = \"sockets\"\n", ""),
    Feature::new("no replies", "replies = \"off\"\n", ""),
    Feature::new("no later fragments", "fragments = \"drop\"\n", ""),
    Feature::new("no DHCP client", "dhcp_client = false\n", ""),
    Feature::without_rule("default pass", "default = \"pass\"\n", PASS),
    Feature::with("frags", Surroundings::LargePackets),
    Feature::with(
        "one packet in 1,000 is listened to",
        Surroundings::Watched(&["trace --sample 1000"], 1),
    ),
    Feature::with(
        "all packets are listened to",
        Surroundings::Watched(&["trace"], 1),
    ),
    Feature::with(
        "stats, log and top look on",
        Surroundings::Watched(&["stats --watch", "log --sample 1000", "--json top"], 2),
    ),
];

/// A feature in use.
struct Use {
    feature: Feature,
    stage: Stage,
    program: Xdp,
    _watchers: Vec<Process>,
}

impl Use {
    fn new(run: &Run<'_>, feature: Feature) -> Result<Self> {
        let stage = Stage::new(&run.build, 0)?;
        let link = stage.lab.link();
        if feature.surroundings == Surroundings::LargePackets {
            for (host, end) in [
                (&stage.lab.host, link.near()),
                (&stage.lab.peer, link.far()),
            ] {
                let mtu = ["link", "set", "dev", &end.interface, "mtu", LARGE_MTU];
                host.run("ip", mtu)?;
            }
        }
        stage.up()?;
        let text = feature.policy(&link.near().interface);
        let file = stage.write("feature.toml", &text)?;
        stage.xdpfw(&["apply", &file.to_string_lossy()])?;
        let watchers = match feature.surroundings {
            Surroundings::Watched(commands, listeners) => stage.watch(commands, listeners)?,
            _ => Vec::new(),
        };
        let program = attached(&stage)?;
        Ok(Self {
            feature,
            stage,
            program,
            _watchers: watchers,
        })
    }
}

/// Measures all of them in every round.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::FEATURES)?;
    for _ in 0..run.rounds {
        run.check()?;
        // Anew in each round: where the kernel happens to put a program's machine code
        // changes its time by a nanosecond or so.
        let uses = FEATURES
            .into_iter()
            .map(|feature| Use::new(run, feature))
            .collect::<Result<Vec<_>>>()?;
        let Some(first) = uses.first() else { break };
        let mut varier = first.stage.yardsticks(Spread::SCAN)?;
        let callees: Vec<_> = uses
            .iter()
            .map(|this| {
                let callee = Callee {
                    stage: &this.stage,
                    program: &this.program,
                    verdict: this.feature.verdict,
                };
                (this.feature.name, callee)
            })
            .collect();
        let packets = packet::packets(&first.stage);
        packet::compare(&mut chapter, &packets, &callees, &mut varier, run)?;
    }
    Ok(vec![chapter])
}
