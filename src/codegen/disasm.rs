//! BPF assembly in the notation of the kernel verifier's log.
//!
//! In: instructions and, through [`Names`], what the caller knows of maps, functions and
//! source lines. Out: text, one line per instruction, such that a line of ours and a line of
//! the verifier's log can be compared by eye. Never fails: an opcode that means nothing is
//! shown by number.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

use aya_obj::generated as uapi;

use super::helper::HelperId;
use super::insn::{AtomicOp, CALL, EXIT, Insn, JA, JA32, LD_IMM64, PseudoLoad, Size};

/// Names for what an instruction mentions by number; every method may know nothing.
pub trait Names {
    /// The map with the number (file descriptor or index) `fd` in a load of a map.
    fn map(&self, fd: i32) -> Option<Cow<'_, str>> {
        let _ = fd;
        None
    }

    /// The function that starts at `slot`.
    fn function(&self, slot: usize) -> Option<Cow<'_, str>> {
        let _ = slot;
        None
    }

    /// The source text that the instruction at `slot` comes from; shown where it changes.
    fn source(&self, slot: usize) -> Option<Cow<'_, str>> {
        let _ = slot;
        None
    }
}

/// Knows no names.
impl Names for () {}

/// The whole program: function names on lines of their own, source lines after `;`, and each
/// instruction as `slot: (opcode) text`.
pub fn listing(insns: &[Insn], names: &dyn Names) -> String {
    let mut out = String::with_capacity(insns.len() * 40);
    let mut last_source: Option<Cow<'_, str>> = None;
    let mut slot = 0;
    while slot < insns.len() {
        if let Some(name) = names.function(slot) {
            let _ = writeln!(out, "{name}:");
        }
        let source = names.source(slot);
        if source.is_some() && source != last_source {
            for line in source.iter().flat_map(|s| s.lines()) {
                let _ = writeln!(out, "; {line}");
            }
            last_source = source;
        }
        let line = Line { insns, slot, names };
        let _ = writeln!(out, "{slot:4}: ({:02x}) {line}", insns[slot].code);
        slot += line.slots();
    }
    out
}

/// One instruction of a program, for display.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// The program.
    pub insns: &'a [Insn],
    /// The instruction's place in it; out of range shows as such.
    pub slot: usize,
    /// What is known of names.
    pub names: &'a dyn Names,
}

