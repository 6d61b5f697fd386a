//! Whether a program has Go code, and which functions are.
//!
//! The Go linker leaves three marks, of which `strip` removes none.

use super::elf::ElfFile;

/// Whether Go code is linked into the file.
pub fn has_go(elf: &ElfFile) -> bool {
    const SECTIONS: [&str; 4] = [
        ".gopclntab",
        ".data.rel.ro.gopclntab",
        ".go.buildinfo",
        ".note.go.buildid",
    ];
    SECTIONS.iter().any(|s| elf.section(s).is_some())
        || elf
            .notes()
            .any(|n| n.owner.split(|b| *b == 0).next() == Some(b"Go"))
}

/// Whether a function of such a file may be Go's. C functions that Go calls run on a stack that
/// does not move, and have no package before their name.
pub fn is_go_name(name: &str) -> bool {
    name.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_go_have_a_package() {
        for name in ["main.main", "runtime.mallocgc", "net/http.(*Client).Do"] {
            assert!(is_go_name(name), "{name}");
        }
        assert!(!is_go_name("sqlite3_step"));
    }
}
