//! Draws chapters: bars for cases that have names, lines for those that are a scale. The same
//! numbers always make the same picture.

mod bars;
mod lines;
mod style;

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::{DrawingArea, IntoDrawingArea as _, SVGBackend},
};

use self::style::{BACKGROUND, FAINT, INK, LINE, text, title};
use crate::{number::number, report::chapter::Chapter};

/// The width of all plots, in pixels: a page's.
const WIDTH: u32 = 880;
/// What the title takes at the top.
const HEAD: u32 = 62;
/// Between what is drawn and the edge.
const MARGIN: u32 = 18;

/// Where to draw.
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The chapter as SVG; nothing if it has no numbers.
pub(super) fn draw(chapter: &Chapter) -> Result<Option<String>> {
    let cells = chapter.rows.iter().flat_map(|row| &row.cells);
    if cells.flatten().next().is_none() {
        return Ok(None);
    }
    let mut svg = String::new();
    match chapter.scale() {
        Some(scale) => lines::draw(chapter, &scale, &mut svg)?,
        None => bars::draw(chapter, &mut svg)?,
    }
    svg.push('\n');
    Ok(Some(svg))
}

/// A canvas with the chapter's title on it, and what else is to be known.
fn canvas<'a>(
    chapter: &Chapter,
    note: Option<&str>,
    height: u32,
    svg: &'a mut String,
) -> Result<Canvas<'a>> {
    let canvas = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    // Pages may be dark, where writing without a ground could not be read.
    canvas.fill(&BACKGROUND)?;
    let left = MARGIN as i32;
    canvas.draw_text(&chapter.title, &title(19, INK), (left, 14))?;
    let better = match chapter.unit.more_is_better() {
        true => "more is better",
        false => "less is better",
    };
    let mut subtitle = format!("{}, {better}", chapter.unit.symbol());
    if let Some(note) = note {
        subtitle += &format!("; {}", note.replace('*', ""));
    }
    canvas.draw_text(&subtitle, &text(14, FAINT), (left, 38))?;
    Ok(canvas)
}

/// A number at an axis.
fn tick(value: &f64) -> String {
    let text = number(*value);
    match text.split_once('.') {
        // 20.0 is 20 there.
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole.into(),
        Some(_) => text.trim_end_matches('0').into(),
        None => text,
    }
}

/// About how wide the widest of these texts is, in pixels.
fn widest(texts: impl Iterator<Item = String>) -> u32 {
    let letters = texts.map(|text| text.chars().count() as u32).max();
    letters.unwrap_or(0) * 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn same_numbers_make_the_same_picture() -> Result<()> {
        for chapter in &Report::published()?.chapters {
            let svg = draw(chapter)?;
            assert!(svg.as_ref().is_some_and(|svg| svg.contains(&chapter.title)));
            assert_eq!(svg, draw(chapter)?);
        }
        Ok(())
    }

    #[test]
    fn chapters_without_numbers_have_no_picture() -> Result<()> {
        for mut chapter in Report::published()?.chapters {
            for row in &mut chapter.rows {
                row.cells.fill(None);
            }
            assert_eq!(draw(&chapter)?, None);
        }
        Ok(())
    }

    #[test]
    fn axes_have_no_idle_digits() {
        for (value, text) in [(20.0, "20"), (0.5, "0.5"), (2.0, "2"), (1e6, "1,000,000")] {
            assert_eq!(tick(&value), text);
        }
    }
}
