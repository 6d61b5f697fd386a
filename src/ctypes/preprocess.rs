//! The C preprocessor: directives, includes, and the stream of tokens behind them.
//!
//! In: the C parts of a script and the headers they include. Out: tokens without directives and
//! macros, and the macros that remain defined. What a header does that is not understood is noted
//! and passed over; mistakes in the script itself are diagnostics.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::expr::{self, Conditional};
use super::headers::{Header, Search};
use super::macros::{self, Macro, Macros, Source};
use super::token::{Interner, Kind, Loc, Sym, Token, tokenize};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::Span;

/// Includes that may be open at once, as GCC allows.
const MAX_INCLUDES: usize = 200;

/// The name of the pseudo declaration that tells the parser of `#pragma pack`.
pub const PACK: &str = "__rtrace_pack";

/// A text that was read.
#[derive(Debug)]
struct Text {
    /// The path of a header.
    path: PathBuf,
    /// For a part of the script: where its first byte stands.
    script: Option<Span>,
    text: Rc<str>,
}

/// Something in a header that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// `path:line`.
    pub place: String,
    /// What and why.
    pub reason: String,
}

/// One open file.
#[derive(Debug)]
struct Frame {
    tokens: Rc<[Token]>,
    at: usize,
    /// Place of the file in the search list, for `#include_next`.
    place: usize,
    /// Its directory, for includes in quotes.
    dir: Option<PathBuf>,
    /// Where each open condition began.
    conditions: Vec<Loc>,
}

impl Source for Frame {
    fn peek(&mut self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token> {
        let t = self.peek()?;
        self.at += 1;
        Some(t)
    }
}

/// The preprocessor.
#[derive(Debug)]
pub struct Preprocessor<'a> {
    /// The texts of all tokens.
    pub names: Interner,
    /// The macros.
    pub macros: Macros,
    /// What was passed over.
    pub skipped: Vec<Skipped>,
    /// What is wrong with the script.
    pub diagnostics: Diagnostics,
    texts: Vec<Text>,
    search: Search<'a>,
    cache: HashMap<PathBuf, Rc<[Token]>>,
    once: HashSet<PathBuf>,
    frames: Vec<Frame>,
    pending: Vec<Token>,
    out: Vec<Token>,
    pack: Vec<u32>,
}

impl<'a> Preprocessor<'a> {
    /// A preprocessor that finds headers by `search` and knows the compiler's own macros.
    pub fn new(search: Search<'a>) -> Self {
        let mut p = Self {
            names: Interner::default(),
            macros: Macros::default(),
            skipped: Vec::new(),
            diagnostics: Diagnostics::new(),
            texts: Vec::new(),
            search,
            cache: HashMap::new(),
            once: HashSet::new(),
            frames: Vec::new(),
            pending: Vec::new(),
            out: Vec::new(),
            pack: vec![0],
        };
        p.predefine(include_str!("predefined.h"));
        #[cfg(target_arch = "x86_64")]
        p.predefine("#define __x86_64__ 1\n#define __x86_64 1\n#define __amd64__ 1\n");
        #[cfg(target_arch = "aarch64")]
        p.predefine("#define __aarch64__ 1\n#define __CHAR_UNSIGNED__ 1\n");
        p
    }

    /// Runs a text of directives that belongs to nobody's file.
    pub fn predefine(&mut self, text: &str) {
        let tokens = self.add_text(PathBuf::from("<built-in>"), None, Rc::from(text));
        self.run(tokens, 0, None);
    }

    /// Runs the C parts of a script as one text and returns the tokens that are left.
    pub fn script(&mut self, parts: &[(&str, Span)]) -> Vec<Token> {
        let mut tokens = Vec::new();
        for &(text, span) in parts {
            // The language knows where a definition ends without the semicolon of C.
            let body = text.trim_end();
            let text = if body.starts_with('#') || body.ends_with(';') {
                Rc::from(text)
            } else {
                Rc::from(format!("{text};"))
            };
            let part = self.add_text(PathBuf::from("<script>"), Some(span), text);
            tokens.extend_from_slice(&part);
        }
        self.run(Rc::from(tokens), 0, None);
        std::mem::take(&mut self.out)
    }

