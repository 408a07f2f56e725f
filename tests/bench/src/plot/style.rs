//! Colours and letters. A subject has the same colour in all plots.

use plotters::{
    prelude::{FontStyle, IntoFont as _, RGBColor, TextStyle},
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::report::names::subjects::*;

pub(super) const BACKGROUND: RGBColor = RGBColor(255, 255, 255);
/// Letters, those of less weight, and lines behind everything.
pub(super) const INK: RGBColor = RGBColor(31, 35, 40);
pub(super) const FAINT: RGBColor = RGBColor(101, 109, 118);
pub(super) const LINE: RGBColor = RGBColor(225, 228, 232);

/// This project's colour, which nobody else has.
const OURS: RGBColor = RGBColor(205, 60, 10);
const OURS_TOO: RGBColor = RGBColor(238, 142, 62);

/// The colour of a subject.
pub(super) fn colour(subject: &str) -> RGBColor {
    match subject {
        NOOP | TOUCH | NO_FILTER => RGBColor(139, 147, 156),
        FLOOR | XDP_PASS => RGBColor(92, 100, 109),
        WITHOUT_DISPATCHER | XDPFW_PASS | XDPFW_COUNTERS => OURS_TOO,
        XDP_FILTER => RGBColor(123, 80, 160),
        NFT_INGRESS | NFT_SETS | NFT_FILE_SETS => RGBColor(18, 130, 115),
        NFT_RAW => RGBColor(60, 120, 195),
        NFT_CONNTRACK | NFT_PLAIN | NFT | NFT_FILE | NFT_FILE_PEAK => RGBColor(30, 70, 135),
        IPTABLES_RAW | IPSET_RESTORE => RGBColor(160, 130, 50),
        _ if is_ours(subject) => OURS,
        // Policies of this project's filter.
        ONE_PORT => OURS,
        _ => OURS_TOO,
    }
}

/// Whether it is this project's, and to stand out.
pub(super) fn is_ours(subject: &str) -> bool {
    subject.starts_with(XDPFW)
}

/// Letters of this size and colour; the place is their upper left corner.
pub(super) fn text(size: u32, colour: RGBColor) -> TextStyle<'static> {
    // What the library calls a font's size is a quarter more than what SVG does.
    ("sans-serif", f64::from(size) * 1.24)
        .into_font()
        .color(&colour)
}

/// Bold ones.
pub(super) fn title(size: u32, colour: RGBColor) -> TextStyle<'static> {
    let style = text(size, colour);
    TextStyle {
        font: style.font.style(FontStyle::Bold),
        ..style
    }
}

/// The same, with the place in the middle of their left or right side.
pub(super) fn beside(style: TextStyle<'static>, side: HPos) -> TextStyle<'static> {
    style.pos(Pos::new(side, VPos::Center))
}
