//! Operands of USDT arguments, as compilers spell them in assembly.
//!
//! In: the argument text of a note, `-4@%edi 8@-8(%rbp)`. Out: for each argument how wide it is
//! and where it lies. An operand that is not understood is `None`, so that the others keep their
//! numbers.
//!
//! ```text
//! argument := [size '@'] operand
//! size     := 1 2 4 8, with '-' if it is signed, with 'f' if it is floating point
//! x86-64   := $5  %edi  -8(%rbp)  8(%rax,%rbx,4)  (%rcx)  counter+4(%rip)
//! aarch64  := 5  x0  w1  [sp]  [x0, 16]  [x0, x1]
//! ```

use object::elf;

/// One argument of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// How wide it is and how it extends to 64 bits.
    pub width: Width,
    /// Where it is.
    pub operand: Operand,
}

/// Type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// 1, 2, 4 or 8.
    pub bytes: u8,
    /// Extend the sign.
    pub signed: bool,
    /// A floating-point value.
    pub float: bool,
}

/// Where an argument is when the probe fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A number.
    Constant(i64),
    /// In a register.
    Register(Register),
    /// In memory, at `base + index * scale + offset`.
    Memory {
        /// Base register.
        base: Register,
        /// Index register with its scale of 1, 2, 4 or 8.
        index: Option<(Register, u8)>,
        /// Bytes.
        offset: i64,
    },
    /// In a variable, at a virtual address of the file.
    Static(u64),
}

/// A register, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// The whole register: `rax` for `%ah`, `x3` for `w3`.
    pub name: &'static str,
    /// Bytes of the part that is named.
    pub bytes: u8,
    /// Bits by which that part is shifted in the whole: 8 for `%ah`.
    pub shift: u8,
}

/// Parses the arguments of a note of a file for `machine` (EM_*). `find` gives the address of a
/// variable.
pub(super) fn parse(
    text: &str,
    machine: u16,
    find: &dyn Fn(&str) -> Option<u64>,
) -> Vec<Option<Argument>> {
    split(text)
        .map(|argument| parse_one(argument, machine, find))
        .collect()
}

/// Splits at spaces that are not inside brackets: `[sp, 16]` is one operand.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    text.split(move |c| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            _ => {}
        }
        c == ' ' && depth <= 0
    })
    .filter(|part| !part.is_empty())
}

fn parse_one(text: &str, machine: u16, find: &dyn Fn(&str) -> Option<u64>) -> Option<Argument> {
    // A variable's name may hold an `@` of its own (`x@GOTPCREL`): only digits are a size.
    let (size, operand) = match text.split_once('@') {
        Some((size, rest)) if size.len() <= 3 => (size, rest),
        _ => ("", text),
    };
    let operand = match machine {
        elf::EM_X86_64 => x86(operand.trim(), find)?,
        elf::EM_AARCH64 => aarch64(operand.trim())?,
        _ => return None,
    };
    let width = match size {
        // Without a size it is as wide as what holds it.
        "" => Width {
            bytes: match &operand {
                Operand::Register(r) => r.bytes,
                _ => 8,
            },
            signed: false,
            float: false,
        },
        size => parse_width(size)?,
    };
    Some(Argument { width, operand })
}

fn parse_width(text: &str) -> Option<Width> {
    let (text, float) = match text.strip_suffix('f') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (text, signed) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let bytes = text.parse().ok()?;
    matches!(bytes, 1 | 2 | 4 | 8).then_some(Width {
        bytes,
        signed,
        float,
    })
}

