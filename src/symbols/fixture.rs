//! Programs that the tests of this area compile from `tests/fixtures/symbols`.
//!
//! Each test process builds what its tests ask for, once, in a folder of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// The folder of this process' fixtures.
pub(crate) fn dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        const PREFIX: &str = "rtrace-fixtures-";
        let temp = std::env::temp_dir();
        // Test processes have no common end at which to clean up: each removes the folders of
        // those that have ended.
        for entry in std::fs::read_dir(&temp).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .and_then(|n| n.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let dir = temp.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    })
}

/// Compiles `source` as `name` with extra `flags`. `None`, said loudly, without a compiler.
pub(crate) fn compile(name: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
    static BUILT: Mutex<Option<HashMap<String, Option<PathBuf>>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap();
    built
        .get_or_insert_default()
        .entry(name.to_owned())
        .or_insert_with(|| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/fixtures/symbols")
                .join(source);
            let compiler = if source.extension().is_some_and(|e| e == "c") {
                "cc"
            } else {
                "c++"
            };
            let out = dir().join(name);
            let mut command = Command::new(compiler);
            command
                .arg("-O2")
                .args(flags)
                .arg(&source)
                .arg("-o")
                .arg(&out);
            run(&mut command).then_some(out)
        })
        .clone()
}

/// Runs a tool; `false`, said loudly, if it is not installed.
pub(crate) fn run(command: &mut Command) -> bool {
    match command.output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{command:?}: {text}");
            true
        }
        Err(e) => {
            eprintln!("SKIPPED: {command:?}: {e}");
            false
        }
    }
}

/// A file of this machine that a test wants; `None`, said loudly, where it is missing.
pub(crate) fn system(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    if !path.exists() {
        eprintln!("SKIPPED: no {}", path.display());
        return None;
    }
    Some(path)
}
