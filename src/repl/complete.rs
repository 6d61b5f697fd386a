//! What a word that is being typed can become.
//!
//! Everything comes from where the compiler has it: probe types and builtins from their tables,
//! probes and types from the machine, functions from the named file. What is slow to find is
//! found once and kept sorted, so that a word is looked up by its beginning.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::Pair;

use super::commands::COMMANDS;
use super::text::{self, Place};
use crate::builtins;
use crate::cli::list;
use crate::ctypes::model::{CType, TypeId, TypeSource as _};
use crate::ctypes::render;
use crate::env::btf::{Btf, Kind};
use crate::env::{Env as _, HostEnv};
use crate::sema::probes::PROVIDERS;
use crate::symbols::cache::IndexCache;
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::demangle::{self, Form};

use crate::symbols::paths::PathResolver;

/// Most candidates that are offered: more than that cannot be looked through.
const MOST: usize = 2000;

const KEYWORDS: &[&str] = &[
    "if", "else", "while", "for", "unroll", "break", "continue", "return", "let", "struct",
    "union", "enum", "sizeof", "offsetof", "typeof", "import", "macro", "fn", "config", "begin",
    "end", "true", "false", "args",
];

/// A function that can be probed.
struct Function {
    /// The name that is typed: readable where it was mangled.
    name: String,
    mangled: bool,
}

/// Finds candidates.
pub struct Candidates {
    env: Arc<HostEnv>,
    pid: Option<u32>,
    indexes: IndexCache,
    /// Names of the session's maps.
    maps: Mutex<Vec<String>>,
    /// Functions by file, sorted.
    functions: Mutex<HashMap<PathBuf, Arc<Vec<Function>>>>,
}

impl Candidates {
    /// For this machine and, with `-p`, the files of that process.
    pub fn new(env: Arc<HostEnv>, pid: Option<u32>, indexes: IndexCache) -> Self {
        Self {
            env,
            pid,
            indexes,
            maps: Mutex::default(),
            functions: Mutex::default(),
        }
    }

    /// The session's maps, after they changed.
    pub fn set_maps(&self, names: Vec<String>) {
        *self.maps.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Where the word that ends at the end of `line` begins, and what it can become.
    pub fn find(&self, line: &str) -> (usize, Vec<Pair>) {
        let (word, mut found) = match text::place(line) {
            Place::Probe(spec, first) => self.probes(spec, first),
            Place::Body(word, header) => self.names(word, header),
            Place::Struct(word) => (word, self.structs(word)),
            Place::Nowhere => ("", Vec::new()),
        };
        found.truncate(MOST);
        (line.len() - word.len(), found)
    }

    /// Candidates of an attach point; the text that they replace is its last part.
    fn probes<'a>(&self, spec: &'a str, first: bool) -> (&'a str, Vec<Pair>) {
        let Some((provider, rest)) = spec.split_once(':') else {
            let mut found: Vec<Pair> = Vec::new();
            if first {
                let commands = COMMANDS.iter().filter(|c| c.name.starts_with(spec));
                found.extend(commands.map(|c| documented(c.name, c.usage, c.doc)));
            }
            for row in PROVIDERS.iter().filter(|r| r.name.starts_with(spec)) {
                let colon = if row.parts.1 > 0 { ":" } else { "" };
                found.push(plain(format!("{}{colon}", row.name)));
            }
            if first && !spec.is_empty() {
                found.extend(self.words(spec));
            }
            return (spec, found);
        };
        let row = PROVIDERS
            .iter()
            .find(|r| r.name == provider || r.aliases.contains(&provider));
        match row.map_or(provider, |r| r.name) {
            "uprobe" | "uretprobe" => match rest.split_once(':') {
                Some((file, name)) => (name, self.functions_of(file, name)),
                None => (rest, files(rest)),
            },
            "usdt" if !rest.contains(':') => (rest, files(rest)),
            name => {
                let pattern = format!("{name}:{rest}*");
                let listing = list::list(Some(&pattern), false, &*self.env, &self.paths());
                let skip = name.len() + 1;
                let mut found: Vec<Pair> = Vec::new();
                for line in listing.text.lines().filter_map(|l| l.get(skip..)) {
                    // One part at a time, as a shell completes folders.
                    let more = line.get(rest.len()..).and_then(|m| m.find(':'));
                    let end = more.map_or(line.len(), |i| rest.len() + i + 1);
                    if found.last().is_none_or(|p| p.replacement != line[..end]) {
                        found.push(plain(line[..end].to_owned()));
                    }
                }
                found.retain(|p| p.replacement.starts_with(rest));
                (rest, found)
            }
        }
    }