/// AT&T syntax.
fn x86(text: &str, find: &dyn Fn(&str) -> Option<u64>) -> Option<Operand> {
    if let Some(number) = text.strip_prefix('$') {
        return number_of(number).map(Operand::Constant);
    }
    if let Some(name) = text.strip_prefix('%') {
        return x86_register(name).map(Operand::Register);
    }
    let Some((before, inside)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) else {
        // An address without a register.
        return match number_of(text) {
            Some(n) => Some(Operand::Static(n as u64)),
            None => displaced(text, find).map(Operand::Static),
        };
    };
    let mut parts = inside.split(',').map(str::trim);
    let base = parts.next()?.strip_prefix('%')?;
    if base == "rip" {
        return match parts.next() {
            None => displaced(before, find).map(Operand::Static),
            Some(_) => None,
        };
    }
    let base = x86_register(base)?;
    let index = match parts.next() {
        None => None,
        Some(name) => {
            let index = x86_register(name.strip_prefix('%')?)?;
            let scale = match parts.next() {
                None => 1,
                Some(scale) => scale.parse().ok().filter(|s| matches!(s, 1 | 2 | 4 | 8))?,
            };
            Some((index, scale))
        }
    };
    if parts.next().is_some() {
        return None;
    }
    let offset = if before.is_empty() {
        0
    } else {
        number_of(before)?
    };
    Some(Operand::Memory {
        base,
        index,
        offset,
    })
}

/// `name`, `name+8`, `8+name`, `name-4`: the address of a variable.
fn displaced(text: &str, find: &dyn Fn(&str) -> Option<u64>) -> Option<u64> {
    if let Some((a, b)) = text.split_once('+') {
        let (name, number) = match number_of(a) {
            Some(number) => (b, number),
            None => (a, number_of(b)?),
        };
        return find(name)?.checked_add_signed(number);
    }
    if let Some((name, number)) = text.rsplit_once('-') {
        return find(name)?.checked_add_signed(number_of(number)?.checked_neg()?);
    }
    find(text)
}

fn aarch64(text: &str) -> Option<Operand> {
    if let Some(inside) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let mut parts = inside.split(',').map(str::trim);
        let base = aarch64_register(parts.next()?)?;
        let (index, offset) = match parts.next() {
            None => (None, 0),
            Some(part) => match aarch64_register(part) {
                Some(index) => (Some((index, 1)), 0),
                None => (None, number_of(part.trim_start_matches('#'))?),
            },
        };
        if parts.next().is_some() {
            return None;
        }
        return Some(Operand::Memory {
            base,
            index,
            offset,
        });
    }
    match number_of(text.trim_start_matches('#')) {
        Some(number) => Some(Operand::Constant(number)),
        None => aarch64_register(text).map(Operand::Register),
    }
}

/// Decimal or hexadecimal, with a sign; 64-bit constants may be written unsigned.
fn number_of(text: &str) -> Option<i64> {
    let (text, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let value = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None if text.starts_with(|c: char| c.is_ascii_digit()) => text.parse().ok()?,
        None => return None,
    };
    if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        Some(value as i64)
    }
}

fn x86_register(name: &str) -> Option<Register> {
    /// 64-, 32-, 16- and 8-bit names.
    const NAMES: [[&str; 4]; 16] = [
        ["rax", "eax", "ax", "al"],
        ["rbx", "ebx", "bx", "bl"],
        ["rcx", "ecx", "cx", "cl"],
        ["rdx", "edx", "dx", "dl"],
        ["rsi", "esi", "si", "sil"],
        ["rdi", "edi", "di", "dil"],
        ["rbp", "ebp", "bp", "bpl"],
        ["rsp", "esp", "sp", "spl"],
        ["r8", "r8d", "r8w", "r8b"],
        ["r9", "r9d", "r9w", "r9b"],
        ["r10", "r10d", "r10w", "r10b"],
        ["r11", "r11d", "r11w", "r11b"],
        ["r12", "r12d", "r12w", "r12b"],
        ["r13", "r13d", "r13w", "r13b"],
        ["r14", "r14d", "r14w", "r14b"],
        ["r15", "r15d", "r15w", "r15b"],
    ];
    let high = ["ah", "bh", "ch", "dh"].iter().position(|h| *h == name);
    if let Some(i) = high {
        return Some(Register {
            name: NAMES[i][0],
            bytes: 1,
            shift: 8,
        });
    }
    NAMES.iter().find_map(|names| {
        let at = names.iter().position(|n| *n == name)?;
        Some(Register {
            name: names[0],
            bytes: 8 >> at,
            shift: 0,
        })
    })
}

