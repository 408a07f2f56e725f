//! `xdpfw panic`: let nothing in for a while but the operator and what is under way.

use anyhow::Result;

use super::{Context, Exit, bypass::end, privilege::require_to_change};
use crate::{
    datapath::Purpose,
    duration::Seconds,
    engine::Engine,
    output::Printer,
    text::{clock_time, sentence_list},
};

/// Arguments of `panic`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long: 30s, 10m, 2h; said again, the time begins anew
    #[arg(long = "for", value_name = "DUR", default_value = "1h")]
    lasts: Seconds,
    /// End it now
    #[arg(long, conflicts_with = "lasts")]
    off: bool,
    /// Begin it even if it cuts this SSH session
    #[arg(long)]
    force: bool,
}

/// Lets nothing in for a while but the operator and what is under way, or ends that.
///
/// # Errors
///
/// Nothing is filtered, it would cut the operator, or the kernel refuses.
pub fn run(args: &Args, _context: &Context, printer: &mut Printer) -> Result<Exit> {
    require_to_change()?;
    let mut engine = Engine::exclusive()?;
    if args.off {
        return end(&mut engine, Purpose::Panic, "panic", printer);
    }
    let (deadline, peers) = engine.panic(args.lasts, args.force)?;
    drop(engine);
    printer.change_is_made();
    let who = match peers.as_slice() {
        [] => "what is under way".to_owned(),
        peers => format!("what is under way and {}", sentence_list(peers, usize::MAX)),
    };
    printer.line(&format!(
        "only {who} may come in until {} (end it with `xdpfw panic --off`)",
        clock_time(deadline.on_the_wall())
    ))?;
    Ok(Exit::Done)
}
