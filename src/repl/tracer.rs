//! The state of a session: its script, what is compiled of it and what runs.
//!
//! The session is one script made of numbered items. Every change is made to a copy of the
//! script, and the copy is compiled as a whole, so that types agree over all items. Then only
//! what changed is loaded: an item's object is the whole object without the other items'
//! programs, so event numbers, layouts and attach points keep their numbers. `@maps` (and the
//! stacks they refer to) belong to the session; each change takes over those whose name and type
//! stayed, so no count is lost and running probes never notice. If a map changed its type, all
//! items are loaded again, but their BEGIN does not run again; numbers that only got larger are
//! carried over, otherwise the map starts empty, which is said. A change that fails leaves
//! everything as it was.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::eval::{self, Live};
use super::items::{Composed, Kind, Pieces, Script, split};
use super::worker::{Context, Counts, Worker};
use crate::cli::input::Input;
use crate::cli::run;
use crate::cli::script::compile_input;
use crate::cli::terminal::colour;
use crate::compile::{Compiled, Unobserved};
use crate::diag::{Diagnostic, Diagnostics, Severity, render};
use crate::env::HostEnv;
use crate::error::{Error, Result};
use crate::interp::engine;
use crate::object::{Attach, MapId, Object, ProgramId, UserMap};
use crate::runtime::event::Printer;
use crate::runtime::output::mapprint::{self, Entry, Selection};
use crate::runtime::output::{Names, Scope};
use crate::runtime::shared::{self, SharedMaps, Widening};
use crate::runtime::sys::bpf;
use crate::runtime::{MapAccess, Sink as _};
use crate::source::SourceMap;
use crate::syntax;

/// Where programs run and maps live.
enum Engine {
    /// In the kernel: a worker for each attached item.
    Kernel {
        maps: Arc<SharedMaps>,
        workers: BTreeMap<u32, Worker>,
        /// Keeps the kernel counting runs.
        _stats: Option<OwnedFd>,
    },
    /// In this process: one worker for everything.
    User { worker: Worker, object: Arc<Object> },
}

/// A session.
pub struct Tracer {
    cx: Context,
    script: Script,
    /// Where the items are in what is compiled.
    composed: Composed,
    /// What was counted for items whose programs were loaded again meanwhile.
    before: BTreeMap<u32, Counts>,
    engine: Engine,
    /// What was found out about addresses, users and cgroups.
    names: Arc<Mutex<Option<Names>>>,
}

/// A session's refusal: text for the user, rendered.
pub type Refused = String;

impl Tracer {
    /// An empty session; in the kernel if `kernel` says so.
    ///
    /// # Errors
    /// The interpreter's thread cannot be started.
    pub fn new(cx: Context, kernel: bool) -> Result<Self> {
        let engine = if kernel {
            Engine::Kernel {
                maps: Arc::new(SharedMaps::new(&Object::default(), None)?),
                workers: BTreeMap::new(),
                _stats: bpf::enable_stats().ok(),
            }
        } else {
            let object = Arc::new(Object::default());
            Engine::User {
                worker: Worker::user(&cx, Arc::clone(&object), Vec::new(), Vec::new())?,
                object,
            }
        };
        Ok(Self {
            cx,
            script: Script::default(),
            composed: Composed::default(),
            before: BTreeMap::new(),
            engine,
            names: Arc::default(),
        })
    }

    /// The machine.
    pub fn env(&self) -> &HostEnv {
        &self.cx.env
    }

    /// The script.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The compiled script: its maps are the session's.
    pub fn object(&self) -> &Object {
        match &self.engine {
            Engine::Kernel { maps, .. } => &maps.object,
            Engine::User { object, .. } => object,
        }
    }

    /// Names and types of the session's `@maps`, by name.
    pub fn maps(&self) -> Vec<(MapId, &UserMap)> {
        let object = self.object();
        let ids = (0..object.maps.len() as u32).map(MapId);
        let mut maps: Vec<_> = ids
            .filter_map(|id| Some((id, mapprint::user_map(object, id)?)))
            .collect();
        maps.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        maps
    }

