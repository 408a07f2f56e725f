//! `xdpfw man`: print the manual page.

use anyhow::Result;

use super::{Context, Exit};
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
Refused, because it would lock you out.
.TP
8
A negative answer to a question.
"#;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the page, all commands in it, for `man -l -`.
///
/// # Errors
///
/// It cannot be written.
pub fn run(_args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let mut command = context.command_line();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for command in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        // Options that hold for every command stand in the page once.
        let own = command.clone().mut_args(|option| {
            let is_global = option.is_global_set();
            option.hide(is_global)
        });
        let page_of = clap_mangen::Man::new(own);
        page.extend_from_slice(
            format!(".SH \"XDPFW {}\"\n", command.get_name().to_uppercase()).as_bytes(),
        );
        let mut section = Vec::new();
        page_of.render_description_section(&mut section)?;
        page_of.render_synopsis_section(&mut section)?;
        page_of.render_options_section(&mut section)?;
        page_of.render_extra_section(&mut section)?;
        // One page: what are sections of a page of its own are subsections here.
        page.extend_from_slice(
            String::from_utf8(section)?
                .replace(".SH ", ".SS ")
                .as_bytes(),
        );
    }
    page.extend_from_slice(CLOSING.as_bytes());
    printer.text(&String::from_utf8(page)?)?;
    Ok(Exit::Done)
}