    /// Runs a header as if the script began with including it; whether it was found.
    pub fn include_first(&mut self, name: &str) -> bool {
        let Some(header) = self.search.find(name, Some(Path::new(".")), None) else {
            return false;
        };
        self.enter(header);
        self.drain(0);
        true
    }

    fn add_text(&mut self, path: PathBuf, script: Option<Span>, text: Rc<str>) -> Rc<[Token]> {
        let file = self.texts.len() as u32;
        let tokens = tokenize(&text, file, &mut self.names);
        self.texts.push(Text { path, script, text });
        Rc::from(tokens)
    }

    fn run(&mut self, tokens: Rc<[Token]>, place: usize, dir: Option<PathBuf>) {
        let depth = self.frames.len();
        self.frames.push(Frame {
            tokens,
            at: 0,
            place,
            dir,
            conditions: Vec::new(),
        });
        self.drain(depth);
    }

    /// Works until only `depth` files are open.
    fn drain(&mut self, depth: usize) {
        while self.frames.len() > depth {
            let Some(frame) = self.frames.last_mut() else {
                return;
            };
            if self.pending.is_empty()
                && let Some(t) = frame.peek()
                && t.starts_line
                && t.kind == Kind::Punct
                && self.names.text(t.sym) == "#"
            {
                self.directive();
                continue;
            }
            let direct = self.pending.is_empty();
            let Some(t) = self.pending.pop().or_else(|| frame.next()) else {
                if let Some(&loc) = frame.conditions.last() {
                    self.complain(loc, "this condition has no #endif");
                }
                self.frames.pop();
                continue;
            };
            if direct && self.macros.get(t.sym).is_some_and(|m| m.params.is_some()) {
                self.arguments_with_directives();
            }
            let Some(frame) = self.frames.last_mut() else {
                return;
            };
            if !self
                .macros
                .replace(t, &mut self.pending, frame, &mut self.names)
            {
                self.out.push(t);
            }
        }
    }

    /// If directives stand between the arguments of the macro call that begins here, runs them and
    /// leaves the arguments that they chose in `pending`.
    fn arguments_with_directives(&mut self) {
        let hash = |names: &Interner, t: &Token| {
            t.starts_line && t.kind == Kind::Punct && names.text(t.sym) == "#"
        };
        let Some(frame) = self.frames.last() else {
            return;
        };
        let (mut depth, mut found) = (0u32, false);
        for t in &frame.tokens[frame.at..] {
            match self.names.text(t.sym) {
                "(" => depth += 1,
                ")" if depth <= 1 => break,
                ")" => depth -= 1,
                _ if depth == 0 => return,
                _ => found |= hash(&self.names, t),
            }
        }
        if !found {
            return;
        }
        let open = self.frames.len();
        let mut collected = Vec::new();
        let mut depth = 0u32;
        while self.frames.len() == open {
            let Some(t) = self.frames.last_mut().and_then(Frame::peek) else {
                break;
            };
            if hash(&self.names, &t) {
                self.directive();
                continue;
            }
            if let Some(frame) = self.frames.last_mut() {
                frame.at += 1;
            }
            collected.push(t);
            match self.names.text(t.sym) {
                "(" => depth += 1,
                ")" if depth <= 1 => break,
                ")" => depth -= 1,
                _ => {}
            }
        }
        self.pending.extend(collected.into_iter().rev());
    }

    /// Whether a place is in the script itself.
    pub fn in_script(&self, loc: Loc) -> bool {
        self.texts
            .get(loc.file as usize)
            .is_some_and(|t| t.script.is_some())
    }

    /// A place in the script as a span of `len` bytes.
    pub fn span(&self, loc: Loc, len: usize) -> Option<Span> {
        let base = self.texts.get(loc.file as usize)?.script?;
        let lo = base.lo as usize + loc.offset as usize;
        Some(Span::new(base.file, lo, lo + len))
    }