    /// What was counted for an item's probes; `None` if none of them is attached.
    pub fn counts(&self, number: u32) -> Option<Counts> {
        let item = self.script.item(number)?;
        if !item.enabled || item.kind != Kind::Probe {
            return None;
        }
        let mut sum = self.before.get(&number).copied().unwrap_or_default();
        sum += self.running(number)?;
        Some(sum)
    }

    /// What was counted for the programs of an item that run now.
    fn running(&self, number: u32) -> Option<Counts> {
        match &self.engine {
            Engine::Kernel { workers, .. } => workers.get(&number)?.counts().first().copied(),
            Engine::User { worker, object } => {
                let counts = worker.counts();
                let mut sum = Counts::default();
                for (point, counts) in object.attach.iter().zip(counts) {
                    if self.composed.item_at(point.loc.line) == Some(number) {
                        sum += counts;
                    }
                }
                Some(sum)
            }
        }
    }

    /// Adds items; says which numbers they got.
    ///
    /// # Errors
    /// What is wrong with them. Nothing has changed then.
    pub fn add(&mut self, pieces: Pieces) -> Result<Vec<u32>, Refused> {
        let mut script = self.script.clone();
        for (key, value) in &pieces.settings {
            script.set(key, value);
        }
        let reload = !pieces.settings.is_empty();
        let fresh: Vec<u32> = pieces
            .items
            .into_iter()
            .map(|(kind, text)| script.add(kind, text))
            .collect();
        self.change(script, &fresh, reload)?;
        Ok(fresh)
    }

