//! `-l`: the probes of this machine that match a search.
//!
//! In: a search (`kprobe:vfs_*`, `*sched*`, `struct task_struct`, several with commas between)
//! and the facts about the machine. Out: one name a line, by provider and sorted within it;
//! with `-v` the arguments, indented. What cannot be read is a warning, not the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::ctypes::{model::TypeId, render};
use crate::env::btf::{Btf, Kind};
use crate::env::wildcard::{is_pattern, matches};
use crate::env::{Env, kallsyms::Function};
use crate::symbols::debuglink::DebugDirs;
use crate::symbols::dwarf::types::UnitTypes;
use crate::symbols::elf::ElfFile;
use crate::symbols::index::SymbolIndex;
use crate::symbols::paths::PathResolver;
use crate::symbols::target::{Candidate, Match, Target};
use crate::symbols::targets::TargetPath;
use crate::symbols::usdt;

/// What a search found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Lines for standard output.
    pub text: String,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// What a search works with.
#[derive(Clone, Copy)]
struct Lister<'a> {
    env: &'a dyn Env,
    paths: &'a PathResolver,
    verbose: bool,
}

/// One kind of probe that can be listed.
struct Provider {
    name: &'static str,
    alias: &'static str,
    /// Listed when nothing is searched for.
    kernel: bool,
    list: fn(&Lister<'_>, &str, &[&str], &mut Listing),
}

/// In the order of the output.
const PROVIDERS: &[Provider] = &[
    provider("fentry", "f", true, |l, _, parts, out| {
        l.fentry("fentry", parts, out)
    }),
    provider("fexit", "fr", false, |l, _, parts, out| {
        l.fentry("fexit", parts, out)
    }),
    provider("hardware", "h", true, |_, _, parts, out| {
        units("hardware", HARDWARE, parts, out)
    }),
    provider("interval", "i", false, |_, _, parts, out| {
        units("interval", UNITS, parts, out)
    }),
    provider("iter", "it", true, |l, _, parts, out| {
        l.iterators(parts, out)
    }),
    provider("kprobe", "k", true, |l, _, parts, out| {
        l.kprobes("kprobe", parts, out)
    }),
    provider("kretprobe", "kr", false, |l, _, parts, out| {
        l.kprobes("kretprobe", parts, out)
    }),
    provider("profile", "p", false, |_, _, parts, out| {
        units("profile", UNITS, parts, out)
    }),
    provider("rawtracepoint", "rt", true, |l, _, parts, out| {
        l.raw_tracepoints(parts, out)
    }),
    provider("software", "s", true, |_, _, parts, out| {
        units("software", SOFTWARE, parts, out)
    }),
    provider("tracepoint", "t", true, |l, _, parts, out| {
        l.tracepoints(parts, out)
    }),
    provider("uprobe", "u", false, |l, text, _, out| {
        l.uprobes("uprobe", text, out)
    }),
    provider("uretprobe", "ur", false, |l, text, _, out| {
        l.uprobes("uretprobe", text, out)
    }),
    provider("usdt", "U", false, |l, text, _, out| l.usdt(text, out)),
];

const fn provider(
    name: &'static str,
    alias: &'static str,
    kernel: bool,
    list: fn(&Lister<'_>, &str, &[&str], &mut Listing),
) -> Provider {
    Provider {
        name,
        alias,
        kernel,
        list,
    }
}

const UNITS: &[&str] = &["hz", "ms", "s", "us"];
const SOFTWARE: &[&str] = &[
    "alignment-faults",
    "bpf-output",
    "context-switches",
    "cpu-clock",
    "cpu-migrations",
    "dummy",
    "emulation-faults",
    "major-faults",
    "minor-faults",
    "page-faults",
    "task-clock",
];
const HARDWARE: &[&str] = &[
    "backend-stalls",
    "branch-instructions",
    "branch-misses",
    "bus-cycles",
    "cache-misses",
    "cache-references",
    "cpu-cycles",
    "cycles",
    "frontend-stalls",
    "instructions",
    "ref-cycles",
];

/// Lists what matches `search`; without one, all kinds of the kernel.
pub fn list(search: Option<&str>, verbose: bool, env: &dyn Env, paths: &PathResolver) -> Listing {
    let lister = Lister {
        env,
        paths,
        verbose,
    };
    let mut out = Listing::default();
    match search {
        None => {
            // A process is a target by itself. It may end meanwhile, so its files come first.
            let mut process = Listing::default();
            if paths.pid().is_some() {
                lister.uprobes("uprobe", "*", &mut process);
                lister.usdt("*", &mut process);
            }
            for p in PROVIDERS.iter().filter(|p| p.kernel) {
                (p.list)(&lister, "", &[], &mut out);
            }
            out.text.push_str(&process.text);
            out.warnings.extend(process.warnings);
        }
        Some(search) => {
            for pattern in split(search, ',') {
                lister.search(pattern.trim(), &mut out);
            }
        }
    }
    out
}

/// Splits at `at` outside double quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
    .collect()
}

impl Lister<'_> {
    fn search(&self, pattern: &str, out: &mut Listing) {
        for keyword in ["struct", "union", "enum"] {
            if let Some(name) = pattern
                .strip_prefix(keyword)
                .and_then(|p| p.strip_prefix(' '))
            {
                return self.types(keyword, name.trim(), out);
            }
        }
        let (provider, rest) = match pattern.split_once(':') {
            Some((provider, rest)) => (provider, Some(rest)),
            None => (pattern, None),
        };
        let lower = provider.to_lowercase();
        let named = |p: &&Provider| {
            // Aliases tell u from U.
            p.alias == provider || matches(&lower, p.name)
        };
        let rest_or_all = rest.unwrap_or("");
        let parts: Vec<_> = match rest_or_all {
            "" => Vec::new(),
            rest => split(rest, ':'),
        };
        let mut any = false;
        if rest.is_some() || !is_pattern(pattern) {
            for p in PROVIDERS.iter().filter(named) {
                any = true;
                (p.list)(self, rest_or_all, &parts, out);
            }
        }
        // Without a provider, the whole name is searched.
        if !any && rest.is_none() {
            let all = list(None, self.verbose, self.env, self.paths);
            out.warnings.extend(all.warnings);
            let mut shown = false;
            for line in all.text.lines() {
                if !line.starts_with(' ') {
                    shown = matches(pattern, line);
                }
                if shown {
                    out.text.push_str(line);
                    out.text.push('\n');
                }
            }
        }
    }

