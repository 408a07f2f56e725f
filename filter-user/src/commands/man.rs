//! `xdpfw man`: print the manual page, or a page for each command.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap_mangen::Man;

use super::{Context, Exit, Failure};
use crate::output::Printer;

/// What no option says: the end of the page.
const CLOSING: &str = r#".SH "EXAMPLES"
.nf
xdpfw allow ssh \-\-from 192.0.2.0/24
xdpfw allow https
xdpfw allow ping
xdpfw up eth0
xdpfw deny any \-\-from 198.51.100.66 \-\-first
xdpfw stats \-\-watch
.fi
.SH "FILES"
.TP
/etc/xdpfw/policy.toml
The policy, unless \-\-policy or XDPFW_POLICY names another file. Root alone may write it,
and the directories on its way.
.TP
/var/lib/xdpfw
The last 50 policies, and the review that was saved, which root alone may read.
.TP
/run/xdpfw
The lock, and the filter's state in the kernel.
.SH "EXIT STATUS"
.TP
0
Done, or already so.
.TP
1
Failed.
.TP
2
The command line makes no sense.
.TP
3
The policy is invalid.
.TP
4
A privilege is missing.
.TP
5
The kernel, a driver or an interface refused.
.TP
6
Refused, because it would lock you out, or because that cannot be told.
.TP
7
The change was not confirmed in time, and went back.
.TP
8
A negative answer to a question.
"#;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command whose page to print; without it, one page for all
    command: Option<String>,
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Prints a page for `man -l -`, or writes all of them.
///
/// # Errors
///
/// There is no such command, or a page cannot be written.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let mut line = context.command_line();
    line.build();
    if let Some(directory) = &args.dir {
        for (name, page) in pages(&line)? {
            let path = directory.join(format!("{name}.8"));
            #[expect(
                clippy::disallowed_methods,
                reason = "whoever packages xdpfw makes the directory for it"
            )]
            std::fs::write(&path, page)
                .with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        return Ok(Exit::Done);
    }
    let page = match &args.command {
        None => whole(&line)?,
        Some(name) => {
            let Some(command) = commands(&line).find(|command| command.get_name() == name) else {
                let message = format!("{name}: no such command (say `xdpfw --help`)");
                return Err(Failure::new(Exit::Usage, &message).into());
            };
            page_of(command)?
        }
    };
    printer.text(&page)?;
    Ok(Exit::Done)
}

/// The commands that have a page.
fn commands(line: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    line.get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// The name of each page, and the page.
fn pages(line: &clap::Command) -> Result<Vec<(String, String)>> {
    let mut pages = vec![("xdpfw".to_owned(), whole(line)?)];
    for command in commands(line) {
        let name = format!("xdpfw-{}", command.get_name());
        pages.push((name, page_of(command)?));
    }
    Ok(pages)
}

/// The command without the options that hold for every command, which stand in the page of
/// `xdpfw` alone, and without its examples, which have a section of their own.
fn own_part(command: &clap::Command) -> clap::Command {
    let bare = command.clone().mut_args(|option| {
        let is_global = option.is_global_set();
        option.hide(is_global)
    });
    bare.after_help(None::<&str>)
}

/// The page of one command.
fn page_of(command: &clap::Command) -> Result<String> {
    let name = format!("xdpfw-{}", command.get_name());
    let own = own_part(command).display_name(&name);
    let man = Man::new(own)
        .title(name.to_uppercase())
        .section("8")
        .source(concat!("xdpfw ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = String::from_utf8(page)?;
    page.push_str(".PP\nOptions that hold for every command: see\n.BR xdpfw (8).\n");
    page.push_str(&examples(command));
    page.push_str(".SH \"EXIT STATUS\"\nAs in\n.BR xdpfw (8).\n");
    page.push_str(".SH \"SEE ALSO\"\n.BR xdpfw (8)\n");
    Ok(ascii(&page))
}

/// The section of the examples that `--help` shows.
fn examples(command: &clap::Command) -> String {
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let lines = help
        .lines()
        .skip(1)
        .map(|line| line.trim().replace('-', "\\-"));
    match lines.collect::<Vec<_>>().join("\n") {
        none if none.is_empty() => none,
        lines => format!(".SH \"EXAMPLES\"\n.nf\n{lines}\n.fi\n"),
    }
}

/// One page, all commands in it.
fn whole(line: &clap::Command) -> Result<String> {
    let mut page = Vec::new();
    Man::new(line.clone()).section("8").render(&mut page)?;
    for command in commands(line) {
        let man = Man::new(own_part(command));
        page.extend_from_slice(
            format!(".SH \"XDPFW {}\"\n", command.get_name().to_uppercase()).as_bytes(),
        );
        let mut section = Vec::new();
        man.render_description_section(&mut section)?;
        man.render_synopsis_section(&mut section)?;
        man.render_options_section(&mut section)?;
        // One page: what are sections of a page of its own are subsections here.
        page.extend_from_slice(
            String::from_utf8(section)?
                .replace(".SH ", ".SS ")
                .as_bytes(),
        );
    }
    page.extend_from_slice(CLOSING.as_bytes());
    page.extend_from_slice(b".SH \"SEE ALSO\"\n");
    let others: Vec<String> = commands(line)
        .map(|command| format!(".BR xdpfw\\-{} (8)", command.get_name()))
        .collect();
    page.extend_from_slice(others.join(",\n").as_bytes());
    page.push(b'\n');
    Ok(ascii(&String::from_utf8(page)?))
}

/// The page in ASCII, with groff's escapes for other characters: not every `troff` is told the
/// encoding of what it reads.
fn ascii(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for c in page.chars() {
        match c.is_ascii() {
            true => text.push(c),
            false => text.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    text
}
