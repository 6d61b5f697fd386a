//! Tests of the index on compiled programs and on what this machine has installed.

use std::process::Command;
use std::time::Instant;

use super::*;
use crate::symbols::fixture;

fn shapes(flags: &[&str], name: &str) -> Option<SymbolIndex> {
    let path = fixture::compile(name, "shapes.cpp", flags)?;
    Some(SymbolIndex::open(&path, &DebugDirs::none()).unwrap())
}

/// Copies a program with one tool run over it.
fn processed(name: &str, tool: &[&str]) -> Option<std::path::PathBuf> {
    let from = fixture::compile("shapes-pie", "shapes.cpp", &["-g"])?;
    let to = fixture::dir().join(name);
    let (tool, args) = tool.split_first().unwrap();
    fixture::run(Command::new(tool).args(args).arg(&from).arg(&to)).then_some(to)
}

#[test]
fn addresses_resolve_inside_a_function_and_nowhere_else() {
    let Some(index) = shapes(&["-g"], "shapes-pie") else {
        return;
    };
    let [f] = &index.by_name("AddNum")[..] else {
        panic!()
    };
    assert!(f.size > 0);
    assert_eq!(index.lookup(f.addr).unwrap().name, "AddNum");
    assert_eq!(index.lookup(f.addr + f.size - 1).unwrap().name, "AddNum");
    let next = index.lookup(f.addr + f.size);
    assert!(next.is_none_or(|s| s.name != "AddNum"));
    assert_eq!(index.lookup(u64::MAX), None);
    assert_eq!(index.lookup(0), None);
}

#[test]
fn one_address_is_one_function_however_many_names_it_has() {
    let Some(index) = shapes(&["-g"], "shapes-pie") else {
        return;
    };
    let target = index.by_name("alias_target");
    let alias = index.by_name("alias_name");
    assert_eq!(target[0].addr, alias[0].addr);
    let both = index.matching(&Glob::new("alias_*"));
    assert_eq!(both.len(), 1);
    let listed = index.functions().filter(|f| f.addr == target[0].addr);
    assert_eq!(listed.count(), 1);
}

#[test]
fn a_static_program_has_fixed_addresses_and_versionless_names() {
    let Some(index) = shapes(&["-static", "-no-pie"], "shapes-static") else {
        return;
    };
    assert_eq!(index.elf().kind(), crate::symbols::elf::Kind::Executable);
    let [f] = &index.by_name("AddNum")[..] else {
        panic!()
    };
    assert_ne!(index.elf().vaddr_to_offset(f.addr), Some(f.addr));
    assert!(!index.by_name("memcpy").is_empty());
}

#[test]
fn the_hash_table_answers_as_the_scan_does() {
    let Some(index) = shapes(&["-g"], "shapes-pie") else {
        return;
    };
    let scanned = index.by_name("_ZN3geo3addEii");
    for _ in 0..=SCANS_BEFORE_HASH {
        assert_eq!(index.by_name("_ZN3geo3addEii"), scanned);
        assert_eq!(index.by_name("no_such_function"), []);
    }
    assert!(index.hashes.get().is_some());
    assert_eq!(scanned.len(), 1);
}

#[test]
fn a_stripped_program_is_empty_but_not_wrong() {
    let Some(path) = processed("shapes-stripped", &["objcopy", "--strip-all"]) else {
        return;
    };
    let index = SymbolIndex::open(&path, &DebugDirs::none()).unwrap();
    assert!(!index.is_complete());
    assert_eq!(index.by_name("AddNum"), []);
    let elf = ElfFile::open(&path).unwrap();
    assert_eq!(index.lookup(elf.section(".text").unwrap().addr + 64), None);
}

