//! The modules depend on each other as ARCHITECTURE.md says, and on nothing else.
//!
//! The section "Who may use whom" there holds one line per module: `module: what it may use`.
//! What it may use is a module (`ctypes`), or a part of one (`codegen::helper`). Here every
//! `crate::` path of the code proper (not of tests and comments) is held against that list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that see everything.
const TOP: &[&str] = &["cli", "compile", "lib", "main", "repl"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The list: by module, what it may use.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("## Who may use whom").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    block
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, uses)| {
            let uses = uses.split_whitespace().map(str::to_owned).collect();
            (module.trim().to_owned(), uses)
        })
        .collect()
}

/// Rust files below `dir` that are not tests.
fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let test = name == "tests" || name == "testing" || name.ends_with("_tests");
        if test {
            continue;
        }
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The paths after `crate::` in the code of a file: first segment, or first two.
fn uses(text: &str) -> BTreeSet<(String, String)> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = BTreeSet::new();
    let mut rest: String = code
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .map(|l| format!("{l}\n"))
        .collect();
    while let Some(at) = rest.find("crate::") {
        let before = rest[..at].chars().next_back();
        let path: String = rest[at + 7..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
            .collect();
        // `pub(in crate::x)` names no use; `$crate::` and `crate::` do.
        if before != Some('n') {
            let mut parts = path.split("::").filter(|p| !p.is_empty());
            if let Some(module) = parts.next() {
                found.insert((module.to_owned(), parts.next().unwrap_or("").to_owned()));
            }
        }
        rest.drain(..at + 7);
    }
    found
}

#[test]
fn modules_use_only_what_the_architecture_allows() {
    let allowed = allowed();
    let src = root().join("src");
    let mut list = Vec::new();
    files(&src, &mut list);
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in list {
        let inside = path.strip_prefix(&src).unwrap();
        let first = inside.components().next().unwrap().as_os_str();
        let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
        if TOP.contains(&module.as_str()) {
            continue;
        }
        let Some(may) = allowed.get(&module) else {
            wrong.push(format!("{module}: not in the list"));
            continue;
        };
        for (used, part) in uses(&fs::read_to_string(&path).unwrap()) {
            let narrow = format!("{used}::{part}");
            if used == module || used.starts_with(char::is_uppercase) {
                continue;
            }
            let entry = [&used, &narrow].into_iter().find(|&u| may.contains(u));
            match entry {
                Some(entry) => {
                    seen.entry(module.clone())
                        .or_default()
                        .insert(entry.clone());
                }
                None => wrong.push(format!(
                    "{}: {module} may not use {narrow}",
                    inside.display()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (module, may) in &allowed {
        let none = BTreeSet::new();
        let unused: Vec<_> = may.difference(seen.get(module).unwrap_or(&none)).collect();
        assert!(
            unused.is_empty(),
            "ARCHITECTURE.md: {module} does not use {unused:?}"
        );
    }
}