    /// A place for people: `path:line`.
    pub fn place(&self, loc: Loc) -> String {
        let Some(text) = self.texts.get(loc.file as usize) else {
            return String::new();
        };
        let before = text
            .text
            .as_bytes()
            .get(..loc.offset as usize)
            .unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        format!("{}:{line}", text.path.display())
    }

    /// Reports something: a diagnostic if the script wrote it, else a note about the header.
    pub fn complain(&mut self, loc: Loc, message: impl Into<String>) {
        let message = message.into();
        match self.span(loc, 1) {
            Some(span) => {
                let d = Diagnostic::error(Code::BadCDefinition, span, message);
                self.diagnostics.push(d);
            }
            None => self.skipped.push(Skipped {
                place: self.place(loc),
                reason: message,
            }),
        }
    }

    /// Takes the directive that the innermost file is at.
    fn directive(&mut self) {
        let line = self.rest_of_line();
        let Some(&hash) = line.first() else { return };
        let Some(&word) = line.get(1) else { return };
        let args = &line[2..];
        let name = self.names.text(word.sym).to_owned();
        match name.as_str() {
            "define" => self.define(args, word),
            "undef" => {
                if let Some(t) = args.first() {
                    self.macros.undefine(t.sym);
                }
            }
            "include" | "include_next" | "import" => {
                self.include(args, word, name == "include_next")
            }
            "if" => {
                let yes = self.condition(args, word);
                self.open(yes, hash.loc);
            }
            "ifdef" | "ifndef" => {
                let Some(t) = args.first() else {
                    self.complain(word.loc, format!("#{name} needs a name"));
                    return self.open(false, hash.loc);
                };
                let defined = self.macros.get(t.sym).is_some();
                self.open(defined == (name == "ifdef"), hash.loc);
            }
            // Reached behind a branch that was taken: the rest is passed over.
            "elif" | "else" | "elifdef" | "elifndef" => match self.conditions().last() {
                Some(_) => self.skip_branches(true),
                None => self.complain(hash.loc, format!("#{name} without #if")),
            },
            "endif" => {
                if self.conditions().pop().is_none() {
                    self.complain(hash.loc, "#endif without #if");
                }
            }
            "error" => {
                let text = macros::text(args, &self.names);
                self.complain(word.loc, format!("#error {text}"));
            }
            "pragma" => self.pragma(args),
            "warning" | "line" | "ident" | "assert" | "unassert" => {}
            // Line markers of preprocessed text: # 1 "file".
            _ if word.kind == Kind::Number => {}
            _ => self.complain(word.loc, format!("#{name} is not a directive")),
        }
    }

    fn conditions(&mut self) -> &mut Vec<Loc> {
        let frame = self
            .frames
            .last_mut()
            .expect("a directive is in an open file");
        &mut frame.conditions
    }

    /// The tokens up to the end of the line.
    fn rest_of_line(&mut self) -> Vec<Token> {
        let Some(frame) = self.frames.last_mut() else {
            return Vec::new();
        };
        let start = frame.at;
        frame.at += 1;
        while frame.peek().is_some_and(|t| !t.starts_line) {
            frame.at += 1;
        }
        frame.tokens[start..frame.at].to_vec()
    }

    fn open(&mut self, yes: bool, loc: Loc) {
        self.conditions().push(loc);
        if !yes {
            self.skip_branches(false);
        }
    }

