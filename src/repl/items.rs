//! The script of a session: numbered items, and the text they make together.
//!
//! In: texts that were typed or loaded. Out: one script, which is what gets compiled, saved and
//! shown, and for each line of it the item it came from. The filter of the session becomes part
//! of every probe's predicate, so a saved script needs no session to mean the same.

use std::fmt::Write as _;
use std::ops::Range;

use crate::diag::Diagnostics;
use crate::source::{FileId, SourceMap, Span};
use crate::syntax::{self, ast};

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A probe, which is attached.
    Probe,
    /// A macro, function, import or map declaration, which others use.
    Declaration,
    /// A C definition: as a declaration, but it has to stand before everything else.
    C,
}

/// One numbered piece of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number, never used again.
    pub number: u32,
    /// Its text without the filter.
    pub text: String,
    /// What it is.
    pub kind: Kind,
    /// Whether it shall be attached. It is compiled in any case, so that its maps stay.
    pub enabled: bool,
}

impl Item {
    /// The first line of its text that is no comment.
    pub fn first_line(&self) -> &str {
        let mut lines = self.text.lines();
        let first = lines.find(|l| !l.trim_start().starts_with("//"));
        first.unwrap_or_default()
    }
}

/// What limits the probes of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One process.
    pub pid: Option<u32>,
    /// One cgroup: an id or a path.
    pub cgroup: Option<String>,
}

/// The script of a session.
#[derive(Clone, Debug, Default)]
pub struct Script {
    items: Vec<Item>,
    /// Entries of the `config` block.
    pub settings: Vec<(String, String)>,
    /// Added to every predicate.
    pub filter: Filter,
    last: u32,
}

/// The items as one text.
#[derive(Clone, Debug, Default)]
pub struct Composed {
    /// The script.
    pub text: String,
    /// Lines from 1, and the item they belong to.
    lines: Vec<(u32, Range<u32>)>,
}

impl Composed {
    /// The item that a line came from.
    pub fn item_at(&self, line: u32) -> Option<u32> {
        let found = self.lines.iter().find(|(_, lines)| lines.contains(&line));
        found.map(|(number, _)| *number)
    }

    /// The first item.
    pub fn first(&self) -> Option<u32> {
        self.lines.first().map(|(number, _)| *number)
    }
}

/// A text cut into items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Items in order, each with the comments above it.
    pub items: Vec<(Kind, String)>,
    /// Entries of `config` blocks.
    pub settings: Vec<(String, String)>,
}

/// Cuts a script into items.
///
/// # Errors
/// What is wrong with its syntax.
pub fn split(sources: &SourceMap, file: FileId) -> Result<Pieces, Diagnostics> {
    let text = &sources.file(file).text;
    let parsed = syntax::parse(file, text);
    if parsed.diags.has_errors() {
        return Err(parsed.diags);
    }
    let program = parsed.program;
    let mut pieces = Pieces::default();
    // Each piece's place; `None` where its text goes elsewhere.
    let mut places: Vec<(Span, Option<Kind>)> = Vec::new();
    places.extend(program.shebang.map(|s| (s, None)));
    if let Some(config) = &program.config {
        places.push((config.span, None));
        pieces.settings.extend(config.entries.iter().map(|e| {
            let value = sources.text(e.value_span);
            (e.name.name.clone(), value.to_owned())
        }));
    }
    let declaration = Some(Kind::Declaration);
    places.extend(program.imports.iter().map(|i| (i.span, declaration)));
    places.extend(program.c_defs.iter().map(|d| (d.span, Some(Kind::C))));
    places.extend(program.items.iter().map(|i| match i {
        ast::Item::Probe(p) => (p.span, Some(Kind::Probe)),
        other => (other.span(), declaration),
    }));
    places.sort_by_key(|(span, _)| span.lo);
    let mut from = 0;
    for (span, kind) in places {
        let (lo, hi) = (span.lo as usize, span.hi as usize);
        if let Some(kind) = kind {
            let start = from.min(lo);
            // A `;` that ended the piece before is not this one's.
            let piece = text[start..hi].trim_start_matches([';', ' ', '\t', '\n', '\r']);
            let mut piece = piece.trim_end().to_owned();
            if kind != Kind::Probe && text[hi..].trim_start().starts_with(';') {
                piece.push(';');
            }
            pieces.items.push((kind, piece));
        }
        from = hi;
    }
    Ok(pieces)
}

impl Script {
    /// The items in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The item with this number.
    pub fn item(&self, number: u32) -> Option<&Item> {
        self.items.iter().find(|i| i.number == number)
    }

    /// The item with this number, to change.
    pub fn item_mut(&mut self, number: u32) -> Option<&mut Item> {
        self.items.iter_mut().find(|i| i.number == number)
    }

    /// Appends an item and returns its number.
    pub fn add(&mut self, kind: Kind, text: String) -> u32 {
        self.last += 1;
        self.items.push(Item {
            number: self.last,
            text,
            kind,
            enabled: true,
        });
        self.last
    }

    /// Removes an item.
    pub fn remove(&mut self, number: u32) {
        self.items.retain(|i| i.number != number);
    }

    /// Sets an entry of the `config` block.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|(k, _)| k != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// The whole script; with `extra` appended as an item of number 0.
    pub fn compose(&self, extra: Option<&str>) -> Composed {
        let items = self.in_place().map(|i| (i.number, i.kind, i.text.as_str()));
        let extra = extra.map(|text| (0, Kind::Declaration, text));
        let mut out = self.head();
        let mut line = 1 + out.text.matches('\n').count() as u32;
        for (number, kind, text) in items.chain(extra) {
            let text = match kind {
                Kind::Probe => self.filtered(text),
                Kind::Declaration | Kind::C => text.to_owned(),
            };
            out.text.push_str(&text);
            out.text.push('\n');
            let next = line + 1 + text.matches('\n').count() as u32;
            out.lines.push((number, line..next));
            line = next;
        }
        out
    }

