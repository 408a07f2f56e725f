//! Renders what commands show. Each view is a struct that serialises to JSON and displays as
//! a table; all go through the printer.

mod background;
mod bans;
mod capture;
mod closed;
mod difference;
mod doctor;
mod event;
mod explained;
mod flows;
mod history;
mod list;
mod lists;
mod printer;
mod review;
mod scanners;
mod shadow;
mod sink;
mod stats;
mod status;
mod table;
mod trend;
mod warnings;

pub use background::Background;
pub use bans::BanTable;
pub use capture::{Capture, Packet, comment};
pub use closed::closed_line;
pub use difference::{Difference, summary};
pub use doctor::Doctor;
pub use event::{BanNews, Columns, Lost, Notice, Seen, WallClock};
pub use explained::Explained;
pub use flows::{FlowFill, Flows};
pub use history::HistoryTable;
pub use list::{List, RuleRow};
pub use lists::{ListBans, ListTable};
pub use printer::{HeldWarnings, Printer, Verbosity};
pub use review::{Review, Reviewed};
pub use scanners::Scanners;
pub use shadow::Shadow;
pub use sink::{Log, Sink};
pub use stats::{By as StatsBy, Query as StatsQuery, Stats};
pub use status::{StateWarning, Status, shown_then};
pub use table::change_line;
pub use trend::{Trend, Trends, has_blocks};
pub use warnings::warning_lines;

use serde::Serialize;
use xdpfw_common::abi::Counter;

/// Most prefixes, or interfaces, of a rule that are shown in a line of a table or of an error.
pub const ITEMS: usize = 3;

/// Most of them that are shown of a rule that changes: its author sees what was done, on one
/// screen. Whoever has more of them has them from a file.
pub const CHANGED_ITEMS: usize = 50;

/// All packets, by what became of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Totals {
    passed: Counter,
    dropped: Counter,
}

impl From<&crate::datapath::Snapshot> for Totals {
    fn from(snapshot: &crate::datapath::Snapshot) -> Self {
        use xdpfw_common::Verdict;
        Self {
            passed: snapshot.total(Verdict::Pass),
            dropped: snapshot.total(Verdict::Drop),
        }
    }
}