#[test]
fn a_debug_file_by_build_id_names_a_stripped_program() {
    let Some(debug) = processed("shapes.dbg", &["objcopy", "--only-keep-debug"]) else {
        return;
    };
    let Some(path) = processed("shapes-by-id", &["objcopy", "--strip-all"]) else {
        return;
    };
    let elf = ElfFile::open(&path).unwrap();
    let Some(id) = elf.build_id() else {
        eprintln!("SKIPPED: this linker writes no build id");
        return;
    };
    let hex = id.to_string();
    let root = fixture::dir().join("debug-root");
    let place = root.join(".build-id").join(&hex[..2]);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::copy(&debug, place.join(format!("{}.debug", &hex[2..]))).unwrap();
    let dirs = DebugDirs {
        roots: vec![root],
        debuginfod_cache: None,
    };
    let index = SymbolIndex::open(&path, &dirs).unwrap();
    assert!(index.is_complete());
    let [f] = &index.by_name("AddNum")[..] else {
        panic!()
    };
    assert_eq!(index.lookup(f.addr + 1).unwrap().name, "AddNum");
    // The same file as debuginfod would keep it.
    let cache = fixture::dir().join("debuginfod");
    std::fs::create_dir_all(cache.join(&hex)).unwrap();
    std::fs::copy(&debug, cache.join(&hex).join("debuginfo")).unwrap();
    let dirs = DebugDirs {
        roots: Vec::new(),
        debuginfod_cache: Some(cache),
    };
    assert!(SymbolIndex::open(&path, &dirs).unwrap().is_complete());
}

#[test]
fn a_debuglink_is_followed_only_if_its_checksum_or_id_fits() {
    let Some(debug) = processed("linked.dbg", &["objcopy", "--only-keep-debug"]) else {
        return;
    };
    let link = format!("--add-gnu-debuglink={}", debug.display());
    let strip = [
        "objcopy",
        "--strip-all",
        "--remove-section=.note.gnu.build-id",
        &link,
    ];
    let Some(path) = processed("shapes-linked", &strip) else {
        return;
    };
    let open = || SymbolIndex::open(&path, &DebugDirs::none()).unwrap();
    assert!(open().is_complete());
    let mut bytes = std::fs::read(&debug).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&debug, &bytes).unwrap();
    assert!(!open().is_complete(), "the checksum no longer fits");
}

#[test]
fn gnu_debugdata_names_local_functions_of_a_stripped_program() {
    let Some(full) = fixture::compile("shapes-pie", "shapes.cpp", &["-g"]) else {
        return;
    };
    let mini = fixture::dir().join("mini");
    let args = ["--strip-debug", "--remove-section=.comment"];
    if !fixture::run(Command::new("objcopy").args(args).arg(&full).arg(&mini)) {
        return;
    }
    let mut packed = Vec::new();
    lzma_rs::xz_compress(&mut &std::fs::read(&mini).unwrap()[..], &mut packed).unwrap();
    let xz = fixture::dir().join("mini.xz");
    std::fs::write(&xz, packed).unwrap();
    let add = format!("--add-section=.gnu_debugdata={}", xz.display());
    let Some(path) = processed("shapes-mini", &["objcopy", "--strip-all", &add]) else {
        return;
    };
    let index = SymbolIndex::open(&path, &DebugDirs::none()).unwrap();
    let [f] = &index.by_name("AddNum")[..] else {
        panic!()
    };
    assert_eq!(index.lookup(f.addr).unwrap().name, "AddNum");
}

#[test]
fn sizeless_symbols_end_at_the_next_symbol_of_their_section() {
    let source = fixture::dir().join("labels.s");
    let out = fixture::dir().join("labels");
    let text = ".text\n.globl _start\n_start: nop\nnop\nsecond: nop\nnop\n.globl sized\n.type sized,@function\nsized: nop\ninside: nop\nnop\n.size sized,3\n.section .other,\"ax\"\n.balign 64\nthird: nop\n.section .note.GNU-stack\n";
    std::fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-nostdlib", "-static", "-o"])
        .arg(&out)
        .arg(&source);
    if !fixture::run(&mut cc) {
        return;
    }
    let index = SymbolIndex::open(&out, &DebugDirs::none()).unwrap();
    let at = |name: &str, offset| {
        let start = index.by_name(name)[0].addr;
        index.lookup(start + offset).map(|s| s.name.into_owned())
    };
    assert_eq!(at("_start", 1).as_deref(), Some("_start"));
    assert_eq!(at("_start", 2).as_deref(), Some("second"));
    assert_eq!(at("second", 2).as_deref(), Some("sized"));
    assert_eq!(
        at("inside", 1).as_deref(),
        Some("sized"),
        "a label ends no function"
    );
    assert_eq!(at("sized", 3), None, "the section ends here");
    assert_eq!(at("third", 0).as_deref(), Some("third"));
}

