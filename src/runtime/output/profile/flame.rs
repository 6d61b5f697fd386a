//! A profile as a picture: one SVG file that a browser shows and its script makes interactive.
//!
//! The root is at the top, callees hang below their callers, a frame is as wide as the share of
//! its stacks; siblings are in the order of their names, so that two pictures compare. Clicking a
//! frame zooms into it, `/` searches by regular expression, Escape undoes both. Without its
//! script it is a picture with tooltips. Names come from traced programs: they are escaped, and
//! the script handles them as text only.

use std::fmt::Write as _;
use std::io::Write;

use super::{Frame, Kind, Profile};

/// Width of the drawing and its margins, height of a row and of what is above the rows.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
const ROW: usize = 17;
const TOP: usize = 58;

/// Frames narrower than this are left out.
const MIN_WIDTH: f64 = 0.1;
/// Deepest row; deeper stacks are cut.
const MAX_DEPTH: usize = 1000;
/// Width of a character of a label.
const CHAR: f64 = 6.6;

/// A frame of the picture: a function, below one chain of callers.
struct Node {
    frame: u32,
    depth: usize,
    /// Where its stacks begin, and how many they are, in units of weight.
    start: u64,
    total: u64,
}

/// Writes a profile under a title.
///
/// # Errors
/// The output cannot be written.
pub fn write(profile: &Profile, title: &str, out: &mut impl Write) -> std::io::Result<()> {
    let (nodes, total) = layout(profile);
    let scale = (WIDTH - 2.0 * MARGIN) / total.max(1) as f64;
    let shown: Vec<&Node> = nodes
        .iter()
        .filter(|n| n.total as f64 * scale >= MIN_WIDTH)
        .collect();
    let left_out = nodes.len() - shown.len();
    let rows = shown.iter().map(|n| n.depth).max().unwrap_or(0) + 1;
    let height = TOP + rows * ROW + 12;
    let mut text = String::new();
    let title = escaped(title);
    let _ = write!(
        text,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" data-total=\"{total}\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"head\" x=\"{}\" y=\"22\">{title}</text>\n\
         <text class=\"info\" id=\"about\" x=\"{MARGIN}\" y=\"44\">{}</text>\n\
         <text class=\"button\" id=\"reset\" x=\"{MARGIN}\" y=\"22\">Reset</text>\n\
         <text class=\"button\" id=\"search\" x=\"{}\" y=\"22\">Search</text>\n\
         <text class=\"info end\" id=\"matched\" x=\"{}\" y=\"44\"></text>\n<g id=\"frames\">\n",
        WIDTH / 2.0,
        about(total, left_out),
        WIDTH - MARGIN,
        WIDTH - MARGIN,
    );
    for node in shown {
        draw(profile.get(node.frame), node, scale, total, &mut text);
    }
    let _ = write!(
        text,
        "</g>\n<script><![CDATA[\n{SCRIPT}]]></script>\n</svg>\n"
    );
    out.write_all(text.as_bytes())
}

fn about(total: u64, left_out: usize) -> String {
    let mut text = format!("{total} in all. Click a frame to zoom, / to search, Esc to reset.");
    if left_out > 0 {
        let _ = write!(text, " Too narrow to show: {left_out}.");
    }
    text
}

/// All frames, callers before callees, and the sum of weights.
fn layout(profile: &Profile) -> (Vec<Node>, u64) {
    let mut stacks: Vec<(&[u32], u64)> = profile.samples().collect();
    let name = |&f: &u32| profile.get(f);
    // Stacks with a caller in common are neighbours then.
    stacks.sort_by(|a, b| a.0.iter().map(name).cmp(b.0.iter().map(name)));
    let mut nodes: Vec<Node> = Vec::new();
    // Indices of the frames that the previous stack left open.
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0u64;
    for (stack, weight) in stacks {
        let stack = &stack[..stack.len().min(MAX_DEPTH)];
        let common = open
            .iter()
            .zip(stack)
            .take_while(|&(&node, &frame)| nodes[node].frame == frame)
            .count();
        open.truncate(common);
        for (depth, &frame) in stack.iter().enumerate().skip(common) {
            open.push(nodes.len());
            nodes.push(Node {
                frame,
                depth,
                start: at,
                total: 0,
            });
        }
        let end = at.saturating_add(weight);
        for &node in &open {
            nodes[node].total = end - nodes[node].start;
        }
        at = end;
    }
    (nodes, at)
}

