//! What a word that is being typed can become.
//!
//! Everything comes from where the compiler has it: probe types and builtins from their tables,
//! probes and types from the machine, functions from the named file. What is slow to find is
//! found once and kept sorted, so that a word is looked up by its beginning.

mod arguments;
mod members;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustyline::completion::Pair;

use super::commands::COMMANDS;
use super::text::{self, Place};
use crate::builtins;
use crate::cli::list;
use crate::env::btf::Kind;
use crate::env::{Env as _, HostEnv};
use crate::sema::probes::PROVIDERS;
use crate::symbols::cache::IndexCache;
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::demangle::{self, Form};

use crate::symbols::paths::PathResolver;

/// Most candidates that are offered one by one: more than that cannot be looked through, and are
/// [grouped](groups).
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

/// What the session has.
#[derive(Default)]
struct Known {
    /// Names of its maps.
    maps: Vec<String>,
    /// Numbers and first lines of its items.
    items: Vec<(u32, String)>,
}

/// Finds candidates.
pub struct Candidates {
    env: Arc<HostEnv>,
    pid: Option<u32>,
    indexes: IndexCache,
    known: Mutex<Known>,
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
            known: Mutex::default(),
            functions: Mutex::default(),
        }
    }

    /// The session's maps and items, after they changed.
    pub fn set_known(&self, maps: Vec<String>, items: Vec<(u32, String)>) {
        *self.known() = Known { maps, items };
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the word that ends at the end of `line` begins, and what it can become.
    pub fn find(&self, line: &str) -> (usize, Vec<Pair>) {
        let (word, found) = match self.arguments_of_command(line) {
            Some(found) => found,
            None => match text::place(line) {
                Place::Probe(spec, first) => self.probes(spec, first),
                Place::Body(word, header) => self.names(line, word, header),
                Place::Config(word) => (word, options(word)),
                Place::Struct(word) => (word, self.structs(word)),
                Place::Nowhere => ("", Vec::new()),
            },
        };
        let found = match found.len() > MOST {
            true => {
                let mut names: Vec<&str> = found.iter().map(|p| p.replacement.as_str()).collect();
                names.sort_unstable();
                groups(&names)
            }
            false => found,
        };
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
        // What is typed will be looked up when it is attached.
        index.prepare_names();
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
        let list = &list[start..];
        let list = &list[..list.partition_point(|f| f.name.starts_with(prefix))];
        if list.len() > MOST {
            let names: Vec<&str> = list.iter().map(|f| f.name.as_str()).collect();
            return groups(&names);
        }
        list.iter()
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
    fn names<'a>(&self, line: &str, word: &'a str, header: &str) -> (&'a str, Vec<Pair>) {
        if word.starts_with('@') && !word.contains(['.', '>']) {
            let known = self.known();
            let found = known.maps.iter().filter(|m| m.starts_with(word));
            return (word, found.map(|m| plain(m.clone())).collect());
        }
        let cut = [
            word.rfind('.').map(|i| i + 1),
            word.rfind("->").map(|i| i + 2),
        ];
        let Some(cut) = cut.into_iter().flatten().max() else {
            return (word, self.words(word));
        };
        let member = &word[cut..];
        let before = &line[..line.len() - member.len()];
        (member, self.fields(before, member, header))
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
}

/// What `names` (sorted, all different) have in common and the character after that: something to
/// choose from where the names are too many.
fn groups(names: &[&str]) -> Vec<Pair> {
    let (Some(first), Some(last)) = (names.first(), names.last()) else {
        return Vec::new();
    };
    let same = first.char_indices().zip(last.chars());
    let common = same
        .take_while(|((_, a), b)| a == b)
        .last()
        .map_or(0, |((at, c), _)| at + c.len_utf8());
    let head = |name: &str| match name[common..].chars().next() {
        Some(c) => common + c.len_utf8(),
        None => common,
    };
    names
        .chunk_by(|a, b| a[..head(a)] == b[..head(b)])
        .map(|group| match group {
            [name] => plain((*name).to_owned()),
            _ => {
                let start = &group[0][..head(group[0])];
                Pair {
                    display: format!("{start}... ({})", group.len()),
                    replacement: start.to_owned(),
                }
            }
        })
        .collect()
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

/// Options of the `config` block.
fn options(word: &str) -> Vec<Pair> {
    let all = crate::sema::config::options().into_iter();
    all.filter(|o| o.starts_with(word))
        .map(|o| plain(o.to_owned()))
        .collect()
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
    fn too_many_names_are_grouped_by_the_next_character() {
        let names = ["xa", "xaß1", "xaß2", "xb"];
        let found = groups(&names);
        let texts: Vec<(&str, &str)> = found
            .iter()
            .map(|p| (p.display.as_str(), p.replacement.as_str()))
            .collect();
        assert_eq!(texts, [("xa... (3)", "xa"), ("xb", "xb")]);
        let found = groups(&names[..3]);
        let texts: Vec<&str> = found.iter().map(|p| p.replacement.as_str()).collect();
        assert_eq!(texts, ["xa", "xaß"]);
        assert!(groups(&[]).is_empty());
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
        c.set_known(vec!["@lat".into(), "@n".into()], Vec::new());
        assert_eq!(texts(c.find("print(@l")), (6, vec!["@lat".into()]));
    }

    #[test]
    fn commands_have_arguments_of_their_own() {
        let c = candidates();
        c.set_known(vec!["@lat".into()], vec![(12, "begin { }".into())]);
        assert_eq!(texts(c.find("watch ")), (6, vec!["@lat".into()]));
        assert_eq!(texts(c.find("delete 1")), (7, vec!["12".into()]));
        assert_eq!(texts(c.find("disable 12,")), (11, vec!["12".into()]));
        assert_eq!(texts(c.find("help strnc")), (5, vec!["strncmp".into()]));
        assert_eq!(
            texts(c.find("set max_map")),
            (4, vec!["max_map_keys=".into()])
        );
        assert_eq!(texts(c.find("explain e0203")), (8, vec!["E0203".into()]));
        assert_eq!(texts(c.find("list interv")), (5, vec!["interval:".into()]));
        assert_eq!(
            texts(c.find("config = { max_map")),
            (11, vec!["max_map_keys".into()])
        );
    }

    #[test]
    fn members_of_what_is_written() {
        let c = candidates();
        if c.env.btf().is_none() {
            eprintln!("SKIPPED members_of_what_is_written: no kernel types");
            return;
        }
        let has = |line: &str, member: &str| {
            let found = texts(c.find(line)).1;
            assert!(found.iter().any(|f| f == member), "{line}: {found:?}");
        };
        has("begin { print(curtask->mm.p", "pgd");
        has("kprobe:f { print(((struct file *)arg0)->f_fl", "f_flags");
        has(
            "kprobe:f { $f = (struct file *)arg0; $i = $f->f_inode; print($i->i_m",
            "i_mode",
        );
        has("fexit:vfs_read { print(args.file->f_fl", "f_flags");
        has("begin { print(curtask.comm[0]); print((*curtask).pi", "pid");
        assert_eq!(
            texts(c.find("begin { print($nothing.")).1,
            Vec::<String>::new()
        );
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
