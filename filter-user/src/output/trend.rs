//! How a rate went lately, in a line of small columns.

use std::{
    collections::{HashMap, VecDeque},
    env,
};

use xdpfw_common::{Transport, Verdict};

use crate::engine::Rates;

/// How many looks a line shows.
const WIDTH: usize = 72;
/// The same where each row has one.
const SHORT: usize = 16;

/// Whether the terminal shows more than ASCII.
pub fn has_blocks() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    let is_utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    // The kernel's console has no characters for eighths.
    is_utf8 && set("TERM").as_deref() != Some("linux")
}

/// The rates of the last looks: of all drops, and of the ports that are shown.
#[derive(Debug, Default)]
pub struct Trends {
    dropped: VecDeque<f64>,
    peak: f64,
    ports: HashMap<(Transport, u16), VecDeque<f64>>,
}

/// What they come to at one look.
#[derive(Clone, Debug, Default)]
pub struct Trend {
    /// All drops, the latest last.
    pub dropped: String,
    /// The most drops per second that were seen.
    pub peak: f64,
    /// Drops of the ports that are shown.
    pub ports: HashMap<(Transport, u16), String>,
}

impl Trends {
    /// Adds a look at which these ports are shown.
    pub fn add(&mut self, rates: &Rates<'_>, shown: &[(Transport, u16)]) -> Trend {
        let dropped = rates.per_second(|counters| counters.total(Verdict::Drop).packets);
        push(&mut self.dropped, dropped, WIDTH);
        self.peak = self.peak.max(dropped);
        // One that is shown no more begins anew when it is.
        self.ports.retain(|port, _| shown.contains(port));
        let mut ports = HashMap::new();
        for &(transport, port) in shown {
            let of_port = self.ports.entry((transport, port)).or_default();
            push(of_port, rates.dropped(transport, port), SHORT);
            ports.insert((transport, port), line(of_port, SHORT, has_blocks()));
        }
        Trend {
            dropped: line(&self.dropped, WIDTH, has_blocks()),
            peak: self.peak,
            ports,
        }
    }
}

fn push(rates: &mut VecDeque<f64>, rate: f64, room: usize) {
    rates.push_back(rate);
    while rates.len() > room {
        rates.pop_front();
    }
}

/// A column for each rate, the highest as high as can be; nothing is a blank.
fn line(rates: &VecDeque<f64>, width: usize, has_blocks: bool) -> String {
    let heights: &[char] = match has_blocks {
        // Not full ones: rows one below the other would be one area.
        true => &['▁', '▂', '▃', '▄', '▅', '▆', '▇'],
        false => &['.', '-', '=', '#'],
    };
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let columns = rates.iter().map(|&rate| match rate > 0.0 {
        true => {
            let height = (rate / highest * heights.len() as f64).ceil() as usize;
            heights[height.clamp(1, heights.len()) - 1]
        }
        false => ' ',
    });
    let line: String = columns.collect();
    format!("{line:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_column_is_highest_and_nothing_is_blank() {
        let rates = VecDeque::from([0.0, 1.0, 4.0, 8.0]);
        assert_eq!(line(&rates, 6, true), "   ▁▄▇");
        assert_eq!(line(&rates, 6, false), "   .-#");
        assert_eq!(line(&VecDeque::from([0.0]), 3, true), "   ");
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut rates = VecDeque::new();
        for rate in 0..10 {
            push(&mut rates, f64::from(rate), 3);
        }
        assert_eq!(rates, [7.0, 8.0, 9.0]);
    }
}
