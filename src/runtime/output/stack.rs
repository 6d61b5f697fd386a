//! Stacks and symbols as text.
//!
//! A stack is a newline and one line per frame. Modes: `bpftrace` (indented `symbol+offset`),
//! `perf` (address, symbol, module), `raw` (addresses), `build_id` (build id and file offset).

use super::names::{Frame, Names, push_display};
use super::push_hex;
use super::value::UserAddress;
use crate::symbols::paths::basename;
use crate::types::{StackKind, StackMode, StackTy};

/// What a frame of the default mode starts with.
const INDENT: &[u8] = b"        ";

/// Stands where a stack was recorded but is not in the map any more.
pub(super) const LOST: &[u8] = b"        [stack was not kept: its map is full]\n";

/// Appends the lines of a stack; `ips` are addresses of eight bytes.
pub fn frames(names: &mut Names, ty: StackTy, ips: &[u8], pid: u32, out: &mut Vec<u8>) {
    for (i, ip) in ips.chunks_exact(8).enumerate() {
        let at = Address {
            kind: ty.kind,
            ip: ip.try_into().map_or(0, u64::from_ne_bytes),
            pid,
            call: i > 0,
        };
        match ty.mode {
            StackMode::Bpftrace => indented(names, at, out),
            StackMode::Perf => perf(names, at, out),
            StackMode::Raw => push_display(out, format_args!("{:x}\n", at.ip)),
            StackMode::BuildId => build_id(names, at, out),
        }
    }
}

/// One address of a stack.
#[derive(Clone, Copy)]
struct Address {
    kind: StackKind,
    ip: u64,
    pid: u32,
    /// Every frame but the innermost is where a call returns to.
    call: bool,
}

