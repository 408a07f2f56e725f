//! What is above the panels: rates, their last minutes, and what is in force.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Sparkline, SparklineBar, Widget as _},
};

use super::{Look, numbers};
use crate::{
    commands::top::{
        model::{Header, Model, SPAN},
        reading::Notice,
    },
    text::{thousands, visible},
};

/// Columns beside the sparkline.
const LABEL: u16 = 12;

/// Lines that the header takes.
pub(super) fn height(model: &Model, area: Rect) -> u16 {
    let notices = model
        .header
        .as_ref()
        .map_or(0, |header| match header.is_up {
            true => header.notices.len(),
            false => 1,
        });
    2 + notices as u16 + sparkline(area)
}

/// Lines of the sparkline: the more room, the taller.
const fn sparkline(area: Rect) -> u16 {
    match area.height {
        0..16 => 0,
        16..30 => 2,
        _ => 4,
    }
}

pub(super) fn draw(area: Rect, buffer: &mut Buffer, model: &Model, look: &Look) {
    let Some(header) = &model.header else {
        Line::from(" xdpfw").render(area, buffer);
        return;
    };
    let mut rows = (area.y..area.bottom()).map(|y| Rect::new(area.x, y, area.width, 1));
    let mut line = |line: Line<'_>, buffer: &mut Buffer| {
        if let Some(row) = rows.next() {
            line.render(row, buffer);
        }
    };
    line(title(area.width, model, header, look), buffer);
    line(rates(area.width, header, look), buffer);
    if !header.is_up {
        let text = " nothing is filtered; waiting (say `xdpfw up` to filter) ";
        line(Line::styled(text, look.alarm()), buffer);
    }
    for notice in &header.notices {
        line(said(notice, look), buffer);
    }
    let lines: u16 = rows.len() as u16;
    let picture = Rect::new(area.x, area.bottom() - lines, area.width, lines);
    if lines > 0 {
        history(picture, buffer, model, look);
    }
}

/// Interfaces, generation, default and flows, as far as there is room.
fn title(width: u16, model: &Model, header: &Header, look: &Look) -> Line<'static> {
    let mut line = Line::from(Span::styled(" xdpfw", look.head()));
    let paused = match model.is_paused {
        true => " PAUSED ",
        false => "",
    };
    let room = usize::from(width) - paused.len();
    let add = |text: String, style: Style, line: &mut Line<'static>| {
        let span = Span::styled(text, style);
        let fits = line.width() + 2 + span.width() <= room;
        if fits {
            line.push_span("  ");
            line.push_span(span);
        }
        fits
    };
    let mut left = header.interfaces.len();
    for interface in &header.interfaces {
        let text = format!("{} {}", visible(&interface.name), interface.mode);
        // Room for what comes behind.
        if line.width() + text.len() + 30 > room || !add(text, Style::new(), &mut line) {
            let text = match left == header.interfaces.len() {
                true => format!("{left} interfaces"),
                false => format!("+{left} more"),
            };
            add(text, Style::new(), &mut line);
            break;
        }
        left -= 1;
    }
    if header.is_up {
        let style = match header.default {
            "drop" => Style::new(),
            _ => look.warning(),
        };
        add(format!("default {}", header.default), style, &mut line);
        let generation = format!("generation {}", header.generation);
        add(generation, look.faint(), &mut line);
        if let Some(flows) = header.flows {
            let (entries, capacity) = (thousands(flows.entries), thousands(flows.capacity));
            add(
                format!("flows {entries}/{capacity}"),
                look.faint(),
                &mut line,
            );
        }
    }
    if model.is_paused {
        let gap = usize::from(width).saturating_sub(line.width() + paused.len());
        line.push_span(" ".repeat(gap));
        line.push_span(Span::styled(paused, look.alarm()));
    }
    line
}

/// What comes in, what becomes of it, and the most that was dropped.
fn rates(width: u16, header: &Header, look: &Look) -> Line<'static> {
    let rate = |number: Option<f64>| match number {
        Some(number) => format!("{}/s", numbers::short(numbers::rate(number), number, 11)),
        None => "–".to_owned(),
    };
    let rates = header.rates;
    let cells = [
        (
            "in",
            rate(rates.map(|rates| rates.passed + rates.dropped)),
            look.head(),
        ),
        (
            "passed",
            rate(rates.map(|rates| rates.passed)),
            look.passes(),
        ),
        (
            "dropped",
            rate(rates.map(|rates| rates.dropped)),
            look.drops(),
        ),
        ("peak", rate(Some(header.peak)), look.faint()),
    ];
    let room = usize::from(width.min(120)) / cells.len();
    let mut line = Line::default();
    for (index, (name, number, style)) in cells.into_iter().enumerate() {
        let gap = (room * index).saturating_sub(line.width()).max(1);
        line.push_span(" ".repeat(gap));
        line.push_span(Span::styled(format!("{name} "), look.faint()));
        line.push_span(Span::styled(number, style));
    }
    line
}

fn said(notice: &Notice, look: &Look) -> Line<'static> {
    let left = notice.seconds_left.map(numbers::left).unwrap_or_default();
    let text = match notice.kind {
        "bypass" => format!("bypass: everything passes for {left} more (say `xdpfw bypass --off`)"),
        "panic" => {
            format!("panic: nothing gets in but you for {left} more (say `xdpfw panic --off`)")
        }
        "pending" => {
            format!("pending: the last change goes back in {left} (say `xdpfw confirm` to keep it)")
        }
        "fallback" => {
            "fallback: not the policy of the file is in force (see `xdpfw status`)".into()
        }
        _ => {
            let differences = notice.differences.unwrap_or_default();
            let s = if differences == 1 { "" } else { "s" };
            let differences = thousands(differences);
            return Line::styled(
                format!(
                    " rehearsal: {differences} packet{s} judged otherwise (see `xdpfw shadow`)"
                ),
                look.warning(),
            );
        }
    };
    Line::styled(format!(" {text} "), look.alarm())
}

/// Drops per second over the last minutes.
fn history(area: Rect, buffer: &mut Buffer, model: &Model, look: &Look) {
    let [label, picture] =
        Layout::horizontal([Constraint::Length(LABEL), Constraint::Fill(1)]).areas(area);
    let columns = model.shown_history().columns(picture.width.into());
    let most = columns.iter().flatten().copied().fold(0.0, f64::max);
    let words = [
        format!(" {}/s", numbers::short(numbers::rate(most), most, 9)),
        " dropped".to_owned(),
        format!(" {} min", (SPAN / 60.0).round()),
    ];
    // The most is at the top, and the time at the bottom.
    let lines = usize::from(label.height);
    let shown: &[(usize, usize)] = match lines {
        1 => &[(0, 0)],
        2 => &[(0, 0), (1, 2)],
        _ => &[(0, 0), (1, 1), (lines - 1, 2)],
    };
    for &(row, word) in shown {
        let row = Rect::new(label.x, label.y + row as u16, label.width, 1);
        Line::styled(words[word].as_str(), look.faint()).render(row, buffer);
    }
    // In thousandths of the most: the widget takes whole numbers.
    let bars = columns.iter().map(|column| {
        let height = column.map(|dropped| match most > 0.0 {
            true => ((dropped / most) * 1000.0).ceil() as u64,
            false => 0,
        });
        SparklineBar::from(height)
    });
    Sparkline::default()
        .data(bars)
        .max(1000)
        .bar_set(look.columns())
        .absent_value_symbol(" ")
        .style(look.drops())
        .render(picture, buffer);
}
