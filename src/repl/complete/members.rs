//! Members of what is written before a dot: `args.`, `curtask->mm.`, `((struct sock *)arg0)->`.
//!
//! In: the text before the cursor. A half-typed body has no types that a checker could tell, so
//! this reads just what people write there: casts, members, indices, and variables that were
//! assigned one of these.

use rustyline::completion::Pair;

use super::Candidates;
use crate::cli::list;
use crate::ctypes::model::{CType, TypeId, TypeSource as _};
use crate::ctypes::render;
use crate::env::Env as _;
use crate::env::btf::{Btf, Kind};

/// Assignments that are followed to the type of a variable.
const DEPTH: u32 = 8;

impl Candidates {
    /// Members that begin with `member`, of the expression at the end of `before`, which ends
    /// with a dot or an arrow; `header` is the attach point that the body belongs to.
    pub(super) fn fields(&self, before: &str, member: &str, header: &str) -> Vec<Pair> {
        let base = before.trim_end_matches("->").trim_end_matches('.');
        let expr = &base[operand(base)..];
        let mut named = match expr {
            "args" => self.arguments(header),
            _ => self.members(expr, base, header),
        };
        named.retain(|(name, _)| name.starts_with(member));
        named
            .into_iter()
            .map(|(replacement, display)| Pair {
                display,
                replacement,
            })
            .collect()
    }

    /// Names and declarations of what `args` has.
    fn arguments(&self, header: &str) -> Vec<(String, String)> {
        let point = point(header);
        let parts: Vec<&str> = point.split(':').collect();
        match parts.as_slice() {
            ["tracepoint" | "t", category, event] => {
                let Ok(tp) = self.env.tracepoint(category, event) else {
                    return Vec::new();
                };
                let fields = tp.fields.iter();
                let fields = fields.filter(|f| !f.name.starts_with("common_"));
                fields.map(|f| (f.name.clone(), f.declaration())).collect()
            }
            // As the debug information of the program has it.
            ["uprobe" | "u" | "uretprobe" | "ur" | "usdt" | "U", ..] => {
                let listing = list::list(Some(point), true, &*self.env, &self.paths());
                let lines = listing.text.lines().skip_while(|l| !l.starts_with(' '));
                let lines = lines.take_while(|l| l.starts_with(' ')).map(str::trim);
                lines
                    .filter_map(|l| Some((declared(l)?.to_owned(), l.to_owned())))
                    .collect()
            }
            [kind, .., name] => {
                let Some(btf) = self.env.btf() else {
                    return Vec::new();
                };
                let proto = match is_raw(kind) {
                    true => btf.raw_tracepoint(name),
                    false => btf.function(name),
                };
                let params = proto.map(|p| p.params).unwrap_or_default().into_iter();
                params
                    .map(|p| {
                        let text = render::type_name(&**btf, p.ty);
                        (p.name.to_owned(), format!("{text} {}", p.name))
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Names and declarations of the members of an expression.
    fn members(&self, expr: &str, before: &str, header: &str) -> Vec<(String, String)> {
        let Some(btf) = self.env.btf() else {
            return Vec::new();
        };
        let scope = Scope {
            candidates: self,
            btf,
            before,
            header,
        };
        let record = scope.ty(expr, DEPTH).and_then(|ty| record(btf, ty));
        let members = record
            .map(|r| btf.fields(r))
            .unwrap_or_default()
            .into_iter();
        members
            .filter(|m| !m.name.is_empty())
            .map(|m| {
                let text = render::type_name(&**btf, m.ty);
                (m.name.to_owned(), format!("{text} {}", m.name))
            })
            .collect()
    }
}

/// Where an expression stands.
struct Scope<'a> {
    candidates: &'a Candidates,
    btf: &'a Btf,
    /// The text before it, with the assignments.
    before: &'a str,
    header: &'a str,
}

impl Scope<'_> {
    /// The type of an expression.
    fn ty(&self, expr: &str, depth: u32) -> Option<TypeId> {
        let depth = depth.checked_sub(1)?;
        let expr = expr.trim();
        if let Some(pointer) = expr.strip_prefix('*') {
            return self.target(self.ty(pointer, depth)?);
        }
        if let Some(inner) = expr.strip_prefix('(') {
            let close = closing(inner)?;
            let (inside, rest) = (&inner[..close], inner[close + 1..].trim());
            if rest.is_empty() {
                return self.ty(inside, depth);
            }
            if !rest.starts_with(['.', '-', '[']) {
                return self.named(inside);
            }
        }
        if let Some(start) = expr.strip_suffix(']').and_then(opening) {
            return self.target(self.ty(&expr[..start], depth)?);
        }
        if let Some((base, member)) = last_member(expr) {
            if base == "args" {
                return self.argument(member);
            }
            let of = record(self.btf, self.ty(base, depth)?)?;
            return self.btf.field(of, member).map(|f| f.ty);
        }
        match expr {
            "curtask" => self.btf.find_kind(&[Kind::Struct], "task_struct"),
            "retval" => self.prototype().map(|p| p.ret),
            variable if variable.starts_with('$') => {
                let value = assigned(self.before, variable)?;
                self.ty(value, depth)
            }
            _ => None,
        }
    }

    fn prototype(&self) -> Option<crate::env::btf::query::Prototype<'_>> {
        let (kind, rest) = point(self.header).split_once(':')?;
        let name = rest.rsplit(':').next()?;
        match is_raw(kind) {
            true => self.btf.raw_tracepoint(name),
            false => self.btf.function(name),
        }
    }

    fn argument(&self, name: &str) -> Option<TypeId> {
        if let ["tracepoint" | "t", category, event] =
            point(self.header).split(':').collect::<Vec<_>>().as_slice()
        {
            let tp = self.candidates.env.tracepoint(category, event).ok()?;
            let field = tp.fields.iter().find(|f| f.name == name)?;
            let declaration = field.declaration();
            return self.named(declaration.strip_suffix(name)?);
        }
        let params = self.prototype()?.params;
        params.iter().find(|p| p.name == name).map(|p| p.ty)
    }

    /// The type that a name, perhaps with stars, means; a pointer counts as its target.
    fn named(&self, text: &str) -> Option<TypeId> {
        let text = text.trim().trim_end_matches(['*', ' ']);
        let text = text.strip_prefix("const ").unwrap_or(text).trim();
        let (kinds, name): (&[Kind], &str) = match text.split_once(' ') {
            Some(("struct", name)) => (&[Kind::Struct], name),
            Some(("union", name)) => (&[Kind::Union], name),
            _ => (&[Kind::Typedef, Kind::Struct, Kind::Union], text),
        };
        self.btf.find_kind(kinds, name.trim())
    }

    /// What a pointer or an array is of; anything else, which may be a pointer whose star was
    /// left out, is itself.
    fn target(&self, ty: TypeId) -> Option<TypeId> {
        match self.btf.ctype(self.btf.resolve(ty)) {
            CType::Pointer(target) => Some(target),
            CType::Array { element, .. } => Some(element),
            _ => Some(ty),
        }
    }
}

/// The attach point that a body's members are of.
fn point(header: &str) -> &str {
    header.split([',', ' ', '\n']).next().unwrap_or_default()
}

fn is_raw(kind: &str) -> bool {
    matches!(kind, "rawtracepoint" | "rt")
}

/// The struct or union behind typedefs and pointers.
fn record(btf: &Btf, ty: TypeId) -> Option<TypeId> {
    let mut ty = btf.resolve(ty);
    if let CType::Pointer(target) = btf.ctype(ty) {
        ty = btf.resolve(target);
    }
    matches!(btf.ctype(ty), CType::Record { .. }).then_some(ty)
}

/// The name that a C declaration declares.
fn declared(text: &str) -> Option<&str> {
    let text = text.split('[').next().unwrap_or(text).trim_end();
    let at = text.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    Some(&text[at + 1..])
}

/// Where the value that was assigned last to a variable is written.
fn assigned<'a>(text: &'a str, variable: &str) -> Option<&'a str> {
    let found = text.rmatch_indices(variable).find_map(|(at, name)| {
        let rest = text[at + name.len()..].trim_start().strip_prefix('=')?;
        (!rest.starts_with('=')).then_some(rest)
    })?;
    Some(found.split([';', '}']).next().unwrap_or(found))
}

