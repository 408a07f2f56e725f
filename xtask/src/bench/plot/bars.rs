//! Owns plots with a bar for each subject in each case.

use anyhow::Result;
use plotters::{
    prelude::{ChartBuilder, Rectangle},
    style::{Color as _, text_anchor::HPos},
};

use super::{
    HEAD, LINE, MARGIN, WIDTH, canvas,
    style::{BACKGROUND, FAINT, INK, beside, colour, is_ours, text, title},
    tick, width,
};
use crate::bench::{report::chapter::Chapter, table::Cell};

/// From bar to bar, the bar itself, and what the name of a case takes.
const PITCH: u32 = 22;
const BAR: u32 = 15;
const CASE: u32 = 34;
/// The numbers below the axis.
const AXIS: u32 = 28;
const LETTERS: u32 = 13;

/// A bar, with its middle's distance from the top.
struct Bar<'a> {
    subject: &'a str,
    value: f64,
    cell: Cell,
    middle: i32,
}

/// Draws the chapter.
pub(super) fn draw(chapter: &Chapter, svg: &mut String) -> Result<()> {
    let mut cases = Vec::new();
    let mut bars = Vec::new();
    let mut top = HEAD;
    for case in &chapter.cases {
        let start = top;
        top += CASE;
        for row in &chapter.rows {
            let (subject, series) = (&row.subject, chapter.series(&row.subject, case));
            let (Some(series), Some(cell)) = (series, chapter.cell(subject, case)) else {
                continue;
            };
            bars.push(Bar {
                subject,
                value: series.median(),
                cell,
                middle: (top + PITCH / 2) as i32,
            });
            top += PITCH;
        }
        // A case that nobody can do leaves no gap.
        if top == start + CASE {
            top = start;
        } else {
            cases.push((case, start));
        }
    }

    let widest = |texts: &mut dyn Iterator<Item = String>| {
        texts.map(|text| width(&text, LETTERS)).max().unwrap_or(0)
    };
    let names = widest(&mut bars.iter().map(|bar| bar.subject.into()));
    let values = widest(&mut bars.iter().map(|bar| bar.cell.to_string()));
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);

    let brackets = chapter
        .legend()
        .map(|legend| format!("in brackets: {legend}"));
    let canvas = canvas(chapter, brackets.as_deref(), top + AXIS + MARGIN / 2, svg)?;
    let mut chart = ChartBuilder::on(&canvas)
        .margin_top(HEAD)
        .margin_left(MARGIN)
        .margin_right(values + MARGIN)
        .margin_bottom(MARGIN / 2)
        .set_left_and_bottom_label_area_size(names + 12)
        .x_label_area_size(AXIS)
        .build_cartesian_2d(0.0..most, 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(8)
        .bold_line_style(LINE)
        .light_line_style(LINE.mix(0.0))
        .axis_style(LINE)
        .label_style(text(12, FAINT))
        .x_label_formatter(&tick)
        .draw()?;

    for (case, top) in cases {
        let (top, bottom) = (top as i32, (top + CASE) as i32);
        let band = [(0, top), (WIDTH as i32, bottom - 4)];
        canvas.draw(&Rectangle::new(band, BACKGROUND.filled()))?;
        let place = (MARGIN as i32, top + 12);
        canvas.draw_text(case, &title(14, INK), place)?;
    }
    for bar in bars {
        let (left, _) = chart.backend_coord(&(0.0, 0.0));
        let (right, _) = chart.backend_coord(&(bar.value, 0.0));
        let half = (BAR / 2) as i32;
        let corners = [
            (left, bar.middle - half),
            (right.max(left + 1), bar.middle + half),
        ];
        canvas.draw(&Rectangle::new(corners, colour(bar.subject).filled()))?;
        let (name, number) = match is_ours(bar.subject) {
            true => (title(LETTERS, INK), title(LETTERS, INK)),
            false => (text(LETTERS, INK), text(LETTERS, INK)),
        };
        let name = beside(name, HPos::Right);
        canvas.draw_text(bar.subject, &name, (left - 8, bar.middle))?;
        let number = beside(number, HPos::Left);
        canvas.draw_text(&bar.cell.to_string(), &number, (right + 7, bar.middle))?;
    }
    canvas.present()?;
    Ok(())
}
