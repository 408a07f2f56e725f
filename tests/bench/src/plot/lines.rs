//! Draws a line for each subject, over a scale. Both axes are logarithmic: a number that
//! grows as the scale does is a diagonal, one that does not grow is level.

use anyhow::Result;
use plotters::{
    chart::SeriesLabelPosition,
    element::Circle,
    prelude::{BindKeyPoints as _, ChartBuilder, IntoLogRange as _},
    series::LineSeries,
    style::Color as _,
};

use super::{
    HEAD, LINE, MARGIN, WIDTH, canvas,
    style::{FAINT, INK, colour, is_ours, text},
    tick, widest,
};
use crate::{number::number, report::chapter::Chapter};

const HEIGHT: u32 = 460;
/// The numbers below and beside the axes, with what they count.
const X_AXIS: u32 = 50;
const Y_AXIS: u32 = 64;

/// A subject's line.
struct Line<'a> {
    subject: &'a str,
    points: Vec<(f64, f64)>,
    last: f64,
}

/// Draws the chapter over its scale.
pub(super) fn draw(chapter: &Chapter, scale: &[f64], svg: &mut String) -> Result<()> {
    let mut lines: Vec<_> = chapter
        .rows
        .iter()
        .filter_map(|row| {
            let cells = scale.iter().zip(&row.cells);
            let points: Vec<_> = cells
                .filter_map(|(at, cell)| Some((*at, cell.as_ref()?.median())))
                .filter(|(_, value)| *value > 0.0)
                .collect();
            let (_, last) = *points.last()?;
            Some(Line {
                subject: &row.subject,
                points,
                last,
            })
        })
        .collect();
    // As the lines end, from top to bottom.
    lines.sort_by(|one, other| other.last.total_cmp(&one.last));
    let label = |line: &Line<'_>| format!("{}: {}", line.subject, number(line.last));
    let names = widest(lines.iter().map(label)) + 40;
    let (left, right) = bounds(scale.iter().copied());
    // The names are right of where the lines end.
    let room = f64::from(names) / f64::from(WIDTH - 2 * MARGIN - Y_AXIS - names);
    let edge = right * (right / left).powf(room);
    let values = lines.iter().flat_map(|line| &line.points);
    let (bottom, top) = roomy(bounds(values.map(|(_, value)| *value)));

    let canvas = canvas(chapter, None, HEIGHT, svg)?;
    let mut chart = ChartBuilder::on(&canvas)
        .margin(MARGIN)
        .margin_top(HEAD + 10)
        .x_label_area_size(X_AXIS)
        .y_label_area_size(Y_AXIS)
        .build_cartesian_2d(
            (left..edge).log_scale().with_key_points(scale.to_vec()),
            (bottom..top)
                .log_scale()
                .with_key_points(ticks(bottom, top)),
        )?;
    chart
        .configure_mesh()
        .bold_line_style(LINE)
        .light_line_style(LINE.mix(0.0))
        .axis_style(LINE)
        .label_style(text(12, FAINT))
        .axis_desc_style(text(13, FAINT))
        .x_desc(&chapter.axis)
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .draw()?;
    for line in &lines {
        let colour = colour(line.subject);
        let width = if is_ours(line.subject) { 3 } else { 2 };
        let series = LineSeries::new(line.points.clone(), colour.stroke_width(width).filled());
        chart
            .draw_series(series.point_size(4))?
            .label(label(line))
            .legend(move |(x, y)| Circle::new((x + 10, y), 5, colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(24)
        .label_font(text(13, INK))
        .draw()?;
    canvas.present()?;
    Ok(())
}

/// The least and the greatest.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| {
        (value.min(least), value.max(most))
    })
}

/// Some room around them, and so much in all that what is nearly level looks so.
fn roomy((least, most): (f64, f64)) -> (f64, f64) {
    const SPAN: f64 = 10.0;
    let missing = (SPAN * least / most).max(1.0).sqrt();
    (least / 1.3 / missing, most * 1.3 * missing)
}

/// Round numbers between these two, not too many.
fn ticks(bottom: f64, top: f64) -> Vec<f64> {
    let steps: &[f64] = match top / bottom {
        ..150.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let decades = bottom.log10().floor() as i32..=top.log10().ceil() as i32;
    let ticks = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
    ticks.filter(|tick| (bottom..=top).contains(tick)).collect()
}
