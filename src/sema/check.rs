//! The state of type checking, and the driver of its rounds.
//!
//! One round turns the whole tree into HIR with the types known so far; types of variables and
//! maps only ever grow. When a round changes none of them its HIR and its diagnostics are the
//! result, and those of earlier rounds are dropped. A round is linear in the script.

use std::collections::{HashMap, HashSet};

use super::SemaContext;
use super::hir;
use super::maps::MapState;
use super::probes::{ProbeCx, Unit};
use super::value;
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::object::{Loc, RunConfig};
use crate::source::Span;
use crate::syntax::ast::{self, ExpnId, NodeId};
use crate::types::{Type, TypeStore};

/// Most rounds before inference gives up. Every round learns something and types grow in few
/// steps, so real scripts need three or four; a chain of variables, each assigned from one
/// that comes later, needs as many as it is long.
const MAX_ROUNDS: u32 = 1000;

/// How a variable came to be, for the note of a shadowing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `let`
    Declaration,
    /// The first assignment.
    Assignment,
    /// A `for`.
    Loop,
    /// A parameter of a function.
    Parameter,
}

/// A variable of the unit that is being checked.
#[derive(Clone, Debug)]
pub(super) struct LocalState {
    pub name: String,
    /// The statement that made it: what its type is remembered by.
    pub key: NodeId,
    pub span: Span,
    pub origin: Origin,
    /// Type from its declaration, which does not grow.
    pub declared: Option<Type>,
    pub assigned: bool,
    pub used: bool,
}

/// A loop around the current statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    /// `while`, `for`: has `break` and `continue` in the HIR.
    Real,
    /// `unroll`
    Unroll,
}

/// What belongs to the probe or function that is being checked.
#[derive(Default)]
pub(super) struct UnitState {
    /// Its number, part of the key of its variables' types.
    pub number: u32,
    /// The context of a probe.
    pub probe: Option<ProbeCx>,
    /// Name and result type of a function.
    pub func: Option<(String, Type)>,
    pub locals: Vec<LocalState>,
    pub scopes: Vec<HashMap<(String, ExpnId), hir::LocalId>>,
    pub loops: Vec<LoopKind>,
}

/// Type checking of one program.
pub(crate) struct Checker<'a> {
    pub cx: &'a SemaContext<'a>,
    pub program: &'a ast::Program,
    pub store: TypeStore,
    pub diags: Diagnostics,
    pub config: hir::Config,
    pub run: RunConfig,
    pub settings: super::config::Settings,
    /// Types of variables by unit and declaring statement.
    vars: HashMap<(u32, NodeId), value::Grown>,
    /// Those that were set to anything but non-negative literals.
    computed: HashSet<(u32, NodeId)>,
    pub(super) maps: Vec<MapState>,
    pub(super) map_index: HashMap<String, hir::MapRef>,
    time_formats: Vec<String>,
    pub(super) funcs: HashMap<&'a str, (hir::FnRef, &'a ast::Subprog)>,
    pub(super) options: super::params::OptionUses,
    /// Uses in this round of what has no type yet. In the last round they are mistakes, unless
    /// another mistake is the reason.
    pub(super) unresolved: Vec<(Span, String)>,
    /// Structs whose parts have all their members.
    pub(super) completed: std::collections::HashSet<crate::types::StructId>,
    /// Something was learned in this round.
    pub(super) changed: bool,
    pub(super) unit: UnitState,
    /// The macro expansion of the current node.
    pub(super) expn: ExpnId,
}

impl<'a> Checker<'a> {
    /// A checker that knows nothing yet.
    pub fn new(
        cx: &'a SemaContext<'a>,
        program: &'a ast::Program,
        store: TypeStore,
        loaded: super::config::Loaded,
    ) -> Self {
        Self {
            cx,
            program,
            store,
            diags: Diagnostics::new(),
            config: loaded.compile,
            run: loaded.run,
            settings: loaded.settings,
            vars: HashMap::new(),
            computed: HashSet::new(),
            maps: Vec::new(),
            map_index: HashMap::new(),
            time_formats: Vec::new(),
            funcs: HashMap::new(),
            options: Default::default(),
            completed: Default::default(),
            unresolved: Vec::new(),
            changed: false,
            unit: UnitState::default(),
            expn: ExpnId::ROOT,
        }
    }

