//! Stacks with what was counted for them, for tools that draw them.
//!
//! In: entries of maps whose keys hold stacks. Out: samples (frames from the root to the leaf, and
//! a weight), each distinct one once, which [`folded`], [`flame`] and [`pprof`] write. What else is
//! in a key (a `comm`, a `pid`) becomes frames at the root, then come user code and kernel code.
//! Frames are functions: addresses within one fall together.

pub mod flame;
pub mod folded;
pub mod pprof;

use std::collections::{BTreeMap, HashMap};

use super::mapprint::{self, Entry, Selection};
use super::value::{self, Value, stack_addresses};
use super::{Scope, stack, text};
use crate::error::Result;
use crate::object::{Layout, MapId, UserMap};
use crate::types::{StackKind, StackTy};

/// What stands for a stack that its map had no room for.
const LOST: &str = "[stack was not kept]";
/// What stands for a stack without frames.
const NONE: &str = "[no stack]";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Not code: the name of a map, another part of the key.
    Label,
    /// Code of a program.
    User,
    /// Code of the kernel.
    Kernel,
    /// A function that the compiler expanded in place.
    Inlined,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Its name; `module+0xoffset` if it has none.
    pub name: String,
    /// The file it is in, if that is known.
    pub module: String,
    /// What it is.
    pub kind: Kind,
}

/// Stacks and their weights.
#[derive(Debug, Default)]
pub struct Profile {
    frames: Vec<Frame>,
    ids: HashMap<Frame, u32>,
    samples: BTreeMap<Vec<u32>, u64>,
}

impl Profile {
    /// The number of a frame.
    pub fn frame(&mut self, frame: Frame) -> u32 {
        if let Some(&id) = self.ids.get(&frame) {
            return id;
        }
        let id = self.frames.len() as u32;
        self.frames.push(frame.clone());
        self.ids.insert(frame, id);
        id
    }