fn aarch64_register(name: &str) -> Option<Register> {
    const NAMES: [&str; 32] = [
        "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
        "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26",
        "x27", "x28", "x29", "x30", "sp",
    ];
    let whole = |wanted: &str, bytes| {
        NAMES.iter().find(|n| **n == wanted).map(|name| Register {
            name,
            bytes,
            shift: 0,
        })
    };
    match name {
        "wsp" => whole("sp", 4),
        _ => match name.strip_prefix('w') {
            Some(number) => whole(&format!("x{number}"), 4),
            None => whole(name, 8),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86_one(text: &str) -> Option<Argument> {
        let find = |name: &str| (name == "counter").then_some(0x4000);
        let mut all = parse(text, elf::EM_X86_64, &find);
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    fn reg(name: &'static str, bytes: u8, shift: u8) -> Register {
        Register { name, bytes, shift }
    }

    #[test]
    fn every_x86_form() {
        let rbp = reg("rbp", 8, 0);
        let memory = |offset, index| Operand::Memory {
            base: rbp,
            index,
            offset,
        };
        for (text, bytes, signed, operand) in [
            ("-4@%edi", 4, true, Operand::Register(reg("rdi", 4, 0))),
            ("1@%ah", 1, false, Operand::Register(reg("rax", 1, 8))),
            ("8@%r10", 8, false, Operand::Register(reg("r10", 8, 0))),
            ("2@%r10w", 2, false, Operand::Register(reg("r10", 2, 0))),
            ("4@$5", 4, false, Operand::Constant(5)),
            ("-4@$-7", 4, true, Operand::Constant(-7)),
            ("8@$0xffffffffffffffff", 8, false, Operand::Constant(-1)),
            ("8@-8(%rbp)", 8, false, memory(-8, None)),
            ("8@(%rbp)", 8, false, memory(0, None)),
            (
                "-2@0x10(%rbp,%rcx,4)",
                2,
                true,
                memory(16, Some((reg("rcx", 8, 0), 4))),
            ),
            (
                "8@(%rbp,%rcx)",
                8,
                false,
                memory(0, Some((reg("rcx", 8, 0), 1))),
            ),
            ("4@counter(%rip)", 4, false, Operand::Static(0x4000)),
            ("4@counter+8(%rip)", 4, false, Operand::Static(0x4008)),
            ("4@8+counter(%rip)", 4, false, Operand::Static(0x4008)),
            ("4@counter-4(%rip)", 4, false, Operand::Static(0x3ffc)),
            ("%eax", 4, false, Operand::Register(reg("rax", 4, 0))),
        ] {
            let argument = x86_one(text).unwrap_or_else(|| panic!("{text}"));
            let Width {
                bytes: b,
                signed: s,
                float,
            } = argument.width;
            assert_eq!((b, s, float), (bytes, signed, false), "{text}");
            assert_eq!(argument.operand, operand, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_keeps_its_number() {
        let all = parse("8@%rax 8@%bogus 8f@%xmm0 8@%rdx", elf::EM_X86_64, &|_| None);
        let known: Vec<_> = all.iter().map(Option::is_some).collect();
        assert_eq!(known, [true, false, false, true]);
        for text in [
            "3@%rax",
            "8@(%rbp,%rcx,3)",
            "8@(%rip,%rax)",
            "8@gone(%rip)",
            "8@",
            "8@(",
            "@)",
            "8@$",
        ] {
            assert_eq!(x86_one(text), None, "{text}");
        }
    }

    #[test]
    fn aarch64_forms_may_have_spaces() {
        let all = parse(
            "-4@w0 8@[sp, 16] 8@[x1,x2] 4@5 8@x30 1@[x29]",
            elf::EM_AARCH64,
            &|_| None,
        );
        let operands: Vec<_> = all.into_iter().map(|a| a.unwrap().operand).collect();
        assert_eq!(
            operands,
            [
                Operand::Register(reg("x0", 4, 0)),
                Operand::Memory {
                    base: reg("sp", 8, 0),
                    index: None,
                    offset: 16
                },
                Operand::Memory {
                    base: reg("x1", 8, 0),
                    index: Some((reg("x2", 8, 0), 1)),
                    offset: 0
                },
                Operand::Constant(5),
                Operand::Register(reg("x30", 8, 0)),
                Operand::Memory {
                    base: reg("x29", 8, 0),
                    index: None,
                    offset: 0
                },
            ]
        );
    }
}