#[test]
fn nested_functions_resolve_to_the_innermost() {
    let mut spans = Vec::new();
    let mut open = Vec::new();
    let mut at = 0;
    for (start, end, id) in [(10, 100, 1), (20, 30, 2), (40, 110, 3), (200, 210, 4)] {
        close(&mut open, &mut spans, &mut at, start);
        if let Some(&(_, outer)) = open.last()
            && at < start
        {
            spans.push((at, start, outer));
        }
        at = start;
        open.push((end, id));
    }
    close(&mut open, &mut spans, &mut at, u64::MAX);
    assert_eq!(
        spans,
        [
            (10, 20, 1),
            (20, 30, 2),
            (30, 40, 1),
            (40, 110, 3),
            (200, 210, 4)
        ]
    );
}

#[test]
fn node_resolves_by_name_and_address_across_segments() {
    let Some(node) = fixture::system("/usr/bin/node") else {
        return;
    };
    let start = Instant::now();
    let index = SymbolIndex::open(node, &DebugDirs::system()).unwrap();
    let found = index.by_name("uv_tcp_bind");
    eprintln!("open and one plain name: {:?}", start.elapsed());
    let [bind] = &found[..] else {
        panic!("{found:?}")
    };
    let offset = index.elf().vaddr_to_offset(bind.addr).unwrap();
    if index.elf().kind() == crate::symbols::elf::Kind::Executable {
        assert_ne!(offset, bind.addr);
    }
    assert_eq!(index.elf().offset_to_vaddr(offset), Some(bind.addr));
    let start = Instant::now();
    assert_eq!(index.lookup(bind.addr + 3).unwrap().name, "uv_tcp_bind");
    eprintln!("first address: {:?}", start.elapsed());
    let start = Instant::now();
    let mut names = 0;
    index.for_each_signature(None, None, |_, text| names += usize::from(!text.is_empty()));
    eprintln!("{names} signatures: {:?}", start.elapsed());
    assert!(names > 10_000);
}

#[test]
fn searching_the_strings_finds_what_looking_at_each_name_finds() {
    let Some(index) = shapes(&["-g"], "shapes-pie") else {
        return;
    };
    for pattern in [
        "*add*",
        "*AddNum*",
        "*dNu*",
        "*_Z*",
        "*i",
        "alias_*",
        "*nothing_like_it*",
        "*",
    ] {
        let glob = Glob::new(pattern);
        let each = index.scan(|raw| glob.matches(unversioned(raw)));
        let found = index.matching(&glob);
        assert_eq!(found, index.one_per_address(each), "{pattern}");
        let rare = glob
            .longest_piece()
            .is_some_and(|p| index.hits(p).is_some());
        assert!(
            rare || matches!(pattern, "*" | "*_Z*" | "*i" | "*add*"),
            "{pattern}"
        );
    }
}

#[test]
fn libc_names_its_public_functions_by_their_public_names() {
    let Some(libc) = fixture::system("/lib/x86_64-linux-gnu/libc.so.6") else {
        return;
    };
    let index = SymbolIndex::open(libc, &DebugDirs::none()).unwrap();
    for name in ["write", "read", "malloc", "getpid"] {
        let addr = index.by_name(name)[0].addr;
        assert_eq!(index.lookup(addr).unwrap().name, name);
    }
}
