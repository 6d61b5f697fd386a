//! What is fuzzed: everything that reads bytes we did not write. Each target takes any bytes and
//! must neither panic nor take long nor need much memory; some check what comes out as well.
//!
//! Shared by the mutating runner beside it and by the libFuzzer program in `fuzz/`.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rtrace::compile::{self, Unobserved};
use rtrace::ctypes;
use rtrace::diag::{Diagnostics, render};
use rtrace::env::btf::{Btf, Kind, from_c};
use rtrace::env::fake::FakeEnv;
use rtrace::env::kallsyms::Kallsyms;
use rtrace::facts::FactOptions;
use rtrace::ir::pass;
use rtrace::object::Object;
use rtrace::repl;
use rtrace::sema;
use rtrace::source::{SourceMap, Span};
use rtrace::symbols::archive;
use rtrace::symbols::debuglink::DebugDirs;
use rtrace::symbols::demangle::{self, Form};
use rtrace::symbols::dwarf::Lines;
use rtrace::symbols::dwarf::types::UnitTypes;
use rtrace::symbols::elf::{ElfFile, Table};
use rtrace::symbols::glob::Glob;
use rtrace::symbols::index::SymbolIndex;
use rtrace::symbols::perfmap::PerfMap;
use rtrace::symbols::unwind::UnwindTable;
use rtrace::symbols::usdt;
use rtrace::syntax::imports::{Found, LoadError, Loader};
use rtrace::syntax::{self, expand, print};

/// One reader of foreign bytes.
pub struct Target {
    /// Its name: that of its corpus too.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("grammar", grammar, super::seeds::scripts),
    target("compiler", compiler, super::seeds::scripts),
    target("c_headers", c_headers, super::seeds::headers),
    target("btf", btf, super::seeds::btf),
    target("elf", elf, super::seeds::elf),
    target("dwarf", dwarf, super::seeds::elf),
    target("eh_frame", eh_frame, super::seeds::elf),
    target("usdt", usdt_notes, super::seeds::elf),
    target("archive", archive_member, super::seeds::archives),
    target("perf_map", perf_map, super::seeds::perf_maps),
    target("proc_maps", proc_maps, super::seeds::proc_maps),
    target("kallsyms", kallsyms, super::seeds::kallsyms),
    target("tracefs_format", tracefs_format, super::seeds::formats),
    target("demangle", demangle_name, super::seeds::names),
    target("records", records, super::records::seeds),
    target("json_text", json_text, super::seeds::texts),
    target("repl_line", repl_line, super::seeds::lines),
];

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

fn grammar(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut sources = SourceMap::default();
    let file = sources.add("fuzz", &*text);
    let parsed = syntax::parse(file, &text);
    render::text(&parsed.diags, &sources, render::Style::default());
    render::json(&parsed.diags, &sources);
    for span in parsed.diags.iter().filter_map(|d| d.span) {
        assert!(span.lo <= span.hi && span.hi as usize <= text.len());
    }
    if parsed.diags.is_empty() {
        let once = print::format(&parsed.program, &text);
        let again = syntax::parse(file, &once);
        assert!(
            again.diags.is_empty(),
            "formatted text does not parse: {once}"
        );
        assert_eq!(print::dump(&parsed.program), print::dump(&again.program));
        assert_eq!(print::format(&again.program, &once), once);
    }
    let mut diags = Diagnostics::new();
    let expanded = expand::expand(parsed.program, None, &mut diags);
    print::dump(&expanded);
    render::text(&diags, &sources, render::Style::default());
}

/// Nothing can be imported.
struct NoImports;

impl Loader for NoImports {
    fn find(&mut self, _: &str, _: &str) -> Result<Found, LoadError> {
        Err(LoadError::NotFound(Vec::new()))
    }

    fn read(&mut self, path: &str) -> Result<String, String> {
        Err(format!("no file '{path}'"))
    }
}

/// No file can be included.
struct NoFiles;

impl ctypes::headers::Files for NoFiles {
    fn read(&self, _: &Path) -> Option<String> {
        None
    }
}

fn machine() -> &'static FakeEnv {
    static MACHINE: OnceLock<FakeEnv> = OnceLock::new();
    MACHINE.get_or_init(|| {
        FakeEnv::new()
            .with_kernel(
                "struct list { struct list *next, *prev; };\n\
                 struct task_struct { int pid; char comm[16]; struct list tasks; unsigned long flags : 3; };\n\
                 enum state { RUNNING, DEAD = 7 };\n\
                 int vfs_read(struct task_struct *t, char *buf, unsigned long n);\n\
                 tracepoint void sched_switch(_Bool preempt, struct task_struct *prev);\n",
            )
            .expect("this text is ours")
    })
}

