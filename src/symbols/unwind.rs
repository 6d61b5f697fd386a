//! Unwind tables: how to find the caller at every address of a file, from .eh_frame.
//!
//! In: an ELF file for x86-64 or aarch64. Out: a sorted table of rows, each valid from its
//! address to the next, with one of a few hundred distinct rules. It keeps what walking a stack
//! needs, the canonical frame address, the frame pointer and the return address, and drops the
//! other registers. Expressions are recognised by shape (realigned stacks, PLT stubs, signal
//! frames) and everything else is [`Cfa::Unsupported`]: a walker stops there and says where.
//!
//! ```text
//! CFA    the stack pointer before the call that entered the function
//! row    vaddr  ->  rule { cfa, fp, ra }
//! ```

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CieOrFde, EhFrame, EndianSlice, Operation, RegisterRule, RunTimeEndian,
    UnwindContext, UnwindExpression, UnwindSection as _,
};
use object::{Endianness, elf};

use super::elf::ElfFile;
use crate::error::{Error, ErrorExt as _, Result};

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// How the canonical frame address is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cfa {
    /// Stack pointer plus bytes.
    Sp(i32),
    /// Frame pointer plus bytes.
    Fp(i32),
    /// Another register (DWARF number) plus bytes: only usable in the innermost frame.
    Register(u16, i32),
    /// The word at stack pointer plus bytes: signal frames.
    DerefSp(i32),
    /// The word at frame pointer plus bytes: functions that realign their stack.
    DerefFp(i32),
    /// A PLT stub: stack pointer plus `base`, and 8 more once the low four bits of the
    /// instruction pointer have reached `pushed`.
    Plt {
        /// Bytes before the push.
        base: i32,
        /// Low bits of the address after the push.
        pushed: u8,
    },
    /// Not expressible here.
    Unsupported,
}

/// Where a register of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Saved {
    /// Still in the register.
    Same,
    /// In memory at CFA plus bytes.
    AtCfa(i32),
    /// In memory at stack pointer plus bytes.
    AtSp(i32),
    /// In memory at frame pointer plus bytes.
    AtFp(i32),
    /// Not recoverable. For the return address: the outermost frame.
    Undefined,
}

/// How to find the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The canonical frame address.
    pub cfa: Cfa,
    /// The caller's frame pointer.
    pub fp: Saved,
    /// The return address.
    pub ra: Saved,
    /// A signal handler returns here: the address found is an instruction that was interrupted,
    /// not one after a call.
    pub signal: bool,
}

impl Rule {
    /// No function has this address.
    const NONE: Self = Self {
        cfa: Cfa::Unsupported,
        fp: Saved::Undefined,
        ra: Saved::Undefined,
        signal: false,
    };
}

/// The unwind rows of one file.
#[derive(Debug, Default)]
pub struct UnwindTable {
    /// Virtual address of the first row.
    base: u64,
    /// Bytes after `base` where a row starts, ascending.
    starts: Vec<u32>,
    /// For each row its rule.
    rule_of: Vec<u16>,
    /// The distinct rules; the first is for gaps between functions.
    rules: Vec<Rule>,
}

/// DWARF register numbers of a processor.
struct Machine {
    sp: gimli::Register,
    fp: gimli::Register,
    ra: gimli::Register,
    /// Calls leave the return address in a register rather than on the stack.
    links: bool,
}

impl Machine {
    fn of(elf: &ElfFile) -> Result<Self> {
        let (sp, fp, ra, links) = match elf.machine() {
            elf::EM_X86_64 => (7, 6, 16, false),
            elf::EM_AARCH64 => (31, 29, 30, true),
            other => {
                return Err(Error::new(
                    crate::error::ErrorKind::Unsupported,
                    format!("no unwind rules for machine {other}"),
                ));
            }
        };
        Ok(Self {
            sp: gimli::Register(sp),
            fp: gimli::Register(fp),
            ra: gimli::Register(ra),
            links,
        })
    }
}

