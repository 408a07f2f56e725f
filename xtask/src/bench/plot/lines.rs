//! Owns plots with a line for each subject, over a scale. Both axes are logarithmic: a
//! number that grows as the scale does is a diagonal, one that does not grow is level.

use anyhow::Result;
use plotters::{
    prelude::{BindKeyPoints as _, ChartBuilder, Circle, IntoLogRange as _, PathElement},
    style::{Color as _, text_anchor::HPos},
};

use super::{
    HEAD, LINE, MARGIN, canvas,
    style::{BACKGROUND, FAINT, beside, colour, is_ours, text, title},
    tick, width,
};
use crate::bench::{number::number, report::chapter::Chapter};

const HEIGHT: u32 = 460;
/// The numbers below and beside the axes, with what they count.
const X_AXIS: u32 = 50;
const Y_AXIS: u32 = 64;
const LETTERS: u32 = 13;
/// From name to name, at least.
const PITCH: i32 = 17;
/// From the plot to the names.
const LEADER: i32 = 26;

/// A subject's line, and where its name is.
struct Line<'a> {
    subject: &'a str,
    points: Vec<(f64, f64)>,
    label: String,
    middle: i32,
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
                label: format!("{}  {}", row.subject, number(last)),
                middle: 0,
            })
        })
        .collect();
    // The last is drawn above the others.
    lines.sort_by_key(|line| is_ours(line.subject));

    let names = lines.iter().map(|line| width(&line.label, LETTERS));
    let names = names.max().unwrap_or(0) + LEADER as u32;
    let (left, right) = bounds(scale.iter().copied());
    let points = || lines.iter().flat_map(|line| &line.points);
    let (bottom, top) = roomy(bounds(points().map(|(_, value)| *value)));

    let canvas = canvas(chapter, None, HEIGHT, svg)?;
    let mut chart = ChartBuilder::on(&canvas)
        .margin_top(HEAD + 10)
        .margin_left(MARGIN)
        .margin_right(names + MARGIN)
        .margin_bottom(MARGIN)
        .x_label_area_size(X_AXIS)
        .y_label_area_size(Y_AXIS)
        .build_cartesian_2d(
            (left..right).log_scale().with_key_points(scale.to_vec()),
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

    let edge = |x, y| chart.backend_coord(&(x, y));
    let (_, highest) = edge(right, top);
    let (end, lowest) = edge(right, bottom);
    for line in &mut lines {
        if let Some(&(x, y)) = line.points.last() {
            line.middle = edge(x, y).1;
        }
    }
    spread(&mut lines, highest, lowest);
    for line in &lines {
        let colour = colour(line.subject);
        let (width, size, name) = match is_ours(line.subject) {
            true => (3, 5, title(LETTERS, colour)),
            false => (2, 4, text(LETTERS, colour)),
        };
        let points: Vec<_> = line.points.iter().map(|&(x, y)| edge(x, y)).collect();
        if let Some(&last) = points.last() {
            let leader = [last, (end + 6, last.1), (end + LEADER - 4, line.middle)];
            canvas.draw(&PathElement::new(leader, colour.mix(0.35)))?;
        }
        canvas.draw(&PathElement::new(
            points.clone(),
            colour.stroke_width(width),
        ))?;
        for point in points {
            canvas.draw(&Circle::new(point, size + 1, BACKGROUND.filled()))?;
            canvas.draw(&Circle::new(point, size, colour.filled()))?;
        }
        let name = beside(name, HPos::Left);
        canvas.draw_text(&line.label, &name, (end + LEADER, line.middle))?;
    }
    canvas.present()?;
    Ok(())
}

/// Moves names apart that would lie upon each other.
fn spread(lines: &mut [Line<'_>], highest: i32, lowest: i32) {
    let mut order: Vec<_> = lines.iter_mut().collect();
    order.sort_by_key(|line| line.middle);
    let mut free = highest;
    for line in &mut order {
        line.middle = line.middle.max(free);
        free = line.middle + PITCH;
    }
    let mut free = lowest;
    for line in order.iter_mut().rev() {
        line.middle = line.middle.min(free);
        free = line.middle - PITCH;
    }
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