/// Compiles a text for a made-up machine.
pub fn compiled(text: &str) -> (Option<Object>, SourceMap, Diagnostics) {
    let mut sources = SourceMap::default();
    let file = sources.add("fuzz", text);
    let options = compile::Options {
        sema: sema::env::Options::default(),
        facts: FactOptions::default(),
        headers: ctypes::Options {
            files: &NoFiles,
            ..ctypes::Options::default()
        },
        loader: &mut NoImports,
        passes: pass::Options::default(),
    };
    let done = compile::compile(&mut sources, file, machine(), options, &mut Unobserved);
    (done.object, sources, done.diags)
}

fn compiler(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Targets of user probes are files of this machine, which is not what is tested here.
    if text.contains(":/") || text.contains(":\"/") {
        return;
    }
    let (object, sources, diags) = compiled(&text);
    render::text(&diags, &sources, render::Style::default());
    render::json(&diags, &sources);
    assert!(
        object.is_some() || diags.has_errors(),
        "no program and no error"
    );
}

fn c_headers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let options = ctypes::Options {
        files: &NoFiles,
        ..ctypes::Options::default()
    };
    let mut sources = SourceMap::default();
    let file = sources.add("fuzz.h", &*text);
    let whole = Span::new(file, 0, text.len());
    let (env, diags) = ctypes::translate(&[(&text, whole)], &options);
    render::text(&diags, &sources, render::Style::default());
    for name in env.macro_names().iter().take(50) {
        env.macro_value(name);
        env.macro_params(name);
    }
    env.constants().count();
}