    fn paths(&self) -> PathResolver {
        self.pid
            .map_or_else(PathResolver::system, PathResolver::for_pid)
    }

    /// Reads the functions of the file that an attach point names, ahead of their use.
    pub fn prepare(&self, line: &str) {
        if let Place::Probe(spec, _) = text::place(line)
            && let Some((provider, rest)) = spec.split_once(':')
            && matches!(provider, "uprobe" | "u" | "uretprobe" | "ur")
            && let Some((file, _)) = rest.split_once(':')
        {
            self.functions_in(file);
        }
    }

    fn functions_in(&self, file: &str) -> Option<Arc<Vec<Function>>> {
        let path = self.paths().files(file).into_iter().next()?.path;
        // Held while the file is read: whoever comes second waits instead of reading it again.
        let mut known = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = known.get(&path) {
            return Some(Arc::clone(list));
        }
        let index = self.indexes.open(&path, &DebugDirs::system()).ok()?;
        let mut list: Vec<Function> = index
            .functions()
            .map(|s| match demangle::demangle(&s.name, Form::Qualified) {
                Some(name) => Function {
                    name,
                    mangled: true,
                },
                None => Function {
                    name: s.name.into_owned(),
                    mangled: false,
                },
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list.dedup_by(|a, b| a.name == b.name);
        let list = Arc::new(list);
        known.insert(path, Arc::clone(&list));
        Some(list)
    }

    fn functions_of(&self, file: &str, typed: &str) -> Vec<Pair> {
        let Some(list) = self.functions_in(file) else {
            return Vec::new();
        };
        let prefix = typed.strip_prefix("cpp:").unwrap_or(typed);
        let prefix = prefix.trim_start_matches('"');
        let start = list.partition_point(|f| f.name.as_str() < prefix);
        list[start..]
            .iter()
            .take_while(|f| f.name.starts_with(prefix))
            .take(MOST)
            .map(|f| Pair {
                display: f.name.clone(),
                replacement: match f.mangled {
                    true => format!("cpp:\"{}\"", f.name),
                    false => f.name.clone(),
                },
            })
            .collect()
    }

    /// Candidates of a word in a body.
    fn names<'a>(&self, word: &'a str, header: &str) -> (&'a str, Vec<Pair>) {
        if word.starts_with('@') {
            let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
            let found = maps.iter().filter(|m| m.starts_with(word));
            return (word, found.map(|m| plain(m.clone())).collect());
        }
        let cut = [
            word.rfind('.').map(|i| i + 1),
            word.rfind("->").map(|i| i + 2),
        ];
        let Some(cut) = cut.into_iter().flatten().max() else {
            return (word, self.words(word));
        };
        let (path, member) = word.split_at(cut);
        (member, self.fields(path, member, header))
    }

    /// Keywords and builtins.
    fn words(&self, word: &str) -> Vec<Pair> {
        let keywords = KEYWORDS.iter().filter(|k| k.starts_with(word));
        let mut found: Vec<Pair> = keywords.map(|k| plain((*k).to_owned())).collect();
        let rows = builtins::all().filter(|b| b.name.starts_with(word));
        found.extend(rows.map(|b| documented(b.name, b.usage, b.doc)));
        found.sort_by(|a, b| a.replacement.cmp(&b.replacement));
        found.dedup_by(|a, b| a.replacement == b.replacement);
        found
    }

    fn structs(&self, word: &str) -> Vec<Pair> {
        let Some(btf) = self.env.btf() else {
            return Vec::new();
        };
        let all = btf.of_kind(Kind::Struct);
        let mut names: Vec<&str> = all
            .map(|(_, name)| name)
            .filter(|n| !n.is_empty() && n.starts_with(word))
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|n| plain(n.to_owned())).collect()
    }

