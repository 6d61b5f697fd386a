//! How the live view looks: a state in, a picture out.
//!
//! From top to bottom: a line about the run, the table of probes, the maps in one or two
//! columns, what the probes printed, the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{
    Block, BorderType, Cell, HighlightSpacing, Paragraph, Row as TableRow, Table, TableState,
};

use super::super::duration;
use super::state::{MapRows, ProbeRow, Row, State};
use crate::runtime::output::mapprint::CellValue;

/// Least width at which maps stand side by side.
const WIDE: u16 = 110;
/// Lines that a pane with anything in it takes.
const LEAST: u16 = 4;
/// Frames of a stack that are shown of a key.
const FRAMES: usize = 8;

const DIM: Style = Style::new().fg(Color::DarkGray);
const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const NAME: Style = Style::new().fg(Color::Cyan);
const RATE: Style = Style::new().fg(Color::Green);
const BAR: Style = Style::new().fg(Color::Blue);
const BAD: Style = Style::new().fg(Color::Red);
const TITLE: Style = Style::new().add_modifier(Modifier::REVERSED.union(Modifier::BOLD));
const CHOSEN: Style = Style::new().bg(Color::Indexed(237));

/// Draws it all.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let output = match (state.output.is_empty(), state.zoomed) {
        (false, false) if area.height >= 16 => (area.height / 5).clamp(4, 10),
        _ => 0,
    };
    let probes = match state.zoomed {
        true => 0,
        false => (state.probes.len() as u16 + 3).min(area.height / 3).max(4),
    };
    let [head, table, maps, printed, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(probes),
        Constraint::Min(0),
        Constraint::Length(output),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(state), head);
    if probes > 0 {
        draw_probes(frame, state, table);
    }
    draw_maps(frame, state, maps);
    if output > 0 {
        draw_output(frame, state, printed);
    }
    frame.render_widget(footer(state), foot);
}

fn header(state: &State) -> Line<'_> {
    let up = state.started.elapsed().as_secs();
    let (h, m, s) = (up / 3600, up / 60 % 60, up % 60);
    let mut spans = vec![
        Span::styled(" rtrace top ", TITLE),
        Span::styled(format!("  {}", state.title), HEAD),
        Span::raw(format!("   {h}:{m:02}:{s:02}")),
        Span::styled(
            format!(
                "   every {:?}, sorted by {}",
                state.every,
                state.sort.name()
            ),
            DIM,
        ),
    ];
    if state.paused {
        spans.push(Span::styled("   PAUSED", BAD.add_modifier(Modifier::BOLD)));
    }
    Line::from(spans)
}

fn footer(state: &State) -> Line<'_> {
    if let Some(message) = &state.message {
        return Line::styled(message.as_str(), BAD);
    }
    let keys = [
        ("q", "quit"),
        ("space", "pause"),
        ("s", "sort"),
        ("t", "switch probe"),
        ("r", "reset"),
        ("Tab", "next"),
        ("↑↓", "move"),
        ("Enter", "zoom"),
        ("x/X", "hide/show"),
        ("+/-", "speed"),
    ];
    let spans = keys.iter().flat_map(|(key, what)| {
        [
            Span::styled(format!(" {key}"), NAME),
            Span::styled(format!(" {what} "), DIM),
        ]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn pane(title: String, chosen: bool) -> Block<'static> {
    let style = if chosen { NAME } else { DIM };
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(style)
        .title(Span::styled(format!(" {title} "), HEAD))
}

fn draw_probes(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let rows = state.probes.iter().map(probe_row);
    let widths = [
        Constraint::Length(4),
        Constraint::Length(4),
        Constraint::Length(10),
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let titles = ["#", "", "hits/s", "hits", "each", "cpu", "lost", "probe"];
    let head = titles.iter().enumerate().map(|(i, t)| {
        let text = Text::from(*t);
        Cell::from(if (2..=6).contains(&i) {
            text.right_aligned()
        } else {
            text
        })
    });
    let table = Table::new(rows, widths)
        .header(TableRow::new(head).style(DIM))
        .block(pane("probes".into(), state.map.is_none()))
        .row_highlight_style(CHOSEN)
        .highlight_symbol("▸")
        .highlight_spacing(HighlightSpacing::Always);
    let selected = state.map.is_none().then_some(state.probe);
    let mut at = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut at);
}

fn probe_row(row: &ProbeRow) -> TableRow<'_> {
    let right = |text: String, style: Style| {
        Cell::from(Text::from(Line::styled(text, style)).right_aligned())
    };
    let number = Cell::from(format!("[{}]", row.number));
    let Some(counts) = row.counts else {
        let mut cells = vec![number, Cell::from("off")];
        cells.resize(7, Cell::from(""));
        cells.push(Cell::from(row.text.as_str()));
        return TableRow::new(cells).style(DIM);
    };
    let each = match counts.hits {
        0 => String::new(),
        hits => duration(counts.time_ns / hits),
    };
    let lost = counts.lost + counts.missed;
    let lost = match lost {
        0 => right(String::new(), DIM),
        n => right(n.to_string(), BAD),
    };
    TableRow::new([
        number,
        Cell::from(Span::styled("on", RATE)),
        right(human(row.rate), RATE),
        right(counts.hits.to_string(), Style::new()),
        right(each, Style::new()),
        right(format!("{:.2}%", row.load * 100.0), Style::new()),
        lost,
        Cell::from(row.text.as_str()),
    ])
}