impl Line<'_> {
    /// Slots the instruction takes: 2 for a 64-bit constant load, else 1.
    pub fn slots(&self) -> usize {
        match self.insns.get(self.slot) {
            Some(i) if i.is_ld_imm64() && self.slot + 1 < self.insns.len() => 2,
            _ => 1,
        }
    }

    // The slot a distance counted from the next slot leads to.
    fn target(&self, distance: i32) -> usize {
        (self.slot + 1).wrapping_add_signed(distance as isize)
    }

    fn load_constant(&self, f: &mut fmt::Formatter<'_>, i: Insn) -> fmt::Result {
        let Some(second) = self.insns.get(self.slot + 1) else {
            return write!(f, "r{} = <half of a 64-bit load>", i.dst);
        };
        let value = u64::from(i.imm as u32) | u64::from(second.imm as u32) << 32;
        write!(f, "r{} = ", i.dst)?;
        match PseudoLoad::from_src(i.src) {
            Some(PseudoLoad::Imm) => write!(f, "{value:#x}"),
            Some(PseudoLoad::MapFd) => match self.names.map(i.imm) {
                Some(name) => write!(f, "map[{name}]"),
                None => write!(f, "map[fd:{}]", i.imm),
            },
            Some(PseudoLoad::MapValue) => match self.names.map(i.imm) {
                Some(name) => write!(f, "map[{name}][0]+{}", second.imm),
                None => write!(f, "map[fd:{}][0]+{}", i.imm, second.imm),
            },
            Some(PseudoLoad::BtfId) => write!(f, "ksym[btf_id:{}]", i.imm),
            Some(PseudoLoad::Func) => match self.names.function(self.target(i.imm)) {
                Some(name) => write!(f, "func[{name}]"),
                None => write!(f, "func[pc{:+}]", i.imm),
            },
            None => write!(f, "{value:#x} (pseudo {})", i.src),
        }
    }

    fn jump(&self, f: &mut fmt::Formatter<'_>, i: Insn) -> fmt::Result {
        let wide = i.class() == uapi::BPF_JMP;
        match i.code {
            CALL => match u32::from(i.src) {
                0 => write!(f, "call {}", HelperId::new(i.imm as u32)),
                uapi::BPF_PSEUDO_CALL => match self.names.function(self.target(i.imm)) {
                    Some(name) => write!(f, "call pc{:+} <{name}>", i.imm),
                    None => write!(f, "call pc{:+}", i.imm),
                },
                uapi::BPF_PSEUDO_KFUNC_CALL => write!(f, "call kernel-function#{}", i.imm),
                _ => write!(f, "call {} (pseudo {})", i.imm, i.src),
            },
            EXIT => f.write_str("exit"),
            JA => write!(f, "goto pc{:+}", i.off),
            JA32 => write!(f, "gotol pc{:+}", i.imm),
            code => {
                let Some(op) = condition(code) else {
                    return invalid(f, i);
                };
                let r = reg_letter(wide);
                write!(f, "if {r}{} {op} ", i.dst)?;
                if by_register(code) {
                    write!(f, "{r}{}", i.src)?;
                } else {
                    write!(f, "{}", i.imm)?;
                }
                write!(f, " goto pc{:+}", i.off)
            }
        }
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(&i) = self.insns.get(self.slot) else {
            return f.write_str("<past the end>");
        };
        match i.class() {
            uapi::BPF_LD if i.code == LD_IMM64 => self.load_constant(f, i),
            uapi::BPF_LDX => load(f, i),
            uapi::BPF_ST if mode(i) == uapi::BPF_MEM => {
                write!(f, "{} = {}", place(i, i.dst), i.imm)
            }
            uapi::BPF_STX if mode(i) == uapi::BPF_MEM => {
                write!(f, "{} = r{}", place(i, i.dst), i.src)
            }
            uapi::BPF_STX if mode(i) == uapi::BPF_ATOMIC => atomic(f, i),
            uapi::BPF_ALU | uapi::BPF_ALU64 => arithmetic(f, i),
            uapi::BPF_JMP | uapi::BPF_JMP32 => self.jump(f, i),
            _ => invalid(f, i),
        }
    }
}

fn mode(i: Insn) -> u32 {
    u32::from(i.code) & 0xe0
}

fn by_register(code: u8) -> bool {
    u32::from(code) & uapi::BPF_X != 0
}

// The verifier calls the lower half of rN wN.
fn reg_letter(wide: bool) -> char {
    if wide { 'r' } else { 'w' }
}

fn invalid(f: &mut fmt::Formatter<'_>, i: Insn) -> fmt::Result {
    write!(f, "<invalid opcode {:#04x}>", i.code)
}

fn place(i: Insn, base: u8) -> String {
    let bits = Size::of_code(i.code).bytes() * 8;
    format!("*(u{bits} *)(r{base} {:+})", i.off)
}

fn load(f: &mut fmt::Formatter<'_>, i: Insn) -> fmt::Result {
    match mode(i) {
        uapi::BPF_MEM => write!(f, "r{} = {}", i.dst, place(i, i.src)),
        uapi::BPF_MEMSX => {
            let bits = Size::of_code(i.code).bytes() * 8;
            write!(f, "r{} = *(s{bits} *)(r{} {:+})", i.dst, i.src, i.off)
        }
        _ => invalid(f, i),
    }
}

