//! Draws the pictures of the documentation: what xdpfw shows of a host that is scanned, taken from
//! a real terminal; with the name of one, `top.svg`, that one alone. With the name of another file,
//! or `-`, it draws what `tmux capture-pane -p -e` wrote
//! there instead, and prints the picture.

mod screen;
mod svg;
mod traffic;

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use xdpfw_tests::{
    Interrupted, Lab, Tmux,
    task::{self, exit},
};

use self::{screen::Screen, traffic::Traffic};

/// A host with a few services, and what it denies.
const POLICY: &str = "rule = [\
    { allow = 'tcp 443', comment = 'the shop' }, \
    { allow = 'tcp 22', from = ['192.0.2.0/24', '10.0.0.0/8'], comment = 'operators' }, \
    { deny = 'tcp 25' }, \
    { allow = 'udp 443' }]";

/// A picture: its file, what is run, how large the terminal is, and for how long it is watched.
struct Picture {
    file: &'static str,
    words: &'static [&'static str],
    size: (u16, u16),
    after: Duration,
}

const PICTURES: [Picture; 2] = [
    Picture {
        file: "top.svg",
        words: &["top"],
        size: (120, 34),
        after: Duration::from_secs(240),
    },
    Picture {
        file: "stats.svg",
        words: &["stats", "--watch", "--top", "12"],
        size: (100, 24),
        after: Duration::from_secs(20),
    },
];

fn main() -> ExitCode {
    match env::args_os().nth(1) {
        Some(file) if PICTURES.iter().all(|picture| file != picture.file) => {
            exit(print(Path::new(&file)))
        }
        only => exit(Interrupted::watch("pictures", |interrupted| {
            draw(interrupted, only.as_deref())
        })),
    }
}

/// Prints the picture of a screen that was captured.
fn print(file: &Path) -> Result<()> {
    let mut text = String::new();
    match file == Path::new("-") {
        true => io::stdin().read_to_string(&mut text).map(drop)?,
        false => {
            text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
        }
    }
    task::print(&svg::of(&Screen::read(&text), "a terminal"))
}

/// Draws all pictures, or one.
fn draw(interrupted: &Interrupted, only: Option<&OsStr>) -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let traffic = Traffic::start(&lab)?;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let wanted = |picture: &Picture| only.is_none_or(|only| only == picture.file);
    for picture in PICTURES.into_iter().filter(wanted) {
        let (width, height) = picture.size;
        let terminal = Tmux::new(width, height)?;
        let title = format!("xdpfw {}", picture.words.join(" "));
        terminal.run_as(&title, &lab.host.xdpfw(picture.words).command()?)?;
        traffic::wait(picture.after, interrupted)?;
        let screen = Screen::read(&terminal.colored_screen()?);
        let file = docs.join(picture.file);
        fs::write(&file, svg::of(&screen, &title))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    traffic.end()
}
