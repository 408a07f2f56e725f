//! `xdpfw stats`: show what is dropped and what passes, once or as it happens.

use std::time::Duration;

use anyhow::Result;
use tokio::time::MissedTickBehavior;
use xdpfw_common::Transport;

use super::{
    Context, Exit, Failure,
    privilege::{require_to_change, require_to_read},
    watching::{End, Ends, finish, runtime},
};
use crate::{
    engine::{Rates, Sample},
    output::{Background, Printer, Stats, StatsBy, StatsQuery, Trends},
    ports::{PortSpec, PortWord},
};

/// Ports shown where the user asked for no number.
const ROWS: usize = 20;

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the ports with the most drops
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Only these ports: `tcp/443`, `udp/dns`, `443`
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    port: Vec<String>,
    /// Count together what has this in common
    #[arg(long, value_enum, default_value_t)]
    by: StatsBy,
    /// Show them every so many seconds
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "1")]
    watch: Option<f64>,
    /// Set all counters to zero after showing them
    #[arg(long, conflicts_with = "watch")]
    reset: bool,
}

/// Shows the counters.
///
/// # Errors
///
/// The filter is not up, or the kernel cannot be read.
pub fn run(args: &Args, context: &Context, printer: &mut Printer) -> Result<Exit> {
    let mut query = StatsQuery {
        top: args.top,
        ports: args
            .port
            .iter()
            .map(|text| ports(text).map_err(Failure::usage))
            .collect::<Result<Vec<_>, _>>()?
            .concat(),
        by: args.by,
    };
    if !context.json() && query.ports.is_empty() {
        query.top.get_or_insert(ROWS);
    }
    let interval = match args.watch {
        Some(seconds) if !(0.01..=86_400.0).contains(&seconds) => {
            return Err(Failure::usage(format!(
                "cannot watch every {seconds} s (say 0.01 to 86400)"
            ))
            .into());
        }
        seconds => seconds.map(Duration::from_secs_f64),
    };
    match args.reset {
        true => require_to_change()?,
        false => require_to_read()?,
    }
    match interval {
        Some(interval) => watch(interval, &query, context, printer)?,
        None if args.reset => {
            let sample = Sample::take_last()?;
            show(&sample, None, &query, context, printer)?;
            printer.note("all counters are zero again");
        }
        None => show(&Sample::take()?, None, &query, context, printer)?,
    }
    Ok(Exit::Done)
}

fn show(
    sample: &Sample,
    previous: Option<&Sample>,
    query: &StatsQuery,
    context: &Context,
    printer: &mut Printer,
) -> Result<()> {
    let stats = Stats::new(&Rates::between(previous, sample), query);
    print(&stats, context.json(), printer)
}

fn print(stats: &Stats, json: bool, printer: &mut Printer) -> Result<()> {
    if json {
        printer.json(stats)
    } else {
        printer.rates(&stats.to_string())
    }
}

fn watch(
    interval: Duration,
    query: &StatsQuery,
    context: &Context,
    printer: &Printer,
) -> Result<()> {
    let runtime = runtime()?;
    // The runtime only waits: what is shown is read by blocking calls.
    let _context = runtime.enter();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One for all ticks: a signal that comes in between must not be lost.
    let mut ends = Ends::watch()?;
    let json = context.json();
    let mut another = printer.another();
    // A picture that waits is enough: the next one says all that it would.
    let mut writer = Background::start(1, move |stats: Stats| {
        another.begin_frame(json)?;
        print(&stats, json, &mut another)
    })?;
    let mut previous = None;
    let mut trends = Trends::default();
    loop {
        let end = runtime.block_on(async {
            tokio::select! {
                biased;
                () = ends.next() => Some(Ok(())),
                failed = writer.failed() => Some(failed),
                _ = ticks.tick() => None,
            }
        });
        if let Some(end) = end {
            end?;
            runtime.block_on(finish(writer, None, End::Signal, &mut ends))?;
            return Ok(());
        }
        let sample = Sample::take()?;
        let rates = Rates::between(previous.as_ref(), &sample);
        let mut stats = Stats::new(&rates, query);
        // What came before the first look is no rate of now.
        if previous.is_some() && !json {
            let trend = trends.add(&rates, &stats.shown());
            stats = stats.with(trend);
        }
        if writer.offer(stats) {
            previous = Some(sample);
        }
    }
}

/// Reads `tcp/443`, `443/tcp`, `udp/dns`; without a protocol, the port of both.
fn ports(text: &str) -> Result<Vec<(Transport, u16)>, String> {
    if text.contains('/') {
        return Ok(vec![port(text)?]);
    }
    let both = Transport::ALL.map(|transport| port(&format!("{transport}/{text}")));
    match both {
        [Err(error), Err(_)] => Err(error),
        both => Ok(both.into_iter().flatten().collect()),
    }
}

/// Reads `tcp/443`, `443/tcp`, `udp/dns`.
fn port(text: &str) -> Result<(Transport, u16), String> {
    let wrong = || {
        format!(
            "`{}` is not a port here (say for example tcp/443)",
            text.escape_debug()
        )
    };
    let (left, right) = text.split_once('/').ok_or_else(wrong)?;
    let transport = |word: &str| {
        Transport::ALL
            .into_iter()
            .find(|transport| transport.as_str().eq_ignore_ascii_case(word))
    };
    let (transport, port) = match (transport(left), transport(right)) {
        (Some(transport), _) => (transport, right),
        (None, Some(transport)) => (transport, left),
        (None, None) => return Err(wrong()),
    };
    match PortSpec::parse(port, &[transport]).map(|ports| ports.words().to_vec()) {
        Ok(words) => match *words.as_slice() {
            [PortWord::Port(port)] => Ok((transport, port)),
            _ => Err(wrong()),
        },
        Err(error) => Err(error.to_string()),
    }
}
