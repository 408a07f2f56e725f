//! Draws the model. Nothing is decided here, and nothing from outside gets to the terminal but as
//! visible text.

mod header;
mod look;
mod numbers;
mod panels;
mod popup;
mod table;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Widget as _,
};

pub(super) use self::look::Look;
use super::model::{Model, PanelKind};
use crate::text::visible;

/// The least that there is something to see on.
const LEAST: (u16, u16) = (40, 10);
/// From this size on, all panels are shown at once.
const WIDE: (u16, u16) = (110, 30);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, look: &Look) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(area, buffer);
        return;
    }
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(header::height(model, area)),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header::draw(head, buffer, model, look);
    match area.width >= WIDE.0 && area.height >= WIDE.1 {
        true => all_panels(body, buffer, model, look),
        false => one_panel(body, buffer, model, look),
    }
    footer(foot, buffer, model, look);
    popup::draw(area, buffer, model, look);
    if !look.has_blocks {
        in_ascii(buffer);
    }
    if model.is_typing {
        let end = 1 + Span::raw(visible(&model.filter)).width() as u16;
        frame.set_cursor_position((foot.x + end.min(foot.width - 1), foot.y));
    }
}

/// Leaves nothing that a terminal without Unicode cannot show.
fn in_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let plain = match cell.symbol() {
            symbol if symbol.is_ascii() => continue,
            "│" => "|",
            "─" | "–" => "-",
            "┌" | "┐" | "└" | "┘" => "+",
            "…" => ".",
            "×" => "x",
            _ => "?",
        };
        cell.set_symbol(plain);
    }
}

fn too_small(area: Rect, buffer: &mut Buffer) {
    let (width, height) = LEAST;
    let lines = [
        "too small".to_owned(),
        format!("{width}×{height} at least"),
        "q quits".to_owned(),
    ];
    let top = area.y + area.height.saturating_sub(lines.len() as u16) / 2;
    for (line, y) in lines.into_iter().zip(top..area.bottom()) {
        let row = Rect::new(area.x, y, area.width, 1);
        Line::from(line).centered().render(row, buffer);
    }
}

/// The focused panel, below the names of all.
fn one_panel(area: Rect, buffer: &mut Buffer, model: &mut Model, look: &Look) {
    let [tabs, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let mut line = tabs_line(model, look, true);
    if line.width() > usize::from(area.width) {
        line = tabs_line(model, look, false);
    }
    panels::fit(body, model, model.focus);
    let state = state(model, model.focus);
    let left = line.width() as u16;
    line.render(tabs, buffer);
    if left + (state.width() as u16) < tabs.width {
        state.right_aligned().render(tabs, buffer);
    }
    panels::draw(body, buffer, model, model.focus, look);
}

/// The names of the panels, with the keys that lead there if there is room.
fn tabs_line(model: &Model, look: &Look, has_numbers: bool) -> Line<'static> {
    let mut line = Line::default();
    for (kind, number) in PanelKind::ALL.into_iter().zip(1..) {
        let style = match kind == model.focus {
            true => look.focus(),
            false => look.faint(),
        };
        let text = match has_numbers {
            true => format!(" {number} {} ", kind.title()),
            false => format!(" {} ", kind.title()),
        };
        line.push_span(Span::styled(text, style));
        line.push_span(" ");
    }
    line
}

/// Every panel, two beside each other.
fn all_panels(area: Rect, buffer: &mut Buffer, model: &mut Model, look: &Look) {
    let rows = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).spacing(1);
    let columns = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2);
    let [upper, lower] = rows.areas(area);
    let ([ports, sources], [reasons, rules]) = (columns.areas(upper), columns.areas(lower));
    for (kind, area) in PanelKind::ALL
        .into_iter()
        .zip([ports, reasons, sources, rules])
    {
        let [title, body] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let style = match kind == model.focus {
            true => look.focus(),
            false => look.title(),
        };
        buffer.set_style(title, style);
        panels::fit(body, model, kind);
        let name = format!(" {} {}", kind as usize + 1, kind.title());
        Line::styled(name, style).render(title, buffer);
        state(model, kind)
            .style(style)
            .right_aligned()
            .render(title, buffer);
        panels::draw(body, buffer, model, kind, look);
    }
}

/// How much of a panel is shown.
fn state(model: &Model, kind: PanelKind) -> Line<'static> {
    let panel = model.panel(kind);
    let (all, sight) = (panel.order().len(), panel.in_sight());
    let mut text = match (kind, model.sources.ratio) {
        (PanelKind::Sources, Some(ratio)) => format!("sampled 1:{ratio}  "),
        _ => String::new(),
    };
    if all > sight.len() {
        text.push_str(&format!(
            "{}-{} of {} ",
            sight.start + 1,
            sight.end,
            crate::text::thousands(all as u64)
        ));
    }
    Line::from(text)
}

/// What was said last, what is typed, or which keys there are.
fn footer(area: Rect, buffer: &mut Buffer, model: &Model, look: &Look) {
    if let Some(message) = &model.message {
        Line::styled(format!(" {}", visible(message)), look.warning()).render(area, buffer);
        return;
    }
    if model.is_typing {
        Line::from(format!("/{}", visible(&model.filter))).render(area, buffer);
        return;
    }
    let mut line = Line::default();
    if !model.filter.is_empty() {
        let filter = format!("/{} ", visible(&model.filter));
        line.push_span(Span::styled(filter, look.warning()));
        line.push_span(Span::styled("Esc", look.key()));
        line.push_span(" all rows  ");
    }
    let hints = [
        ("q", "quit"),
        ("?", "help"),
        ("Tab", "panel"),
        ("/", "filter"),
        ("s", "sort"),
        ("Space", "pause"),
        ("e", "explain"),
        ("a", "allow"),
        ("d", "deny"),
    ];
    for (key, what) in hints {
        let hint = [
            Span::raw(" "),
            Span::styled(key, look.key()),
            Span::raw(format!(" {what}")),
        ];
        let width: usize = hint.iter().map(Span::width).sum();
        if line.width() + width > usize::from(area.width) {
            break;
        }
        line.spans.extend(hint);
    }
    line.render(area, buffer);
}
