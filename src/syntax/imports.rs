//! Root imports: which files a script pulls in and how they become one program.
//!
//! In: a parsed program and a [`Loader`], which alone touches files. Out: one program without
//! imports. Scripts (`.bt`) give their C definitions, probes, macros, functions and map
//! declarations; headers (`.h`) give C definitions; a directory gives all its scripts and
//! headers. Every file counts once, and what it imports comes before what it contains.

use std::collections::HashSet;

use super::ast::{CDef, Expr, Import, Item, NodeId, Program, Stmt};
use super::visit::{self, VisitMut};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::{FileId, SourceMap, Span};

/// Imports of imports of imports; a chain this long is a mistake.
const MAX_CHAIN: usize = 64;

/// What an import path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file, by a path that is the same for every way to name it.
    File(String),
    /// The files of a directory, likewise, in the order to import them.
    Directory(Vec<String>),
}

/// Why an import path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Nothing is there; the paths that were tried.
    NotFound(Vec<String>),
    /// Something is there but must not be used; the message says why. A loader refuses
    /// directories that everybody can write to.
    Refused(String),
}

/// The file system as imports need it.
pub trait Loader {
    /// Looks for `path` beside the file `importer`, then in the import paths.
    fn find(&mut self, importer: &str, path: &str) -> Result<Found, LoadError>;
    /// The text of a file that [`Loader::find`] gave, or why it cannot be read.
    fn read(&mut self, path: &str) -> Result<String, String>;
}

/// Replaces the imports of `program`, parsed from `file`, by what they name.
pub fn resolve(
    program: Program,
    file: FileId,
    sources: &mut SourceMap,
    loader: &mut dyn Loader,
    diags: &mut Diagnostics,
) -> Program {
    if program.imports.is_empty() {
        return program;
    }
    let mut seen = HashSet::new();
    // The script itself may be imported by what it imports.
    let own = sources.file(file).name.clone();
    if let Ok(Found::File(path)) = loader.find(&own, &own) {
        seen.insert(path);
    }
    seen.insert(own);
    let mut merger = Merger {
        sources,
        loader,
        diags,
        seen,
        merged: Program::default(),
        chain: 0,
    };
    let shell = Program {
        shebang: program.shebang,
        comments: program.comments.clone(),
        expansions: program.expansions.clone(),
        config: program.config.clone(),
        ..Program::default()
    };
    merger.program(program, file);
    let merged = merger.merged;
    Program {
        c_defs: merged.c_defs,
        items: merged.items,
        next_id: merged.next_id,
        ..shell
    }
}

struct Merger<'a> {
    sources: &'a mut SourceMap,
    loader: &'a mut dyn Loader,
    diags: &'a mut Diagnostics,
    /// Files that are imported or on their way.
    seen: HashSet<String>,
    merged: Program,
    chain: usize,
}

impl Merger<'_> {
    /// Adds what a program imports, then what it contains.
    fn program(&mut self, program: Program, file: FileId) {
        let importer = self.sources.file(file).name.clone();
        for import in &program.imports {
            self.import(import, &importer);
        }
        let mut shift = Shift(self.merged.next_id);
        self.merged.next_id += program.next_id;
        self.merged.c_defs.extend(program.c_defs);
        for mut item in program.items {
            match &mut item {
                Item::Macro(m) => shift.visit_block(&mut m.body),
                other => visit::walk_item(&mut shift, other),
            }
            self.merged.items.push(item);
        }
    }

    fn import(&mut self, import: &Import, importer: &str) {
        let at = import.span;
        let path = import.path.text();
        match self.loader.find(importer, &path) {
            Ok(Found::File(path)) => self.file(&path, at, true),
            Ok(Found::Directory(files)) => {
                for path in files {
                    self.file(&path, at, false);
                }
            }
            Err(LoadError::NotFound(checked)) => {
                let message = "Unable to find suitable path for import";
                let mut d = Diagnostic::error(Code::ImportNotFound, at, message);
                if !checked.is_empty() {
                    d = d.hint(format!("checked: {}", checked.join(", ")));
                }
                self.diags.push(d);
            }
            Err(LoadError::Refused(why)) => self.refuse(at, why),
        }
    }

    fn refuse(&mut self, at: Span, why: impl Into<String>) {
        let d = Diagnostic::error(Code::ImportRefused, at, why);
        self.diags.push(d);
    }

    /// Adds a file. Those of a directory are skipped if their kind is of no use.
    fn file(&mut self, path: &str, at: Span, named: bool) {
        let script = path.ends_with(".bt");
        let header = path.ends_with(".h");
        if !script && !header {
            if path.ends_with(".bpf.c") || path.ends_with(".bpf.o") {
                self.refuse(at, format!("{path}: linking compiled C is not supported"));
            } else if named {
                self.refuse(at, format!("{path}: not a script (.bt) or header (.h)"));
            }
            return;
        }
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        if self.chain >= MAX_CHAIN {
            self.refuse(at, "imports are nested too deeply");
            return;
        }
        let text = match self.loader.read(path) {
            Ok(text) => text,
            Err(why) => return self.refuse(at, format!("{path}: {why}")),
        };
        let file = self.sources.add(path, text.as_str());
        if header {
            self.merged.c_defs.push(CDef {
                span: Span::new(file, 0, text.len()),
                text,
                directive: false,
            });
            return;
        }
        let parsed = super::parse(file, &text);
        self.diags.merge(parsed.diags);
        if let Some(config) = &parsed.program.config {
            self.refuse(config.span, "config is not allowed in an imported file");
        }
        self.chain += 1;
        self.program(parsed.program, file);
        self.chain -= 1;
    }
}