    /// Runs rounds until nothing changes and returns probes and functions of the last one.
    pub fn run(&mut self, units: &[Unit<'a>]) -> (Vec<hir::Probe>, Vec<hir::Func>) {
        let names = units.iter().flat_map(|u| &u.attach).map(|a| a.name.len());
        self.store.probe_name = names.max().map_or(0, |n| n as u32 + 1);
        for item in &self.program.items {
            if let ast::Item::Subprog(f) = item {
                let next = hir::FnRef(self.funcs.len() as u32);
                if self.funcs.insert(&f.name.name, (next, f)).is_some() {
                    let text = format!("Redefinition of function: {}", f.name.name);
                    let d = Diagnostic::error(Code::DuplicateDefinition, f.name.span, text);
                    return self.give_up(d);
                }
            }
        }
        for _ in 0..MAX_ROUNDS {
            self.changed = false;
            self.diags = Diagnostics::new();
            self.time_formats.clear();
            self.options.clear();
            self.unresolved.clear();
            self.begin_maps();
            let probes = units
                .iter()
                .enumerate()
                .map(|(i, u)| self.probe(i as u32, u))
                .collect();
            let mut funcs: Vec<_> = self.funcs.values().copied().collect();
            funcs.sort_by_key(|(id, _)| *id);
            let funcs = funcs
                .into_iter()
                .map(|(id, f)| self.func(units.len() as u32 + id.0, f))
                .collect();
            if !self.changed {
                self.finish_maps();
                self.finish_options();
                self.finish_unresolved();
                return (probes, funcs);
            }
        }
        self.give_up(Diagnostic::error(
            Code::Unresolved,
            None,
            "Types of this script do not settle",
        ))
    }

    fn finish_unresolved(&mut self) {
        if self.diags.has_errors() {
            return;
        }
        for (span, text) in std::mem::take(&mut self.unresolved) {
            self.error(Code::Unresolved, span, text);
        }
    }

    fn give_up(&mut self, d: Diagnostic) -> (Vec<hir::Probe>, Vec<hir::Func>) {
        self.diags.push(d);
        (Vec::new(), Vec::new())
    }

    /// The formats that the last round collected.
    pub fn take_time_formats(&mut self) -> Vec<String> {
        std::mem::take(&mut self.time_formats)
    }

    /// The number of a time format.
    pub(super) fn time_format(&mut self, text: &str) -> u32 {
        let known = self.time_formats.iter().position(|f| f == text);
        known.unwrap_or_else(|| {
            self.time_formats.push(text.to_owned());
            self.time_formats.len() - 1
        }) as u32
    }

    // Diagnostics.

    /// The place of a span in lines and columns.
    pub fn loc(&self, span: Span) -> Loc {
        self.cx.loc(span)
    }

    /// Reports `d`, with the macro calls that led here.
    pub fn report(&mut self, d: Diagnostic) {
        let d = if self.expn == ExpnId::ROOT {
            d
        } else {
            d.expanded_from(self.program.expansion_chain(self.expn))
        };
        self.diags.push(d);
    }

    /// Reports an error.
    pub fn error(&mut self, code: Code, span: Span, text: impl Into<String>) {
        self.report(Diagnostic::error(code, span, text));
    }

    /// Reports a warning.
    pub fn warn(&mut self, code: Code, span: Span, text: impl Into<String>) {
        self.report(Diagnostic::warning(code, span, text));
    }

    /// The same for a name that does not exist, with those it may have been meant to be.
    pub(super) fn fail_name<'n>(
        &mut self,
        code: Code,
        span: Span,
        text: String,
        written: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> hir::Expr {
        self.report(did_you_mean(
            Diagnostic::error(code, span, text),
            written,
            names,
        ));
        value::unknown(self.loc(span))
    }

    /// Reports an error and gives the expression that stands for a mistake.
    pub(super) fn fail(&mut self, code: Code, span: Span, text: impl Into<String>) -> hir::Expr {
        self.error(code, span, text);
        value::unknown(self.loc(span))
    }

    /// How a type is spelled.
    pub fn spell(&self, ty: &Type) -> String {
        ty.display(&self.store).to_string()
    }

    /// The same where a string or buffer may have no size of its own.
    pub(super) fn spell_unsized(&self, ty: &Type) -> String {
        match ty {
            Type::Str(0) => "string".to_owned(),
            Type::Buf(0) => "buffer".to_owned(),
            ty => self.spell(ty),
        }
    }

    // Units.

    /// Starts a probe or function.
    pub(super) fn begin_unit(&mut self, unit: UnitState) {
        self.unit = unit;
        self.unit.scopes.push(HashMap::new());
    }

    /// Ends it: its variables with their types.
    pub(super) fn end_unit(&mut self) -> Vec<hir::Local> {
        let locals = std::mem::take(&mut self.unit.locals);
        let mut out = Vec::with_capacity(locals.len());
        for l in locals {
            let ty = self.type_of_local(&l).unwrap_or(Type::None);
            self.complete(&ty);
            if l.origin == Origin::Declaration && !l.assigned {
                let text = format!("Variable ${} was never assigned to.", l.name);
                self.warn(Code::UnassignedVariable, l.span, text);
            }
            out.push(hir::Local {
                name: format!("${}", l.name),
                ty,
            });
        }
        out
    }

    // Scopes.

    pub(super) fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        self.unit.scopes.push(HashMap::new());
        let out = f(self);
        self.unit.scopes.pop();
        out
    }