    /// Replaces the text of an item.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn edit(&mut self, number: u32, text: &str) -> Result<(), Refused> {
        let mut pieces = cut(text)?;
        let Some((kind, text)) = pieces.items.pop().filter(|_| pieces.items.is_empty()) else {
            return Err("ERROR: one probe or one declaration, please".into());
        };
        let mut script = self.script.clone();
        let item = script.item_mut(number).ok_or_else(|| unknown(number))?;
        // What uses a declaration changes with it.
        let reload = kind != Kind::Probe || item.kind != Kind::Probe;
        (item.kind, item.text, item.enabled) = (kind, text, true);
        self.change(script, &[number], reload)
    }

    /// Removes an item.
    ///
    /// # Errors
    /// As for [`add`](Self::add): others may need it.
    pub fn delete(&mut self, number: u32) -> Result<(), Refused> {
        let mut script = self.script.clone();
        script.item(number).ok_or_else(|| unknown(number))?;
        script.remove(number);
        self.change(script, &[], false)
    }

    /// Removes everything, maps included.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn clear(&mut self) -> Result<(), Refused> {
        let mut script = self.script.clone();
        let numbers: Vec<u32> = script.items().iter().map(|i| i.number).collect();
        for number in numbers {
            script.remove(number);
        }
        self.change(script, &[], false)
    }

    /// Attaches or detaches an item; its maps stay.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn enable(&mut self, number: u32, enabled: bool) -> Result<(), Refused> {
        let mut script = self.script.clone();
        let item = script.item_mut(number).ok_or_else(|| unknown(number))?;
        if item.kind != Kind::Probe {
            return Err(format!("ERROR: {number} is not a probe"));
        }
        let was = std::mem::replace(&mut item.enabled, enabled);
        let fresh: &[u32] = if enabled && !was { &[number] } else { &[] };
        self.change(script, fresh, false)
    }

    /// Changes what concerns all items: settings, the filter.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn configure(&mut self, f: impl FnOnce(&mut Script)) -> Result<(), Refused> {
        let mut script = self.script.clone();
        f(&mut script);
        self.change(script, &[], true)
    }

    /// Compiles `script` and makes what runs agree with it; `fresh` items are new or edited,
    /// `reload` means that all are.
    fn change(&mut self, script: Script, fresh: &[u32], reload: bool) -> Result<(), Refused> {
        let composed = script.compose(None);
        let (object, warnings) = self.compile(&composed, fresh)?;
        self.cx.console.say(&warnings);
        let kept = |old: &Object| {
            let user = (0..old.maps.len() as u32).filter_map(|i| mapprint::user_map(old, MapId(i)));
            let lost: Vec<String> = user
                .filter(|u| {
                    let same_name = |d: &&crate::object::MapDef| {
                        matches!(&d.role, crate::object::MapRole::User(n) if n.name == u.name)
                    };
                    let now = object.maps.iter().find(same_name);
                    now.is_some_and(|d| shared::find(old, &object, d).is_none())
                })
                .map(|u| u.name.clone())
                .collect();
            lost
        };
        let lost = kept(self.object());
        let reload = reload || !lost.is_empty();
        let carried: Vec<String> = widenings(self.object(), &object)
            .into_iter()
            .filter_map(|(id, _)| Some(mapprint::user_map(&object, id)?.name.clone()))
            .collect();
        let wanted = |number: u32| {
            let item = script.item(number);
            item.is_some_and(|i| i.enabled && i.kind == Kind::Probe)
        };
        let failed = |e: Error| format!("ERROR: {e}");
        // Loaded again, programs count from zero.
        let loaded_again = reload || matches!(self.engine, Engine::User { .. });
        let mut before = self.before.clone();
        before.retain(|n, _| script.item(*n).is_some() && !fresh.contains(n));
        if loaded_again {
            for number in script.items().iter().map(|i| i.number) {
                if !fresh.contains(&number)
                    && let Some(counts) = self.running(number)
                {
                    *before.entry(number).or_default() += counts;
                }
            }
        }
        match &mut self.engine {
            Engine::Kernel { maps, workers, .. } => {
                let new = Arc::new(SharedMaps::new(&object, Some(maps)).map_err(failed)?);
                let mut started = Vec::new();
                for (id, way) in widenings(&maps.object, &object) {
                    let copied = maps.maps.for_each(way.from, &mut |key, value| {
                        new.maps.update(id, key, &way.apply(value))
                    });
                    copied.map_err(failed)?;
                }
                let starts = |n: &u32| {
                    wanted(*n) && (reload || fresh.contains(n) || !workers.contains_key(n))
                };
                for number in script.items().iter().map(|i| i.number).filter(starts) {
                    let mut object = slice(&object, &composed, |n| n == number);
                    if !fresh.contains(&number) {
                        // It has run, and what it set may have changed since.
                        skip_begin(&mut object);
                    }
                    let name = format!("probe {number}");
                    let worker = Worker::kernel(&self.cx, object, Arc::clone(&new), &name);
                    started.push((number, worker.map_err(failed)?));
                }
                // The new ones run; those that they replace go.
                for (number, worker) in started {
                    workers.insert(number, worker);
                }
                workers.retain(|n, _| wanted(*n));
                *maps = new;
            }
            Engine::User {
                worker,
                object: old,
            } => {
                let object = Arc::new(slice(&object, &composed, wanted));
                if let Some(e) = engine::unsupported(&on_demand_removed(&object)) {
                    return Err(format!("ERROR: {e}, which needs root"));
                }
                let pairs: Vec<(MapId, MapId)> = (0..object.maps.len() as u32)
                    .filter_map(|i| {
                        let id = shared::find(old, &object, &object.maps[i as usize])?;
                        Some((id, MapId(i)))
                    })
                    .collect();
                let ways = widenings(old, &object);
                let contents = worker.with(move |maps| {
                    let mut all = Vec::new();
                    for (to, way) in ways {
                        maps.for_each(way.from, &mut |key, value| {
                            all.push((to, key.to_vec(), way.apply(value)));
                            Ok(())
                        })?;
                    }
                    for (from, to) in pairs {
                        maps.for_each(from, &mut |key, value| {
                            all.push((to, key.to_vec(), value.to_vec()));
                            Ok(())
                        })?;
                    }
                    Ok(all)
                });
                let contents = contents.unwrap_or(Ok(Vec::new())).map_err(failed)?;
                let points = object.attach.iter().enumerate();
                let fresh = points
                    .filter(|(_, p)| {
                        let item = composed.item_at(p.loc.line);
                        item.is_some_and(|n| fresh.contains(&n))
                    })
                    .map(|(i, _)| i)
                    .collect();
                let new = Worker::user(&self.cx, Arc::clone(&object), fresh, contents);
                *worker = new.map_err(failed)?;
                *old = object;
            }
        }
        self.script = script;
        self.composed = composed;
        self.before = before;
        // How names are spelt is part of the configuration.
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for name in lost.into_iter().filter(|n| !carried.contains(n)) {
            let text = format!("NOTE: the type of {name} has changed; it starts empty.\n");
            self.cx.console.say(&text);
        }
        Ok(())
    }

    /// The object of a text, and the warnings about its `fresh` items; those about others were
    /// given when they were.
    fn compile(&self, composed: &Composed, fresh: &[u32]) -> Result<(Object, String), Refused> {
        let input = Input {
            name: "session".into(),
            text: composed.text.clone(),
        };
        let (done, sources) = compile_input(
            input,
            &self.cx.args,
            &self.cx.env,
            None,
            Some(&self.cx.indexes),
            &mut Unobserved,
        );
        let Compiled { object, diags, .. } = done;
        let news = |d: &Diagnostic| {
            let item = d.span.and_then(|s| composed.item_at(sources.start(s).line));
            !self.cx.args.no_warnings && item.is_none_or(|n| fresh.contains(&n))
        };
        let text = rendered(&diags, &sources, news);
        match object {
            Some(object) => Ok((object, text)),
            None => Err(text),
        }
    }

    /// Evaluates a statement or an expression; one that makes a new map becomes an item, whose
    /// number is returned.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn evaluate(&mut self, text: &str) -> Result<Option<u32>, Refused> {
        let text = text.trim().trim_end_matches(';').trim();
        let body = statement(text)?;
        // A value is printed; what has none is just run.
        let printed = format!("begin {{ print({text}) }}");
        // A map that starts with a small number shall be able to count on.
        let known = |name: &str| {
            self.maps()
                .iter()
                .any(|(_, m)| m.name.strip_prefix('@') == Some(name))
        };
        let text = widened(text, known);
        let plain = format!("begin {{ {text}; }}");
        let order = match body {
            Body::Statement => vec![&plain],
            Body::Value => vec![&printed, &plain],
            Body::Call => vec![&printed, &plain],
        };
        let mut refusal = None;
        for script in order {
            let composed = self.script.compose(Some(script));
            let (object, warnings) = match self.compile(&composed, &[0]) {
                Ok(compiled) => compiled,
                Err(text) => {
                    // A call is more likely to have been meant as a statement.
                    if refusal.is_none() || body == Body::Call {
                        refusal = Some(text);
                    }
                    continue;
                }
            };
            self.cx.console.say(&warnings);
            return self.run_now(object, &composed, script);
        }
        Err(refusal.unwrap_or_default())
    }

    fn run_now(
        &mut self,
        object: Object,
        composed: &Composed,
        script: &str,
    ) -> Result<Option<u32>, Refused> {
        let known = self.object();
        let new_map = object.maps.iter().any(|d| {
            matches!(d.role, crate::object::MapRole::User(_))
                && shared::find(known, &object, d).is_none()
        });
        if new_map {
            let text = script.to_owned();
            let pieces = Pieces {
                items: vec![(Kind::Probe, text)],
                settings: Vec::new(),
            };
            return Ok(self.add(pieces)?.first().copied());
        }
        let object = slice(&object, composed, |n| n == 0);
        let point = object.attach.iter().position(|p| p.attach == Attach::Begin);
        let Some(point) = point else {
            return Err("ERROR: there is nothing to evaluate".into());
        };
        let failed = |e: Error| format!("ERROR: {e}");
        match &self.engine {
            Engine::Kernel { maps, .. } => {
                let live = Live {
                    object: &maps.object,
                    maps: &maps.maps,
                };
                let mut printer = self.cx.answering(&object);
                eval::evaluate(&object, point, &live, &mut printer).map_err(failed)?;
            }
            Engine::User {
                worker,
                object: known,
            } => {
                let (cx, known) = (self.cx.clone(), Arc::clone(known));
                let done = worker.with(move |maps| {
                    let live = Live {
                        object: &known,
                        maps,
                    };
                    let mut printer = cx.answering(&object);
                    eval::evaluate(&object, point, &live, &mut printer)
                });
                done.unwrap_or(Ok(())).map_err(failed)?;
            }
        }
        Ok(None)
    }

    /// Does something with a printer and the session's maps.
    fn print(
        &self,
        f: impl FnOnce(&mut Printer<'_>, &dyn MapAccess) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        match &self.engine {
            Engine::Kernel { maps, .. } => f(&mut self.cx.printer(&maps.object), &maps.maps),
            Engine::User { worker, object } => {
                let (cx, object) = (self.cx.clone(), Arc::clone(object));
                let done = worker.with(move |maps| f(&mut cx.printer(&object), maps));
                done.unwrap_or(Ok(()))
            }
        }
    }

    /// Does something with the compiled script and the maps, where they are; `None` if they are
    /// gone.
    fn with_maps<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Object, &dyn MapAccess) -> T + Send + 'static,
    ) -> Option<T> {
        match &self.engine {
            Engine::Kernel { maps, .. } => Some(f(&maps.object, &maps.maps)),
            Engine::User { worker, object } => {
                let object = Arc::clone(object);
                worker.with(move |maps| f(&object, maps))
            }
        }
    }

    /// Looks at a map's entries, which come in the order they are printed.
    ///
    /// # Errors
    /// It cannot be read, or what `look` says.
    pub fn look_at<T: Default + Send + 'static>(
        &self,
        map: MapId,
        look: impl FnOnce(&mut Scope<'_>, &UserMap, Vec<Entry>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let args = Arc::clone(&self.cx.args);
        let names = Arc::clone(&self.names);
        let done = self.with_maps(move |object, maps| {
            let Some(user) = mapprint::user_map(object, map) else {
                return Ok(T::default());
            };
            let entries = mapprint::snapshot(object, map, maps, true)?;
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            let mut scope = Scope {
                object,
                names: names.get_or_insert_with(|| run::names(object, &args)),
                maps,
                terminal: true,
            };
            look(&mut scope, user, entries)
        });
        done.unwrap_or_else(|| Ok(T::default()))
    }

    /// A map as it prints, or its `top` largest entries.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn map_text(&self, map: MapId, top: Option<u32>) -> Result<String> {
        self.look_at(map, move |scope, user, entries| {
            let select = Selection {
                top: top.unwrap_or(Selection::ALL.top),
                ..Selection::ALL
            };
            let mut out = Vec::new();
            mapprint::as_text(scope, user, &entries, select, &mut out)?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        })
    }

    /// How many entries a map has.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn entries(&self, map: MapId) -> Result<usize> {
        let count = self
            .with_maps(move |object, maps| Ok(mapprint::snapshot(object, map, maps, false)?.len()));
        count.unwrap_or(Ok(0))
    }

    /// Empties all `@maps`.
    ///
    /// # Errors
    /// A map cannot be changed.
    pub fn reset(&self) -> Result<()> {
        let done = self.with_maps(|object, maps| {
            let ids = (0..object.maps.len() as u32).map(MapId);
            ids.filter(|id| mapprint::user_map(object, *id).is_some())
                .try_for_each(|id| maps.clear(id))
        });
        done.unwrap_or(Ok(()))
    }

    /// The end: END runs, then maps are printed.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn finish(mut self) -> Result<()> {
        match &mut self.engine {
            Engine::Kernel { workers, .. } => {
                for (_, worker) in std::mem::take(workers) {
                    worker.stop(true);
                }
                self.print(|printer, maps| printer.finish(maps))
            }
            Engine::User { .. } => {
                let Engine::User { worker, object } = self.engine else {
                    return Ok(());
                };
                // END may print maps and change them; the maps live as long as the worker.
                let (cx, known) = (self.cx.clone(), Arc::clone(&object));
                worker.finish(move |maps| {
                    // The session is over: an output that fails has nobody to be told.
                    let _ = cx.printer(&known).finish(maps);
                });
                Ok(())
            }
        }
    }
}