fn draw_maps(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let shown = state.shown();
    if shown.is_empty() {
        let text = match state.hidden.is_empty() {
            true => "no maps",
            false => "all maps are hidden",
        };
        frame.render_widget(Paragraph::new(text).style(DIM), area);
        return;
    }
    if let (true, Some(map)) = (state.zoomed, state.map.and_then(|at| shown.get(at))) {
        draw_map(frame, map, true, state.scroll, area);
        return;
    }
    // Maps of one line share a pane.
    let blocks = shown.iter().filter(|m| !m.scalar).count();
    let (blocks, scalars) = shown.split_at(blocks);
    let mut panes: Vec<(usize, &[&MapRows])> = blocks.chunks(1).enumerate().collect();
    if !scalars.is_empty() {
        panes.push((blocks.len(), scalars));
    }
    let columns = match area.width >= WIDE && panes.len() > 1 {
        true => 2,
        false => 1,
    };
    // What does not fit is reached by moving on: the chosen one is always there.
    let fit = columns * usize::from((area.height / LEAST).max(1));
    let is_chosen = |(at, maps): &(usize, &[&MapRows])| {
        state
            .map
            .is_some_and(|m| (*at..at + maps.len()).contains(&m))
    };
    let chosen = panes.iter().position(is_chosen).unwrap_or(0);
    let from = (chosen + 1).saturating_sub(fit);
    let panes = &panes[from..panes.len().min(from + fit)];
    let sides = Layout::horizontal(vec![Constraint::Fill(1); columns]).split(area);
    for (column, side) in sides.iter().enumerate() {
        let mine: Vec<_> = panes.iter().skip(column).step_by(columns).collect();
        let heights = mine.iter().map(|(_, maps)| match maps {
            [map] if !map.scalar => {
                Constraint::Fill((lines(map) as u16).clamp(LEAST, area.height.max(LEAST)))
            }
            maps => Constraint::Length(maps.len() as u16 + 2),
        });
        let parts = Layout::vertical(heights).split(*side);
        for (pane_, part) in mine.into_iter().zip(parts.iter()) {
            match pane_.1 {
                [map] if !map.scalar => {
                    let chosen = is_chosen(pane_);
                    let scroll = if chosen { state.scroll } else { 0 };
                    draw_map(frame, map, chosen, scroll, *part);
                }
                maps => draw_scalars(frame, maps, is_chosen(pane_), *part),
            }
        }
    }
}

/// How many lines a map would like to have.
fn lines(map: &MapRows) -> usize {
    let of = |row: &Row| match &row.cell.value {
        CellValue::Text(text) => text.lines().count().max(1),
        CellValue::Buckets(rows) => rows.len() + 1,
    };
    2 + map.rows.iter().map(of).sum::<usize>()
}

fn draw_scalars(frame: &mut Frame<'_>, maps: &[&MapRows], chosen: bool, area: Rect) {
    let wide = maps.iter().map(|m| m.name.len()).max().unwrap_or(0);
    let lines = maps.iter().map(|map| {
        let row = map.rows.first();
        let value = match row.map(|r| &r.cell.value) {
            Some(CellValue::Text(text)) => text.as_str(),
            _ => "",
        };
        let mut spans = vec![
            Span::styled(format!("{:<wide$}  ", map.name), NAME),
            Span::raw(value.to_owned()),
        ];
        if let Some(rate) = row.and_then(|r| r.rate) {
            spans.push(Span::styled(format!("  {}/s", human(rate)), RATE));
        }
        Line::from(spans)
    });
    let text = Paragraph::new(lines.collect::<Vec<_>>()).block(pane("values".into(), chosen));
    frame.render_widget(text, area);
}