    fn functions(&self, parts: &[&str], out: &mut Listing) -> Vec<Function<'_>> {
        let (module, name) = match parts {
            [] => (None, "*"),
            [name] => (None, *name),
            [module, name, ..] => (Some(*module), *name),
        };
        match self.env.functions() {
            Ok(list) => list.matching(module, name),
            Err(e) => {
                let warning = e.to_string();
                if !out.warnings.contains(&warning) {
                    out.warnings.push(warning);
                }
                Vec::new()
            }
        }
    }

    fn kprobes(&self, provider: &str, parts: &[&str], out: &mut Listing) {
        for f in self.functions(parts, out) {
            match f.module {
                Some(module) => line(out, format_args!("{provider}:{module}:{}", f.name)),
                None => line(out, format_args!("{provider}:{}", f.name)),
            }
            if self.verbose && provider == "kprobe" {
                self.prototype(&f, out, |i, _| format!("arg{i}"), false);
            }
        }
    }

    fn fentry(&self, provider: &str, parts: &[&str], out: &mut Listing) {
        if parts.is_empty() || parts[0] == "bpf" {
            self.bpf_programs(provider, parts, out);
        }
        if parts.first() == Some(&"bpf") {
            return;
        }
        let found = self.functions(parts, out);
        let Some(btf) = self.env.btf() else {
            return;
        };
        // One walk over the types instead of a search for each function.
        let known: std::collections::HashSet<&str> =
            btf.of_kind(Kind::Func).map(|(_, name)| name).collect();
        for f in found {
            if f.module.is_none() && !known.contains(f.name) {
                continue;
            }
            let module = f.module.unwrap_or("vmlinux");
            line(out, format_args!("{provider}:{module}:{}", f.name));
            if self.verbose {
                self.prototype(&f, out, |_, name| name.to_owned(), true);
            }
        }
    }

    fn bpf_programs(&self, provider: &str, parts: &[&str], out: &mut Listing) {
        let (id, name) = match parts {
            [_, name] => ("*", *name),
            [_, id, name, ..] => (*id, *name),
            _ => ("*", "*"),
        };
        match self.env.bpf_functions(id, name) {
            Ok(found) => {
                for f in found {
                    line(out, format_args!("{provider}:bpf:{}:{}", f.id, f.name));
                }
            }
            Err(e) if !parts.is_empty() => out.warnings.push(format!("BPF programs: {e}")),
            // Who asks for everything gets what there is.
            Err(_) => {}
        }
    }

    /// Appends the parameters of a kernel function, named as `name` says.
    fn prototype(
        &self,
        f: &Function<'_>,
        out: &mut Listing,
        name: impl Fn(usize, &str) -> String,
        ret: bool,
    ) {
        let btf = match f.module {
            Some(module) => self.env.module_btf(module),
            None => self.env.btf().cloned(),
        };
        let Some(btf) = btf else { return };
        let Some(proto) = btf.function(f.name) else {
            return;
        };
        for (i, p) in proto.params.iter().enumerate() {
            argument(&btf, p.ty, &name(i, p.name), out);
        }
        if ret {
            argument(&btf, proto.ret, "retval", out);
        }
    }

    fn iterators(&self, parts: &[&str], out: &mut Listing) {
        let Some(btf) = self.env.btf() else { return };
        let pattern = parts.first().copied().unwrap_or("*");
        let names: BTreeSet<_> = btf.iterators().into_iter().collect();
        for name in names.into_iter().filter(|n| matches(pattern, n)) {
            line(out, format_args!("iter:{name}"));
        }
    }

    fn raw_tracepoints(&self, parts: &[&str], out: &mut Listing) {
        let (module, pattern) = match parts {
            [] => ("*", "*"),
            [name] => ("*", *name),
            [module, name, ..] => (*module, *name),
        };
        let mut lists = vec![("vmlinux".to_owned(), self.env.btf().cloned())];
        if module != "vmlinux" {
            let modules = self.env.modules();
            lists.extend(modules.into_iter().map(|m| {
                let btf = matches(module, &m)
                    .then(|| self.env.module_btf(&m))
                    .flatten();
                (m, btf)
            }));
        }
        for (owner, btf) in lists {
            let Some(btf) = btf.filter(|_| matches(module, &owner)) else {
                continue;
            };
            let names: BTreeSet<_> = btf.raw_tracepoints().into_iter().collect();
            for name in names.into_iter().filter(|n| matches(pattern, n)) {
                line(out, format_args!("rawtracepoint:{owner}:{name}"));
                if let (true, Some(proto)) = (self.verbose, btf.raw_tracepoint(name)) {
                    for p in &proto.params {
                        argument(&btf, p.ty, p.name, out);
                    }
                }
            }
        }
    }

    fn tracepoints(&self, parts: &[&str], out: &mut Listing) {
        let (category, event) = match parts {
            [] => ("*", "*"),
            [one] => ("*", *one),
            [category, event, ..] => (*category, *event),
        };
        let found = match self.env.tracepoints(category, event) {
            Ok(found) => found,
            Err(e) => {
                out.warnings.push(e.to_string());
                return;
            }
        };
        for (category, event) in found {
            line(out, format_args!("tracepoint:{category}:{event}"));
            if let (true, Ok(tp)) = (self.verbose, self.env.tracepoint(&category, &event)) {
                for f in tp.fields.iter().filter(|f| !f.name.starts_with("common_")) {
                    line(out, format_args!("    {}", f.declaration()));
                }
            }
        }
    }

    fn uprobes(&self, provider: &str, rest: &str, out: &mut Listing) {
        let (target, name) = match rest.split_once(':') {
            Some((target, name)) => (target, name),
            None => (rest, "*"),
        };
        let readable = name.strip_prefix("cpp:");
        let pattern = readable.unwrap_or(name).trim_matches('"');
        for TargetPath { shown, path } in self.paths.files(target) {
            match SymbolIndex::open(&path, &DebugDirs::system()) {
                Ok(index) if readable.is_some() => {
                    for name in spellings(&index, pattern) {
                        line(out, format_args!("{provider}:{shown}:cpp:\"{name}\""));
                    }
                }
                Ok(index) => {
                    let mut units = Vec::new();
                    for (symbol, (addr, readable)) in symbols(&index, pattern) {
                        match readable {
                            // As a comment, so that the line can be pasted.
                            Some(name) => {
                                line(out, format_args!("{provider}:{shown}:{symbol} // {name}"));
                            }
                            None => line(out, format_args!("{provider}:{shown}:{symbol}")),
                        }
                        if self.verbose {
                            parameters(&index, addr, &mut units, out);
                        }
                    }
                }
                Err(e) => out.warnings.push(format!("{shown}: {e}")),
            }
        }
    }

    fn usdt(&self, rest: &str, out: &mut Listing) {
        let (target, rest) = rest.split_once(':').unwrap_or((rest, "*"));
        let (namespace, name) = match rest.split_once(':') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, rest),
        };
        for TargetPath { shown, path } in self.paths.files(target) {
            match ElfFile::open(&path) {
                Ok(elf) => {
                    // One name may be at several places: what is said of the first holds for all.
                    let mut names = BTreeMap::new();
                    for site in usdt::matching(&elf, namespace, name) {
                        let name = (site.provider, site.name);
                        names.entry(name).or_insert(site.arguments);
                    }
                    for ((namespace, name), arguments) in names {
                        line(out, format_args!("usdt:{shown}:{namespace}:{name}"));
                        if self.verbose {
                            usdt_arguments(&arguments, out);
                        }
                    }
                }
                Err(e) => out.warnings.push(format!("{shown}: {e}")),
            }
        }
    }

    /// `struct NAME` and the like: names, or with `-v` definitions.
    fn types(&self, keyword: &str, pattern: &str, out: &mut Listing) {
        let kinds: &[Kind] = match keyword {
            "struct" => &[Kind::Struct],
            "union" => &[Kind::Union],
            _ => &[Kind::Enum, Kind::Enum64],
        };
        let Some(btf) = self.env.btf() else { return };
        let mut found = Vec::new();
        if is_pattern(pattern) {
            for &kind in kinds {
                let of_kind = btf.of_kind(kind).filter(|(_, name)| !name.is_empty());
                found.extend(of_kind.filter(|(_, name)| matches(pattern, name)));
            }
            found.sort_by(|a, b| a.1.cmp(b.1));
            found.dedup_by(|a, b| a.1 == b.1);
        } else if let Some(id) = btf.find_kind(kinds, pattern) {
            found.push((id, pattern));
        }
        for (id, name) in found {
            if self.verbose {
                let definition = render::definition(btf.as_ref(), id);
                line(out, format_args!("vmlinux: {definition}"));
            } else {
                line(out, format_args!("{keyword} {name}"));
            }
        }
    }
}