fn resolve(names: &mut Names, at: Address, emit: &mut dyn FnMut(Frame<'_>)) {
    match at.kind {
        StackKind::Kernel => names.symbols.kernel(at.ip, at.call, emit),
        StackKind::User => {
            let user = UserAddress {
                addr: at.ip,
                pid: at.pid,
                attach: None,
            };
            names.symbols.user(user, at.call, emit);
        }
    }
}

/// Calls `f` with the name, the module and whether it was inlined of each function of a stack,
/// innermost first.
pub(super) fn for_each_frame(
    names: &mut Names,
    ty: StackTy,
    ips: &[u8],
    pid: u32,
    f: &mut dyn FnMut(String, &str, bool),
) {
    for (i, ip) in ips.chunks_exact(8).enumerate() {
        let at = Address {
            kind: ty.kind,
            ip: ip.try_into().map_or(0, u64::from_ne_bytes),
            pid,
            call: i > 0,
        };
        let mut known = false;
        resolve(names, at, &mut |frame| {
            known = true;
            let module = frame.module.unwrap_or_default();
            let name = match (frame.name, frame.offset) {
                (Some(name), _) => name.to_owned(),
                (None, offset) => format!("{}+{:#x}", basename(module), offset.unwrap_or(0)),
            };
            f(name, module, frame.offset.is_none());
        });
        if !known {
            f(format!("{:#x}", at.ip), "", false);
        }
    }
}

fn indented(names: &mut Names, at: Address, out: &mut Vec<u8>) {
    let mut known = false;
    resolve(names, at, &mut |f| {
        let Some(name) = f.name else {
            known |= in_module(f, INDENT, b"\n", out);
            return;
        };
        known = true;
        out.extend_from_slice(INDENT);
        match f.offset {
            Some(offset) => push_display(out, format_args!("{name}+{offset}")),
            None => push_display(out, format_args!("[inlined] {name}")),
        }
        if let Some((file, line)) = f.source {
            push_display(out, format_args!("@{file}:{line}"));
        }
        out.push(b'\n');
    });
    if !known {
        out.extend_from_slice(INDENT);
        push_hex(out, at.ip);
        out.push(b'\n');
    }
}

/// Appends `module+0xoffset` for code without a name: unlike the address it means the same in
/// the next run. Whether the module is known.
fn in_module(f: Frame<'_>, before: &[u8], after: &[u8], out: &mut Vec<u8>) -> bool {
    let (Some(module), Some(offset)) = (f.module, f.offset) else {
        return false;
    };
    out.extend_from_slice(before);
    push_display(out, format_args!("{}+{offset:#x}", basename(module)));
    out.extend_from_slice(after);
    true
}

fn perf(names: &mut Names, at: Address, out: &mut Vec<u8>) {
    push_display(out, format_args!("\t{:x} ", at.ip));
    let start = out.len();
    let mut module = Vec::new();
    // One line per address: what was inlined has no address of its own.
    resolve(names, at, &mut |f| {
        if out.len() == start
            && let (Some(name), Some(offset)) = (f.name, f.offset)
        {
            push_display(out, format_args!("{name}+{offset}"));
        } else if out.len() == start && f.name.is_none() {
            in_module(f, b"", b"", out);
        }
        if let (true, Some(m)) = (module.is_empty(), f.module) {
            module.extend_from_slice(m.as_bytes());
        }
    });
    if out.len() == start {
        out.extend_from_slice(b"[unknown]");
    }
    if at.kind == StackKind::User {
        if module.is_empty() {
            module.extend_from_slice(b"[unknown]");
        }
        out.extend_from_slice(b" (");
        out.extend_from_slice(&module);
        out.push(b')');
    }
    out.push(b'\n');
}

fn build_id(names: &mut Names, at: Address, out: &mut Vec<u8>) {
    match names.symbols.build_id(at.pid, at.ip) {
        Some((id, offset)) => {
            for b in id {
                push_display(out, format_args!("{b:02x}"));
            }
            push_display(out, format_args!(" 0x{offset:x}\n"));
        }
        None => {
            push_hex(out, at.ip);
            out.push(b'\n');
        }
    }
}

/// Appends the name of a kernel address without its offset, or the address.
pub fn kernel_symbol(names: &mut Names, addr: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let mut emit = |f: Frame<'_>| name_once(f, start, out);
    names.symbols.kernel(addr, false, &mut emit);
    if out.len() == start {
        push_hex(out, addr);
    }
}

/// Appends the name of a user address without its offset, or the address.
pub fn user_symbol(names: &mut Names, at: UserAddress, out: &mut Vec<u8>) {
    let start = out.len();
    let mut emit = |f: Frame<'_>| name_once(f, start, out);
    names.symbols.user(at, false, &mut emit);
    if out.len() == start {
        push_hex(out, at.addr);
    }
}

/// Appends the function itself, not what was inlined into it; or its place in its module.
fn name_once(f: Frame<'_>, start: usize, out: &mut Vec<u8>) {
    if out.len() == start && f.name.is_none() {
        in_module(f, b"", b"", out);
        return;
    }
    if let (true, Some(name), Some(_)) = (out.len() == start, f.name, f.offset) {
        out.extend_from_slice(name.as_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::names::Symbols;
    use super::super::time::Clocks;
    use super::*;

    /// Knows 0x1010 as `main+16`, with debug information and an inlined call.
    pub(in super::super) struct Fake;

    impl Symbols for Fake {
        fn kernel(&mut self, addr: u64, _: bool, emit: &mut dyn FnMut(Frame<'_>)) {
            if addr >= 0x1000 {
                emit(Frame {
                    name: Some("vfs_read"),
                    offset: Some(addr - 0x1000),
                    ..Frame::default()
                });
            }
        }
        fn user(&mut self, at: UserAddress, _: bool, emit: &mut dyn FnMut(Frame<'_>)) {
            if at.addr == 0x1010 {
                let module = Some("/bin/x");
                emit(Frame {
                    name: Some("help"),
                    offset: None,
                    module,
                    source: Some(("/src/h.h", 9)),
                });
                emit(Frame {
                    name: Some("main"),
                    offset: Some(16),
                    module,
                    source: Some(("/src/x.c", 3)),
                });
            }
        }
        fn build_id(&mut self, _: u32, addr: u64) -> Option<(Vec<u8>, u64)> {
            (addr == 0x1010).then(|| (vec![0xab, 0x01], 0x10))
        }
    }

    fn show(kind: StackKind, mode: StackMode, ips: &[u64]) -> String {
        let mut names = Names::new(Box::new(Fake), Clocks::default());
        let ips: Vec<u8> = ips.iter().flat_map(|i| i.to_ne_bytes()).collect();
        let ty = StackTy {
            kind,
            mode,
            limit: 127,
        };
        let mut out = Vec::new();
        frames(&mut names, ty, &ips, 1, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn default_mode_shows_lines_and_inlined_functions() {
        assert_eq!(
            show(StackKind::User, StackMode::Bpftrace, &[0x1010, 0x5]),
            "        [inlined] help@/src/h.h:9\n        main+16@/src/x.c:3\n        0x5\n"
        );
        assert_eq!(
            show(StackKind::Kernel, StackMode::Bpftrace, &[0x1020]),
            "        vfs_read+32\n"
        );
    }

    #[test]
    fn perf_mode_shows_addresses_and_modules() {
        assert_eq!(
            show(StackKind::User, StackMode::Perf, &[0x1010, 0x5]),
            "\t1010 main+16 (/bin/x)\n\t5 [unknown] ([unknown])\n"
        );
        assert_eq!(
            show(StackKind::Kernel, StackMode::Perf, &[0x1001]),
            "\t1001 vfs_read+1\n"
        );
    }

    #[test]
    fn raw_and_build_id_modes() {
        assert_eq!(show(StackKind::Kernel, StackMode::Raw, &[0xff]), "ff\n");
        assert_eq!(
            show(StackKind::User, StackMode::BuildId, &[0x1010, 7]),
            "ab01 0x10\n0x7\n"
        );
    }
}