fn draw_map(frame: &mut Frame<'_>, map: &MapRows, chosen: bool, scroll: usize, area: Rect) {
    let title = match map.entries {
        n if map.rows.iter().any(|r| !r.cell.key.is_empty()) => {
            let s = if n == 1 { "y" } else { "ies" };
            format!("{}: {n} entr{s}", map.name)
        }
        _ => map.name.clone(),
    };
    let block = pane(title, chosen);
    let inner = block.inner(area);
    let width = usize::from(inner.width);
    let rows = map.rows.iter().skip(scroll.min(map.rows.len()));
    let rows: Vec<&Row> = rows.take(usize::from(inner.height)).collect();
    let most = map.rows.iter().filter_map(|r| r.weight).max().unwrap_or(0);
    let wide = |text: fn(&Row) -> String| rows.iter().map(|r| text(r).len()).max().unwrap_or(0);
    let columns = Columns {
        key: rows
            .iter()
            .filter_map(|r| r.cell.key.lines().find(|l| !l.trim().is_empty()))
            .map(|l| l.trim().chars().count())
            .max()
            .unwrap_or(0)
            .min(width / 2),
        value: wide(value_text),
        rate: wide(rate_text),
        width,
        most,
    };
    let lines: Vec<Line<'_>> = rows.iter().flat_map(|row| entry(row, &columns)).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Widths of the columns of a map.
struct Columns {
    key: usize,
    value: usize,
    rate: usize,
    width: usize,
    /// The value whose bar has full length.
    most: i128,
}

fn value_text(row: &Row) -> String {
    match &row.cell.value {
        CellValue::Text(text) if !text.contains('\n') => text.clone(),
        _ => String::new(),
    }
}

fn rate_text(row: &Row) -> String {
    row.rate
        .map_or_else(String::new, |r| format!("{}/s", human(r)))
}

/// The lines of an entry.
fn entry<'a>(row: &'a Row, columns: &Columns) -> Vec<Line<'a>> {
    // A stack has lines of its own, the first of which stands beside the value.
    let mut key = row
        .cell
        .key
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty());
    let first = key.next().unwrap_or_default();
    let rest: Vec<&str> = key.take(FRAMES).collect();
    let mut out = Vec::new();
    match &row.cell.value {
        CellValue::Text(text) if !text.contains('\n') => {
            let mut spans = Vec::new();
            if columns.key > 0 {
                let key = cut(first, columns.key);
                let wide = columns.key;
                spans.push(Span::styled(format!("{key:<wide$}  "), NAME));
            }
            let wide = columns.value.min(columns.width);
            match row.weight {
                Some(_) => spans.push(Span::raw(format!("{text:>wide$}"))),
                None => spans.push(Span::raw(text.as_str())),
            }
            let mut used = columns.key + 2 + wide;
            if columns.rate > 0 {
                let wide = columns.rate;
                spans.push(Span::styled(format!("  {:>wide$}", rate_text(row)), RATE));
                used += 2 + wide;
            }
            if let Some(weight) = row.weight {
                let room = columns.width.saturating_sub(used + 3);
                let part = weight.max(0) as f64 / columns.most.max(1) as f64;
                spans.push(Span::styled(format!("  {}", bar(part, room)), BAR));
            }
            out.push(Line::from(spans));
        }
        CellValue::Text(text) => {
            if !first.is_empty() {
                out.push(Line::styled(first, NAME));
            }
            out.extend(text.lines().map(Line::raw));
        }
        CellValue::Buckets(buckets) => {
            if !first.is_empty() {
                let mut spans = vec![Span::styled(first, NAME.add_modifier(Modifier::BOLD))];
                spans.extend(row.weight.map(|w| Span::raw(format!("  {w}"))));
                spans.push(Span::styled(format!("  {}", rate_text(row)), RATE));
                out.push(Line::from(spans));
            }
            out.extend(rest.iter().map(|l| Line::styled(format!("  {l}"), NAME)));
            let label = buckets.iter().map(|(l, _)| l.len()).max().unwrap_or(0);
            let most = buckets.iter().map(|(_, n)| *n).max().unwrap_or(0);
            let count = most.to_string().len();
            let room = columns.width.saturating_sub(label + count + 5);
            out.extend(buckets.iter().map(|(what, n)| {
                Line::from(vec![
                    Span::styled(format!("{what:<label$}  "), NAME),
                    Span::raw(format!("{n:>count$}  ")),
                    Span::styled(bar(*n as f64 / most.max(1) as f64, room), BAR),
                ])
            }));
            return out;
        }
    }
    out.extend(rest.iter().map(|l| Line::styled(format!("  {l}"), DIM)));
    out
}

/// A bar of up to `room` cells, by eighths of a cell.
fn bar(part: f64, room: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (part.clamp(0.0, 1.0) * room as f64 * 8.0).round() as usize;
    let mut out = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        out.push(EIGHTHS[eighths % 8]);
    }
    out
}

/// A text of at most `width` characters.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

fn draw_output(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let title = match state.dropped {
        0 => "output".to_owned(),
        n => format!("output: {n} lines not shown"),
    };
    let block = pane(title, false);
    let room = usize::from(block.inner(area).height);
    let from = state.output.len().saturating_sub(room);
    let lines: Vec<Line<'_>> = state
        .output
        .range(from..)
        .map(|l| Line::raw(l.as_str()))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// A number that need not be exact, in few characters.
fn human(n: f64) -> String {
    match n.abs() {
        a if a < 10.0 && a.fract() > 0.0 => format!("{n:.1}"),
        a if a < 10_000.0 => format!("{n:.0}"),
        a if a < 10_000_000.0 => format!("{:.0}k", n / 1e3),
        a if a < 10_000_000_000.0 => format!("{:.0}M", n / 1e6),
        _ => format!("{:.0}G", n / 1e9),
    }
}
