//! Boots a Debian under xdpfw while a peer hammers closed and open ports, and counts every answer.
//!
//! The guest is a virtual machine on a tap in a network namespace; nothing of it touches this
//! machine's own interfaces, and nothing is left behind but the image below `target`.

mod guest;
mod hammer;
mod image;
mod payload;
mod scenarios;
mod stage;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, builder::PossibleValuesParser};
use xdpfw_tests::{
    Interrupted,
    task::{exit, say},
};

use self::{
    image::Image,
    payload::Payload,
    scenarios::{SCENARIOS, Scenario},
    stage::Stage,
};

/// Boot a Debian under xdpfw while a peer hammers it, and count every answer (needs root)
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask boot-test")]
struct Args {
    /// The scenarios; by default those that pass or fail
    #[arg(value_parser = PossibleValuesParser::new(SCENARIOS.map(|scenario| scenario.name)))]
    scenarios: Vec<String>,
    /// The package; by default the one in target/package
    #[arg(long, value_name = "FILE")]
    deb: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    exit(Interrupted::watch("boot test", |interrupted| {
        run(&args, interrupted)
    }))
}

fn run(args: &Args, interrupted: &Interrupted) -> Result<()> {
    let target = target_dir();
    let directory = target.join("boot-test");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let payload = Payload::find(args.deb.as_deref(), &target.join("package"))?;
    say(format_args!("boot-test: installs {payload}"));
    let image = Image::obtain(&directory.join("image"))?;
    let disk = directory.join("payload.ext4");
    payload.write(&disk)?;
    let stage = Stage {
        image: &image,
        payload: &payload,
        disk: &disk,
        logs: &directory,
        interrupted,
    };
    let chosen = |scenario: &&Scenario| {
        args.scenarios.is_empty() && scenario.verdict
            || args.scenarios.iter().any(|name| name == scenario.name)
    };
    let mut failed = Vec::new();
    for scenario in SCENARIOS.iter().filter(chosen) {
        interrupted.check()?;
        say(format_args!("{}: {}", scenario.name, scenario.about));
        let started = Instant::now();
        let outcome = (scenario.run)(&stage);
        let seconds = started.elapsed().as_secs();
        match outcome {
            Ok(seen) => say(format_args!(
                "{}: passed ({seconds} s): {seen}",
                scenario.name
            )),
            Err(error) => {
                interrupted.check()?;
                say(format_args!(
                    "{}: FAILED ({seconds} s): {error:#}",
                    scenario.name
                ));
                failed.push(scenario.name);
            }
        }
    }
    if !failed.is_empty() {
        bail!(
            "failed: {}; consoles are in {}",
            failed.join(", "),
            directory.display()
        );
    }
    Ok(())
}

/// Where cargo and xtask put what is built.
fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    )
}