fn atomic(f: &mut fmt::Formatter<'_>, i: Insn) -> fmt::Result {
    let bits = Size::of_code(i.code).bytes() * 8;
    let Some(op) = AtomicOp::from_imm(i.imm) else {
        return write!(f, "<invalid atomic operation {:#x}>", i.imm);
    };
    let (sign, name) = match op {
        AtomicOp::Add | AtomicOp::FetchAdd => ("+", "fetch_add"),
        AtomicOp::Or | AtomicOp::FetchOr => ("|", "fetch_or"),
        AtomicOp::And | AtomicOp::FetchAnd => ("&", "fetch_and"),
        AtomicOp::Xor | AtomicOp::FetchXor => ("^", "fetch_xor"),
        AtomicOp::Xchg => ("", "xchg"),
        AtomicOp::Cmpxchg => ("", "cmpxchg"),
    };
    let addr = format!("(u{bits} *)(r{} {:+})", i.dst, i.off);
    let bits = if bits == 64 { "64" } else { "" };
    match op {
        AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {
            write!(f, "lock *{addr} {sign}= r{}", i.src)
        }
        AtomicOp::Cmpxchg => write!(f, "r0 = atomic{bits}_cmpxchg({addr}, r0, r{})", i.src),
        _ => write!(f, "r{0} = atomic{bits}_{name}({addr}, r{0})", i.src),
    }
}

fn arithmetic(f: &mut fmt::Formatter<'_>, i: Insn) -> fmt::Result {
    let wide = i.class() == uapi::BPF_ALU64;
    let r = reg_letter(wide);
    let dst = i.dst;
    let sign = match u32::from(i.code) & 0xf0 {
        uapi::BPF_NEG => return write!(f, "{r}{dst} = -{r}{dst}"),
        uapi::BPF_END => {
            let name = match (wide, by_register(i.code)) {
                (true, _) => "bswap",
                (false, true) => "be",
                (false, false) => "le",
            };
            return write!(f, "r{dst} = {name}{} r{dst}", i.imm);
        }
        uapi::BPF_MOV if i.off != 0 => {
            return write!(f, "{r}{dst} = (s{}){r}{}", i.off, i.src);
        }
        uapi::BPF_ADD => "+=",
        uapi::BPF_SUB => "-=",
        uapi::BPF_MUL => "*=",
        uapi::BPF_DIV if i.off == 1 => "s/=",
        uapi::BPF_DIV => "/=",
        uapi::BPF_OR => "|=",
        uapi::BPF_AND => "&=",
        uapi::BPF_LSH => "<<=",
        uapi::BPF_RSH => ">>=",
        uapi::BPF_MOD if i.off == 1 => "s%=",
        uapi::BPF_MOD => "%=",
        uapi::BPF_XOR => "^=",
        uapi::BPF_MOV => "=",
        uapi::BPF_ARSH => "s>>=",
        _ => return invalid(f, i),
    };
    if by_register(i.code) {
        write!(f, "{r}{dst} {sign} {r}{}", i.src)
    } else {
        write!(f, "{r}{dst} {sign} {}", i.imm)
    }
}