    /// Adds to the weight of a stack, root first.
    pub fn add(&mut self, stack: Vec<u32>, weight: u64) {
        if weight > 0 {
            let sum = self.samples.entry(stack).or_default();
            *sum = sum.saturating_add(weight);
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The frame with this number.
    pub fn get(&self, id: u32) -> &Frame {
        &self.frames[id as usize]
    }

    /// All frames by number.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// All stacks, root first, with their weights.
    pub fn samples(&self) -> impl Iterator<Item = (&[u32], u64)> {
        self.samples
            .iter()
            .map(|(stack, &weight)| (&stack[..], weight))
    }
}

/// The maps of a run on their way to a [`Profile`].
///
/// A map that is printed twice counts as it was the second time; one that is cleared after it
/// was printed counts, and what comes afterwards is added.
#[derive(Debug, Default)]
pub struct Collector {
    profile: Profile,
    /// What was added for good, and what each map held when it was printed last.
    done: Vec<(MapId, Vec<u32>, u64)>,
    printed: BTreeMap<MapId, Vec<(Vec<u32>, u64)>>,
}

impl Collector {
    /// Takes what a map holds. `false` for a map without stacks in its keys.
    ///
    /// # Errors
    /// Malformed entries, or a stack map that cannot be read.
    pub fn print(
        &mut self,
        scope: &mut Scope<'_>,
        id: MapId,
        user: &UserMap,
        entries: &[Entry],
        select: Selection,
    ) -> Result<bool> {
        let Some(layout) = user.key.as_ref().filter(|k| has_stack(k)) else {
            return Ok(false);
        };
        let mut samples = Vec::new();
        for entry in mapprint::selected(user, entries, select) {
            let Some(weight) = entry.weight(user) else {
                return Ok(false);
            };
            let mut parts = Parts::default();
            parts.take(&mut self.profile, scope, value::read(layout, entry.key())?)?;
            let mut stack = parts.stack();
            if stack.is_empty() {
                stack.push(label(&mut self.profile, NONE.to_owned()));
            }
            samples.push((stack, weight / select.div.max(1)));
        }
        if !samples.is_empty() {
            self.printed.insert(id, samples);
        }
        Ok(true)
    }

    /// A map was emptied: what was printed of it stays.
    pub fn clear(&mut self, id: MapId) {
        let printed = self.printed.remove(&id).unwrap_or_default();
        self.done
            .extend(printed.into_iter().map(|(s, w)| (id, s, w)));
    }

    /// The profile. Where several maps are in it, their names are the roots.
    pub fn finish(mut self, name: impl Fn(MapId) -> String) -> Profile {
        for id in self.printed.keys().copied().collect::<Vec<_>>() {
            self.clear(id);
        }
        let first = self.done.first().map(|d| d.0);
        let several = self.done.iter().any(|d| Some(d.0) != first);
        for (id, mut stack, weight) in std::mem::take(&mut self.done) {
            if several {
                let root = label(&mut self.profile, name(id));
                stack.insert(0, root);
            }
            self.profile.add(stack, weight);
        }
        self.profile
    }
}

/// Whether a key holds a stack.
fn has_stack(layout: &Layout) -> bool {
    match layout {
        Layout::Stack { .. } | Layout::StackInline(_) => true,
        Layout::Tuple { fields, .. } => fields.iter().any(|f| has_stack(&f.layout)),
        _ => false,
    }
}

/// The parts of a key, each root first.
#[derive(Default)]
struct Parts {
    labels: Vec<u32>,
    user: Vec<u32>,
    kernel: Vec<u32>,
}

impl Parts {
    fn take(&mut self, profile: &mut Profile, scope: &mut Scope<'_>, v: Value<'_>) -> Result<()> {
        match v {
            Value::Tuple(fields, bytes) => {
                for f in fields {
                    self.take(profile, scope, value::field(f, bytes)?)?;
                }
            }
            Value::Stack { ty, ips, pid } => self.frames(profile, scope, ty, ips, pid),
            Value::StackId { ty, map, id, pid } => {
                let mut kept = Vec::new();
                if id == 0 {
                    return Ok(());
                }
                if scope.maps.lookup(map, &id.to_ne_bytes(), &mut kept)? {
                    self.frames(profile, scope, ty, stack_addresses(&kept)?, pid);
                } else {
                    let lost = label(profile, LOST.to_owned());
                    self.side(ty.kind).push(lost);
                }
            }
            v => {
                let mut out = Vec::new();
                text::value(scope, v, &mut out)?;
                self.labels
                    .push(label(profile, String::from_utf8_lossy(&out).into_owned()));
            }
        }
        Ok(())
    }

    fn frames(
        &mut self,
        profile: &mut Profile,
        scope: &mut Scope<'_>,
        ty: StackTy,
        ips: &[u8],
        pid: u32,
    ) {
        let mut frames = Vec::new();
        stack::for_each_frame(scope.names, ty, ips, pid, &mut |name, module, inlined| {
            let kind = match (inlined, ty.kind) {
                (true, _) => Kind::Inlined,
                (false, StackKind::Kernel) => Kind::Kernel,
                (false, StackKind::User) => Kind::User,
            };
            frames.push(profile.frame(Frame {
                name,
                module: module.to_owned(),
                kind,
            }));
        });
        frames.reverse();
        self.side(ty.kind).extend(frames);
    }

    fn side(&mut self, kind: StackKind) -> &mut Vec<u32> {
        match kind {
            StackKind::User => &mut self.user,
            StackKind::Kernel => &mut self.kernel,
        }
    }

    fn stack(self) -> Vec<u32> {
        [self.labels, self.user, self.kernel].concat()
    }
}

fn label(profile: &mut Profile, name: String) -> u32 {
    profile.frame(Frame {
        name,
        module: String::new(),
        kind: Kind::Label,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A profile of these stacks: names from the root, with `;` between, and their weights. A
    /// name ends in `!` for the kernel, in `?` for inlined code, `@` begins a label.
    pub(in super::super) fn profile(stacks: &[(&str, u64)]) -> Profile {
        let mut p = Profile::default();
        for (names, weight) in stacks {
            let stack = names
                .split(';')
                .filter(|n| !n.is_empty())
                .map(|n| {
                    let kind = match n.as_bytes() {
                        [b'@', ..] => Kind::Label,
                        [.., b'!'] => Kind::Kernel,
                        [.., b'?'] => Kind::Inlined,
                        _ => Kind::User,
                    };
                    p.frame(Frame {
                        name: n.trim_end_matches(['!', '?']).to_owned(),
                        module: if kind == Kind::User { "/bin/x" } else { "" }.to_owned(),
                        kind,
                    })
                })
                .collect();
            p.add(stack, *weight);
        }
        p
    }

    #[test]
    fn equal_stacks_are_one_and_weights_do_not_wrap() {
        let p = profile(&[("a;b", 2), ("a", 1), ("a;b", 3), ("z", 0), ("a", u64::MAX)]);
        let all: Vec<_> = p.samples().map(|(s, w)| (s.len(), w)).collect();
        assert_eq!(all, [(1, u64::MAX), (2, 5)]);
        assert_eq!(p.frames().len(), 3);
    }

    #[test]
    fn a_map_counts_as_it_was_last_unless_it_was_cleared() {
        let mut c = Collector::default();
        let f = label(&mut c.profile, "f".to_owned());
        let (a, b) = (MapId(0), MapId(1));
        c.printed.insert(a, vec![(vec![f], 1)]);
        c.printed.insert(a, vec![(vec![f], 5)]);
        c.clear(a);
        c.printed.insert(a, vec![(vec![f], 2)]);
        let name = |id: MapId| format!("@{}", id.0);
        let weights = |c: Collector| -> Vec<(String, u64)> {
            let p = c.finish(name);
            p.samples()
                .map(|(s, w)| (p.get(s[0]).name.clone(), w))
                .collect()
        };
        let mut two = Collector::default();
        let g = label(&mut two.profile, "f".to_owned());
        two.printed.insert(a, vec![(vec![g], 1)]);
        two.printed.insert(b, vec![(vec![g], 2)]);
        assert_eq!(weights(c), [("f".to_owned(), 7)]);
        assert_eq!(weights(two), [("@0".to_owned(), 1), ("@1".to_owned(), 2)]);
    }
}