impl UnwindTable {
    /// Builds the table of a file.
    ///
    /// # Errors
    /// Another processor, no .eh_frame, or a damaged one.
    pub fn build(elf: &ElfFile) -> Result<Self> {
        let name = || elf.path().display().to_string();
        let machine = Machine::of(elf).with_context(name)?;
        let Some(section) = elf.section(".eh_frame") else {
            return Err(Error::not_found("no .eh_frame").context(name()));
        };
        let data = elf.raw_data(section);
        let (frames, bases) = frames(elf, data);
        let mut rows: Vec<(u64, Rule)> = Vec::new();
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let mut context = UnwindContext::new();
        let mut entries = frames.entries(&bases);
        while let Some(entry) = entries.next().map_err(|e| {
            Error::invalid(e.to_string())
                .context(".eh_frame")
                .context(name())
        })? {
            let CieOrFde::Fde(partial) = entry else {
                continue;
            };
            // One bad description loses one function.
            let Ok(fde) = partial.parse(|_, bases, at| frames.cie_from_offset(bases, at)) else {
                continue;
            };
            let (start, end) = (fde.initial_address(), fde.end_address());
            // The linker leaves those of dropped functions at 0.
            if start == 0 || start >= end {
                continue;
            }
            ends.push((start, end));
            let encoding = fde.cie().encoding();
            let signal = fde.is_signal_trampoline();
            let Ok(mut table) = fde.rows(&frames, &bases, &mut context) else {
                rows.push((start, Rule::NONE));
                continue;
            };
            loop {
                match table.next_row() {
                    Ok(Some(row)) => {
                        let expression = |e: &UnwindExpression<usize>| {
                            Shape::of(e.get(&frames).ok()?.operations(encoding), &machine)
                        };
                        let mut rule = Rule {
                            cfa: cfa(row.cfa(), &machine, &expression),
                            // Callee-saved: what is not mentioned is untouched.
                            fp: row
                                .register(machine.fp)
                                .map_or(Saved::Same, |r| saved(&r, &expression)),
                            // On aarch64 the return address is still in its register then.
                            ra: match row.register(machine.ra) {
                                Some(r) => saved(&r, &expression),
                                None if machine.links => Saved::Same,
                                None => Saved::Undefined,
                            },
                            signal,
                        };
                        // Only a return address that is said to be undefined has no caller.
                        let outermost =
                            matches!(row.register(machine.ra), Some(RegisterRule::Undefined));
                        if rule.ra == Saved::Undefined && !outermost {
                            rule.cfa = Cfa::Unsupported;
                        }
                        rows.push((row.start_address(), rule));
                    }
                    Ok(None) => break,
                    Err(_) => {
                        rows.push((start, Rule::NONE));
                        break;
                    }
                }
            }
        }
        Ok(Self::pack(rows, ends))
    }

    /// The rule at `vaddr`; `None` where no function is described.
    pub fn lookup(&self, vaddr: u64) -> Option<&Rule> {
        let delta = u32::try_from(vaddr.checked_sub(self.base)?).ok()?;
        let at = self
            .starts
            .partition_point(|&s| s <= delta)
            .checked_sub(1)?;
        let number = self.rule_of[at];
        (number != 0).then(|| &self.rules[usize::from(number)])
    }

    /// Virtual address that row offsets count from.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Every row: bytes after the base, and the number of its rule. Number 0 is a gap.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = (u32, u16)> + ExactSizeIterator {
        self.starts
            .iter()
            .copied()
            .zip(self.rule_of.iter().copied())
    }

    /// The distinct rules, by number.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn pack(mut rows: Vec<(u64, Rule)>, mut ends: Vec<(u64, u64)>) -> Self {
        ends.sort_unstable();
        // Where nothing follows a function directly, a gap starts.
        for (i, &(_, end)) in ends.iter().enumerate() {
            if ends.get(i + 1).is_none_or(|next| next.0 > end) {
                rows.push((end, Rule::NONE));
            }
        }
        // Stable: of two rows at one address the later replaces the earlier.
        rows.sort_by_key(|r| r.0);
        let mut table = Self {
            base: rows.first().map_or(0, |r| r.0),
            rules: vec![Rule::NONE],
            ..Self::default()
        };
        let mut numbers = HashMap::from([(Rule::NONE, 0u16)]);
        for (vaddr, rule) in rows {
            // Code of one file spans less than 4 GiB, or its calls could not reach.
            let Ok(start) = u32::try_from(vaddr - table.base) else {
                break;
            };
            let next = u16::try_from(table.rules.len()).ok();
            let number = match (numbers.get(&rule), next) {
                (Some(&n), _) => n,
                (None, Some(n)) => {
                    numbers.insert(rule, n);
                    table.rules.push(rule);
                    n
                }
                // More distinct rules than any real file has.
                (None, None) => 0,
            };
            if table.starts.last() == Some(&start) {
                table.starts.pop();
                table.rule_of.pop();
            }
            if table.rule_of.last() != Some(&number) {
                table.starts.push(start);
                table.rule_of.push(number);
            }
        }
        table
    }
}

