//! The panels: their columns, and the rows in sight.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::Line,
    widgets::{Paragraph, Widget as _, Wrap},
};
use xdpfw_common::Verdict;

use super::{
    Look, numbers,
    table::{self, Column},
};
use crate::{
    commands::top::model::{Model, PanelKind, SortKey},
    names::services,
    ports::PortClass,
    text::{thousands, visible},
};

/// A cell: what it says, and how it looks.
type Cell = (String, Style);

/// Makes a panel show as many rows as there is room for, below the heads of its columns.
pub(super) fn fit(area: Rect, model: &mut Model, kind: PanelKind) {
    model.panels[kind as usize].fit(usize::from(area.height).saturating_sub(1));
}

pub(super) fn draw(area: Rect, buffer: &mut Buffer, model: &Model, kind: PanelKind, look: &Look) {
    if area.height < 2 {
        return;
    }
    let panel = model.panel(kind);
    let columns = columns(kind, panel.sort);
    let places = table::places(&columns, area);
    table::heads(&columns, &places, area.y, panel.is_reversed, buffer, look);
    if panel.order().is_empty() {
        let text = format!(" {}", nothing(model, kind));
        let body = Rect::new(area.x, area.y + 1, area.width, area.height - 1);
        Paragraph::new(Line::styled(text, look.faint()))
            .wrap(Wrap { trim: false })
            .render(body, buffer);
        return;
    }
    let most = most(model, kind);
    for (index, y) in panel.in_sight().zip(area.y + 1..area.bottom()) {
        let row = panel.order()[index] as usize;
        let bar = |cells: usize| {
            let (rate, _) = model.rows().numbers(kind, row);
            match most > 0.0 {
                true => look.bar(rate / most, cells),
                false => String::new(),
            }
        };
        let cells = cells(model, kind, row, look);
        for ((column, place), (text, style)) in columns.iter().zip(&places).zip(&cells) {
            match (column.head, place) {
                ("", Some((_, width))) => {
                    table::write(&bar(usize::from(*width)), column, *place, y, *style, buffer);
                }
                (_, place) => table::write(text, column, *place, y, *style, buffer),
            }
        }
        if kind == model.focus && index == panel.index() {
            let row = Rect::new(area.x, y, area.width, 1);
            buffer.set_style(row, look.selected());
            // A bar that is reversed would be a gap.
            let bar = columns.iter().position(|column| column.head.is_empty());
            if let Some((x, width)) = bar.and_then(|bar| places[bar]) {
                let style = Style::reset().patch(cells[bar.unwrap_or_default()].1);
                buffer.set_style(Rect::new(x, y, width, 1), style);
            }
        }
    }
}

/// The highest rate of the rows that are shown.
fn most(model: &Model, kind: PanelKind) -> f64 {
    let order = model.panel(kind).order().iter();
    let rates = order.map(|&index| model.rows().numbers(kind, index as usize).0);
    rates.fold(0.0, f64::max)
}

fn columns(kind: PanelKind, sort: SortKey) -> Vec<Column> {
    let (by_name, by_rate, by_packets) = (
        sort == SortKey::Name,
        sort == SortKey::Rate,
        sort == SortKey::Packets,
    );
    // A bar has no head.
    let bar = Column::left("", 4, 8).stretching();
    match kind {
        PanelKind::Ports => vec![
            Column::left("port", 9, 0).sorted(by_name),
            Column::left("service", 13, 2),
            Column::right("drops/s", 10, 1).sorted(by_rate),
            bar,
            Column::right("drops", 12, 3).sorted(by_packets),
            Column::left("class", 10, 9),
        ],
        PanelKind::Reasons => vec![
            Column::left("reason", 19, 0).sorted(by_name),
            Column::left("verdict", 7, 2),
            Column::right("packets/s", 10, 1).sorted(by_rate),
            bar,
            Column::right("packets", 14, 3).sorted(by_packets),
        ],
        PanelKind::Sources => vec![
            Column::left("source", 15, 0).stretching().sorted(by_name),
            Column::right("drops/s", 10, 1).sorted(by_rate),
            Column::right("drops", 14, 3).sorted(by_packets),
            Column::left("last", 16, 2),
        ],
        PanelKind::Rules => vec![
            Column::left("id", 5, 1).sorted(by_name),
            Column::left("rule", 20, 0).stretching(),
            Column::right("packets/s", 10, 2).sorted(by_rate),
            Column::right("packets", 11, 3).sorted(by_packets),
        ],
    }
}

fn cells(model: &Model, kind: PanelKind, row: usize, look: &Look) -> Vec<Cell> {
    let rows = model.rows();
    let (rate, packets) = rows.numbers(kind, row);
    let plain = |text: String| (text, Style::new());
    let of_rate = |style| {
        let style = if rate > 0.0 { style } else { look.faint() };
        (numbers::short(numbers::rate(rate), rate, 10), style)
    };
    let of_packets = |about: &str| {
        let room = match kind {
            PanelKind::Ports => 12,
            PanelKind::Rules => 11,
            PanelKind::Reasons | PanelKind::Sources => 14,
        };
        let text = format!("{about}{}", thousands(packets));
        plain(numbers::short(text, packets as f64, room))
    };
    match kind {
        PanelKind::Ports => {
            let row = rows.ports[row];
            let service = services::name_of(row.transport, row.port).unwrap_or_default();
            vec![
                plain(format!("{}/{}", row.port, row.transport)),
                plain(service.to_owned()),
                of_rate(look.drops()),
                (String::new(), look.drops()),
                of_packets(""),
                (PortClass::of(row.port).to_string(), look.faint()),
            ]
        }
        PanelKind::Reasons => {
            let verdict = rows.reasons[row].reason.verdict();
            let style = match verdict {
                Verdict::Pass | Verdict::Answer => look.passes(),
                Verdict::Drop => look.drops(),
            };
            vec![
                plain(rows.reasons[row].reason.to_string()),
                (verdict.to_string(), style),
                of_rate(style),
                (String::new(), style),
                of_packets(""),
            ]
        }
        PanelKind::Sources => {
            let row = rows.sources[row];
            vec![
                plain(row.address.to_string()),
                of_rate(look.drops()),
                of_packets("~"),
                plain(row.last_words()),
            ]
        }
        PanelKind::Rules => {
            let rule = &rows.rules[row].rule;
            let style = match rule.text.starts_with("deny") {
                true => look.drops(),
                false => look.passes(),
            };
            let comment = rule.comment.as_ref().map(|text| format!("  # {text}"));
            let text = format!("{}{}", rule.text, comment.unwrap_or_default());
            vec![
                plain(rule.id.clone()),
                plain(visible(&text).replace(['\n', '\t'], " ")),
                of_rate(style),
                of_packets(""),
            ]
        }
    }
}

/// Why a panel has no rows.
fn nothing(model: &Model, kind: PanelKind) -> String {
    if !model.filter.is_empty() {
        return format!(
            "nothing contains `{}` (Esc shows all)",
            visible(&model.filter)
        );
    }
    match kind {
        PanelKind::Ports => "no packet to a port was dropped".to_owned(),
        PanelKind::Reasons => "no packet yet".to_owned(),
        PanelKind::Sources => match (&model.sources.why_not, model.sources.ratio) {
            (Some(why), _) => format!("sources: not sampled ({})", visible(why)),
            (None, None) => "sources: not sampled".to_owned(),
            (None, Some(_)) => "no dropped packet was sampled yet".to_owned(),
        },
        PanelKind::Rules => "no rules (say `xdpfw allow …`)".to_owned(),
    }
}
