//! What a terminal shows, as SVG: text stays text, colours and weights as they are.

use std::fmt::Write as _;

/// Size of a cell of the terminal.
const CELL: (f32, f32) = (8.4, 18.0);
const MARGIN: f32 = 14.0;
const BAR: f32 = 30.0;

const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d8dbe2";

/// The sixteen colours that programs name.
const COLOURS: [&str; 16] = [
    "#16181d", "#e06c75", "#8ec07c", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dbe2",
    "#767d8c", "#f0858e", "#a3d392", "#f0d399", "#7fc1fa", "#d79be8", "#74cdd8", "#ffffff",
];

fn colour(colour: vt100::Color, default: &str) -> String {
    match colour {
        vt100::Color::Default => default.to_owned(),
        vt100::Color::Idx(i) if i < 16 => COLOURS[usize::from(i)].to_owned(),
        vt100::Color::Idx(i @ 232..) => {
            let grey = 8 + 10 * (u32::from(i) - 232);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
        vt100::Color::Idx(i) => {
            let i = u32::from(i) - 16;
            let part = |n: u32| if n == 0 { 0 } else { 55 + 40 * n };
            format!(
                "#{:02x}{:02x}{:02x}",
                part(i / 36),
                part(i / 6 % 6),
                part(i % 6)
            )
        }
        vt100::Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
    }
}

/// How a run of cells looks.
#[derive(Clone, PartialEq)]
struct Style {
    fore: String,
    back: String,
    bold: bool,
}

impl Style {
    fn of(cell: &vt100::Cell) -> Self {
        let mut fore = colour(cell.fgcolor(), FOREGROUND);
        let mut back = colour(cell.bgcolor(), BACKGROUND);
        if cell.inverse() {
            std::mem::swap(&mut fore, &mut back);
        }
        let bold = cell.bold();
        Self { fore, back, bold }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The picture of a screen in a window with a title. Empty lines at the end are left out.
pub fn svg(screen: &vt100::Screen, title: &str) -> String {
    let (rows, columns) = screen.size();
    let is_used = |row: &u16| {
        (0..columns).any(|c| {
            let cell = screen.cell(*row, c);
            cell.is_some_and(|c| !c.contents().trim().is_empty())
        })
    };
    let used = (0..rows).rev().find(is_used).map_or(0, |row| row + 1);
    let width = f32::from(columns) * CELL.0 + 2.0 * MARGIN;
    let height = f32::from(used) * CELL.1 + BAR + 1.5 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"9\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (i, fill) in ["#e06c75", "#e5c07b", "#8ec07c"].into_iter().enumerate() {
        let x = MARGIN + 6.0 + 18.0 * i as f32;
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"16\" r=\"5.5\" fill=\"{fill}\"/>"
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"50%\" y=\"20\" text-anchor=\"middle\" font-family=\"sans-serif\" \
         font-size=\"13\" fill=\"#767d8c\">{}</text>",
        escaped(title)
    );
    let _ = writeln!(
        out,
        "<g font-family=\"'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace\" \
         font-size=\"14\" xml:space=\"preserve\">"
    );
    for row in 0..used {
        line(screen, row, columns, &mut out);
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// Appends the cells of a line, those that look alike together.
fn line(screen: &vt100::Screen, row: u16, columns: u16, out: &mut String) {
    let cells: Vec<&vt100::Cell> = (0..columns).filter_map(|c| screen.cell(row, c)).collect();
    let top = BAR + f32::from(row) * CELL.1;
    let mut from = 0;
    while from < cells.len() {
        let style = Style::of(cells[from]);
        let same = cells[from..].iter().take_while(|c| Style::of(c) == style);
        let to = from + same.count();
        let text: String = cells[from..to]
            .iter()
            .map(|c| if c.has_contents() { c.contents() } else { " " })
            .collect();
        let x = MARGIN + from as f32 * CELL.0;
        let wide = (to - from) as f32 * CELL.0;
        if style.back != BACKGROUND {
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                CELL.1, style.back
            );
        }
        let shown = text.trim_end();
        if !shown.trim_start().is_empty() {
            let lead = shown.chars().count() - shown.trim_start().chars().count();
            let shown = shown.trim_start();
            let (x, wide) = (
                x + lead as f32 * CELL.0,
                shown.chars().count() as f32 * CELL.0,
            );
            let weight = if style.bold {
                " font-weight=\"bold\""
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{wide:.1}\" \
                 lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"{weight}>{}</text>",
                top + 13.5,
                style.fore,
                escaped(shown)
            );
        }
        from = to;
    }
}
