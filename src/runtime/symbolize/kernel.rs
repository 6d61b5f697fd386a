//! Kernel addresses to names, from /proc/kallsyms.
//!
//! In: the text of kallsyms, read on the first question (about 50 ms for 120,000 symbols). Out:
//! name, offset and module. Of several symbols at one address the first in the file is taken, as
//! the kernel's own messages do. Without the privilege to see addresses nothing resolves.

use std::sync::{Arc, OnceLock};

use super::Frame;

/// Kernel space is the upper half of the address space on every 64-bit processor that Linux
/// runs on.
const KERNEL_START: u64 = 1 << 63;

/// Resolves kernel addresses.
#[derive(Debug, Default)]
pub struct KernelSymbolizer {
    table: OnceLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    text: String,
    /// By address; of one address only the first.
    symbols: Vec<KernelSymbol>,
}

/// 16 bytes: there are 120,000 of them.
#[derive(Clone, Copy, Debug)]
struct KernelSymbol {
    addr: u64,
    /// Offset of the name in the text.
    name: u32,
    /// Length of the name.
    len: u32,
}

impl KernelSymbolizer {
    /// A symbolizer that reads /proc/kallsyms when it is first asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// A symbolizer over a text in the format of /proc/kallsyms.
    pub fn from_text(text: String) -> Self {
        let table = OnceLock::new();
        let _ = table.set(Table::parse(text));
        Self { table }
    }

    /// The symbol that covers `addr`.
    pub fn resolve(&self, addr: u64) -> Frame {
        let mut frame = Frame::unknown(addr);
        if addr < KERNEL_START {
            return frame;
        }
        let table = self.table();
        let Some(at) = table
            .symbols
            .partition_point(|s| s.addr <= addr)
            .checked_sub(1)
        else {
            return frame;
        };
        let symbol = &table.symbols[at];
        frame.symbol = Some(Arc::from(table.name(symbol)));
        frame.module = table.module(symbol).map(Arc::from);
        frame.offset = addr - symbol.addr;
        frame
    }

    /// The address of the symbol called `name`; `None` if there is none or it is hidden.
    pub fn lookup(&self, name: &str) -> Option<u64> {
        let table = self.table();
        let needle = format!(" {name}");
        // The text is searched rather than indexed: scripts ask for a name or two.
        memchr::memmem::find_iter(table.text.as_bytes(), needle.as_bytes()).find_map(|at| {
            let end = table.text.as_bytes().get(at + needle.len());
            let line = table.text[..at].rfind('\n').map_or(0, |n| n + 1);
            // The name is the third field: address, type, name.
            let (addr, kind) = table.text[line..at].split_once(' ')?;
            let whole = matches!(end, None | Some(b'\n' | b'\t')) && kind.len() == 1;
            let addr = u64::from_str_radix(addr, 16).ok()?;
            (whole && addr != 0).then_some(addr)
        })
    }

    /// Whether this process may not see kernel addresses (kptr_restrict, no CAP_SYSLOG).
    pub fn is_hidden(&self) -> bool {
        self.table().symbols.is_empty()
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| {
            // Unreadable is like hidden: nothing resolves.
            Table::parse(std::fs::read_to_string("/proc/kallsyms").unwrap_or_default())
        })
    }
}

impl Table {
    fn parse(text: String) -> Self {
        // A line is about 43 bytes.
        let mut symbols = Vec::with_capacity(text.len() / 40);
        let bytes = text.as_bytes();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]) {
            let line = &text[start..end];
            let line_start = start;
            start = end + 1;
            let Some((addr, rest)) = line.split_once(' ') else {
                continue;
            };
            let Ok(addr) = u64::from_str_radix(addr, 16) else {
                continue;
            };
            // Per-CPU variables are small numbers, not addresses.
            if addr < KERNEL_START || rest.len() < 3 {
                continue;
            }
            let name = line_start + (line.len() - rest.len()) + 2;
            let len = rest[2..].find('\t').unwrap_or(rest.len() - 2);
            let (Ok(name), Ok(len)) = (u32::try_from(name), u32::try_from(len)) else {
                break;
            };
            symbols.push(KernelSymbol { addr, name, len });
        }
        // Modules follow the kernel, so most of it is sorted already. The sort is stable.
        symbols.sort_by_key(|s| s.addr);
        symbols.dedup_by_key(|s| s.addr);
        Self { text, symbols }
    }

    fn name(&self, s: &KernelSymbol) -> &str {
        &self.text[s.name as usize..(s.name + s.len) as usize]
    }

    /// `[module]` after the name.
    fn module(&self, s: &KernelSymbol) -> Option<&str> {
        let rest = &self.text[(s.name + s.len) as usize..];
        let line = rest.split('\n').next()?;
        line.strip_prefix("\t[")?.strip_suffix(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0000000000012000 A cpu_var\n\
        ffffffff81000000 T _stext\n\
        ffffffff81000000 T _text\n\
        ffffffff81000010 t do_one\n\
        ffffffff81000040 T vfs_read\n\
        ffffffffc0000000 t mod_fn\t[nf_tables]\n\
        ffffffff81000100 T late";

    #[test]
    fn the_first_symbol_of_an_address_names_it() {
        let k = KernelSymbolizer::from_text(TEXT.to_owned());
        for (addr, expected) in [
            (0xffff_ffff_8100_0000, "_stext+0"),
            (0xffff_ffff_8100_0051, "vfs_read+17"),
            (0xffff_ffff_8100_0100, "late+0"),
            (0xffff_ffff_c000_0004, "mod_fn+4"),
            (0xffff_ffff_8000_0000, "0xffffffff80000000"),
            (0x12004, "0x12004"),
        ] {
            assert_eq!(k.resolve(addr).to_string(), expected);
        }
        let module = k.resolve(0xffff_ffff_c000_0004).module;
        assert_eq!(module.as_deref(), Some("nf_tables"));
    }

    #[test]
    fn names_resolve_as_a_whole() {
        let k = KernelSymbolizer::from_text(TEXT.to_owned());
        assert_eq!(k.lookup("vfs_read"), Some(0xffff_ffff_8100_0040));
        assert_eq!(k.lookup("mod_fn"), Some(0xffff_ffff_c000_0000));
        assert_eq!(k.lookup("late"), Some(0xffff_ffff_8100_0100));
        assert_eq!(k.lookup("vfs"), None);
        assert_eq!(k.lookup("T"), None);
    }

    #[test]
    fn hidden_addresses_resolve_nothing() {
        let k = KernelSymbolizer::from_text("0000000000000000 T vfs_read\n".to_owned());
        assert!(k.is_hidden());
        assert_eq!(k.lookup("vfs_read"), None);
        assert_eq!(k.resolve(u64::MAX).symbol, None);
    }

    #[test]
    fn this_kernel() {
        let k = KernelSymbolizer::new();
        let start = std::time::Instant::now();
        if k.is_hidden() {
            eprintln!("SKIPPED: kernel addresses are hidden");
            return;
        }
        eprintln!("kallsyms: {:?}", start.elapsed());
        let addr = k.lookup("vfs_read").unwrap();
        assert_eq!(k.resolve(addr + 5).to_string(), "vfs_read+5");
    }
}
