//! Writes and compares the page that publishes the tables, `docs/CONFORMANCE.md`.

use std::{
    collections::BTreeSet,
    env,
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};

use crate::table::{Case, Section};

/// Says what is done to the page: `overwrite`, or by default compare. In the manner
/// of trycmd's variable.
const KNOB: &str = "XDPFW_CONFORMANCE";

/// The rules of the usual policy, behind a knob.
macro_rules! usual {
    ($knob:literal) => {
        concat!($knob, "\n", usual!())
    };
    () => {
        r#"rule = [
    { allow = "tcp 443" },            # r1
    { allow = "udp 443" },            # r2
    { deny = "tcp 23" },              # r3
    { deny = "udp 23" },              # r4
    { allow = "icmp echo-request" },  # r5
    { allow = "icmp6 echo-request" }, # r6
]"#
    };
}
pub(crate) use usual;

/// The policy of most sections.
pub(crate) const USUAL: &str = usual!();

/// Titles of the sections that have been proven in this run.
static PROVEN: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// Proves a section of `all`. When it is the last to be proven, and the page is to be
/// overwritten, writes it.
pub(crate) fn prove(section: &Section, all: &[fn() -> Section]) -> Result<()> {
    section.prove()?;
    let mut proven = PROVEN.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(proven.insert(section.title), "{} twice", section.title);
    if is_overwritten()? && proven.len() == all.len() {
        let path = path();
        fs::write(&path, page(all)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Claims that the page says what the tables say.
pub(crate) fn compare(all: &[fn() -> Section]) -> Result<()> {
    if is_overwritten()? {
        return Ok(());
    }
    let path = path();
    let published =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let page = page(all)?;
    let advice = format!("say {KNOB}=overwrite cargo xtask test -- conformance");
    let lines = published.lines().zip(page.lines());
    for (number, (published, proven)) in (1..).zip(lines) {
        assert_eq!(published, proven, "docs/CONFORMANCE.md:{number} ({advice})");
    }
    assert!(
        published == page,
        "docs/CONFORMANCE.md is too long or too short ({advice})"
    );
    Ok(())
}

/// The whole page.
fn page(all: &[fn() -> Section]) -> Result<String> {
    let sections: Vec<_> = all.iter().map(|section| section()).collect();
    let cases = || sections.iter().flat_map(|section| &section.cases);
    let frames: usize = cases().map(|case| case.frames.len()).sum();
    let mut page = HEAD
        .replace("ROWS", &grouped(cases().count()))
        .replace("FRAMES", &grouped(frames))
        .replace("KNOB", KNOB)
        .replace("USUAL", USUAL);
    for section in &sections {
        publish(section, &mut page)?;
    }
    page.push_str(TAIL);
    Ok(page)
}

fn publish(section: &Section, page: &mut String) -> fmt::Result {
    let Section {
        title,
        text,
        policies,
        cases,
        ..
    } = section;
    writeln!(page, "\n## {title}\n")?;
    if !text.is_empty() {
        writeln!(page, "{}\n", wrapped(text))?;
    }
    match policies {
        [USUAL] => {}
        [policy] => writeln!(page, "Policy:{}\n", described(policy))?,
        policies => {
            writeln!(page, "The same under each of these policies:\n")?;
            for policy in *policies {
                writeln!(page, "*{}", described(policy))?;
            }
            writeln!(page)?;
        }
    }
    writeln!(page, "| packet | frames | verdict | reason | counted at |")?;
    writeln!(page, "|---|--:|---|---|---|")?;
    for case in cases {
        row(case, page)?;
    }
    Ok(())
}

fn row(case: &Case, page: &mut String) -> fmt::Result {
    let Case {
        name,
        frames,
        expected,
    } = case;
    let detail = match expected.detail {
        Some(detail) => format!(": `{detail}`"),
        None => String::new(),
    };
    let counters: Vec<_> = [expected.port, expected.rule]
        .into_iter()
        .flatten()
        .map(|counter| format!("`{counter}`"))
        .collect();
    let counters = match counters.is_empty() {
        true => "–".to_owned(),
        false => counters.join(", "),
    };
    writeln!(
        page,
        "| {name} | {} | {} | `{}`{detail} | {counters} |",
        grouped(frames.len()),
        expected.verdict.as_str(),
        expected.reason,
    )
}

/// The policy, as it goes on behind a colon: what it has besides the usual one, or its
/// text.
fn described(policy: &str) -> String {
    match policy.strip_suffix(USUAL).map(str::trim) {
        Some("") => " the usual one".to_owned(),
        Some(knob) => format!(" `{knob}`, and the usual rules"),
        None if policy.contains('\n') => format!("\n\n```toml\n{policy}\n```"),
        None => format!(" `{policy}`"),
    }
}

/// The text in lines of the width of the page's other ones.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 88;
    let mut wrapped = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let len = word.chars().count();
        if width > 0 {
            let fits = width + 1 + len <= WIDTH;
            wrapped.push(if fits { ' ' } else { '\n' });
            width = if fits { width + 1 } else { 0 };
        }
        wrapped.push_str(word);
        width += len;
    }
    wrapped
}

/// The number with commas between thousands.
fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

fn is_overwritten() -> Result<bool> {
    match env::var_os(KNOB) {
        None => Ok(false),
        Some(word) if word == "overwrite" => Ok(true),
        Some(word) => bail!(
            "{KNOB} is {} (say overwrite, or leave it out)",
            word.display()
        ),
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFORMANCE.md")
}

const HEAD: &str = include_str!("head.md");
const TAIL: &str = include_str!("tail.md");
