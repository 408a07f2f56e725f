//! What is in front of everything else: help, questions, answers.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span, Text},
    widgets::{Block, BorderType, Clear, Paragraph, Widget as _, Wrap},
};

use super::Look;
use crate::{
    commands::top::{
        act::shown_command,
        model::{Model, Popup},
    },
    text::visible,
};

/// The keys, and what they do.
const KEYS: [(&str, &str); 14] = [
    ("Tab 1-4", "another panel"),
    ("Up Down j k", "another row; PgUp PgDn, g and G go further"),
    ("s r", "sort by the next column; the other way around"),
    ("/", "show only rows that contain a text; Esc shows all"),
    ("Space", "freeze the picture, and go on"),
    (
        "e Enter",
        "explain the row: what becomes of such a packet, and why",
    ),
    ("a", "allow what the row is about; asks first"),
    ("d", "deny what the row is about; asks first"),
    ("Ctrl-L", "draw everything anew"),
    ("q Ctrl-C", "quit"),
    ("", ""),
    (
        "",
        "Rates are of the last interval; the peak and the picture above are",
    ),
    (
        "",
        "since this began. What is counted is exact. Sources are sampled:",
    ),
    ("", "1:64 means that one dropped packet of 64 is looked at."),
];

pub(super) fn draw(area: Rect, buffer: &mut Buffer, model: &mut Model, look: &Look) {
    let Some(popup) = &mut model.popup else {
        return;
    };
    match popup {
        Popup::Help => {
            let lines = KEYS.map(|(key, what)| {
                let what = format!(" {what}");
                match key {
                    "" => Line::styled(what, look.faint()),
                    _ => Line::from(vec![
                        Span::styled(format!(" {key:<12}"), look.key()),
                        Span::raw(what),
                    ]),
                }
            });
            let text = Text::from(lines.to_vec());
            show(area, buffer, "keys", text, "any key closes", &mut 0, look);
        }
        Popup::Confirm { words } => {
            let lines = vec![
                Line::from("This would run"),
                Line::default(),
                Line::styled(format!("  {}", visible(&shown_command(words))), look.head()),
                Line::default(),
                Line::from("and change what is in force at once."),
            ];
            let keys = "y runs it, n does not";
            show(area, buffer, "run this?", lines.into(), keys, &mut 0, look);
        }
        Popup::Busy { title } => {
            let lines = Text::from("one moment …");
            show(area, buffer, &visible(title), lines, "", &mut 0, look);
        }
        Popup::Text {
            title,
            text,
            scrolled,
        } => {
            let text = visible(text.trim_end()).replace('\t', " ");
            let lines: Vec<Line<'_>> = text.lines().map(|line| colored(line, look)).collect();
            let title = visible(title);
            let keys = "j k scroll, any other key closes";
            show(area, buffer, &title, lines.into(), keys, scrolled, look);
        }
    }
}

/// A line with its verdict in colour, if it begins with one.
fn colored<'a>(line: &'a str, look: &Look) -> Line<'a> {
    let first = line.split(' ').next().unwrap_or_default();
    let style = match first {
        "pass" | "allow" => look.passes(),
        "drop" | "deny" => look.drops(),
        "error:" => look.drops(),
        "warning:" => look.warning(),
        _ => Style::new(),
    };
    let (first, others) = line.split_at(first.len());
    Line::from(vec![Span::styled(first, style), Span::raw(others)])
}

/// A box in the middle, as large as its text, with keys on its lower edge.
fn show(
    area: Rect,
    buffer: &mut Buffer,
    title: &str,
    text: Text<'_>,
    keys: &str,
    scrolled: &mut u16,
    look: &Look,
) {
    let most = area.width.saturating_sub(4).min(78);
    let longest = text.width().max(title.len() + 4).max(keys.len() + 4) as u16;
    let width = (longest + 4).min(most);
    let inner = usize::from(width.saturating_sub(4));
    let paragraph = Paragraph::new(text).wrap(Wrap { trim: false });
    let lines = lines_of(&paragraph, inner);
    let height = (lines + 2).min(area.height.saturating_sub(2));
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    Clear.render(place, buffer);
    let hidden = lines.saturating_sub(height.saturating_sub(2));
    *scrolled = (*scrolled).min(hidden);
    let keys = match (hidden, keys) {
        (0, "j k scroll, any other key closes") => "any key closes",
        (_, keys) => keys,
    };
    let mut block = Block::bordered()
        .border_type(BorderType::Plain)
        .border_style(look.title())
        .padding(ratatui::widgets::Padding::horizontal(1))
        .title_top(Line::styled(format!(" {title} "), look.title()));
    if !keys.is_empty() {
        block = block.title_bottom(Line::styled(format!(" {keys} "), look.faint()));
    }
    paragraph
        .scroll((*scrolled, 0))
        .block(block)
        .render(place, buffer);
}

/// Lines that a text takes when it is wrapped: it is drawn to see.
fn lines_of(paragraph: &Paragraph<'_>, width: usize) -> u16 {
    const MOST: u16 = 200;
    let area = Rect::new(0, 0, width as u16, MOST);
    let mut buffer = Buffer::empty(area);
    paragraph.clone().render(area, &mut buffer);
    let is_used = |y: &u16| (0..area.width).any(|x| buffer[(x, *y)].symbol() != " ");
    (0..MOST).rev().find(is_used).map_or(0, |last| last + 1)
}
