//! Names of kernel functions: `/proc/kallsyms`, and the list of those that can be traced.
//!
//! Both are texts with a line a symbol, and stay texts: a name is looked up by a vectorized search,
//! patterns are matched line by line. Nothing is read before the first question.

use std::path::Path;

use memchr::memmem;

use super::wildcard;
use crate::error::{Error, ErrorExt, ErrorKind, Result};

/// Addresses of kernel symbols.
#[derive(Debug)]
pub struct Kallsyms {
    text: Vec<u8>,
}

impl Kallsyms {
    /// Reads the kernel's table (5 MB, about 50 ms).
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn read() -> Result<Self> {
        let text = std::fs::read("/proc/kallsyms").context("/proc/kallsyms")?;
        Ok(Self::new(text))
    }

    /// Takes a table in the kernel's format: `ADDRESS TYPE NAME[\t[MODULE]]` a line.
    pub fn new(text: Vec<u8>) -> Self {
        Self { text }
    }

    /// The address of `name`; the first one where static functions share a name.
    ///
    /// # Errors
    /// A name that does not exist, or a kernel that hides its addresses.
    pub fn address(&self, name: &str) -> Result<u64> {
        let missing = || Error::not_found(format!("the kernel has no symbol {name}"));
        let line = lines_with(&self.text, b' ', name)
            .next()
            .ok_or_else(missing)?;
        let digits = line.split(' ').next().unwrap_or_default();
        match u64::from_str_radix(digits, 16) {
            // kptr_restrict shows every address as 0, except symbols that really are per-CPU.
            Ok(0) if self.hidden() => Err(Error::new(
                ErrorKind::PermissionDenied,
                format!("the kernel hides the address of {name} (see kernel.kptr_restrict)"),
            )),
            Ok(address) => Ok(address),
            Err(_) => Err(Error::invalid(format!("not a line of kallsyms: {line}"))),
        }
    }

    /// Whether `name` exists.
    pub fn contains(&self, name: &str) -> bool {
        lines_with(&self.text, b' ', name).next().is_some()
    }

    /// Whether every address reads as 0.
    pub fn hidden(&self) -> bool {
        let text = String::from_utf8_lossy(&self.text);
        text.lines().all(|l| l.starts_with("0000000000000000"))
    }

    /// The bytes of the table.
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }
}

/// A kernel function that can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function<'a> {
    /// The name.
    pub name: &'a str,
    /// The module it belongs to, `None` for the kernel proper.
    pub module: Option<&'a str>,
}

/// The kernel functions that can be traced.
#[derive(Debug, Default)]
pub struct FunctionList {
    text: String,
}

impl FunctionList {
    /// Takes a list in the format of `available_filter_functions`: `NAME [MODULE]` a line.
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// Reads such a list from a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Self::new(text))
    }

    /// The functions called `name`, of all modules.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = Function<'a>> + use<'a> {
        lines_with(self.text.as_bytes(), b'\n', name)
            .filter_map(function)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether a function `name` can be traced.
    pub fn contains(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// All functions, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = Function<'_>> {
        self.text.lines().filter_map(function)
    }

    /// The functions that match a pattern, in one module or anywhere, sorted and each once.
    /// Module `vmlinux` is the kernel proper. Parts of functions that the compiler split off
    /// (`.part.0` and the like) are left out: they do not follow the calling convention.
    pub fn matching(&self, module: Option<&str>, pattern: &str) -> Vec<Function<'_>> {
        let in_module = |f: &Function<'_>| {
            module.is_none_or(|m| wildcard::matches(m, f.module.unwrap_or("vmlinux")))
        };
        let mut found: Vec<_> = if wildcard::is_pattern(pattern) {
            self.iter()
                .filter(|f| wildcard::matches(pattern, f.name) && !f.name.contains(".part."))
                .filter(in_module)
                .collect()
        } else {
            self.named(pattern).filter(in_module).collect()
        };
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn function(line: &str) -> Option<Function<'_>> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?;
    let module = words
        .next()
        .and_then(|m| m.strip_prefix('[')?.strip_suffix(']'));
    Some(Function { name, module })
}

/// Lines in which the word `name` follows the byte `before` (or starts the text) and ends at white
/// space or the line's end.
fn lines_with<'a>(
    text: &'a [u8],
    before: u8,
    name: &str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let len = name.len();
    let finder = memmem::Finder::new(name.as_bytes()).into_owned();
    let mut from = 0;
    std::iter::from_fn(move || {
        if len == 0 {
            return None;
        }
        loop {
            let at = from + finder.find(text.get(from..)?)?;
            from = at + len;
            let starts = if at == 0 {
                before == b'\n'
            } else {
                text[at - 1] == before
            };
            let ends = text.get(from).is_none_or(u8::is_ascii_whitespace);
            if starts && ends {
                let start = memchr::memrchr(b'\n', &text[..at]).map_or(0, |i| i + 1);
                let end = memchr::memchr(b'\n', &text[from..]).map_or(text.len(), |i| from + i);
                from = end;
                return std::str::from_utf8(&text[start..end]).ok();
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_by_whole_name() {
        let k = Kallsyms::new(
            b"ffffffff81000010 T vfs_readv\nffffffff81000020 t vfs_read\nffffffffc0000000 t nft\t[nf]\n"
                .to_vec(),
        );
        assert_eq!(k.address("vfs_read").unwrap(), 0xffff_ffff_8100_0020);
        assert_eq!(k.address("nft").unwrap(), 0xffff_ffff_c000_0000);
        assert_eq!(
            k.address("vfs").unwrap_err().to_string(),
            "the kernel has no symbol vfs"
        );
        let hidden = Kallsyms::new(b"0000000000000000 T vfs_read\n".to_vec());
        assert_eq!(
            hidden.address("vfs_read").unwrap_err().kind(),
            ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn functions_by_name_pattern_and_module() {
        let list = FunctionList::new(
            "vfs_write\nvfs_read\nvfs_read.part.0\nnft_do [nf_tables]\nvfs_read [odd]\n".into(),
        );
        let names = |module, pattern| -> Vec<String> {
            list.matching(module, pattern)
                .iter()
                .map(|f| format!("{}:{}", f.module.unwrap_or("-"), f.name))
                .collect()
        };
        assert_eq!(
            names(None, "vfs_*"),
            ["-:vfs_read", "odd:vfs_read", "-:vfs_write"]
        );
        assert_eq!(names(Some("vmlinux"), "vfs_read"), ["-:vfs_read"]);
        assert_eq!(names(Some("nf_*"), "*"), ["nf_tables:nft_do"]);
        assert!(list.contains("nft_do") && !list.contains("nft"));
    }

    #[test]
    fn this_kernels_table_has_its_entry_point() {
        let k = Kallsyms::read().unwrap();
        if k.hidden() {
            eprintln!("SKIP: the kernel hides its addresses");
            return;
        }
        assert!(k.address("_stext").unwrap() > 1 << 63);
    }
}