fn condition(code: u8) -> Option<&'static str> {
    Some(match u32::from(code) & 0xf0 {
        uapi::BPF_JEQ => "==",
        uapi::BPF_JNE => "!=",
        uapi::BPF_JGT => ">",
        uapi::BPF_JGE => ">=",
        uapi::BPF_JLT => "<",
        uapi::BPF_JLE => "<=",
        uapi::BPF_JSGT => "s>",
        uapi::BPF_JSGE => "s>=",
        uapi::BPF_JSLT => "s<",
        uapi::BPF_JSLE => "s<=",
        uapi::BPF_JSET => "&",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::helper;
    use crate::codegen::insn::{AluOp, JmpOp, R0, R1, R2, R3, R10};

    fn text(insns: &[Insn]) -> String {
        Line {
            insns,
            slot: 0,
            names: &(),
        }
        .to_string()
    }

    #[test]
    fn every_form_reads_as_the_verifier_writes_it() {
        let cases = [
            (Insn::ldx(Size::DW, R1, R10, -8), "r1 = *(u64 *)(r10 -8)"),
            (Insn::ldsx(Size::B, R1, R2, 3), "r1 = *(s8 *)(r2 +3)"),
            (Insn::stx(Size::W, R10, -4, R3), "*(u32 *)(r10 -4) = r3"),
            (Insn::st(Size::H, R1, 0, 7), "*(u16 *)(r1 +0) = 7"),
            (Insn::alu64(AluOp::Add, R1, R2), "r1 += r2"),
            (Insn::alu32(AluOp::Arsh, R1, 3), "w1 s>>= 3"),
            (Insn::alu64(AluOp::Smod, R1, R2), "r1 s%= r2"),
            (Insn::movsx64(R1, R2, Size::H), "r1 = (s16)r2"),
            (Insn::neg32(R3), "w3 = -w3"),
            (Insn::to_be(R3, Size::H), "r3 = be16 r3"),
            (Insn::bswap(R3, Size::DW), "r3 = bswap64 r3"),
            (Insn::jmp64(JmpOp::Eq, R1, 0, 5), "if r1 == 0 goto pc+5"),
            (Insn::jmp32(JmpOp::Slt, R1, R2, -3), "if w1 s< w2 goto pc-3"),
            (Insn::ja(2), "goto pc+2"),
            (Insn::ja32(-70000), "gotol pc-70000"),
            (
                Insn::call(helper::MAP_LOOKUP_ELEM),
                "call bpf_map_lookup_elem#1",
            ),
            (Insn::call_func(4), "call pc+4"),
            (Insn::call_kfunc(77, 0), "call kernel-function#77"),
            (Insn::exit(), "exit"),
            (
                Insn::atomic(AtomicOp::Add, Size::DW, R1, 8, R2),
                "lock *(u64 *)(r1 +8) += r2",
            ),
            (
                Insn::atomic(AtomicOp::FetchOr, Size::W, R1, 0, R2),
                "r2 = atomic_fetch_or((u32 *)(r1 +0), r2)",
            ),
            (
                Insn::atomic(AtomicOp::Cmpxchg, Size::DW, R1, 0, R2),
                "r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)",
            ),
            (Insn::decode([0xff; 8]), "<invalid opcode 0xff>"),
        ];
        for (insn, expected) in cases {
            assert_eq!(text(&[insn]), expected);
        }
    }

    struct Known;

    impl Names for Known {
        fn map(&self, fd: i32) -> Option<Cow<'_, str>> {
            (fd == 3).then_some("@x".into())
        }
        fn function(&self, slot: usize) -> Option<Cow<'_, str>> {
            [(0, "main"), (6, "body")]
                .iter()
                .find_map(|&(s, n)| (s == slot).then_some(n.into()))
        }
        fn source(&self, slot: usize) -> Option<Cow<'_, str>> {
            Some(if slot < 2 { "@x++" } else { "return" }.into())
        }
    }

    #[test]
    fn listing_names_maps_functions_and_lines() {
        let mut p = Insn::ld_map_fd(R1, 3).to_vec();
        p.extend(Insn::ld_func(R2, 3)); // slot 2: next is 3, body is 6
        p.push(Insn::call_func(1)); // slot 4
        p.push(Insn::exit());
        p.extend([Insn::mov64(R0, 0), Insn::exit()]);
        assert_eq!(
            listing(&p, &Known),
            "main:\n\
             ; @x++\n\
             \x20  0: (18) r1 = map[@x]\n\
             ; return\n\
             \x20  2: (18) r2 = func[body]\n\
             \x20  4: (85) call pc+1 <body>\n\
             \x20  5: (95) exit\n\
             body:\n\
             \x20  6: (b7) r0 = 0\n\
             \x20  7: (95) exit\n"
        );
    }

    #[test]
    fn a_cut_program_is_still_shown() {
        let half = &Insn::ld_imm64(R1, 5)[..1];
        assert_eq!(
            listing(half, &()),
            "   0: (18) r1 = <half of a 64-bit load>\n"
        );
    }
}
