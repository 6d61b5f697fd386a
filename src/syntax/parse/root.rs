//! Root items: order of sections, config, imports, macros, functions, map declarations, probes.

use super::{Builder, P, Rule, hints, kids};
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast::{
    Block, CDef, Config, ConfigEntry, ConfigValue, Import, Item, Macro, MacroParam, MapDecl,
    MapName, Probe, Program, Subprog, SubprogParam,
};

impl Builder<'_> {
    pub(super) fn program(&mut self, root: P<'_>, program: &mut Program) {
        for p in kids(root) {
            let span = self.trimmed(&p);
            match p.as_rule() {
                Rule::shebang => program.shebang = Some(span),
                Rule::c_directive | Rule::c_type => {
                    self.misplaced(program, span, "C definitions");
                    self.c_def(p, program);
                }
                Rule::config => {
                    let head = self.keyword(span, "config");
                    self.misplaced(program, head, "config");
                    if program.config.is_some() {
                        self.push(Code::DuplicateConfig, head, "duplicate config block");
                    }
                    let config = self.config(p);
                    program.config.get_or_insert(config);
                }
                Rule::import => {
                    let head = self.keyword(span, "import");
                    self.misplaced(program, head, "root imports");
                    program.imports.extend(self.import(p));
                }
                Rule::macro_def => program.items.extend(self.macro_def(p).map(Item::Macro)),
                Rule::subprog => program.items.extend(self.subprog(p).map(Item::Subprog)),
                Rule::map_decl => program.items.extend(self.map_decl(p).map(Item::MapDecl)),
                Rule::bad_let_root => {
                    self.structural(Diagnostic::error(
                        Code::Misplaced,
                        self.keyword(span, "let"),
                        "syntax: root-level let statements need to be map declarations, \
                         e.g. let @a = hash(2);",
                    ));
                }
                Rule::probe => program.items.extend(self.probe(p).map(Item::Probe)),
                Rule::root_junk => self.root_junk(&p),
                _ => {}
            }
        }
    }

    /// The first word of what stands at `span`.
    fn keyword(&self, span: Span, word: &str) -> Span {
        Span {
            hi: span.lo + word.len() as u32,
            ..span
        }
    }

    fn misplaced(&mut self, program: &Program, span: Span, what: &str) {
        if !program.items.is_empty() {
            let message = format!("{what} must appear before probes and functions");
            self.push(Code::Misplaced, span, message);
        }
    }

    fn root_junk(&mut self, p: &P<'_>) {
        let at = p.as_span().start();
        let mut d = Diagnostic::error(
            Code::UnexpectedInput,
            self.token_at(at),
            "syntax: expected a probe, macro, function or map declaration",
        );
        if let Some(hint) = hints::junk(self.text, at) {
            d = d.hint(hint);
        } else if p.as_str().starts_with('{') {
            d = d.hint("an action needs a probe in front of it: begin { ... }");
        }
        self.structural(d);
    }

    fn c_def(&mut self, p: P<'_>, program: &mut Program) {
        let directive = p.as_rule() == Rule::c_directive;
        let whole = self.span(&p);
        let text = p.as_str().trim_end().to_owned();
        for k in kids(p) {
            if matches!(k.as_rule(), Rule::missing_lbrace | Rule::missing_rbrace) {
                self.missing(&k);
                return;
            }
        }
        program.c_defs.push(CDef {
            span: Span::new(self.file, whole.lo as usize, whole.lo as usize + text.len()),
            text,
            directive,
        });
    }

    fn config(&mut self, p: P<'_>) -> Config {
        let span = self.trimmed(&p);
        let mut entries = Vec::new();
        for k in kids(p) {
            match k.as_rule() {
                Rule::config_entry => entries.extend(self.config_entry(k)),
                Rule::config_junk => {
                    let d = Diagnostic::error(
                        Code::Expected,
                        self.token_at(k.as_span().start()),
                        "syntax: expected identifier",
                    )
                    .hint("config entries read: name = value;");
                    self.structural(d);
                }
                Rule::config_head => {}
                _ => self.missing(&k),
            }
        }
        Config { entries, span }
    }

    fn config_entry(&mut self, p: P<'_>) -> Option<ConfigEntry> {
        let mut k = kids(p);
        let name = self.ident(&k.next()?);
        let v = k.next()?;
        let value_span = self.span(&v);
        let value = match v.as_rule() {
            Rule::string => ConfigValue::Str(self.string(&v)?.value),
            Rule::int => ConfigValue::Int(self.int(&v)?),
            Rule::word => match v.as_str() {
                "true" => ConfigValue::Bool(true),
                "false" => ConfigValue::Bool(false),
                w => ConfigValue::Word(w.to_owned()),
            },
            Rule::bad_string => {
                self.unterminated(&v);
                return None;
            }
            _ => {
                self.missing(&v);
                return None;
            }
        };
        Some(ConfigEntry {
            span: name.span.to(value_span),
            name,
            value,
            value_span,
        })
    }

    pub(super) fn import(&mut self, p: P<'_>) -> Option<Import> {
        let start = self.trimmed(&p);
        let mut path = None;
        for k in kids(p) {
            match k.as_rule() {
                Rule::kw_import => {}
                Rule::string => path = self.string(&k),
                Rule::bad_string => self.unterminated(&k),
                _ => self.missing(&k),
            }
        }
        let path = path?;
        Some(Import {
            span: start.to_end_of(path.span),
            path,
        })
    }

    fn macro_def(&mut self, p: P<'_>) -> Option<Macro> {
        let start = self.span(&p);
        let (mut name, mut body, mut params) = (None, None, Vec::new());
        let mut ok = true;
        for k in kids(p) {
            match k.as_rule() {
                Rule::macro_head => {}
                Rule::ident => name = Some(self.ident(&k)),
                Rule::macro_param => {
                    let Some(m) = kids(k).next() else { continue };
                    params.push(match m.as_rule() {
                        Rule::var => MacroParam::Var(self.sigil_ident(&m)),
                        Rule::map => MacroParam::Map(self.sigil_ident(&m)),
                        _ => MacroParam::Expr(self.ident(&m)),
                    });
                }
                Rule::block => body = Some(self.block(k)),
                _ => {
                    self.missing(&k);
                    ok = false;
                }
            }
        }
        let (name, body) = (name?, body?);
        ok.then_some(Macro {
            span: Span {
                hi: body.span.hi,
                ..start
            },
            name,
            params,
            body,
        })
    }

    fn subprog(&mut self, p: P<'_>) -> Option<Subprog> {
        let start = self.span(&p);
        let (mut name, mut ret, mut body, mut params) = (None, None, None, Vec::new());
        let mut ok = true;
        for k in kids(p) {
            match k.as_rule() {
                Rule::subprog_head => {}
                Rule::ident => name = Some(self.ident(&k)),
                Rule::subprog_param => match self.subprog_param(k) {
                    Some(param) => params.push(param),
                    None => ok = false,
                },
                Rule::type_expr => ret = self.type_expr(k),
                Rule::block => body = Some(self.block(k)),
                _ => {
                    self.missing(&k);
                    ok = false;
                }
            }
        }
        let (name, ret, body) = (name?, ret?, body?);
        ok.then_some(Subprog {
            span: Span {
                hi: body.span.hi,
                ..start
            },
            name,
            params,
            ret,
            body,
        })
    }

    fn subprog_param(&mut self, p: P<'_>) -> Option<SubprogParam> {
        let (mut var, mut ty) = (None, None);
        for k in kids(p) {
            match k.as_rule() {
                Rule::var => var = Some(self.var(&k)),
                Rule::type_expr => ty = self.type_expr(k),
                _ => self.missing(&k),
            }
        }
        Some(SubprogParam { var: var?, ty: ty? })
    }

    fn map_decl(&mut self, p: P<'_>) -> Option<MapDecl> {
        let span = self.trimmed(&p);
        let (mut map, mut kind, mut max_entries, mut ok) = (None, None, None, true);
        for k in kids(p) {
            match k.as_rule() {
                Rule::kw_let => {}
                Rule::map => map = Some(self.map_name(&k)),
                Rule::word => kind = Some(self.ident(&k)),
                Rule::int => match self.int(&k) {
                    Some(n) => max_entries = Some((n, self.span(&k))),
                    None => ok = false,
                },
                _ => {
                    self.missing(&k);
                    ok = false;
                }
            }
        }
        let (map, kind) = (map?, kind?);
        ok.then_some(MapDecl {
            map,
            kind,
            max_entries,
            span,
        })
    }

    pub(super) fn map_name(&self, p: &P<'_>) -> MapName {
        let ident = self.sigil_ident(p);
        MapName {
            name: ident.name,
            span: ident.span,
        }
    }

    fn probe(&mut self, p: P<'_>) -> Option<Probe> {
        let (mut attach_points, mut predicate) = (Vec::new(), None);
        let mut body: Option<Block> = None;
        let mut ok = true;
        for k in kids(p) {
            match k.as_rule() {
                Rule::attach_point => match self.attach_point(k) {
                    Some(ap) => attach_points.push(ap),
                    None => ok = false,
                },
                Rule::predicate => {
                    predicate = self.predicate(k);
                    ok &= predicate.is_some();
                }
                Rule::block => body = Some(self.block(k)),
                Rule::root_no_body => {
                    self.no_body(k);
                    ok = false;
                }
                _ => {}
            }
        }
        let body = body?;
        ok.then_some(Probe {
            span: attach_points
                .first()
                .map_or(body.span, |a| a.span.to(body.span)),
            attach_points,
            predicate,
            body,
        })
    }

    fn no_body(&mut self, p: P<'_>) {
        let at = p.as_span().start();
        let before = self.text[..at].trim_end();
        let word = before
            .rsplit(|c: char| c.is_whitespace() || c == ',')
            .next()
            .unwrap_or("");
        let mut d = Diagnostic::error(Code::Expected, self.token_at(at), "syntax: expected '{'");
        d = if word.contains(':') && word.contains('/') && !word.contains(":/") {
            d.hint("a predicate needs a space in front of its first '/'")
        } else if self.text[at..].starts_with('=') || self.text[at..].starts_with('(') {
            d.hint("statements stand in a probe: begin { ... }")
        } else {
            d.hint("the action of a probe stands in braces: probe { ... }")
        };
        self.structural(d);
    }

    fn predicate(&mut self, p: P<'_>) -> Option<crate::syntax::ast::Expr> {
        let mut expr = None;
        let mut ok = true;
        for k in kids(p) {
            match k.as_rule() {
                Rule::expr => expr = self.expr(k),
                Rule::bad_predicate => {
                    ok = false;
                    if let Some(m) = kids(k).next() {
                        self.missing(&m);
                    }
                }
                _ => self.missing(&k),
            }
        }
        expr.filter(|_| ok)
    }

    /// The span of a pair whose last, optional, part may be missing: pest then counts the
    /// blanks in front of that part.
    fn trimmed(&self, p: &P<'_>) -> Span {
        let s = p.as_span();
        Span::new(
            self.file,
            s.start(),
            s.start() + p.as_str().trim_end().len(),
        )
    }
}