/// Moves node numbers up so that those of several programs differ.
struct Shift(u32);

impl VisitMut for Shift {
    fn visit_stmt(&mut self, s: &mut Stmt) {
        s.id = NodeId(s.id.0 + self.0);
        visit::walk_stmt(self, s);
    }

    fn visit_expr(&mut self, e: &mut Expr) {
        e.id = NodeId(e.id.0 + self.0);
        visit::walk_expr(self, e);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by name; a name that ends in `/` is a directory.
    struct Files(&'static [(&'static str, &'static str)]);

    impl Loader for Files {
        fn find(&mut self, _: &str, path: &str) -> Result<Found, LoadError> {
            if path.ends_with('/') {
                let inside = self.0.iter().filter(|(n, _)| n.starts_with(path));
                return Ok(Found::Directory(
                    inside.map(|(n, _)| n.to_string()).collect(),
                ));
            }
            match self.0.iter().any(|(n, _)| *n == path) {
                true => Ok(Found::File(path.into())),
                false => Err(LoadError::NotFound(vec![path.into()])),
            }
        }

        fn read(&mut self, path: &str) -> Result<String, String> {
            let found = self.0.iter().find(|(n, _)| *n == path);
            found.map(|(_, t)| t.to_string()).ok_or("gone".into())
        }
    }

    fn run(text: &str, files: &'static [(&'static str, &'static str)]) -> (Program, Vec<String>) {
        let mut sources = SourceMap::default();
        let file = sources.add("main.bt", text);
        let mut diags = Diagnostics::new();
        let program = super::super::parse(file, text).program;
        let program = resolve(program, file, &mut sources, &mut Files(files), &mut diags);
        let shown = diags.iter().map(|d| d.message.clone()).collect();
        (program, shown)
    }

    #[test]
    fn imported_code_comes_first_and_once() {
        let (p, d) = run(
            "import \"a.bt\"; import \"b.bt\"; import \"d/\"; begin { 1 }",
            &[
                (
                    "a.bt",
                    "import \"b.bt\"; import \"main.bt\"; tick:a { 2 + 3 }",
                ),
                ("b.bt", "import \"a.bt\"; macro m() { 4 } tick:b { m }"),
                ("main.bt", "tick:never { }"),
                ("d/x.h", "struct x { int y; };"),
                ("d/readme", ""),
                ("d/y.bt", "let @m = hash(1);"),
            ],
        );
        assert!(d.is_empty(), "{d:?}");
        let names: Vec<_> = p
            .probes()
            .map(|p| p.attach_points[0].raw.as_str())
            .collect();
        assert_eq!(names, ["tick:b", "tick:a", "begin"]);
        assert_eq!(p.items.len(), 5);
        assert_eq!(p.c_defs[0].text, "struct x { int y; };");
        assert!(p.imports.is_empty());
        let ids: HashSet<_> = p
            .probes()
            .map(|p| p.body.value.as_ref().unwrap().id)
            .collect();
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| id.0 < p.next_id));
    }

    #[test]
    fn messages() {
        let (_, d) = run(
            "import \"nope.bt\"; import \"x.bpf.c\"; import \"y.txt\"; import \"c.bt\"; begin { }",
            &[
                ("x.bpf.c", ""),
                ("y.txt", ""),
                ("c.bt", "config = { a = 1 } begin { ) }"),
            ],
        );
        assert_eq!(
            d,
            [
                "Unable to find suitable path for import",
                "x.bpf.c: linking compiled C is not supported",
                "y.txt: not a script (.bt) or header (.h)",
                "syntax: unexpected input in block",
                "config is not allowed in an imported file",
            ]
        );
    }
}
