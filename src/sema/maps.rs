//! Maps: their keys and values as uses reveal them, and their declarations.

use super::check::Checker;
use super::hir::{self, DeclaredKind, Expr, ExprKind, MapRef};
use super::value::{self, Grown, is_unknown};
use crate::diag::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast;
use crate::types::{AggKind, Type};

/// What is known of a map's key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum KeyState {
    /// No use told yet.
    Unknown,
    /// Used without a key.
    Scalar,
    /// Used with a key whose type is not known yet.
    Keyed,
    /// Used with a key of this type.
    Type(Grown),
}

/// A map during checking.
#[derive(Clone, Debug)]
pub(super) struct MapState {
    pub name: String,
    pub key: KeyState,
    pub value: Option<Type>,
    /// How the value's type may still grow.
    grown: Option<Grown>,
    pub decl: Option<(Option<DeclaredKind>, Option<u32>, Span)>,
    /// First use in this round.
    pub first: Option<Span>,
    /// Assigned in this round.
    pub written: bool,
    /// Uses in this round that need a value: reported if the map is never written.
    pub read_at: Vec<Span>,
    /// Whether single keys are deleted.
    pub deletes: bool,
}

impl Checker<'_> {
    /// Resets what is learned anew in every round; enters declarations.
    pub(super) fn begin_maps(&mut self) {
        for m in &mut self.maps {
            m.first = None;
            m.written = false;
            m.read_at.clear();
        }
        let program = self.program;
        for item in &program.items {
            if let ast::Item::MapDecl(d) = item {
                self.map_decl(d);
            }
        }
    }

    fn map_decl(&mut self, d: &ast::MapDecl) {
        let kind = match d.kind.name.as_str() {
            "hash" => Some(DeclaredKind::Hash),
            "lruhash" => Some(DeclaredKind::LruHash),
            "percpuhash" => Some(DeclaredKind::PercpuHash),
            "percpulruhash" => Some(DeclaredKind::PercpuLruHash),
            other => {
                let text = format!("Invalid bpf map type: {other}");
                self.report(
                    Diagnostic::error(Code::BadMapType, d.span, text)
                        .hint("Valid map types: percpulruhash, percpuhash, lruhash, hash"),
                );
                None
            }
        };
        let entries = d.max_entries.and_then(|(n, span)| {
            let entries = u32::try_from(n).ok().filter(|n| *n > 0);
            if entries.is_none() {
                self.error(
                    Code::BadMapType,
                    span,
                    "Max entries must be a positive number",
                );
            }
            entries
        });
        let id = self.map_id(&d.map.name);
        let m = &mut self.maps[id.0 as usize];
        if let Some((.., old)) = m.decl
            && old != d.span
        {
            let text = format!("Redeclaration of existing map: @{}", d.map.name);
            self.error(Code::DuplicateDefinition, d.span, text);
            return;
        }
        m.decl = Some((kind, entries, d.span));
    }

    fn map_id(&mut self, name: &str) -> MapRef {
        if let Some(id) = self.map_index.get(name) {
            return *id;
        }
        let id = MapRef(self.maps.len() as u32);
        self.map_index.insert(name.to_owned(), id);
        self.maps.push(MapState {
            name: format!("@{name}"),
            key: KeyState::Unknown,
            value: None,
            grown: None,
            decl: None,
            first: None,
            written: false,
            read_at: Vec::new(),
            deletes: false,
        });
        id
    }

    /// The map of this name, for a use that says nothing of its key.
    pub(super) fn map(&mut self, map: &ast::MapName) -> MapRef {
        let id = self.map_id(&map.name);
        self.maps[id.0 as usize].first.get_or_insert(map.span);
        id
    }

    /// State of a map.
    pub(super) fn map_state(&mut self, id: MapRef) -> &mut MapState {
        &mut self.maps[id.0 as usize]
    }

    /// Notes that a map is read at `span`: an error if nothing ever writes it.
    pub(super) fn reads_map(&mut self, id: MapRef, span: Span) {
        self.maps[id.0 as usize].read_at.push(span);
    }

    /// A use of the map without a key.
    pub(super) fn scalar_access(&mut self, id: MapRef, span: Span) -> bool {
        match self.maps[id.0 as usize].key {
            KeyState::Unknown => {
                self.maps[id.0 as usize].key = KeyState::Scalar;
                self.changed = true;
                true
            }
            KeyState::Scalar => true,
            _ => {
                let text = format!(
                    "{} used as a map without an explicit key (scalar map), previously used with an explicit key (non-scalar map)",
                    self.maps[id.0 as usize].name
                );
                self.error(Code::MapKeyMismatch, span, text);
                false
            }
        }
    }

    /// A use of the map with these keys as written; gives the key in the map's key type.
    pub(super) fn keyed_access(
        &mut self,
        id: MapRef,
        keys: &[ast::Expr],
        span: Span,
    ) -> Option<Expr> {
        let key = match keys {
            [one] => self.expr(one),
            several => {
                let loc = self.loc(span);
                let items: Vec<Expr> = several.iter().map(|k| self.expr(k)).collect();
                let items: Vec<Expr> = items.into_iter().map(|k| self.plain(k, span)).collect();
                if items.iter().any(is_unknown) {
                    self.note_keyed(id, span);
                    return None;
                }
                let ty = Type::tuple(items.iter().map(|i| i.ty.clone()).collect::<Vec<_>>());
                Expr {
                    kind: ExprKind::Tuple(items),
                    ty,
                    loc,
                }
            }
        };
        self.key_access(id, key, keys[0].span.to(span))
    }

    fn note_keyed(&mut self, id: MapRef, span: Span) -> bool {
        let m = &mut self.maps[id.0 as usize];
        match m.key {
            KeyState::Unknown => {
                m.key = KeyState::Keyed;
                self.changed = true;
                true
            }
            KeyState::Scalar => {
                let text = format!(
                    "{} used as a map with an explicit key (non-scalar map), previously used without an explicit key (scalar map)",
                    m.name
                );
                self.error(Code::MapKeyMismatch, span, text);
                false
            }
            _ => true,
        }
    }

    /// A use of the map with this key value.
    pub(super) fn key_access(&mut self, id: MapRef, key: Expr, span: Span) -> Option<Expr> {
        let key = self.plain(key, span);
        if !self.note_keyed(id, span) || is_unknown(&key) {
            return None;
        }
        if let Some(text) = self.bad_key(&key) {
            self.error(Code::BadMapKey, span, text);
            return None;
        }
        let have = self.maps[id.0 as usize].key.clone();
        let new = match &have {
            KeyState::Type(have) => have.with(&key, &self.store),
            _ => Some(Grown::of(&key)),
        };
        let (Some(new), have) = (new, have) else {
            let have = match self.maps[id.0 as usize].key.clone() {
                KeyState::Type(t) => self.spell(&t.ty),
                _ => String::new(),
            };
            let text = format!(
                "Argument mismatch for {}: trying to access with arguments: '{}' when map expects arguments: '{have}'",
                self.maps[id.0 as usize].name,
                self.spell(&key.ty),
            );
            self.error(Code::MapKeyMismatch, span, text);
            return None;
        };
        let ty = new.ty.clone();
        let new = KeyState::Type(new);
        if new != have {
            self.maps[id.0 as usize].key = new;
            self.changed = true;
        }
        Some(value::cast(key, &ty))
    }

    fn bad_key(&self, key: &Expr) -> Option<String> {
        if matches!(key.kind, ExprKind::Ctx) {
            return Some("context cannot be part of a map key".into());
        }
        match &key.ty {
            Type::None | Type::Void | Type::Agg(_) => Some(format!(
                "{} cannot be part of a map key",
                self.spell(&key.ty)
            )),
            Type::Tuple(items) => items
                .iter()
                .find(|t| matches!(t, Type::None | Type::Void | Type::Agg(_)))
                .map(|t| format!("{} cannot be part of a map key", self.spell(t))),
            _ => None,
        }
    }

    /// The map and key that `@m` or `@m[k]` names; `None` after a mistake or while the key's
    /// type is unknown.
    pub(super) fn map_place(&mut self, target: &ast::Expr) -> Option<(MapRef, Option<Expr>)> {
        match &target.kind {
            ast::ExprKind::Map(m) => {
                let id = self.map(m);
                self.scalar_access(id, target.span).then_some((id, None))
            }
            ast::ExprKind::MapElem { map, keys } => {
                let id = self.map(map);
                let key = self.keyed_access(id, keys, target.span)?;
                Some((id, Some(key)))
            }
            _ => None,
        }
    }

    /// Grows the value type of a map by `new`; the value's final type, or `None` after a
    /// mismatch.
    pub(super) fn grow_map(
        &mut self,
        id: MapRef,
        new: &Expr,
        (whole, value): (Span, Span),
    ) -> Option<Type> {
        let m = &mut self.maps[id.0 as usize];
        m.written = true;
        let Some(have) = m.grown.clone() else {
            m.value = Some(new.ty.clone());
            m.grown = Some(Grown::of(new));
            self.changed = true;
            return Some(new.ty.clone());
        };
        match have.with(new, &self.store) {
            Some(grown) => {
                let ty = grown.ty.clone();
                if grown != have {
                    let m = &mut self.maps[id.0 as usize];
                    m.value = Some(ty.clone());
                    m.grown = Some(grown);
                    self.changed = true;
                }
                Some(ty)
            }
            None => {
                let bounds = match (&have.ty, &new.ty) {
                    (Type::Agg(a), Type::Agg(b)) => different_bounds(a.kind, b.kind),
                    _ => None,
                };
                if let Some(text) = bounds {
                    self.error(Code::AggregationBounds, value, text);
                    return None;
                }
                let text = format!(
                    "Type mismatch for {}: trying to assign value of type '{}' when map already has a type '{}'",
                    self.maps[id.0 as usize].name,
                    self.spell(&new.ty),
                    self.spell(&have.ty)
                );
                self.error(Code::TypeMismatch, whole, text);
                None
            }
        }
    }

    /// Whether a map is only ever set to non-negative literals.
    pub(super) fn holds_literals(&self, id: MapRef) -> bool {
        let grown = self.maps[id.0 as usize].grown.as_ref();
        grown.is_some_and(value::Grown::is_literal)
    }

    /// Reading `@m` or `@m[k]`.
    pub(super) fn map_get(&mut self, e: &ast::Expr) -> Expr {
        let loc = self.loc(e.span);
        let id = match &e.kind {
            ast::ExprKind::Map(m) | ast::ExprKind::MapElem { map: m, .. } => self.map(m),
            _ => return value::unknown(loc),
        };
        self.reads_map(id, e.span);
        let Some((map, key)) = self.map_place(e) else {
            return value::unknown(loc);
        };
        match self.maps[map.0 as usize].value.clone() {
            Some(ty) => Expr {
                kind: ExprKind::MapGet {
                    map,
                    key: key.map(Box::new),
                },
                ty,
                loc,
            },
            None => {
                self.unresolved_map(map, e.span);
                value::unknown(loc)
            }
        }
    }

    /// Notes a use of a map whose type nothing has told yet.
    pub(super) fn unresolved_map(&mut self, map: MapRef, span: Span) {
        let text = format!("Undefined map: {}", self.maps[map.0 as usize].name);
        self.unresolved.push((span, text));
    }

    /// Reports what only the whole script can tell.
    pub(super) fn finish_maps(&mut self) {
        for i in 0..self.maps.len() {
            let m = &self.maps[i];
            if m.first.is_none() {
                if let Some((.., span)) = m.decl {
                    let text = format!("Unused map: {}", m.name);
                    self.warn(Code::UnusedMap, span, text);
                }
                continue;
            }
            if !m.written {
                let text = format!("Undefined map: {}", m.name);
                let (spans, name) = (m.read_at.clone(), m.name.clone());
                let written: Vec<String> = self
                    .maps
                    .iter()
                    .filter(|m| m.written)
                    .map(|m| m.name.clone())
                    .collect();
                for span in spans {
                    let d = Diagnostic::error(Code::UndefinedMap, span, text.clone());
                    let names = written.iter().map(String::as_str);
                    self.report(super::check::did_you_mean(d, &name, names));
                }
                continue;
            }
            let (Some((Some(kind), _, decl)), Some(value)) = (m.decl, &m.value) else {
                continue;
            };
            let agg = matches!(value, Type::Agg(_));
            let (name, percpu) = match kind {
                DeclaredKind::Hash => ("hash", false),
                DeclaredKind::LruHash => ("lruhash", false),
                DeclaredKind::PercpuHash => ("percpuhash", true),
                DeclaredKind::PercpuLruHash => ("percpulruhash", true),
            };
            if agg != percpu {
                let wanted = if agg { "percpuhash" } else { "hash" };
                let text = format!(
                    "Incompatible map types. Type from declaration: {name}. Type from value/key type: {wanted}"
                );
                let span = m.first.unwrap_or(decl);
                self.error(Code::MapKindMismatch, span, text);
            }
        }
    }

    /// The maps of the finished program.
    pub(super) fn take_maps(&mut self) -> Vec<hir::Map> {
        let maps = std::mem::take(&mut self.maps);
        for m in &maps {
            if let KeyState::Type(t) = &m.key {
                self.complete(&t.ty);
            }
            if let Some(t) = &m.value {
                self.complete(t);
            }
        }
        maps.into_iter()
            .map(|m| {
                let span = m.decl.map(|(.., s)| s).or(m.first);
                hir::Map {
                    name: m.name,
                    key: match m.key {
                        KeyState::Type(t) => Some(t.ty),
                        _ => None,
                    },
                    value: m.value.unwrap_or(Type::I64),
                    kind: m.decl.and_then(|d| d.0),
                    max_entries: m.decl.and_then(|d| d.1),
                    deletes: m.deletes,
                    loc: span.map(|s| self.cx.loc(s)).unwrap_or_default(),
                }
            })
            .collect()
    }
}

fn different_bounds(a: AggKind, b: AggKind) -> Option<&'static str> {
    match (a, b) {
        (AggKind::Hist { .. }, AggKind::Hist { .. }) => {
            Some("Different bits in a single hist unsupported")
        }
        (AggKind::Lhist { .. }, AggKind::Lhist { .. }) => {
            Some("Different lhist bounds in a single map unsupported")
        }
        (AggKind::Tseries { .. }, AggKind::Tseries { .. }) => {
            Some("Different tseries bounds in a single map unsupported")
        }
        _ => None,
    }
}