fn frames<'a>(elf: &ElfFile, data: &'a [u8]) -> (EhFrame<Slice<'a>>, BaseAddresses) {
    let endian = match elf.endian() {
        Endianness::Little => RunTimeEndian::Little,
        Endianness::Big => RunTimeEndian::Big,
    };
    let mut frames = EhFrame::new(data, endian);
    frames.set_address_size(if elf.is_64() { 8 } else { 4 });
    let at = |name| elf.section(name).map_or(0, |s| s.addr);
    let bases = BaseAddresses::default()
        .set_eh_frame(at(".eh_frame"))
        .set_text(at(".text"))
        .set_got(at(".got"));
    (frames, bases)
}

/// The expressions that compilers and libcs write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Sp(i32),
    Fp(i32),
    DerefSp(i32),
    DerefFp(i32),
    Plt { base: i32, pushed: u8 },
}

impl Shape {
    fn of(mut operations: gimli::OperationIter<Slice<'_>>, machine: &Machine) -> Option<Self> {
        let mut all = Vec::with_capacity(10);
        while let Some(operation) = operations.next().ok()? {
            all.push(operation);
            if all.len() > 10 {
                return None;
            }
        }
        let based = |operation: &Operation<Slice<'_>>| match operation {
            Operation::RegisterOffset {
                register, offset, ..
            } => Some((*register, i32::try_from(*offset).ok()?)),
            _ => None,
        };
        let (register, offset) = based(all.first()?)?;
        let on_stack = register == machine.sp;
        if !on_stack && register != machine.fp {
            return None;
        }
        match &all[1..] {
            [] if on_stack => Some(Self::Sp(offset)),
            [] => Some(Self::Fp(offset)),
            [Operation::Deref { size: 8, .. }] if on_stack => Some(Self::DerefSp(offset)),
            [Operation::Deref { size: 8, .. }] => Some(Self::DerefFp(offset)),
            // rsp+8, rip+0, 15, and, PUSHED, >=, 3, <<, +
            [
                ip,
                Operation::UnsignedConstant { value: 15 },
                Operation::And,
                Operation::UnsignedConstant { value: pushed },
                Operation::Ge,
                Operation::UnsignedConstant { value: 3 },
                Operation::Shl,
                Operation::Plus,
            ] if on_stack && based(ip) == Some((machine.ra, 0)) => Some(Self::Plt {
                base: offset,
                pushed: u8::try_from(*pushed).ok()?,
            }),
            _ => None,
        }
    }
}

fn cfa(
    rule: &gimli::CfaRule<usize>,
    machine: &Machine,
    expression: &dyn Fn(&UnwindExpression<usize>) -> Option<Shape>,
) -> Cfa {
    match rule {
        gimli::CfaRule::RegisterAndOffset { register, offset } => match i32::try_from(*offset) {
            Ok(offset) if *register == machine.sp => Cfa::Sp(offset),
            Ok(offset) if *register == machine.fp => Cfa::Fp(offset),
            Ok(offset) => Cfa::Register(register.0, offset),
            Err(_) => Cfa::Unsupported,
        },
        gimli::CfaRule::Expression(e) => match expression(e) {
            Some(Shape::Sp(offset)) => Cfa::Sp(offset),
            Some(Shape::Fp(offset)) => Cfa::Fp(offset),
            Some(Shape::DerefSp(offset)) => Cfa::DerefSp(offset),
            Some(Shape::DerefFp(offset)) => Cfa::DerefFp(offset),
            Some(Shape::Plt { base, pushed }) => Cfa::Plt { base, pushed },
            None => Cfa::Unsupported,
        },
    }
}

fn saved(
    rule: &RegisterRule<usize>,
    expression: &dyn Fn(&UnwindExpression<usize>) -> Option<Shape>,
) -> Saved {
    match rule {
        RegisterRule::SameValue => Saved::Same,
        RegisterRule::Offset(offset) => {
            i32::try_from(*offset).map_or(Saved::Undefined, Saved::AtCfa)
        }
        RegisterRule::Expression(e) => match expression(e) {
            Some(Shape::Sp(offset)) => Saved::AtSp(offset),
            Some(Shape::Fp(offset)) => Saved::AtFp(offset),
            _ => Saved::Undefined,
        },
        _ => Saved::Undefined,
    }
}

#[cfg(test)]
#[path = "unwind_tests.rs"]
mod tests;
