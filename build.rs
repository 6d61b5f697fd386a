//! Newer elfutils compress sections with zstd, so their libelf.a needs libzstd as well; libbpf-sys
//! does not know. libelf-dev brings the library where that is so.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBBPF_SYS_LIBRARY_PATH");
    let dirs = std::env::var("LIBBPF_SYS_LIBRARY_PATH").unwrap_or_default();
    let libelf = dirs
        .split(':')
        .map(|dir| Path::new(dir).join("libelf.a"))
        .find_map(|path: PathBuf| std::fs::read(path).ok());
    let needs_zstd = libelf.is_some_and(|l| l.windows(15).any(|w| w == b"ZSTD_decompress"));
    if needs_zstd {
        // At the end of the command line, behind the archive that needs it.
        println!("cargo::rustc-link-arg=-l:libzstd.a");
    }
}
