//! `xdpfw man`: print the manual page.

use anyhow::Result;

use super::{Context, Exit};
use crate::output::Printer;

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
        let page_of = clap_mangen::Man::new(command.clone());
        page.extend_from_slice(
            format!(".SH \"XDPFW {}\"\n", command.get_name().to_uppercase()).as_bytes(),
        );
        let mut section = Vec::new();
        page_of.render_description_section(&mut section)?;
        page_of.render_synopsis_section(&mut section)?;
        page_of.render_options_section(&mut section)?;
        // One page: what are sections of a page of its own are subsections here.
        page.extend_from_slice(
            String::from_utf8(section)?
                .replace(".SH ", ".SS ")
                .as_bytes(),
        );
    }
    printer.text(&String::from_utf8(page)?)?;
    Ok(Exit::Done)
}