    /// Members of what `path` (`args.`, `curtask->mm.`) means.
    fn fields(&self, path: &str, member: &str, header: &str) -> Vec<Pair> {
        let path = path.replace("->", ".");
        let mut steps = path.split('.').filter(|s| !s.is_empty());
        let root = steps.next().unwrap_or_default();
        let btf = self.env.btf();
        let mut named: Vec<(String, String)> = Vec::new();
        let mut ty: Option<TypeId> = None;
        match root {
            "curtask" => {
                ty = btf.and_then(|b| b.find_kind(&[Kind::Struct], "task_struct"));
            }
            "args" => {
                let point = header.split([',', ' ', '\n']).next().unwrap_or_default();
                let parts: Vec<&str> = point.split(':').collect();
                match parts.as_slice() {
                    ["tracepoint" | "t", category, event] => {
                        if let Ok(tp) = self.env.tracepoint(category, event) {
                            let fields = tp.fields.iter();
                            let fields = fields.filter(|f| !f.name.starts_with("common_"));
                            named.extend(fields.map(|f| (f.name.clone(), f.declaration())));
                        }
                    }
                    [kind, .., name] => {
                        let raw = matches!(*kind, "rawtracepoint" | "rt");
                        let proto = btf.and_then(|b| match raw {
                            true => b.raw_tracepoint(name),
                            false => b.function(name),
                        });
                        let wanted = steps.next();
                        if let (Some(b), Some(proto)) = (btf, proto) {
                            if let Some(wanted) = wanted {
                                let param = proto.params.iter().find(|p| p.name == wanted);
                                ty = param.map(|p| p.ty);
                            } else {
                                let params = proto.params.iter();
                                named.extend(params.map(|p| {
                                    let text = render::type_name(&**b, p.ty);
                                    (p.name.to_owned(), format!("{text} {}", p.name))
                                }));
                            }
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        if let (Some(btf), Some(ty)) = (btf, ty)
            && let Some(record) = steps.try_fold(record(btf, ty), |at, step| {
                let field = btf.field(at?, step)?;
                Some(record(btf, field.ty))
            })
            && let Some(record) = record
        {
            let members = btf.fields(record).into_iter();
            named.extend(members.filter(|m| !m.name.is_empty()).map(|m| {
                let text = render::type_name(&**btf, m.ty);
                (m.name.to_owned(), format!("{text} {}", m.name))
            }));
        }
        named.retain(|(name, _)| name.starts_with(member));
        named
            .into_iter()
            .map(|(replacement, display)| Pair {
                display,
                replacement,
            })
            .collect()
    }
}

/// The struct or union behind typedefs and pointers.
fn record(btf: &Btf, ty: TypeId) -> Option<TypeId> {
    let mut ty = btf.resolve(ty);
    if let CType::Pointer(target) = btf.ctype(ty) {
        ty = btf.resolve(target);
    }
    matches!(btf.ctype(ty), CType::Record { .. }).then_some(ty)
}

fn plain(text: String) -> Pair {
    Pair {
        display: text.clone(),
        replacement: text,
    }
}

fn documented(name: &str, usage: &str, doc: &str) -> Pair {
    let first = doc.split_inclusive(". ").next().unwrap_or(doc).trim_end();
    Pair {
        display: format!("{usage}  {first}"),
        replacement: name.to_owned(),
    }
}

/// Programs of the search path, or files where there is a slash.
fn files(typed: &str) -> Vec<Pair> {
    let (dirs, prefix, shown): (Vec<PathBuf>, &str, &str) = match typed.rsplit_once('/') {
        Some((dir, prefix)) => {
            let shown = &typed[..dir.len() + 1];
            (vec![PathBuf::from(shown)], prefix, shown)
        }
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            (std::env::split_paths(&path).collect(), typed, "")
        }
    };
    let mut found = Vec::new();
    for dir in dirs {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| n.starts_with(prefix)) else {
                continue;
            };
            let end = match entry.path().is_dir() {
                true if shown.is_empty() => continue,
                true => '/',
                false => ':',
            };
            found.push(format!("{shown}{name}{end}"));
        }
    }
    found.sort();
    found.dedup();
    found.into_iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Candidates {
        Candidates::new(Arc::new(HostEnv::default()), None, IndexCache::default())
    }

    fn texts(found: (usize, Vec<Pair>)) -> (usize, Vec<String>) {
        let texts = found.1.into_iter().map(|p| p.replacement);
        (found.0, texts.collect())
    }

    #[test]
    fn probe_types_commands_and_builtins() {
        let c = candidates();
        assert_eq!(texts(c.find("uret")), (0, vec!["uretprobe:".into()]));
        assert_eq!(texts(c.find("hist")).1, ["history", "hist"]);
        assert_eq!(texts(c.find("begin { strn")), (8, vec!["strncmp".into()]));
        let found = c.find("begin { strn").1;
        assert!(
            found[0].display.starts_with("strncmp("),
            "{}",
            found[0].display
        );
    }

    #[test]
    fn maps_of_the_session() {
        let c = candidates();
        c.set_maps(vec!["@lat".into(), "@n".into()]);
        assert_eq!(texts(c.find("print(@l")), (6, vec!["@lat".into()]));
    }

    #[test]
    fn functions_of_a_program() {
        let me = std::env::current_exe().unwrap();
        let line = format!(
            "uprobe:{}:rtrace::repl::complete::tests::functions_of_a_p",
            me.display()
        );
        let (_, found) = texts(candidates().find(&line));
        let wanted = "cpp:\"rtrace::repl::complete::tests::functions_of_a_program\"".to_owned();
        assert!(found.contains(&wanted), "{found:?}");
    }
}
