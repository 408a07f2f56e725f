//! A screen as SVG that looks alike everywhere: text is held in its columns, whatever font draws
//! it, and bars and frames are shapes.

use std::fmt::Write as _;

use crate::screen::{Look, Screen};

/// Of a cell, in pixels.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
/// From the top of a cell to the line that letters stand on.
const BASE: f64 = 13.5;
const FONT: f64 = 14.0;
/// Around the screen.
const EDGE: f64 = 14.0;

const INK: &str = "#d3d7de";
const PAPER: &str = "#15181e";
/// The sixteen colours of a terminal, on dark paper.
const COLORS: [&str; 16] = [
    "#3b414d", "#ee6d75", "#86c98a", "#e2bb62", "#74aaf0", "#c793e6", "#62c4cf", "#d3d7de",
    "#6b7280", "#ff8d94", "#a5e0a8", "#f5d58a", "#98c4ff", "#deb5f7", "#8adfe8", "#ffffff",
];

/// The picture of a screen; `title` says to those who do not see it what it is.
pub(super) fn of(screen: &Screen, title: &str) -> String {
    let mut svg = String::new();
    // Nothing fails to be written to a string.
    let _ = write(&mut svg, screen, title);
    svg
}

fn write(svg: &mut String, screen: &Screen, title: &str) -> std::fmt::Result {
    let width = screen.width() as f64 * WIDTH + 2.0 * EDGE;
    let height = screen.lines.len() as f64 * HEIGHT + 2.0 * EDGE;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" role="img">"#
    )?;
    writeln!(svg, "<title>{}</title>", escaped(title))?;
    writeln!(
        svg,
        r#"<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>"#
    )?;
    writeln!(
        svg,
        r#"<g font-family="ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace" font-size="{FONT}" xml:space="preserve">"#
    )?;
    for (row, line) in screen.lines.iter().enumerate() {
        let y = EDGE + row as f64 * HEIGHT;
        let mut start = 0;
        while start < line.len() {
            let look = line[start].1;
            let same = line[start..].iter().take_while(|(_, other)| *other == look);
            let end = start + same.count();
            let run: Vec<char> = line[start..end].iter().map(|(c, _)| *c).collect();
            write_run(svg, start, y, &run, look)?;
            start = end;
        }
    }
    writeln!(svg, "</g>\n</svg>")
}

/// Writes cells that look alike.
fn write_run(
    svg: &mut String,
    column: usize,
    y: f64,
    run: &[char],
    look: Look,
) -> std::fmt::Result {
    let of = |color: Option<u8>| color.and_then(|color| COLORS.get(usize::from(color)));
    let mut ink = of(look.color).unwrap_or(&INK);
    let mut paper = of(look.background);
    if look.is_reversed {
        (ink, paper) = (paper.unwrap_or(&PAPER), Some(ink));
    }
    let left = |column: usize| EDGE + column as f64 * WIDTH;
    if let Some(paper) = paper {
        let (x, width) = (left(column), run.len() as f64 * WIDTH);
        writeln!(
            svg,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{HEIGHT}" fill="{paper}"/>"#
        )?;
    }
    // Dim text is still to be read.
    let dim = if look.is_dim {
        r#" opacity="0.65""#
    } else {
        ""
    };
    let bold = if look.is_bold {
        r#" font-weight="bold""#
    } else {
        ""
    };
    let mut index = 0;
    while index < run.len() {
        let c = run[index];
        if let Some((x, top, width, height)) = block(c) {
            let x = left(column + index) + x * WIDTH;
            let (top, width, height) = (y + top * HEIGHT, width * WIDTH, height * HEIGHT);
            writeln!(
                svg,
                r#"<rect x="{x:.2}" y="{top:.2}" width="{width:.2}" height="{height:.2}" fill="{ink}"{dim}/>"#
            )?;
            index += 1;
            continue;
        }
        if let Some(path) = frame(c) {
            let (x, y) = (left(column + index) + WIDTH / 2.0, y + HEIGHT / 2.0);
            writeln!(
                svg,
                r#"<path d="M{x:.1} {y:.1}{path}" stroke="{ink}" fill="none"{dim}/>"#
            )?;
            index += 1;
            continue;
        }
        if c == ' ' {
            index += 1;
            continue;
        }
        // Up to two blanks or a shape: no font moves what is far behind.
        let is_text = |at: usize| {
            let c = run[at];
            let ends = c == ' ' && run.get(at + 1).is_none_or(|&next| next == ' ');
            !ends && block(c).is_none() && frame(c).is_none()
        };
        let end = (index..run.len())
            .find(|&at| !is_text(at))
            .unwrap_or(run.len());
        let text: String = run[index..end].iter().collect();
        let (x, base) = (left(column + index), y + BASE);
        let width = (end - index) as f64 * WIDTH;
        writeln!(
            svg,
            r#"<text x="{x:.1}" y="{base:.1}" textLength="{width:.1}" lengthAdjust="spacingAndGlyphs" fill="{ink}"{bold}{dim}>{}</text>"#,
            escaped(&text)
        )?;
        index = end;
    }
    Ok(())
}

/// What part of its cell a block is: left, top, width, height.
fn block(c: char) -> Option<(f64, f64, f64, f64)> {
    let number = u32::from(c);
    match number {
        // Lower eighths, the last of which is the full block.
        0x2581..=0x2588 => {
            let height = f64::from(number - 0x2580) / 8.0;
            Some((0.0, 1.0 - height, 1.0, height))
        }
        // Left seven eighths to one eighth.
        0x2589..=0x258f => Some((0.0, 0.0, f64::from(0x2590 - number) / 8.0, 1.0)),
        _ => None,
    }
}

/// The lines of a frame, from the middle of their cell.
fn frame(c: char) -> Option<String> {
    let (x, y) = (WIDTH / 2.0, HEIGHT / 2.0);
    let [up, down] = [format!("m0 -{y}v{y}"), format!("v{y}m0 -{y}")];
    let [left, right] = [format!("m-{x} 0h{x}"), format!("h{x}m-{x} 0")];
    let parts: &[&String] = match c {
        '─' => &[&left, &right],
        '│' => &[&up, &down],
        '┌' => &[&down, &right],
        '┐' => &[&left, &down],
        '└' => &[&up, &right],
        '┘' => &[&up, &left],
        _ => return None,
    };
    Some(parts.iter().map(|part| part.as_str()).collect())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_blocks_are_shapes() {
        let svg = of(&Screen::read("a<b  \x1b[31m█▌\x1b[0m\n\x1b[7mx"), "a & b");
        assert!(svg.contains("<title>a &amp; b</title>"));
        assert!(svg.contains(">a&lt;b</text>"), "{svg}");
        assert!(
            svg.contains(r##"width="8.40" height="18.00" fill="#ee6d75""##),
            "{svg}"
        );
        assert!(
            svg.contains(r##"width="4.20" height="18.00" fill="#ee6d75""##),
            "{svg}"
        );
        assert!(svg.contains(&format!(r#"fill="{INK}"/>"#)), "{svg}");
        for foreign in ["<script", "href", "@import", "url("] {
            assert!(!svg.contains(foreign));
        }
    }
}
