//! Draws a bar for each subject in each case.

use std::iter::once;

use anyhow::Result;
use plotters::{
    element::{EmptyElement, Rectangle, Text},
    prelude::{ChartBuilder, IntoSegmentedCoord as _, SegmentValue},
    style::{Color as _, text_anchor::HPos},
};

use super::{
    HEAD, LINE, MARGIN, canvas,
    style::{FAINT, INK, beside, colour, is_ours, text, title},
    tick, widest,
};
use crate::report::chapter::Chapter;

/// From bar to bar, in pixels, and what the axis below takes.
const PITCH: u32 = 22;
const AXIS: u32 = 28;

/// A line of the plot: the name of a case, or a subject with its bar.
struct Line<'a> {
    name: &'a str,
    /// How long it is, and what is written behind it.
    bar: Option<(f64, String)>,
}

/// Draws the chapter.
pub(super) fn draw(chapter: &Chapter, svg: &mut String) -> Result<()> {
    let mut lines = Vec::new();
    for case in &chapter.cases {
        let bars = chapter.rows.iter().filter_map(|row| {
            let value = chapter.series(&row.subject, case)?.median();
            let cell = chapter.cell(&row.subject, case)?.to_string();
            let (name, bar) = (row.subject.as_str(), Some((value, cell)));
            Some(Line { name, bar })
        });
        let mut bars = bars.peekable();
        // A case that nobody can do is left out.
        if bars.peek().is_some() {
            let (name, bar) = (case.as_str(), None);
            lines.push(Line { name, bar });
            lines.extend(bars);
        }
    }
    // The axis goes upwards.
    lines.reverse();
    let subject = |at: &SegmentValue<i32>| {
        let line = match at {
            SegmentValue::CenterOf(at) => lines.get(*at as usize),
            _ => None,
        };
        let subject = line.filter(|line| line.bar.is_some());
        subject.map_or_else(String::new, |line| line.name.to_owned())
    };
    let bars = || lines.iter().filter_map(|line| line.bar.as_ref());
    let most = bars().map(|(value, _)| *value).fold(0.0, f64::max);
    let cells = bars().map(|(_, cell)| cell.clone());
    let names = chapter.rows.iter().map(|row| row.subject.clone());
    let last = lines.len() as i32 - 1;

    let brackets = chapter
        .legend()
        .map(|legend| format!("in brackets: {legend}"));
    let height = HEAD + lines.len() as u32 * PITCH + AXIS + MARGIN;
    let canvas = canvas(chapter, brackets.as_deref(), height, svg)?;
    let mut chart = ChartBuilder::on(&canvas)
        .margin(MARGIN)
        .margin_top(HEAD)
        .margin_right(widest(cells) + MARGIN)
        .x_label_area_size(AXIS)
        .y_label_area_size(widest(names) + 12)
        .build_cartesian_2d(0.0..most, (0..last).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_labels(8)
        .y_labels(lines.len())
        .bold_line_style(LINE)
        .light_line_style(LINE.mix(0.0))
        .axis_style(LINE)
        .label_style(text(13, FAINT))
        .x_label_formatter(&tick)
        .y_label_formatter(&subject)
        .draw()?;
    for (at, line) in (0..).zip(&lines) {
        let middle = SegmentValue::CenterOf(at);
        let Some((value, cell)) = &line.bar else {
            let style = beside(title(14, INK), HPos::Left);
            let name = Text::new(line.name.to_owned(), (0, 0), style);
            chart.draw_series(once(EmptyElement::at((0.0, middle)) + name))?;
            continue;
        };
        let (bottom, top) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
        let corners = [(0.0, bottom), (*value, top)];
        let mut bar = Rectangle::new(corners, colour(line.name).filled());
        bar.set_margin(3, 3, 0, 0);
        chart.draw_series(once(bar))?;
        let style = if is_ours(line.name) { title } else { text };
        let cell = Text::new(cell.clone(), (7, 0), beside(style(13, INK), HPos::Left));
        chart.draw_series(once(EmptyElement::at((*value, middle)) + cell))?;
    }
    canvas.present()?;
    Ok(())
}
