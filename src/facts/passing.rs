//! Where a function finds its arguments when it starts: the C calling convention.
//!
//! In: the types of the parameters in order. Out: for each the register or the place on the
//! stack. Floating point arguments and structs in registers have no place that a probe can
//! read as one value; they are left out, but they take up what they take up.

use crate::sema::env::{ArgField, ArgSource};
use crate::sema::hir::ArgLocation;
use crate::types::{Type, TypeStore, align_of, size_of};

/// Integer argument registers in order (System V AMD64 ABI, section 3.2.3).
#[cfg(target_arch = "x86_64")]
const REGISTERS: &[&str] = &["di", "si", "dx", "cx", "r8", "r9"];
/// Integer argument registers in order (AAPCS64, section 6.8.2).
#[cfg(target_arch = "aarch64")]
const REGISTERS: &[&str] = &["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];
/// The calling conventions of other architectures are not known.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REGISTERS: &[&str] = &[];

/// Bytes between the stack pointer and the first argument on the stack: x86 calls push the
/// return address.
const STACK_START: u32 = if cfg!(target_arch = "x86_64") { 8 } else { 0 };
/// Larger structs are passed in memory.
const IN_REGISTERS: u32 = 16;

/// The places of parameters with these names and types.
pub(super) fn places(params: Vec<(String, Type)>, store: &TypeStore) -> Vec<ArgField> {
    let mut register = 0;
    let mut stack = STACK_START;
    let mut out = Vec::with_capacity(params.len());
    for (i, (name, ty)) in params.into_iter().enumerate() {
        let name = if name.is_empty() {
            format!("arg{i}")
        } else {
            name
        };
        let size = size_of(&ty, store);
        let words = (size.div_ceil(8) as usize).max(1);
        let aggregate = matches!(ty, Type::Struct(_) | Type::Array(..));
        let fits = register + words <= REGISTERS.len() && size <= IN_REGISTERS;
        let source = if fits {
            let at = REGISTERS.get(register).copied();
            register += words;
            if aggregate {
                continue;
            }
            at.and_then(crate::sema::register)
                .and_then(|offset| u32::try_from(offset).ok())
                .map(|regs_offset| {
                    ArgSource::Location(ArgLocation::Reg {
                        regs_offset,
                        size: size as u8,
                        signed: ty.is_signed(),
                    })
                })
        } else {
            stack = stack.next_multiple_of(align_of(&ty, store).max(8));
            let at = stack;
            stack += size.next_multiple_of(8);
            Some(ArgSource::Stack(at))
        };
        if let Some(source) = source {
            out.push(ArgField { name, ty, source });
        }
    }
    out
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::types::AddrSpace;

    #[test]
    fn the_seventh_integer_is_on_the_stack() {
        let store = TypeStore::default();
        let params = (0..8).map(|i| (format!("a{i}"), Type::I32)).collect();
        let got = places(params, &store);
        assert_eq!(got[6].source, ArgSource::Stack(8));
        assert_eq!(got[7].source, ArgSource::Stack(16));
        let ArgSource::Location(ArgLocation::Reg { regs_offset, .. }) = got[0].source else {
            panic!("{:?}", got[0]);
        };
        assert_eq!(regs_offset, 112, "rdi in struct pt_regs");
    }

    #[test]
    fn pointers_take_a_register() {
        let store = TypeStore::default();
        let p = Type::Void.ptr_in(AddrSpace::User);
        let got = places(vec![(String::new(), p)], &store);
        assert_eq!(got[0].name, "arg0");
        assert!(matches!(got[0].source, ArgSource::Location(_)));
    }
}
