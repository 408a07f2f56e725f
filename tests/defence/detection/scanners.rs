//! Real scanners against a host that filters.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv6Addr,
    process::Stdio,
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Lab, capture, is_traced, wait_until};

use super::{POLICY, Row, found, lab, page::Section};

/// How many scanners run at the same time: most of them wait.
const AT_ONCE: usize = 9;
/// How long a notice may take to be shown.
const SHOWN: Duration = Duration::from_secs(3);
/// Packets that a scan may take until it is found: ports that share a bit, and what is sent again.
const WITHIN: usize = 64;

/// A scanner, and what becomes of it.
#[derive(Clone, Copy)]
struct Scanner {
    command: &'static str,
    /// As what it is found; `None`: it is not.
    kind: Option<&'static str>,
    banned: bool,
    /// Sources that are found, forged ones among them.
    sources: usize,
}

const fn found_as(command: &'static str, kind: &'static str, banned: bool) -> Scanner {
    Scanner {
        command,
        kind: Some(kind),
        banned,
        sources: 1,
    }
}

const SCANNERS: [Scanner; 18] = [
    found_as("nmap -sS -T4 -F", "syn", true),
    found_as("nmap -sT -T4 -F", "syn", true),
    found_as("nmap -sU -T4 -F", "udp", false),
    found_as("nmap -sN -T4 -F", "null", false),
    found_as("nmap -sF -T4 -F", "fin", false),
    found_as("nmap -sX -T4 -F", "xmas", false),
    found_as("nmap -sA -T4 -F", "ack", false),
    found_as("nmap -sM -T4 -F", "other", false),
    found_as("nmap -sS -T3 -p 1-64", "syn", true),
    found_as("nmap -sS -T4 -p 1-64", "syn", true),
    found_as("nmap -sS -T5 -p 1-64", "syn", true),
    found_as("nmap -6 -sS -T4 -F", "syn", true),
    found_as("nmap -6 -sU -T4 -F", "udp", false),
    Scanner {
        sources: 4,
        ..found_as(
            "nmap -sS -T4 -F -D 192.0.2.1,192.0.2.2,192.0.2.3,ME",
            "syn",
            true,
        )
    },
    found_as("nmap -sS -T4 -F --source-port 53", "syn", true),
    found_as("nmap -sS -T4 -F --data-length 40", "syn", true),
    Scanner {
        kind: None,
        sources: 0,
        ..found_as("nmap -sS -T4 -F -f", "", false)
    },
    found_as("masscan -p 1-1000 --rate 2000", "syn", true),
];

pub(super) fn prove() -> Result<Section> {
    let mut rows = Vec::new();
    for some in SCANNERS.chunks(AT_ONCE) {
        let proven: Vec<Result<Row>> = thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|one| scope.spawn(|| run(*one))).collect();
            let results = threads.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            results.collect()
        });
        for (row, scanner) in proven.into_iter().zip(some) {
            rows.push(row.with_context(|| scanner.command.to_owned())?);
        }
    }
    Ok(Section {
        text: "## Scanners\n\n`-F` is the hundred ports that nmap finds most worth a try. *Packets* is how \
               many of a\nsource's came in before it was found, at most.\n",
        heads: &["command", "found as", "packets", "banned"],
        rows,
    })
}

/// Runs a scanner, and claims that it is found as it should be.
fn run(scanner: Scanner) -> Result<Row> {
    let lab = lab(POLICY)?;
    let far = lab.link().far();
    let counted = count_until_found(&lab, scanner)?;
    let list = found(&lab.host)?;
    assert_eq!(list.len(), scanner.sources, "{}: {list:?}", scanner.command);
    let own = match scanner.command.contains(" -6 ") {
        true => subnet(far.address6),
        false => far.address.to_string(),
    };
    for (source, kind, banned) in &list {
        assert!(*source == own || scanner.sources > 1, "{source}");
        assert_eq!(
            (Some(kind.as_str()), *banned),
            (scanner.kind, scanner.banned),
            "{source}"
        );
    }
    let Some(kind) = scanner.kind else {
        return Ok(Row::new(
            format!("`{}`", scanner.command),
            &["missed", "–", "–"],
        ));
    };
    let counted = counted.context("no event `scan`")?;
    assert!(
        (16..=WITHIN).contains(&counted),
        "{}: {counted} packets",
        scanner.command
    );
    let banned = match (scanner.banned, scanner.sources) {
        (false, _) => "no",
        (true, 1) => "yes",
        (true, _) => "yes, and so are the decoys",
    };
    let name = format!("`{}`", scanner.command);
    Ok(Row::new(name, &[kind, &format!("≤ {WITHIN}"), banned]))
}

/// The /64 of an address.
fn subnet(address: Ipv6Addr) -> String {
    let [a, b, c, d, ..] = address.segments();
    format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
}

/// Runs a scanner to its end; how many packets of its own came in before it was found.
fn count_until_found(lab: &Lab, scanner: Scanner) -> Result<Option<usize>> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let (own, to) = match scanner.command.contains(" -6 ") {
        true => (far.address6.to_string(), near.address6.to_string()),
        false => (far.address.to_string(), near.address.to_string()),
    };
    let mut log = lab
        .host
        .xdpfw(["--json", "log", "--from", &own])
        .command()?;
    let mut log = log.stdout(Stdio::piped()).spawn()?;
    wait_until("listening", || is_traced(&lab.host))?;
    let lines = BufReader::new(log.stdout.take().context("no stdout")?).lines();
    let (found, is_found) = channel();
    let counting = thread::spawn(move || -> Result<()> {
        let mut packets = 0;
        for line in lines {
            let event: Value = serde_json::from_str(&line?)?;
            match event["event"].as_str() {
                // The packet that completes it is reported in front of it.
                Some("scan") => drop(found.send(packets)),
                Some(_) => {}
                None => packets += 1,
            }
        }
        Ok(())
    });
    let mut words: Vec<String> = scanner.command.split(' ').map(str::to_owned).collect();
    let program = words.remove(0);
    let is_masscan = program == "masscan";
    if is_masscan {
        let options = [
            "-e",
            &far.interface,
            "--router-mac",
            &near.mac_text(),
            "--wait",
            "0",
        ];
        words.extend(options.map(str::to_owned));
        words.extend(["--source-ip".to_owned(), own]);
    } else {
        words.extend(["-Pn", "-n", "-e", &far.interface].map(str::to_owned));
    }
    words.push(to);
    let mut command = lab.peer.command(program);
    // masscan looks whether it is to end once something comes in.
    let _ping = match is_masscan {
        true => Some(
            lab.host
                .spawn("ping", ["-i", "0.2", &far.address.to_string()])?,
        ),
        false => None,
    };
    let command = command.args(words).stdin(Stdio::null());
    capture(command.current_dir(lab.peer.directory()))?;
    let counted = is_found.recv_timeout(SHOWN).ok();
    drop(log.kill());
    log.wait()?;
    match counting.join() {
        // The last line may be cut.
        Ok(_) => Ok(counted),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
