//! C macros: their table, and replacement of macro names in a stream of tokens.
//!
//! In: tokens, pulled one at a time. Out: the same with macros replaced, after the rules of C:
//! arguments are expanded before they are substituted unless `#` or `##` touch them, the result
//! is scanned again, and a macro does not expand inside its own expansion.

use std::rc::Rc;

use super::token::{Interner, Kind, Loc, Sym, Token, tokenize};

/// Tokens that all expansions of a translation may produce together: more is a macro bomb. All of
/// the C library's and the kernel's UAPI headers stay far below.
const MAX_EXPANSION: usize = 1 << 21;

/// A macro.
#[derive(Clone, Debug)]
pub struct Macro {
    /// Parameter names of a function-like macro.
    pub params: Option<Vec<Sym>>,
    /// The last parameter takes all remaining arguments.
    pub variadic: bool,
    /// The replacement.
    pub body: Vec<Token>,
    /// Where it was defined.
    pub loc: Loc,
}

/// The defined macros, and the chains that say which macros a token may not expand by again.
#[derive(Debug, Default)]
pub struct Macros {
    /// By symbol.
    table: Vec<Option<(Sym, Rc<Macro>)>>,
    /// Link `i` (from 1): a macro, and the rest of the chain.
    hidden: Vec<(Sym, u32)>,
    /// Tokens that expansions have produced.
    produced: usize,
}

/// Where tokens come from while a macro call is read.
pub trait Source {
    /// The next token without taking it.
    fn peek(&mut self) -> Option<Token>;
    /// Takes the next token.
    fn next(&mut self) -> Option<Token>;
}

/// A source that is a list of tokens.
#[derive(Debug)]
pub struct List<'a>(pub std::slice::Iter<'a, Token>);

impl Source for List<'_> {
    fn peek(&mut self) -> Option<Token> {
        self.0.as_slice().first().copied()
    }

    fn next(&mut self) -> Option<Token> {
        self.0.next().copied()
    }
}

/// Pending replacements in front of a source; the last token comes first.
struct Pushed<'a> {
    pending: &'a mut Vec<Token>,
    rest: &'a mut dyn Source,
}

impl Pushed<'_> {
    fn peek(&mut self) -> Option<Token> {
        self.pending.last().copied().or_else(|| self.rest.peek())
    }

    fn next(&mut self) -> Option<Token> {
        self.pending.pop().or_else(|| self.rest.next())
    }
}

impl Macros {
    /// Defines a macro, replacing an older definition.
    pub fn define(&mut self, name: Sym, definition: Macro) {
        let at = name.index();
        if at >= self.table.len() {
            self.table.resize(at + 1, None);
        }
        self.table[at] = Some((name, Rc::new(definition)));
    }

    /// Removes a macro.
    pub fn undefine(&mut self, name: Sym) {
        if let Some(slot) = self.table.get_mut(name.index()) {
            *slot = None;
        }
    }

    /// The definition of a macro.
    pub fn get(&self, name: Sym) -> Option<&Macro> {
        let (_, definition) = self.table.get(name.index())?.as_ref()?;
        Some(definition)
    }

    /// All macros.
    pub fn iter(&self) -> impl Iterator<Item = (Sym, &Macro)> {
        self.table.iter().flatten().map(|(s, m)| (*s, &**m))
    }

    fn hides(&self, mut chain: u32, name: Sym) -> bool {
        while chain != 0 {
            let (hidden, rest) = self.hidden[chain as usize - 1];
            if hidden == name {
                return true;
            }
            chain = rest;
        }
        false
    }

    fn hide(&mut self, chain: u32, name: Sym) -> u32 {
        self.hidden.push((name, chain));
        self.hidden.len() as u32
    }

    /// Replaces macros in all of `tokens`.
    pub fn expand(&mut self, tokens: &[Token], names: &mut Interner) -> Vec<Token> {
        let mut source = List(tokens.iter());
        let mut out = Vec::with_capacity(tokens.len());
        let mut pending = Vec::new();
        while let Some(t) = pending.pop().or_else(|| source.next()) {
            if !self.replace(t, &mut pending, &mut source, names) {
                out.push(t);
            }
        }
        out
    }

    /// If `t` is a macro use, replaces it: its expansion goes onto `pending` (last token first)
    /// to be scanned next. A function-like macro takes its arguments from there and from `rest`.
    pub fn replace(
        &mut self,
        t: Token,
        pending: &mut Vec<Token>,
        rest: &mut dyn Source,
        names: &mut Interner,
    ) -> bool {
        if t.kind != Kind::Ident || self.produced > MAX_EXPANSION {
            return false;
        }
        let Some(Some((_, definition))) = self.table.get(t.sym.index()) else {
            return false;
        };
        let definition = definition.clone();
        if self.hides(t.hidden, t.sym) {
            return false;
        }
        let mut input = Pushed { pending, rest };
        let body = if let Some(params) = &definition.params {
            let opens = |p: Token| names.text(p.sym) == "(";
            if !input.peek().is_some_and(opens) {
                return false;
            }
            let variadic = definition.variadic;
            let Some(args) = arguments(&mut input, params.len(), variadic, names) else {
                return false;
            };
            self.substitute(&definition.body, params, &args, names)
        } else {
            paste_all(definition.body.clone(), names)
        };
        self.produced += body.len();
        let hidden = self.hide(t.hidden, t.sym);
        for (i, mut b) in body.into_iter().enumerate().rev() {
            // The chain of an argument's token is kept where it says more than the macro's own.
            b.hidden = if b.hidden == 0 {
                hidden
            } else {
                self.hide(b.hidden, t.sym)
            };
            b.loc = t.loc;
            if i == 0 {
                b.spaced = t.spaced;
                b.starts_line = t.starts_line;
            }
            pending.push(b);
        }
        true
    }

