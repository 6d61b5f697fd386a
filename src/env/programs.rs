//! BPF programs that are loaded, and their functions: what `fentry:bpf` can attach to.
//!
//! The kernel traces programs that came with type information; others are left out. Reading the
//! list needs CAP_SYS_ADMIN.

use std::os::fd::AsFd as _;

use super::bpf;
use super::btf::Btf;
use super::wildcard;
use crate::ctypes::model::TypeId;
use crate::error::Result;

/// Program type of fentry and fexit themselves. The kernel does not let them trace each other.
const TRACING: u32 = libbpf_sys::BPF_PROG_TYPE_TRACING;

/// A function of a loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFunction {
    /// Number of the program.
    pub id: u32,
    /// The function's name: the program's own in full, or that of a subprogram.
    pub name: String,
}

/// The functions of loaded programs whose number and name match, in order of the numbers.
///
/// # Errors
/// No right to see programs.
pub fn functions(id: &str, name: &str) -> Result<Vec<ProgramFunction>> {
    let mut out = Vec::new();
    let mut last = 0;
    while let Some(next) = bpf::next_program(last)? {
        last = next;
        if !wildcard::matches(id, &next.to_string()) {
            continue;
        }
        // One that is unloaded meanwhile is none.
        if let Ok(found) = functions_of(next) {
            out.extend(
                found
                    .into_iter()
                    .filter(|f| wildcard::matches(name, &f.name)),
            );
        }
    }
    Ok(out)
}

fn functions_of(id: u32) -> Result<Vec<ProgramFunction>> {
    let program = bpf::program_by_id(id)?;
    let (ty, types) = bpf::program_functions(program.as_fd())?;
    if ty == TRACING || types.is_empty() {
        return Ok(Vec::new());
    }
    let btf = Btf::from_bytes(bpf::program_btf(program.as_fd())?, None)?;
    let found = types.into_iter().filter_map(|ty| {
        let name = btf.name(TypeId(ty)).to_owned();
        (!name.is_empty()).then_some(ProgramFunction { id, name })
    });
    Ok(found.collect())
}
