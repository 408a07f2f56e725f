//! Sees that what ten million sources leave behind takes no more memory than what there was
//! before, and that verdicts stay right meanwhile.

use std::{
    cell::Cell,
    net::{Ipv4Addr, SocketAddrV4},
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::packets::{self, flags};

use super::{SCAN_AND_BAN, lists::KernelLog};
use crate::{
    measure::{
        Run,
        control::{MEBIBYTE, Memory},
        packet::{Callee, DROP, PASS, Packet},
    },
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        filter::attached,
        policy::{CLOSED, OPEN, Policy},
        yardsticks::{Spread, Yardsticks},
    },
};

/// How many sources there are.
const SOURCES: u32 = 10_000_000;
/// How many packets come between two looks at verdicts.
const SLICE: u32 = 500_000;

/// A port that is open to so many packets of each source.
const LIMITED: u16 = 22;
const BURST: u16 = 5;
/// Who scans: nobody in a flood has its address, nor has anybody else below.
const SCANNER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Who is banned by hand.
const BANNED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Who did nothing.
const GUEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
/// Ports that are enough to be found.
const SCANNED: std::ops::Range<u16> = 1_000..1_040;

/// Sends both floods in every round, to a host that has seen none.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::DEFENCE_BOUNDS)?;
    for _ in 0..run.rounds {
        let stage = Stage::new(&run.build, 0)?;
        stage.up()?;
        let limit =
            format!("\n[[rule]]\nlimit = \"tcp {LIMITED}\"\nrate = \"1/h\"\nburst = {BURST}\n");
        stage.apply_text(&(Policy::OnePort.xdpfw(stage.interfaces()) + &limit + SCAN_AND_BAN))?;
        stage.xdpfw(&["--quiet", "ban", &BANNED.to_string()])?;
        let log = &mut KernelLog::from_now()?;
        let program = attached(&stage)?;
        let callee = Callee {
            stage: &stage,
            program: &program,
            verdict: None,
        };
        let host = Host::new(callee)?;
        let before = Memory::of(&stage)?.defence;
        host.flood(run, LIMITED)?;
        host.flood(run, CLOSED)?;
        let after = Memory::of(&stage)?.defence;
        log.check()?;
        ensure!(
            after <= before,
            "{SOURCES} sources have taken {} bytes",
            after - before
        );
        for (case, bytes) in [(cases::BEFORE, before), (cases::AFTER, after)] {
            chapter.push(subjects::XDPFW_DEFENCE, case, bytes as f64 / MEBIBYTE);
        }
    }
    Ok(vec![chapter])
}

/// The host that is flooded.
struct Host<'a> {
    callee: Callee<'a>,
    /// Looks at verdicts so far.
    looks: Cell<u8>,
}

impl<'a> Host<'a> {
    /// One that has found a scanner.
    fn new(callee: Callee<'a>) -> Result<Self> {
        let host = Self {
            callee,
            looks: Cell::new(0),
        };
        let mut nobody = host.callee.stage.yardsticks(Spread::SCAN)?;
        for port in SCANNED {
            host.sees(&mut nobody, (SCANNER, port), flags::SYN, DROP)?;
        }
        host.look(&mut nobody)?;
        Ok(host)
    }

    /// Has all sources ask for connections: for one to this port, if it is open to them, or else
    /// for one to any of 60,000 that are closed.
    fn flood(&self, run: &Run<'_>, port: u16) -> Result<()> {
        let (spread, verdict) = match port {
            LIMITED => (Spread::to(port), PASS),
            _ => (Spread::ALL_CLOSED, DROP),
        };
        let stage = self.callee.stage;
        let mut flood = stage.yardsticks(spread.with_sources(SOURCES))?;
        let link = stage.lab.link();
        let syn = packets::syn(link.far().at(50_000), link.near().at(port));
        let syn = Packet::varied_as(stage, "", &syn, verdict);
        for _ in 0..SOURCES / SLICE {
            run.check()?;
            self.callee.call(&syn, &mut flood, SLICE)?;
            self.look(&mut flood)?;
        }
        Ok(())
    }

    /// Sees that everybody is judged right.
    fn look(&self, varier: &mut Yardsticks) -> Result<()> {
        // Somebody else each time, whose burst nobody has used.
        let visitor = Ipv4Addr::new(198, 51, 100, self.looks.get());
        self.looks.set(self.looks.get() + 1);
        self.sees(varier, (GUEST, OPEN), flags::SYN, PASS)?;
        self.sees(varier, (GUEST, OPEN), flags::ACK, PASS)?;
        self.sees(varier, (GUEST, CLOSED), flags::SYN, DROP)?;
        self.sees(varier, (BANNED, OPEN), flags::SYN, DROP)?;
        self.sees(varier, (BANNED, OPEN), flags::ACK, DROP)?;
        self.sees(varier, (SCANNER, OPEN), flags::SYN, DROP)?;
        self.sees(varier, (SCANNER, OPEN), flags::ACK, PASS)?;
        for _ in 0..BURST {
            self.sees(varier, (visitor, LIMITED), flags::SYN, PASS)?;
        }
        self.sees(varier, (visitor, LIMITED), flags::SYN, DROP)
    }

    /// Sees what becomes of a segment from an address to a port.
    fn sees(
        &self,
        varier: &mut Yardsticks,
        (from, port): (Ipv4Addr, u16),
        bits: u8,
        verdict: u32,
    ) -> Result<()> {
        let to = self.callee.stage.lab.link().near().at(port);
        let segment = packets::tcp(SocketAddrV4::new(from, 50_000), to, bits);
        let packet = Packet::new(self.callee.stage, "", &segment, verdict);
        let context = || format!("a segment ({bits:#x}) from {from} to port {port}");
        self.callee.call(&packet, varier, 1).with_context(context)
    }
}