    fn substitute(
        &mut self,
        body: &[Token],
        params: &[Sym],
        args: &[Vec<Token>],
        names: &mut Interner,
    ) -> Vec<Token> {
        let mut expanded: Vec<Option<Vec<Token>>> = vec![None; params.len()];
        let parameter = |t: &Token| params.iter().position(|p| *p == t.sym);
        let text = |names: &Interner, i: usize| {
            body.get(i)
                .map_or(String::new(), |t| names.text(t.sym).to_owned())
        };
        let mut out: Vec<Token> = Vec::new();
        let mut i = 0;
        // Set after `##`: the next token is glued to the last one of `out`.
        let mut paste = false;
        // An empty argument on the left of `##` leaves nothing to glue to.
        let mut nothing_left = false;
        while i < body.len() {
            let t = body[i];
            let word = text(names, i);
            if word == "##" && i > 0 {
                paste = !nothing_left;
                nothing_left = false;
                i += 1;
                continue;
            }
            let before_paste = text(names, i + 1) == "##";
            let mut piece = if word == "#"
                && let Some(p) = body.get(i + 1).and_then(parameter)
            {
                i += 1;
                vec![stringized(&args[p], t, names)]
            } else if let Some(p) = parameter(&t) {
                if paste || before_paste {
                    // `, ## __VA_ARGS__` drops the comma where there are no arguments.
                    if paste
                        && args[p].is_empty()
                        && out.last().is_some_and(|l| names.text(l.sym) == ",")
                    {
                        out.pop();
                    }
                    args[p].clone()
                } else {
                    if expanded[p].is_none() {
                        expanded[p] = Some(self.expand(&args[p], names));
                    }
                    expanded[p].clone().unwrap_or_default()
                }
            } else {
                vec![t]
            };
            if let Some(first) = piece.first_mut() {
                first.spaced = t.spaced;
            }
            if before_paste && piece.is_empty() && !paste {
                nothing_left = true;
            }
            if paste {
                paste = false;
                if !piece.is_empty()
                    && let Some(left) = out.pop()
                {
                    let comma = names.text(left.sym) == ",";
                    if comma {
                        out.push(left);
                    } else {
                        out.extend(glued(left, piece.remove(0), names));
                    }
                }
            }
            out.extend(piece);
            i += 1;
        }
        out
    }
}

/// Applies `##` in the body of an object-like macro.
fn paste_all(body: Vec<Token>, names: &mut Interner) -> Vec<Token> {
    if !body.iter().any(|t| names.text(t.sym) == "##") {
        return body;
    }
    let mut out: Vec<Token> = Vec::new();
    let mut tokens = body.into_iter();
    while let Some(t) = tokens.next() {
        if names.text(t.sym) == "##"
            && let Some(left) = out.pop()
            && let Some(right) = tokens.next()
        {
            out.extend(glued(left, right, names));
        } else {
            out.push(t);
        }
    }
    out
}

/// The tokens that two texts put together make: one, where C allows the gluing.
fn glued(left: Token, right: Token, names: &mut Interner) -> Vec<Token> {
    let text = format!("{}{}", names.text(left.sym), names.text(right.sym));
    let mut tokens = tokenize(&text, left.loc.file, names);
    for t in &mut tokens {
        t.loc = left.loc;
        t.starts_line = false;
    }
    if let Some(t) = tokens.first_mut() {
        t.spaced = left.spaced;
    }
    tokens
}

/// Reads `(a, b, ...)`; `None` where it does not end or has another number of arguments.
fn arguments(
    input: &mut Pushed<'_>,
    params: usize,
    variadic: bool,
    names: &Interner,
) -> Option<Vec<Vec<Token>>> {
    input.next();
    let mut args: Vec<Vec<Token>> = vec![Vec::new()];
    let mut depth = 0;
    loop {
        let mut t = input.next()?;
        t.starts_line = false;
        match names.text(t.sym) {
            ")" if depth == 0 => break,
            "," if depth == 0 && !(variadic && args.len() == params) => {
                args.push(Vec::new());
                continue;
            }
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        args.last_mut()?.push(t);
    }
    if params == 0 && args.len() == 1 && args[0].is_empty() {
        args.clear();
    }
    if variadic && args.len() + 1 == params {
        args.push(Vec::new());
    }
    (args.len() == params).then_some(args)
}

fn stringized(arg: &[Token], at: Token, names: &mut Interner) -> Token {
    let mut text = String::from("\"");
    for (i, t) in arg.iter().enumerate() {
        if t.spaced && i > 0 {
            text.push(' ');
        }
        let raw = names.text(t.sym);
        if matches!(t.kind, Kind::String | Kind::Char) {
            text.push_str(&raw.replace('\\', "\\\\").replace('"', "\\\""));
        } else {
            text.push_str(raw);
        }
    }
    text.push('"');
    Token {
        kind: Kind::String,
        sym: names.intern(&text),
        ..at
    }
}

/// Tokens as text, with a space wherever there was white space.
pub fn text(tokens: &[Token], names: &Interner) -> String {
    let mut out = String::new();
    for (i, t) in tokens.iter().enumerate() {
        let word = names.text(t.sym);
        // Two words that a macro brought together must not become one.
        let merge = |a: char, b: char| a.is_alphanumeric() && b.is_alphanumeric();
        let touching = out.ends_with(|a: char| word.starts_with(|b: char| merge(a, b)));
        if i > 0 && (t.spaced || touching) {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}