fn draw(frame: &Frame, node: &Node, scale: f64, total: u64, out: &mut String) {
    let x = MARGIN + node.start as f64 * scale;
    let width = node.total as f64 * scale;
    let y = TOP + node.depth * ROW;
    let name = escaped(&frame.name);
    let share = 100.0 * node.total as f64 / total.max(1) as f64;
    let place = match &*frame.module {
        "" => String::new(),
        module => format!("\n{}", escaped(module)),
    };
    let fits = ((width - 6.0) / CHAR).max(0.0) as usize;
    let _ = writeln!(
        out,
        "<g data-s=\"{}\" data-n=\"{}\" data-f=\"{name}\"><title>{name}\n{} ({share:.2}%){place}</title>\
         <rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\" fill=\"{}\"/>\
         <text x=\"{:.2}\" y=\"{}\">{}</text></g>",
        node.start,
        node.total,
        node.total,
        ROW - 1,
        colour(frame),
        x + 3.0,
        y + 12,
        escaped(&label(&frame.name, fits)),
    );
}

/// As much of a name as fits, with a mark where it was cut; nothing if that says too little.
fn label(name: &str, fits: usize) -> String {
    if name.chars().count() <= fits {
        return name.to_owned();
    }
    if fits < 4 {
        return String::new();
    }
    let mut cut: String = name.chars().take(fits - 2).collect();
    cut.push_str("..");
    cut
}

/// A colour of the frame's kind: the same for the same name in every picture.
fn colour(frame: &Frame) -> String {
    let seed = frame.name.bytes().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let (low, high, saturation) = match frame.kind {
        Kind::Label => (0, 0, 0),
        // An address without a name.
        Kind::User if frame.name.contains("+0x") || frame.name.starts_with("0x") => (330, 345, 35),
        Kind::User => (22, 48, 85),
        Kind::Inlined => (80, 110, 50),
        Kind::Kernel => (195, 225, 65),
    };
    let hue = low + seed % (high - low + 1);
    let light = 66 + (seed >> 16) % 12;
    format!("hsl({hue},{saturation}%,{light}%)")
}