    /// The variable that a name means here.
    pub(super) fn lookup(&self, var: &ast::Var) -> Option<hir::LocalId> {
        let key = (var.name.clone(), var.expn);
        let scopes = self.unit.scopes.iter().rev();
        scopes.filter_map(|s| s.get(&key)).next().copied()
    }

    /// Adds a variable to the innermost scope; `place` is what declares it.
    pub(super) fn declare(
        &mut self,
        var: &ast::Var,
        place: Span,
        key: NodeId,
        origin: Origin,
        declared: Option<Type>,
    ) -> hir::LocalId {
        if let Some(old) = self.lookup(var) {
            self.shadowing(var, place, old, origin);
        }
        let id = hir::LocalId(self.unit.locals.len() as u32);
        self.unit.locals.push(LocalState {
            name: var.name.clone(),
            key,
            span: place,
            origin,
            declared,
            assigned: origin != Origin::Declaration,
            used: false,
        });
        if let Some(scope) = self.unit.scopes.last_mut() {
            scope.insert((var.name.clone(), var.expn), id);
        }
        id
    }

    fn shadowing(&mut self, var: &ast::Var, place: Span, old: hir::LocalId, origin: Origin) {
        if origin == Origin::Loop {
            let text = format!("Loop declaration shadows existing variable: ${}", var.name);
            self.error(Code::Shadowing, place, text);
        } else {
            let text = format!(
                "Variable ${} was already declared. Variable shadowing is not allowed.",
                var.name
            );
            self.error(Code::Shadowing, place, text);
        }
        let old = &self.unit.locals[old.0 as usize];
        let (span, note) = match old.origin {
            Origin::Declaration | Origin::Parameter => {
                (old.span, "This is the initial declaration.")
            }
            Origin::Assignment => (old.span, "This is the initial assignment."),
            Origin::Loop => (old.span, "This is the loop variable."),
        };
        self.error(Code::Shadowing, span, note);
    }

    /// State of a variable.
    pub(super) fn local(&mut self, id: hir::LocalId) -> &mut LocalState {
        &mut self.unit.locals[id.0 as usize]
    }

    /// Whether a variable belongs to a loop, or was only set to non-negative literals and
    /// stepped from there.
    pub(super) fn is_counter(&self, id: hir::LocalId) -> bool {
        let l = &self.unit.locals[id.0 as usize];
        let key = (self.unit.number, l.key);
        let known = self.vars.contains_key(&key) && !self.computed.contains(&key);
        l.origin == Origin::Loop || l.declared.is_none() && known
    }

    /// The type of a variable so far.
    pub(super) fn local_type(&self, id: hir::LocalId) -> Option<Type> {
        self.type_of_local(&self.unit.locals[id.0 as usize])
    }

    fn type_of_local(&self, l: &LocalState) -> Option<Type> {
        let learned = || self.vars.get(&(self.unit.number, l.key));
        l.declared.clone().or_else(|| Some(learned()?.ty.clone()))
    }

    /// Remembers that a variable has this type.
    pub(super) fn learn_local(&mut self, id: hir::LocalId, ty: Type) {
        self.learn(id, value::Grown::fixed(ty));
    }

    fn learn(&mut self, id: hir::LocalId, ty: value::Grown) {
        let key = (self.unit.number, self.unit.locals[id.0 as usize].key);
        if self.vars.get(&key) != Some(&ty) {
            self.vars.insert(key, ty);
            self.changed = true;
        }
    }

    /// Grows the type of a variable by a value; the old type if they do not fit.
    pub(super) fn grow_local(&mut self, id: hir::LocalId, e: &hir::Expr) -> Result<Type, Type> {
        let key = (self.unit.number, self.unit.locals[id.0 as usize].key);
        if value::flexible(e).is_none() {
            self.changed |= self.computed.insert(key);
        }
        let new = match self.vars.get(&key) {
            None => value::Grown::of(e),
            Some(have) => match have.with(e, &self.store) {
                Some(new) => new,
                None => return Err(have.ty.clone()),
            },
        };
        let ty = new.ty.clone();
        self.learn(id, new);
        Ok(ty)
    }
}

/// Adds the names nearest to one that does not exist.
pub(super) fn did_you_mean<'n>(
    diagnostic: Diagnostic,
    written: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Diagnostic {
    let mut near = crate::nearest::Nearest::new(written, 3);
    for name in names {
        near.offer(name);
    }
    match near.into_names().as_slice() {
        [] => diagnostic,
        [one] => diagnostic.hint(format!("did you mean '{one}'?")),
        [first, rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(|n| format!("'{n}'")).collect();
            diagnostic.hint(format!("did you mean '{first}'? ({} too)", rest.join(", ")))
        }
    }
}
