//! `xdpfw bypass`: let everything pass for a while.

use anyhow::Result;

use super::{Context, Exit, Failure, privilege::require_to_change};
use crate::{
    datapath::Purpose, duration::Seconds, engine::Engine, output::Printer, text::clock_time,
};

/// Arguments of `bypass`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long: 30s, 10m, 2h; said again, the time begins anew
    #[arg(long = "for", value_name = "DUR", required_unless_present = "off")]
    lasts: Option<Seconds>,
    /// End it now
    #[arg(long, conflicts_with = "lasts")]
    off: bool,
}

/// Lets everything pass for a while, or ends that.
///
/// # Errors
///
/// Nothing is filtered, something else is temporary, or the kernel refuses.
pub fn run(args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_change()?;
    let mut engine = Engine::exclusive()?;
    let Some(lasts) = args.lasts else {
        return end(&mut engine, Purpose::Bypass, "bypass", printer);
    };
    let until = engine.bypass(lasts)?.on_the_wall();
    drop(engine);
    printer.change_is_made();
    printer.line(&format!(
        "everything passes until {} (end it with `xdpfw bypass --off`)",
        clock_time(until)
    ))?;
    Ok(Exit::Done)
}

/// Ends what is in force for a purpose.
pub(super) fn end(
    engine: &mut Engine,
    purpose: Purpose,
    name: &str,
    printer: &mut Printer,
) -> Result<Exit> {
    if engine.end_of_purpose(purpose)?.is_none() {
        return Err(Failure::new(
            Exit::Failed,
            format!("no {name} goes on (see `xdpfw status`)"),
        )
        .into());
    }
    printer.change_is_made();
    printer.line(&format!("the {name} is over: the rules are in force again"))?;
    Ok(Exit::Done)
}