/// Text as XML has it; what XML cannot have at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "\
.back{fill:#fbfaf7}text{font:11px ui-monospace,monospace;fill:#222;pointer-events:none}\
.head{font:15px sans-serif;text-anchor:middle}.info{font:12px sans-serif;fill:#555}\
.button{font:13px sans-serif;fill:#1a5fb4;cursor:pointer;pointer-events:auto}\
#search,.end{text-anchor:end}#frames g{cursor:pointer}#frames rect{stroke:#fbfaf7;stroke-width:.5}\
#frames g:hover rect{stroke:#000;stroke-width:1}#frames .above{opacity:.55}\
#frames .hit rect{fill:#c64ae0!important}#frames .hit text{fill:#fff}";

const SCRIPT: &str = r#"(function () {
  'use strict';
  var svg = document.documentElement, margin = 10, charWidth = 6.6;
  var total = Number(svg.getAttribute('data-total'));
  var frames = Array.prototype.map.call(document.querySelectorAll('#frames > g'), function (g) {
    return { g: g, rect: g.querySelector('rect'), text: g.querySelector('text'),
             start: Number(g.getAttribute('data-s')), size: Number(g.getAttribute('data-n')),
             name: g.getAttribute('data-f') };
  });
  var view = { start: 0, size: total };
  var pattern = null;

  function width() { return svg.viewBox.baseVal.width; }

  function draw() {
    var scale = (width() - 2 * margin) / Math.max(view.size, 1);
    var end = view.start + view.size;
    frames.forEach(function (f) {
      var from = Math.max(f.start, view.start), to = Math.min(f.start + f.size, end);
      var wide = (to - from) * scale;
      f.g.style.display = wide < 0.1 ? 'none' : '';
      if (wide < 0.1) return;
      var x = margin + (from - view.start) * scale;
      f.rect.setAttribute('x', x);
      f.rect.setAttribute('width', wide);
      f.text.setAttribute('x', x + 3);
      var fits = Math.floor((wide - 6) / charWidth);
      f.text.textContent = f.name.length <= fits ? f.name
        : fits < 4 ? '' : f.name.slice(0, fits - 2) + '..';
      f.g.classList.toggle('above', f.size > view.size);
    });
  }

  function zoom(frame) {
    view = frame ? { start: frame.start, size: frame.size } : { start: 0, size: total };
    draw();
    mark();
  }

  // Stacks with a match count once, however many of their frames match.
  function mark() {
    var hit = 0, covered = 0, end = view.start + view.size;
    frames.slice().sort(function (a, b) { return a.start - b.start || b.size - a.size; })
      .forEach(function (f) {
        var is = pattern !== null && pattern.test(f.name);
        f.g.classList.toggle('hit', is);
        if (!is) return;
        var from = Math.max(f.start, view.start, covered), to = Math.min(f.start + f.size, end);
        if (to > from) { hit += to - from; covered = to; }
      });
    document.getElementById('matched').textContent = pattern === null ? ''
      : 'Matched: ' + (100 * hit / Math.max(view.size, 1)).toFixed(2) + '%';
  }

  function search() {
    var text = window.prompt('Search for (regular expression):', pattern ? pattern.source : '');
    if (text === null) return;
    try { pattern = text === '' ? null : new RegExp(text); }
    catch (e) { pattern = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')); }
    mark();
  }

  function reset() { pattern = null; zoom(null); }

  function resize() {
    var wide = Math.max(400, window.innerWidth || width());
    var high = svg.viewBox.baseVal.height;
    svg.setAttribute('viewBox', '0 0 ' + wide + ' ' + high);
    svg.setAttribute('width', wide);
    document.querySelector('.head').setAttribute('x', wide / 2);
    document.getElementById('search').setAttribute('x', wide - margin);
    document.getElementById('matched').setAttribute('x', wide - margin);
    draw();
  }

  frames.forEach(function (f) { f.g.addEventListener('click', function () { zoom(f); }); });
  document.getElementById('reset').addEventListener('click', reset);
  document.getElementById('search').addEventListener('click', search);
  window.addEventListener('resize', resize);
  window.addEventListener('keydown', function (e) {
    if (e.key === 'Escape') reset();
    else if (e.key === '/' || (e.key === 'f' && (e.ctrlKey || e.metaKey))) {
      e.preventDefault();
      search();
    }
  });
  resize();
})();
"#;

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;

    fn svg(p: &Profile) -> String {
        let mut out = Vec::new();
        write(p, "a < b", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The frames of a picture: name, start, weight.
    fn frames(svg: &str) -> Vec<(String, u64, u64)> {
        let attribute = |g: &str, name: &str| {
            let at = g.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
            g[at..].split('"').next().unwrap().to_owned()
        };
        svg.lines()
            .filter(|l| l.starts_with("<g data-s"))
            .map(|l| {
                let number = |name| attribute(l, name).parse().unwrap();
                (attribute(l, "data-f"), number("data-s"), number("data-n"))
            })
            .collect()
    }

    #[test]
    fn callees_lie_within_their_callers_and_siblings_in_order() {
        let p = profile(&[
            ("main;b", 2),
            ("main;a;x!", 3),
            ("main;a", 1),
            ("main", 4),
            ("other", 5),
        ]);
        let row = |name: &str, start, n| (name.to_owned(), start, n);
        assert_eq!(
            frames(&svg(&p)),
            [
                row("main", 0, 10),
                row("a", 4, 4),
                row("x", 5, 3),
                row("b", 8, 2),
                row("other", 10, 5),
            ]
        );
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let evil = "</text><script>alert(1)</script>]]>\"&'\u{1}";
        let p = profile(&[(evil, 1)]);
        let text = svg(&p);
        assert_eq!(text.matches("<script").count(), 1, "{text}");
        assert!(!text.contains("alert(1)</script"));
        assert!(text.contains("&lt;/text&gt;&lt;script&gt;alert(1)"));
        assert!(text.contains("a &lt; b"));
        assert!(!text.contains('\u{1}'));
        assert_eq!(text.matches("]]>").count(), 1);
    }

    #[test]
    fn the_narrow_are_left_out_and_counted_and_the_deep_are_cut() {
        let mut p = profile(&[("wide", 10_000_000), ("thin", 1)]);
        let f = p.frame(Frame {
            name: "f".to_owned(),
            module: String::new(),
            kind: Kind::User,
        });
        p.add(vec![f; 5000], 10_000_000);
        let text = svg(&p);
        assert!(text.contains("Too narrow to show: 1."));
        assert_eq!(frames(&text).len(), 1 + MAX_DEPTH);
        assert!(frames(&svg(&Profile::default())).is_empty());
    }
}