/// Readable names that match a pattern, which may leave out parameters.
fn spellings(index: &SymbolIndex, pattern: &str) -> BTreeSet<String> {
    let all = format!("{pattern}{}", if pattern.contains('(') { "" } else { "*" });
    let found = candidates(Target::cpp(&all).find(index));
    found.into_iter().map(|c| c.spelling).collect()
}

/// Symbols that match a pattern by themselves or by their readable names: their addresses, and
/// the readable name if it is another.
fn symbols(index: &SymbolIndex, pattern: &str) -> BTreeMap<String, (u64, Option<String>)> {
    let mut all = BTreeMap::new();
    for c in candidates(Target::with_clones(pattern).find(index)) {
        for place in c.places {
            let readable = (place.symbol != c.spelling).then(|| c.spelling.clone());
            all.insert(place.symbol, (place.addr, readable));
        }
    }
    all
}

fn candidates(found: Match) -> Vec<Candidate> {
    match found {
        Match::One(c) => vec![c],
        Match::Overloads(all) => all,
        Match::None(_) => Vec::new(),
    }
}

/// Appends the parameters of a user function, if debug information has them. `units` keeps
/// what was read for functions before.
fn parameters(index: &SymbolIndex, addr: u64, units: &mut Vec<UnitTypes>, out: &mut Listing) {
    if units.iter().all(|u| u.function(addr).is_none()) {
        let read = UnitTypes::at(index.elf(), &DebugDirs::system(), addr);
        units.extend(read);
    }
    let found = units.iter().find_map(|u| Some((u, u.function(addr)?)));
    let Some((unit, signature)) = found else {
        return;
    };
    for p in &signature.params {
        // Listings of user probes put the star next to the type.
        let ty = render::type_name(unit, p.ty).replace(" *", "*");
        line(out, format_args!("    {ty} {}", p.name));
    }
}