/// What a typed text is when it is not a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// An expression.
    Value,
    /// A call, which may have a value.
    Call,
    /// Anything else.
    Statement,
}

fn statement(text: &str) -> Result<Body, Refused> {
    let script = format!("begin {{ {text} }}");
    let mut sources = SourceMap::default();
    let file = sources.add("input", &script);
    let parsed = syntax::parse(file, &script);
    if parsed.diags.has_errors() {
        return Err(rendered(&parsed.diags, &sources, |_| false));
    }
    let body = parsed.program.probes().next().map(|p| &p.body);
    Ok(match body {
        Some(body) if body.stmts.is_empty() => match body.value.as_ref().map(|v| &v.kind) {
            Some(syntax::ast::ExprKind::Call { .. }) => Body::Call,
            Some(_) => Body::Value,
            None => Body::Statement,
        },
        _ => Body::Statement,
    })
}

/// A statement that assigns a number to a map that is not known yet, with the number as a 64-bit one: what a literal
/// has is the least that holds it, and the map's type would change with the next larger one.
fn widened(text: &str, known: impl Fn(&str) -> bool) -> String {
    use syntax::ast::{ExprKind, StmtKind};
    const HEAD: &str = "begin { ";
    let script = format!("{HEAD}{text}; }}");
    let parsed = syntax::parse(crate::source::FileId(0), &script);
    let mut out = text.to_owned();
    let probe = parsed.program.probes().next();
    if let Some(probe) = probe
        && let [statement] = probe.body.stmts.as_slice()
        && let StmtKind::Assign {
            target,
            op: None,
            value,
            ..
        } = &statement.kind
        && let ExprKind::Map(map) | ExprKind::MapElem { map, .. } = &target.kind
        && !known(&map.name)
        && let ExprKind::Int(_) = value.kind
    {
        out.insert_str(value.span.lo as usize - HEAD.len(), "(int64)");
    }
    out
}