    /// The script to be kept: what is disabled is a comment.
    pub fn save(&self) -> String {
        let mut out = self.head().text;
        for item in self.in_place() {
            let text = match item.kind {
                Kind::Probe => self.filtered(&item.text),
                Kind::Declaration | Kind::C => item.text.clone(),
            };
            if item.enabled {
                out.push_str(&text);
                out.push('\n');
                continue;
            }
            for line in text.lines() {
                // Writing to a string cannot fail.
                let _ = writeln!(out, "// {line}");
            }
        }
        out
    }

    /// The items in the order of the text.
    fn in_place(&self) -> impl Iterator<Item = &Item> {
        let of = |c: bool| self.items.iter().filter(move |i| (i.kind == Kind::C) == c);
        of(true).chain(of(false))
    }

    fn head(&self) -> Composed {
        let mut out = Composed::default();
        if !self.settings.is_empty() {
            out.text.push_str("config = {\n");
            for (key, value) in &self.settings {
                let _ = writeln!(out.text, "  {key} = {value};");
            }
            out.text.push_str("}\n");
        }
        out
    }

    /// The condition of the filter.
    fn condition(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(pid) = self.filter.pid {
            parts.push(format!("pid == {pid}"));
        }
        if let Some(group) = &self.filter.cgroup {
            parts.push(match group.parse::<u64>() {
                Ok(id) => format!("cgroup == {id}"),
                Err(_) => format!("cgroup == cgroupid(\"{}\")", group.escape_default()),
            });
        }
        (!parts.is_empty()).then(|| parts.join(" && "))
    }

    /// A probe with the filter in its predicate.
    fn filtered(&self, text: &str) -> String {
        let Some(condition) = self.condition() else {
            return text.to_owned();
        };
        let parsed = syntax::parse(FileId(0), text);
        let mut out = text.to_owned();
        let mut probes: Vec<_> = parsed.program.probes().collect();
        probes.reverse();
        for probe in probes.into_iter().filter(|p| has_task(p)) {
            if let Some(predicate) = &probe.predicate {
                let range = predicate.span.lo as usize..predicate.span.hi as usize;
                let inner = format!("{condition} && ({})", &text[range.clone()]);
                out.replace_range(range, &inner);
            } else {
                let at = probe.body.span.lo as usize;
                out.insert_str(at, &format!("/ {condition} / "));
            }
        }
        out
    }
}

/// Whether the filter means something to the probe: it runs in the task that it is about.
fn has_task(probe: &ast::Probe) -> bool {
    probe.attach_points.iter().all(|point| {
        let provider = point.parts.first().and_then(ast::ApPart::text);
        let provider = provider.unwrap_or_default().to_ascii_lowercase();
        !matches!(
            provider.as_str(),
            "begin" | "end" | "self" | "test" | "bench" | "interval" | "i" | "iter" | "it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Pieces {
        let mut sources = SourceMap::default();
        let file = sources.add("t", text);
        split(&sources, file).unwrap()
    }

    fn script(text: &str) -> Script {
        let mut script = Script::default();
        let pieces = pieces(text);
        for (kind, text) in pieces.items {
            script.add(kind, text);
        }
        script.settings = pieces.settings;
        script
    }

    #[test]
    fn scripts_are_cut_and_put_together_again() {
        let text = "config = {\n  max_map_keys = 10;\n}\n#define A 1\nstruct s { int x; };\n\
                    // what it does\nbegin { @ = A }\nmacro m(x) { x }\ninterval:s:1 {\n  print(@)\n}\n";
        let script = script(text);
        let kinds: Vec<_> = script.items().iter().map(|i| i.kind).collect();
        use Kind::{C, Declaration, Probe};
        assert_eq!(kinds, [C, C, Probe, Declaration, Probe]);
        assert_eq!(script.compose(None).text, text);
    }

    #[test]
    fn c_definitions_come_first() {
        let mut script = script("begin { A }");
        script.add(Kind::C, "#define A 1".into());
        assert_eq!(script.save(), "#define A 1\nbegin { A }\n");
    }

    #[test]
    fn lines_know_their_item() {
        let mut script = script("begin {\n 1\n}\nend { 2 }");
        script.set("max_map_keys", "5");
        let composed = script.compose(Some("begin { 3 }"));
        let owners: Vec<_> = (1..=8).map(|l| composed.item_at(l)).collect();
        let expected = [
            None,
            None,
            None,
            Some(1),
            Some(1),
            Some(1),
            Some(2),
            Some(0),
        ];
        assert_eq!(owners, expected);
    }

    #[test]
    fn filters_join_predicates() {
        let mut script = script("uprobe:/x:f { 1 }\nuprobe:/x:f / arg0 || 1 / { 2 }\nbegin { 3 }");
        script.filter.pid = Some(7);
        assert_eq!(
            script.save(),
            "uprobe:/x:f / pid == 7 / { 1 }\n\
             uprobe:/x:f / pid == 7 && (arg0 || 1) / { 2 }\nbegin { 3 }\n"
        );
    }

    #[test]
    fn disabled_items_are_saved_as_comments() {
        let mut script = script("begin {\n1 }\nend { 2 }");
        script.item_mut(1).unwrap().enabled = false;
        assert_eq!(script.save(), "// begin {\n// 1 }\nend { 2 }\n");
        script.remove(1);
        assert_eq!(script.add(Kind::Probe, "begin { }".into()), 3);
    }
}
