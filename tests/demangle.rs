//! Readable names of real programs, against c++filt.
//!
//! Every mangled symbol of the largest C++ programs at hand: node, libstdc++, libLLVM. In an
//! ordinary run a sample of them; all with `RTRACE_DEMANGLE=all`. What differs (expressions in
//! template arguments, packs of references, some conversions) may not become more;
//! `RTRACE_DEMANGLE_DIFF` names a file to list it in.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rtrace::symbols::demangle::{Form, readable};
use rtrace::symbols::elf::{ElfFile, Table, string_at};

/// Programs, of how many symbols one is in the sample, and how many per mille may differ.
const PROGRAMS: &[(&str, usize, usize)] = &[
    ("/usr/bin/node", 16, 7),
    ("/usr/lib/x86_64-linux-gnu/libstdc++.so.6", 1, 21),
    ("/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1", 16, 10),
    ("/usr/lib/x86_64-linux-gnu/libLLVM-15.so.1", 16, 10),
];

fn symbols(path: &Path) -> Vec<String> {
    let elf = ElfFile::open(path).unwrap();
    let mut all = BTreeSet::new();
    for table in [Table::Symtab, Table::Dynsym] {
        let strings = elf.symbol_strings(table);
        elf.for_each_symbol(table, |s| {
            let name = String::from_utf8_lossy(string_at(strings, s.name as usize));
            let name = name.split('@').next().unwrap_or_default();
            if name.starts_with("_Z") {
                all.insert(name.to_owned());
            }
        });
    }
    all.into_iter().collect()
}

/// What c++filt makes of each; `None`, said loudly, where it is missing.
fn theirs(symbols: &[String]) -> Option<Vec<String>> {
    let child = Command::new("c++filt")
        .arg("-i")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            eprintln!("SKIPPED: no c++filt: {e}");
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let text = symbols.join("\n") + "\n";
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

#[test]
fn names_of_real_programs_read_as_in_cppfilt() {
    let all = std::env::var("RTRACE_DEMANGLE").is_ok_and(|v| v == "all");
    for &(path, step, allowed) in PROGRAMS {
        let path = Path::new(path);
        if !path.exists() {
            eprintln!("SKIPPED: no {}", path.display());
            continue;
        }
        let step = if all { 1 } else { step };
        let sample: Vec<String> = symbols(path).into_iter().step_by(step).collect();
        let Some(theirs) = theirs(&sample) else {
            return;
        };
        assert_eq!(theirs.len(), sample.len());
        let start = Instant::now();
        let ours: Vec<String> = sample
            .iter()
            .map(|s| readable(s, Form::Full).into_owned())
            .collect();
        let took = start.elapsed();
        let differ: Vec<usize> = (0..sample.len())
            .filter(|&i| ours[i] != theirs[i])
            .collect();
        eprintln!(
            "{}: {} of {} differ, {took:?}",
            path.display(),
            differ.len(),
            sample.len()
        );
        if let Ok(to) = std::env::var("RTRACE_DEMANGLE_DIFF") {
            let mut file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(to)
                .unwrap();
            for &i in &differ {
                writeln!(
                    file,
                    "{}\n  ours   {}\n  theirs {}",
                    sample[i], ours[i], theirs[i]
                )
                .unwrap();
            }
        }
        assert!(
            differ.len() * 1000 <= sample.len() * allowed,
            "{}: more than {allowed} in a thousand",
            path.display()
        );
    }
}
