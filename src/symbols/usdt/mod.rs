//! USDT probes: the static tracepoints that programs declare in .note.stapsdt.
//!
//! In: an ELF file. Out: each probe site with its provider and name, file offsets to attach to,
//! semaphore and arguments. Several sites may share a name, each with arguments of its own. The
//! addresses in notes are those of link time: a file that was prelinked since has moved, by as
//! much as its .stapsdt.base section has.

mod argument;

pub use argument::{Argument, Operand, Register, Width};

use object::Endianness;

use super::elf::{ElfFile, Table, string_at};
use super::glob::Glob;

/// Note type of a probe, version 3, the only one in use.
const NT_STAPSDT: u32 = 3;

/// One place in a program where a probe fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Who declared it, such as `libstdcxx`.
    pub provider: String,
    /// Its name, such as `throw`.
    pub name: String,
    /// Virtual address of the instruction.
    pub vaddr: u64,
    /// File offset of the instruction, where a uprobe is attached.
    pub file_offset: u64,
    /// File offset of the 16-bit counter that must be above zero for the probe to fire; `None`
    /// if it always fires.
    pub semaphore: Option<u64>,
    /// Where the arguments are; `None` for an operand that is not understood.
    pub arguments: Vec<Option<Argument>>,
    /// The arguments as the note spells them.
    pub text: String,
}

/// Every probe site of a file, in the order of the notes. Damaged notes and sites that are in
/// no segment are left out.
pub fn sites(elf: &ElfFile) -> Vec<Site> {
    let Some(section) = elf.section(".note.stapsdt") else {
        return Vec::new();
    };
    let base = elf.section(".stapsdt.base").map(|s| s.addr);
    elf.section_notes(section)
        .filter(|n| n.owner == b"stapsdt" && n.kind == NT_STAPSDT)
        .filter_map(|n| site(elf, base, n.desc))
        .collect()
}

/// The sites whose provider and name match; `None` for a provider matches every one.
pub fn matching(elf: &ElfFile, provider: Option<&str>, name: &str) -> Vec<Site> {
    let provider = provider.map(Glob::new);
    let name = Glob::new(name);
    let mut all = sites(elf);
    all.retain(|s| {
        provider
            .as_ref()
            .is_none_or(|p| p.matches(s.provider.as_bytes()))
            && name.matches(s.name.as_bytes())
    });
    all
}

/// Three words (location, base, semaphore), then provider, name and arguments, each with a NUL.
fn site(elf: &ElfFile, base: Option<u64>, desc: &[u8]) -> Option<Site> {
    let size = if elf.is_64() { 8 } else { 4 };
    let word = |i: usize| read_word(desc.get(i * size..(i + 1) * size)?, elf.endian());
    let (location, note_base, semaphore) = (word(0)?, word(1)?, word(2)?);
    // A note without a base, or a file without the section, has not moved.
    let moved = match base {
        Some(base) if note_base != 0 => base.wrapping_sub(note_base),
        _ => 0,
    };
    let mut at = 3 * size;
    let mut text = || {
        let s = string_at(desc, at);
        at += s.len() + 1;
        std::str::from_utf8(s).ok().map(str::to_owned)
    };
    let (provider, name, arguments) = (text()?, text()?, text()?);
    let vaddr = location.wrapping_add(moved);
    let semaphore = match semaphore {
        0 => None,
        s => Some(elf.vaddr_to_offset(s.wrapping_add(moved))?),
    };
    let find = |symbol: &str| data_symbol(elf, symbol);
    Some(Site {
        file_offset: elf.vaddr_to_offset(vaddr)?,
        vaddr,
        semaphore,
        arguments: argument::parse(&arguments, elf.machine(), &find),
        provider,
        name,
        text: arguments,
    })
}

fn read_word(raw: &[u8], endian: Endianness) -> Option<u64> {
    let wide = |raw: [u8; 8]| match endian {
        Endianness::Little => u64::from_le_bytes(raw),
        Endianness::Big => u64::from_be_bytes(raw),
    };
    let narrow = |raw: [u8; 4]| match endian {
        Endianness::Little => u32::from_le_bytes(raw),
        Endianness::Big => u32::from_be_bytes(raw),
    };
    match raw.len() {
        8 => Some(wide(raw.try_into().ok()?)),
        4 => Some(narrow(raw.try_into().ok()?).into()),
        _ => None,
    }
}

/// The address of a variable that an operand names (`counter(%rip)`).
fn data_symbol(elf: &ElfFile, name: &str) -> Option<u64> {
    let mut found = None;
    for table in [Table::Symtab, Table::Dynsym] {
        let strings = elf.symbol_strings(table);
        elf.for_each_symbol(table, |s| {
            if found.is_none()
                && s.section != object::elf::SHN_UNDEF
                && string_at(strings, s.name as usize) == name.as_bytes()
            {
                found = Some(s.value);
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::fixture;

    #[test]
    fn sites_of_a_program_of_ours() {
        for (name, flags) in [
            ("usdt-pie", &["-pie", "-fPIE"][..]),
            ("usdt-static", &["-static", "-no-pie"]),
        ] {
            let Some(path) = fixture::compile(name, "usdt.c", flags) else {
                return;
            };
            let elf = ElfFile::open(&path).unwrap();
            let all = matching(&elf, Some("shop"), "*");
            assert_eq!(all.len(), 3, "{name}");
            let open = all.iter().find(|s| s.name == "open").unwrap();
            assert_eq!(elf.vaddr_to_offset(open.vaddr), Some(open.file_offset));
            assert_eq!(elf.bytes()[open.file_offset as usize], 0x90, "a nop");
            assert_eq!(open.semaphore, None);
            assert_eq!(open.arguments, []);
            let sale = all.iter().find(|s| s.name == "sale").unwrap();
            let counter = data_symbol(&elf, "shop_sale_semaphore").unwrap();
            assert_eq!(sale.semaphore, elf.vaddr_to_offset(counter));
            assert_eq!(sale.arguments.len(), 3);
            assert_eq!(
                sale.arguments[2].as_ref().unwrap().operand,
                Operand::Constant(-7),
                "{}",
                sale.text
            );
            assert_eq!(matching(&elf, None, "sale").len(), 2);
            assert_eq!(matching(&elf, Some("other"), "sale").len(), 0);
        }
    }

    #[test]
    fn sites_of_libstdcxx() {
        let Some(path) = fixture::system("/usr/lib/x86_64-linux-gnu/libstdc++.so.6") else {
            return;
        };
        let elf = ElfFile::open(path).unwrap();
        let throw = matching(&elf, Some("libstdcxx"), "throw");
        if throw.is_empty() {
            eprintln!("SKIPPED: this libstdc++ was built without probes");
            return;
        }
        let index = crate::symbols::index::SymbolIndex::open(
            path,
            &crate::symbols::debuglink::DebugDirs::none(),
        )
        .unwrap();
        assert_eq!(index.lookup(throw[0].vaddr).unwrap().name, "__cxa_throw");
        assert!(
            throw[0].arguments.iter().all(Option::is_some),
            "{}",
            throw[0].text
        );
    }

    #[test]
    fn every_argument_of_every_probe_on_this_machine_is_understood() {
        for path in [
            "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
            "/usr/bin/python3.11",
        ] {
            let Some(path) = fixture::system(path) else {
                continue;
            };
            for site in sites(&ElfFile::open(path).unwrap()) {
                assert!(site.arguments.iter().all(Option::is_some), "{}", site.text);
            }
        }
    }
}