/// Cuts a typed text into items.
///
/// # Errors
/// What is wrong with its syntax.
pub fn cut(text: &str) -> Result<Pieces, Refused> {
    let mut sources = SourceMap::default();
    let file = sources.add("input", text);
    split(&sources, file).map_err(|diags| rendered(&diags, &sources, |_| false))
}

/// Errors and the warnings that `wanted` lets through, as text.
fn rendered(
    diags: &Diagnostics,
    sources: &SourceMap,
    wanted: impl Fn(&Diagnostic) -> bool,
) -> String {
    let mut shown = Diagnostics::new();
    for d in diags.sorted() {
        if d.severity == Severity::Error || wanted(d) {
            shown.push(d.clone());
        }
    }
    if shown.is_empty() {
        return String::new();
    }
    let style = render::Style {
        color: colour(),
        codes: true,
    };
    render::text(&shown, sources, style)
}

fn unknown(number: u32) -> Refused {
    format!("ERROR: there is no item {number}; `probes` lists them")
}

/// The object with the programs of some items only. Everything else keeps its number; attach
/// points of other items stay in the list, as something that is never attached.
fn slice(object: &Object, composed: &Composed, wanted: impl Fn(u32) -> bool) -> Object {
    let mut out = object.clone();
    let mut programs: BTreeMap<ProgramId, ProgramId> = BTreeMap::new();
    out.programs.clear();
    for point in &mut out.attach {
        // Imported probes belong to nobody's line: the first item has them.
        let line = if point.loc.file == 0 {
            point.loc.line
        } else {
            0
        };
        let owner = composed.item_at(line).or_else(|| composed.first());
        if !owner.is_some_and(&wanted) {
            point.attach = Attach::Test(String::new());
            point.program = ProgramId(0);
            continue;
        }
        let next = ProgramId(out.programs.len() as u32);
        point.program = *programs.entry(point.program).or_insert_with_key(|id| {
            out.programs.push(object.programs[id.0 as usize].clone());
            next
        });
    }
    out
}

/// The maps of `new` that get the numbers of a map of `old` whose numbers were smaller.
fn widenings(old: &Object, new: &Object) -> Vec<(MapId, Widening)> {
    let maps = new.maps.iter().enumerate();
    maps.filter(|(_, def)| shared::find(old, new, def).is_none())
        .filter_map(|(i, def)| Some((MapId(i as u32), Widening::find(old, new, def)?)))
        .collect()
}

/// Puts BEGIN out of use.
fn skip_begin(object: &mut Object) {
    for point in &mut object.attach {
        if point.attach == Attach::Begin {
            point.attach = Attach::Test(String::new());
        }
    }
}

/// The object without the attach points that [`slice`] put out of use.
fn on_demand_removed(object: &Object) -> Object {
    let mut out = object.clone();
    out.attach.retain(|p| !matches!(p.attach, Attach::Test(_)));
    out
}