fn btf(bytes: &[u8]) {
    let Ok(types) = Btf::from_bytes(bytes.to_vec(), None) else {
        return;
    };
    let mut names = Vec::new();
    for id in types.first_id()..types.end_id() {
        let id = rtrace::ctypes::model::TypeId(id);
        types.kind(id);
        names.push(types.name(id).to_owned());
        types.record(id);
    }
    for name in names.iter().take(64) {
        types.find_kind(&[Kind::Struct, Kind::Union, Kind::Typedef], name);
        types.find_enum_of(name);
        types.function(name);
        types.raw_tracepoint(name);
        types.iterator(name);
        types.constant(name);
    }
    types.raw_tracepoints();
    types.iterators();
    // And what the compiler makes of such types.
    let env = FakeEnv::new().with_btf(types);
    for name in names.iter().filter(|n| is_name(n)).take(8) {
        let script = format!(
            "begin {{ $x = (struct {name}*)0; print(*$x); print(sizeof(struct {name})); }} \
             fentry:{name} {{ print(args); }}"
        );
        let mut sources = SourceMap::default();
        let file = sources.add("fuzz", &*script);
        let options = compile::Options {
            sema: sema::env::Options::default(),
            facts: FactOptions::default(),
            headers: ctypes::Options {
                files: &NoFiles,
                ..ctypes::Options::default()
            },
            loader: &mut NoImports,
            passes: pass::Options::default(),
        };
        compile::compile(&mut sources, file, &env, options, &mut Unobserved);
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

fn file(bytes: &[u8]) -> Option<Arc<ElfFile>> {
    let file = ElfFile::from_bytes(bytes.to_vec(), Path::new("/nonexistent/fuzz"));
    file.ok().map(Arc::new)
}

fn elf(bytes: &[u8]) {
    let Some(file) = file(bytes) else { return };
    file.interp();
    file.soname();
    file.build_id();
    file.notes().count();
    for section in file.sections() {
        file.raw_data(section);
        file.section_notes(section).count();
        // What is compressed may say that it is large.
        if let Ok(Some(data)) = file.section_data(&section.name) {
            assert!(data.len() < 1 << 30);
        }
    }
    file.segments();
    for table in [Table::Symtab, Table::Dynsym] {
        let mut n = 0u64;
        file.for_each_symbol(table, |_| n += 1);
        assert!(n <= bytes.len() as u64);
    }
    let index = SymbolIndex::new(Arc::clone(&file), &DebugDirs::none());
    let functions: Vec<u64> = index.functions().map(|s| s.addr).take(64).collect();
    for at in functions.into_iter().chain([0, file.entry(), u64::MAX]) {
        index.lookup(at);
        file.vaddr_to_offset(at);
        file.offset_to_vaddr(at);
    }
    index.by_name("main");
    index.matching(&Glob::new("m*n"));
}

fn dwarf(bytes: &[u8]) {
    let Some(file) = file(bytes) else { return };
    let dirs = DebugDirs::none();
    let entry = file.entry();
    if let Some(lines) = Lines::load(&file, &dirs) {
        for at in [entry, entry.wrapping_add(8), 0x1000, u64::MAX] {
            lines.lookup(at);
        }
        lines.addresses("seed.c", 7, None);
        lines.addresses("seed.c", 3, Some(1));
    }
    for at in [entry, entry.wrapping_add(8)] {
        if let Some(types) = UnitTypes::at(&file, &dirs, at) {
            types.function(at);
        }
    }
}

fn eh_frame(bytes: &[u8]) {
    let Some(file) = file(bytes) else { return };
    let Ok(table) = UnwindTable::build(&file) else {
        return;
    };
    for at in [table.base(), file.entry(), 0, u64::MAX] {
        table.lookup(at);
    }
    assert!(
        table
            .rows()
            .all(|(_, rule)| usize::from(rule) < table.rules().len() || rule == u16::MAX)
    );
}

fn usdt_notes(bytes: &[u8]) {
    let Some(file) = file(bytes) else { return };
    for site in usdt::sites(&file) {
        usdt::matching(&file, Some(&site.provider), &site.name);
    }
}

fn archive_member(bytes: &[u8]) {
    for name in ["a", "lib/a.so"] {
        if let Ok(range) = archive::member(bytes, name) {
            assert!(range.start <= range.end && range.end <= bytes.len());
        }
    }
}

fn perf_map(bytes: &[u8]) {
    let map = PerfMap::parse(String::from_utf8_lossy(bytes).into_owned());
    for at in [0, 0x1000, 0x7fff_0000_0010, u64::MAX] {
        map.lookup(at);
    }
    map.skipped();
}

fn proc_maps(bytes: &[u8]) {
    let maps = rtrace::runtime::symbolize::maps::Maps::parse(&String::from_utf8_lossy(bytes));
    for m in maps.iter() {
        m.file_offset(u64::MAX);
        m.is_file();
    }
    for at in [0, 0x55aa_0000_1000, u64::MAX] {
        maps.find(at);
    }
}

fn kallsyms(bytes: &[u8]) {
    let symbols = Kallsyms::new(bytes.to_vec());
    for name in ["vfs_read", "", "x"] {
        let _ = symbols.address(name);
        symbols.contains(name);
    }
    symbols.hidden();
}

fn tracefs_format(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for user in [false, true] {
        if let Ok((_, fields)) = rtrace::env::format::parse(&text, user) {
            for f in fields {
                f.is_text();
                f.element_size();
                f.declaration();
            }
        }
    }
}

fn demangle_name(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    for form in [Form::Full, Form::Signature, Form::Name, Form::Qualified] {
        demangle::demangle(&name, form);
        let readable = demangle::readable(&name, form);
        demangle::split_params(&readable);
        demangle::without_template_args(&readable);
    }
    demangle::language(&name);
}

fn records(bytes: &[u8]) {
    super::records::feed(bytes);
}

fn json_text(bytes: &[u8]) {
    let mut out = Vec::new();
    rtrace::runtime::output::json::string(bytes, &mut out);
    assert!(
        out.iter().all(|&b| b >= 0x20),
        "a control character is left"
    );
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    let back: String = serde_json::from_str(&text).expect("it is a JSON string");
    assert!(!text[1..text.len() - 1].contains('\n'));
    if let Ok(plain) = std::str::from_utf8(bytes) {
        assert_eq!(back, plain);
    }
    // On a terminal nothing that could drive it is left.
    let mut seen = bytes.to_vec();
    rtrace::runtime::output::text::guard(&mut seen, 0);
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!String::from_utf8_lossy(&seen).chars().any(bad), "{seen:?}");
}

fn repl_line(bytes: &[u8]) {
    let line = String::from_utf8_lossy(bytes);
    let mut end = 0;
    for (_, at) in repl::text::tokens(&line) {
        assert!(at > end && line.is_char_boundary(at), "tokens end at {at}");
        end = at;
    }
    assert_eq!(end, line.len());
    repl::text::is_open(&line);
    repl::text::place(&line);
    repl::text::open_call(&line);
    let mut sources = SourceMap::default();
    let file = sources.add("fuzz", &*line);
    let Ok(pieces) = repl::items::split(&sources, file) else {
        return;
    };
    let mut script = repl::items::Script::default();
    for (kind, text) in pieces.items {
        let number = script.add(kind, text);
        script.item_mut(number).expect("just added").enabled = number % 2 == 0;
    }
    for (key, value) in &pieces.settings {
        script.set(key, value);
    }
    script.compose(Some("@x"));
    script.save();
}

/// BTF of C text.
pub fn btf_of(text: &str) -> Vec<u8> {
    from_c::blob(text).expect("this text is ours")
}