/// Appends the arguments of a static probe: notes tell widths, not names.
fn usdt_arguments(arguments: &[Option<usdt::Argument>], out: &mut Listing) {
    for (i, argument) in arguments.iter().enumerate() {
        match argument.as_ref().map(|a| a.width) {
            Some(w) if w.float => line(out, format_args!("    float{} arg{i}", 8 * w.bytes)),
            Some(w) => {
                let sign = if w.signed { "" } else { "u" };
                line(out, format_args!("    {sign}int{} arg{i}", 8 * w.bytes));
            }
            None => line(out, format_args!("    ? arg{i}")),
        }
    }
}

/// Providers whose probes are fixed names with a `:` after them.
fn units(provider: &str, names: &[&str], parts: &[&str], out: &mut Listing) {
    let pattern = parts.first().copied().unwrap_or("*");
    for name in names.iter().filter(|n| matches(pattern, n)) {
        line(out, format_args!("{provider}:{name}:"));
    }
}

/// `    struct file * file`
fn argument(btf: &Btf, ty: TypeId, name: &str, out: &mut Listing) {
    let ty = render::type_name(btf, ty);
    line(out, format_args!("    {ty} {name}"));
}

fn line(out: &mut Listing, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out.text, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::FakeEnv;

    fn show(search: &str, verbose: bool) -> String {
        let env = FakeEnv::new()
            .with_functions("vfs_read\nvfs_write\nnft_do_chain [nf_tables]\n")
            .with_tracepoint(
                "sched",
                "sched_switch",
                "\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n",
            )
            .unwrap();
        list(Some(search), verbose, &env, &PathResolver::system()).text
    }

    #[test]
    fn providers_have_aliases_and_patterns() {
        assert_eq!(
            show("k:vfs_*", false),
            "kprobe:vfs_read\nkprobe:vfs_write\n"
        );
        assert_eq!(
            show("kprobe:nf_tables:*", false),
            "kprobe:nf_tables:nft_do_chain\n"
        );
        assert_eq!(
            show("k*:vfs_read", false),
            "kprobe:vfs_read\nkretprobe:vfs_read\n"
        );
        assert_eq!(
            show("s:cpu-c*,interval:h*", false),
            "software:cpu-clock:\ninterval:hz:\n"
        );
        assert_eq!(show("nope:x", false), "");
    }

    #[test]
    fn functions_of_bpf_programs() {
        let function = |id, name: &str| crate::env::ProgramFunction {
            id,
            name: name.to_owned(),
        };
        let env = FakeEnv::new()
            .with_program(function(7, "count_packets"))
            .with_program(function(21, "count_bytes"));
        let show = |search| list(Some(search), false, &env, &PathResolver::system()).text;
        assert_eq!(
            show("fexit:bpf:count*"),
            "fexit:bpf:7:count_packets\nfexit:bpf:21:count_bytes\n"
        );
        assert_eq!(show("f:bpf:21:*"), "fentry:bpf:21:count_bytes\n");
        assert_eq!(show("f:bpf:7:count_bytes"), "");
    }

    #[test]
    fn names_without_a_provider_match_as_a_whole() {
        assert_eq!(show("*sched*", false), "tracepoint:sched:sched_switch\n");
    }

    #[test]
    fn fields_of_tracepoints_are_indented() {
        assert_eq!(
            show("tracepoint:sched:*", true),
            "tracepoint:sched:sched_switch\n    char prev_comm[16]\n"
        );
    }

    #[test]
    fn user_probes_of_this_program() {
        let me = std::env::current_exe().unwrap();
        let text = show(&format!("u:{}:main", me.display()), false);
        assert_eq!(text, format!("uprobe:{}:main\n", me.display()));
    }
}
