//! Owns the chapter on what each feature of xdpfw costs: one packet through the program
//! of policies that use one of them each.

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

/// A policy that uses one feature.
struct Feature {
    name: &'static str,
    /// Behind the interfaces of the policy file.
    policy: &'static str,
    /// What becomes of all packets, whatever they are.
    verdict: Option<u32>,
    surroundings: Surroundings,
}

/// What a feature takes besides a policy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Surroundings {
    Usual,
    /// An interface with large packets.
    LargePackets,
    /// Somebody who looks at what becomes of each packet.
    Onlooker,
}

impl Feature {
    const fn new(name: &'static str, policy: &'static str) -> Self {
        Self {
            name,
            policy,
            verdict: None,
            surroundings: Surroundings::Usual,
        }
    }
}

const FEATURES: [Feature; 14] = [
    Feature::new(subjects::ONE_PORT, "[[rule]]\nallow = \"tcp 443\"\n"),
    Feature {
        verdict: Some(DROP),
        ..Feature::new("no rules", "")
    },
    Feature::new(
        "remote port",
        "[[rule]]\nallow = \"tcp 443\"\nremote_ports = [\"high\"]\n",
    ),
    Feature::new(
        "source prefix",
        "[[rule]]\nallow = \"tcp 443\"\nfrom = [\"10.0.0.0/16\"]\n",
    ),
    Feature::new(
        "destination prefix",
        "[[rule]]\nallow = \"tcp 443\"\nto = [\"10.0.0.0/16\"]\n",
    ),
    Feature::new(
        "interface",
        "[[rule]]\nallow = \"tcp 443\"\non = [\"eth0\"]\n",
    ),
    Feature::new(
        "any from a prefix",
        "[[rule]]\ndeny = \"any\"\nfrom = [\"192.0.2.0/24\"]\n[[rule]]\nallow = \"tcp 443\"\n",
    ),
    Feature::new(
        "replies to bound UDP",
        "udp_replies = \"bound\"\n[[rule]]\nallow = \"tcp 443\"\n",
    ),
    Feature::new(
        "no replies to UDP",
        "udp_replies = \"off\"\n[[rule]]\nallow = \"tcp 443\"\n",
    ),
    Feature::new(
        "no later fragments",
        "fragments = \"drop\"\n[[rule]]\nallow = \"tcp 443\"\n",
    ),
    Feature::new(
        "no DHCP client",
        "dhcp_client = false\n[[rule]]\nallow = \"tcp 443\"\n",
    ),
    Feature {
        verdict: Some(PASS),
        ..Feature::new("default pass", "default = \"pass\"\n")
    },
    Feature {
        surroundings: Surroundings::LargePackets,
        ..Feature::new("frags", "[[rule]]\nallow = \"tcp 443\"\n")
    },
    Feature {
        surroundings: Surroundings::Onlooker,
        ..Feature::new("traced", "[[rule]]\nallow = \"tcp 443\"\n")
    },
];

/// A feature in use.
struct Use {
    feature: Feature,
    stage: Stage,
    program: Xdp,
    _onlooker: Option<Process>,
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
        let interface = &link.near().interface;
        let default = if feature.policy.contains("default") {
            ""
        } else {
            "default = \"drop\"\n"
        };
        let text = format!(
            "version = 1\ninterfaces = [\"{interface}\"]\n{default}{}",
            feature.policy
        );
        let file = stage.write("feature.toml", &text)?;
        stage.xdpfw(&["apply", &file.to_string_lossy()])?;
        let onlooker = (feature.surroundings == Surroundings::Onlooker)
            .then(|| stage.trace())
            .transpose()?;
        let program = attached(&stage)?;
        Ok(Self {
            feature,
            stage,
            program,
            _onlooker: onlooker,
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
        packet::compare(&mut chapter, &callees, &mut varier, run)?;
    }
    Ok(vec![chapter])
}