    /// Passes over the branches of the innermost condition until one is to be taken or `#endif`.
    /// With `taken`, one has been taken before.
    fn skip_branches(&mut self, taken: bool) {
        let mut depth = 0;
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return;
            };
            let Some(t) = frame.peek() else { return };
            if !(t.starts_line && t.kind == Kind::Punct && self.names.text(t.sym) == "#") {
                frame.at += 1;
                continue;
            }
            let line = self.rest_of_line();
            let Some(&word) = line.get(1) else { continue };
            let name = self.names.text(word.sym).to_owned();
            match name.as_str() {
                "if" | "ifdef" | "ifndef" => depth += 1,
                "endif" if depth == 0 => {
                    self.conditions().pop();
                    return;
                }
                "endif" => depth -= 1,
                "else" if depth == 0 && !taken => return,
                "elif" if depth == 0 && !taken && self.condition(&line[2..], word) => return,
                "elifdef" | "elifndef" if depth == 0 && !taken => {
                    let defined = line
                        .get(2)
                        .is_some_and(|t| self.macros.get(t.sym).is_some());
                    if defined == (name == "elifdef") {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    /// The truth of an `#if` line.
    fn condition(&mut self, args: &[Token], at: Token) -> bool {
        let mut tokens = Vec::with_capacity(args.len());
        let mut i = 0;
        let truth = |names: &mut Interner, yes: bool, t: Token| Token {
            kind: Kind::Number,
            sym: names.intern(if yes { "1" } else { "0" }),
            ..t
        };
        while let Some(&t) = args.get(i) {
            i += 1;
            let word = self.names.text(t.sym);
            let include = matches!(word, "__has_include" | "__has_include_next");
            // Asked by name of an attribute or builtin, of which none changes a layout.
            let asks = word.starts_with("__has_") && !include;
            if word != "defined" && !include && !asks {
                tokens.push(t);
                continue;
            }
            let parens = args.get(i).is_some_and(|t| self.names.text(t.sym) == "(");
            i += usize::from(parens);
            let start = i;
            while parens && args.get(i).is_some_and(|t| self.names.text(t.sym) != ")") {
                i += 1;
            }
            if !parens && i < args.len() {
                i += 1;
            }
            let operand = &args[start..i];
            i += usize::from(parens && i < args.len());
            let yes = if include {
                let (name, beside) = self.header_name(operand);
                self.search.find(&name, beside.as_deref(), None).is_some()
            } else {
                let defined = |t: &Token| self.macros.get(t.sym).is_some();
                !asks && operand.first().is_some_and(defined)
            };
            tokens.push(truth(&mut self.names, yes, t));
        }
        let tokens = self.macros.expand(&tokens, &mut self.names);
        match expr::evaluate(&tokens, &self.names, &mut Conditional) {
            Ok(value) => value.bits != 0,
            Err(why) => {
                self.complain(at.loc, format!("#if: {why}"));
                false
            }
        }
    }

    fn define(&mut self, args: &[Token], at: Token) {
        let Some((&name, mut rest)) = args.split_first() else {
            return self.complain(at.loc, "#define needs a name");
        };
        if name.kind != Kind::Ident {
            return self.complain(name.loc, "a macro's name must be an identifier");
        }
        let is = |t: Option<&Token>, names: &Interner, word: &str| {
            t.is_some_and(|t| names.text(t.sym) == word)
        };
        let mut params = None;
        let mut variadic = false;
        // Only a parenthesis that touches the name opens a parameter list.
        if rest.first().is_some_and(|t| !t.spaced) && is(rest.first(), &self.names, "(") {
            let Some(close) = rest.iter().position(|t| self.names.text(t.sym) == ")") else {
                return self.complain(name.loc, "the macro's parameter list has no end");
            };
            let mut list: Vec<Sym> = Vec::new();
            for t in &rest[1..close] {
                match self.names.text(t.sym) {
                    "," => {}
                    "..." => {
                        variadic = true;
                        // `args...` names the rest, `...` calls it __VA_ARGS__.
                        let named = list.len()
                            > rest[1..close]
                                .iter()
                                .filter(|t| self.names.text(t.sym) == ",")
                                .count();
                        if !named {
                            list.push(self.names.intern("__VA_ARGS__"));
                        }
                    }
                    _ => list.push(t.sym),
                }
            }
            params = Some(list);
            rest = &rest[close + 1..];
        }
        let body = rest.to_vec();
        let definition = Macro {
            params,
            variadic,
            body,
            loc: name.loc,
        };
        self.macros.define(name.sym, definition);
    }

    /// The header's name on an `#include` line, and the directory to look in first.
    fn header_name(&mut self, args: &[Token]) -> (String, Option<PathBuf>) {
        let mut tokens = args.to_vec();
        if tokens.first().is_some_and(|t| t.kind == Kind::Ident) {
            tokens = self.macros.expand(&tokens, &mut self.names);
        }
        if let Some(t) = tokens.first()
            && t.kind == Kind::String
        {
            let name = self.names.text(t.sym).trim_matches('"').to_owned();
            let dir = self.frames.last().and_then(|f| f.dir.clone());
            return (name, Some(dir.unwrap_or_else(|| PathBuf::from("."))));
        }
        let name: String = tokens
            .iter()
            .skip(1)
            .map(|t| self.names.text(t.sym))
            .take_while(|&t| t != ">")
            .collect();
        (name, None)
    }

    fn include(&mut self, args: &[Token], at: Token, next: bool) {
        let (name, beside) = self.header_name(args);
        if name.is_empty() {
            return self.complain(at.loc, "#include needs a name in <> or quotes");
        }
        if self.frames.len() > MAX_INCLUDES {
            return self.complain(at.loc, format!("<{name}> is included from too deep"));
        }
        let after = self.frames.last().filter(|_| next).map(|f| f.place);
        let Some(header) = self.search.find(&name, beside.as_deref(), after) else {
            let missing = format!("'{name}' file not found");
            match self.span(at.loc, "include".len()) {
                Some(span) if beside.is_none() && super::headers::is_system(&name) => {
                    self.diagnostics.push(
                        Diagnostic::warning(Code::MissingHeader, span, missing)
                            .hint("types come from the kernel's BTF and common constants are built in; to use the header, install it or name its directory with -I"),
                    );
                }
                Some(span) => self.diagnostics.push(
                    Diagnostic::error(Code::BadCDefinition, span, missing)
                        .hint("name the header's directory with -I"),
                ),
                None => self.skipped.push(Skipped {
                    place: self.place(at.loc),
                    reason: missing,
                }),
            }
            return;
        };
        self.enter(header);
    }

    /// Opens a header, unless it asked to be read only once.
    fn enter(&mut self, header: Header) {
        let Header { path, text, place } = header;
        if self.once.contains(&path) {
            return;
        }
        let dir = path.parent().map(Path::to_owned);
        let tokens = match self.cache.get(&path) {
            Some(tokens) => tokens.clone(),
            None => {
                let tokens = self.add_text(path.clone(), None, text);
                self.cache.insert(path, tokens.clone());
                tokens
            }
        };
        self.frames.push(Frame {
            tokens,
            at: 0,
            place,
            dir,
            conditions: Vec::new(),
        });
    }

    fn pragma(&mut self, args: &[Token]) {
        let word = |i: usize| args.get(i).map_or("", |t| self.names.text(t.sym));
        match word(0) {
            "once" => {
                if let Some(t) = args.first()
                    && let Some(text) = self.texts.get(t.loc.file as usize)
                {
                    self.once.insert(text.path.clone());
                }
            }
            "pack" => {
                let number = |w: &str| w.parse::<u32>().ok();
                let top = self.pack.last().copied().unwrap_or(0);
                let (push, pop) = (word(2) == "push", word(2) == "pop");
                let value = args.iter().find_map(|t| number(self.names.text(t.sym)));
                if push {
                    self.pack.push(value.unwrap_or(top));
                } else if pop && self.pack.len() > 1 {
                    self.pack.pop();
                } else if let Some(last) = self.pack.last_mut() {
                    *last = value.unwrap_or(0);
                }
                let now = self.pack.last().copied().unwrap_or(0).to_string();
                let Some(&at) = args.first() else { return };
                for (kind, text) in [
                    (Kind::Ident, PACK),
                    (Kind::Number, now.as_str()),
                    (Kind::Punct, ";"),
                ] {
                    let sym = self.names.intern(text);
                    self.out.push(Token { kind, sym, ..at });
                }
            }
            _ => {}
        }
    }

    /// Replaces macros in a text.
    pub fn expand_text(&mut self, text: &str) -> Vec<Token> {
        let tokens = tokenize(text, u32::MAX, &mut self.names);
        self.macros.expand(&tokens, &mut self.names)
    }
}