/// Base and name of the member that an expression ends with.
fn last_member(expr: &str) -> Option<(&str, &str)> {
    let name = expr
        .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map(|i| i + 1)?;
    let base = &expr[..name];
    let base = base.strip_suffix('.').or_else(|| base.strip_suffix("->"))?;
    Some((base, &expr[name..]))
}

/// Where the parenthesis is that closes the one before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    text.char_indices().find_map(|(i, c)| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(i),
            ')' => depth -= 1,
            _ => {}
        }
        None
    })
}

/// Where the bracket or parenthesis is that opens the one after `text`.
fn opening(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    text.char_indices().rev().find_map(|(i, c)| {
        match c {
            ')' | ']' => depth += 1,
            '(' | '[' if depth == 0 => return Some(i),
            '(' | '[' => depth -= 1,
            _ => {}
        }
        None
    })
}

/// Where the expression at the end of `text` begins: names, members, indices and what is in
/// parentheses.
fn operand(text: &str) -> usize {
    let mut at = text.len();
    loop {
        let head = &text[..at];
        let Some(last) = head.chars().next_back() else {
            return at;
        };
        match last {
            ')' | ']' => match opening(&head[..at - 1]) {
                Some(start) => at = start,
                None => return at,
            },
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '$') => at -= 1,
            '>' if head.ends_with("->") => at -= 2,
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_before_the_cursor() {
        let of = |text: &'static str| &text[operand(text)..];
        assert_eq!(of("print(curtask->mm"), "curtask->mm");
        assert_eq!(
            of("1 + ((struct a *)arg0)->b[3]"),
            "((struct a *)arg0)->b[3]"
        );
        assert_eq!(of("f(x, @a[1].c"), "@a[1].c");
        assert_eq!(of("$x = $y"), "$y");
    }

    #[test]
    fn variables_have_the_last_value() {
        let text = "$x = 1; $xs = 2; if ($x == 3) { $x = (struct a *)arg0; $";
        assert_eq!(assigned(text, "$x"), Some(" (struct a *)arg0"));
        assert_eq!(assigned(text, "$y"), None);
    }

    #[test]
    fn declarations_declare_a_name() {
        assert_eq!(declared("char prev_comm[16]"), Some("prev_comm"));
        assert_eq!(declared("struct file * file"), Some("file"));
        assert_eq!(declared("long"), None);
    }

    #[test]
    fn members_end_expressions() {
        assert_eq!(last_member("a.b->c"), Some(("a.b", "c")));
        assert_eq!(
            last_member("((struct a *)p)->q"),
            Some(("((struct a *)p)", "q"))
        );
        assert_eq!(last_member("curtask"), None);
    }
}
