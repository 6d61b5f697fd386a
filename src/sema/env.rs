//! What type checking asks of the outside: the kernel's types and events, the files that are
//! probed, the command line.
//!
//! [`Facts`] is one trait so that tests can answer from a table. An answer is `None` or empty
//! where the thing does not exist; texts of errors are those that users see.

use std::collections::HashMap;

use crate::object::TargetFile;
use crate::syntax::ast;
use crate::types::{EnumId, StructId, StructKind, Type, TypeStore};

use super::hir::ArgLocation;
pub use super::hir::ArgPart;

/// An argument that a probe offers by name.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgField {
    /// Its name.
    pub name: String,
    /// Its type; strings of trace events are `char` arrays or [`ArgSource::DataLoc`].
    pub ty: Type,
    /// Where it is.
    pub source: ArgSource,
}

/// Where an argument is.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgSource {
    /// Bytes from the start of the context.
    Offset(u32),
    /// A `__data_loc` descriptor at this offset of the context.
    DataLoc(u32),
    /// Argument `n` of the context.
    Ctx(u8),
    /// Registers or memory of the traced process.
    Location(ArgLocation),
    /// In memory of the traced process, this many bytes above what a register holds.
    Memory {
        /// Offset of the register in `struct pt_regs`.
        regs_offset: u32,
        /// Bytes above it.
        offset: u32,
    },
    /// A struct by value whose parts are in several places.
    Parts(Vec<ArgPart>),
    /// Nowhere that a probe can read, and why.
    Lost(&'static str),
}

/// Prototype of a kernel function or raw tracepoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    /// Parameters: name (possibly empty) and type.
    pub params: Vec<(String, Type)>,
    /// Result.
    pub ret: Type,
    /// Module, `vmlinux` for the kernel itself.
    pub module: String,
}

/// A function of a BPF program that is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct BpfFunction {
    /// Number of the program.
    pub id: u32,
    /// Name of the function.
    pub name: String,
}

/// A function of a user program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFunction {
    /// Name as it is linked.
    pub name: String,
    /// Name for people where it differs (C++, Rust).
    pub demangled: Option<String>,
    /// Address in the file.
    pub address: u64,
    /// Bytes; 0 if unknown.
    pub size: u64,
    /// The file offset of `address`.
    pub offset: u64,
}

/// The instructions of a user function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserCode {
    /// Its address in the file.
    pub address: u64,
    /// Where its instructions begin, from there, ascending.
    pub starts: Vec<u64>,
    /// Those of them that return.
    pub returns: Vec<u64>,
}

/// A static probe of a user program.
#[derive(Clone, Debug, PartialEq)]
pub struct UsdtProbe {
    /// Namespace.
    pub provider: String,
    /// Name.
    pub name: String,
    /// Address of the instruction in the file.
    pub address: u64,
    /// File offset of the instruction.
    pub offset: u64,
    /// File offset of the semaphore, 0 for none.
    pub semaphore: u64,
    /// Where its arguments are; `None` where the compiler's note is not understood.
    pub args: Vec<Option<ArgLocation>>,
}

/// What a pattern of user functions looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionQuery<'a> {
    /// Linked names, `*` matches anything.
    Linked(&'a str),
    /// Demangled C++ names; parameter lists count only if the pattern has one.
    Cpp(&'a str),
}

/// Facts about the machine.
#[expect(unused_variables, reason = "defaults: a machine that has nothing")]
pub trait Facts {
    /// The struct or union of this tag, added to `store`; its members may come later.
    fn find_struct(&self, store: &mut TypeStore, kind: StructKind, name: &str) -> Option<StructId> {
        None
    }

    /// Fills in the members of a struct that has none yet.
    fn fill(&self, store: &mut TypeStore, id: StructId) {}

    /// The enum of this tag, added to `store`.
    fn find_enum(&self, store: &mut TypeStore, name: &str) -> Option<EnumId> {
        None
    }

    /// What a C type name such as `pid_t` means.
    fn typedef(&self, store: &mut TypeStore, name: &str) -> Option<Type> {
        None
    }

    /// The enumerator of this name.
    fn constant(&self, store: &mut TypeStore, name: &str) -> Option<(EnumId, i64)> {
        None
    }

    /// The value of an object-like C macro.
    fn c_macro(&self, name: &str) -> Option<ast::Expr> {
        None
    }

    /// Trace events whose category and name match.
    fn tracepoints(&self, category: &str, event: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Why tracepoints cannot be listed at all, if they cannot.
    fn no_tracepoints(&self) -> Option<String> {
        None
    }

    /// The fields of a trace event.
    fn tracepoint_fields(
        &self,
        store: &mut TypeStore,
        category: &str,
        event: &str,
    ) -> Option<Vec<ArgField>> {
        None
    }

    /// Byte of a `task_struct` where its name is, aligned to 8, if programs may read it there.
    fn task_comm(&self) -> Option<u32> {
        None
    }

    /// Address of a kernel symbol.
    fn kernel_symbol(&self, name: &str) -> Option<u64> {
        None
    }

    /// Traceable kernel functions that match, with their modules (`vmlinux` for the kernel).
    fn kernel_functions(&self, module: Option<&str>, pattern: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Prototype of a kernel function.
    fn function(
        &self,
        store: &mut TypeStore,
        module: Option<&str>,
        name: &str,
    ) -> Option<Prototype> {
        None
    }

    /// Functions that fentry programs can attach to, with their modules.
    fn btf_functions(&self, module: Option<&str>, pattern: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Functions of loaded BPF programs whose number and name match. The error is why programs
    /// cannot be seen.
    fn bpf_functions(&self, id: &str, name: &str) -> Result<Vec<BpfFunction>, String> {
        Ok(Vec::new())
    }

    /// Raw tracepoints that match, with their modules.
    fn raw_tracepoints(&self, module: Option<&str>, pattern: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Arguments of a raw tracepoint.
    fn raw_tracepoint(&self, store: &mut TypeStore, name: &str) -> Option<Prototype> {
        None
    }

    /// The context struct of an iterator.
    fn iterator(&self, store: &mut TypeStore, object: &str) -> Option<StructId> {
        None
    }

    /// The files that a target of a user probe means: a path, a library name, a pattern.
    /// The error is its text.
    fn user_targets(&self, target: &str) -> Result<Vec<TargetFile>, String> {
        Err(format!(
            "uprobe target file '{target}' does not exist or is not executable"
        ))
    }

    /// Functions of a program file that match. The error is that a plain name means several
    /// functions: their spellings.
    fn user_functions(
        &self,
        file: &TargetFile,
        query: FunctionQuery<'_>,
    ) -> Result<Vec<UserFunction>, Vec<String>> {
        Ok(Vec::new())
    }

    /// Names of functions of a program file that are spelt much like one that is not there.
    fn near_functions(&self, file: &TargetFile, query: FunctionQuery<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Whether the function at an address of a program file is, or may be, Go code.
    fn is_go(&self, file: &TargetFile, address: u64) -> bool {
        false
    }

    /// The function that an address of a program file is in; `None` if it is in none, or if its
    /// instructions cannot be told apart.
    fn user_code(&self, file: &TargetFile, address: u64) -> Option<UserCode> {
        None
    }

    /// Why a program file has no function of a name, if that can be explained. `probe` is what
    /// probes of the file begin with.
    fn why_absent(
        &self,
        file: &TargetFile,
        query: FunctionQuery<'_>,
        probe: &str,
    ) -> Option<String> {
        None
    }

    /// The file offset of an address of a program file.
    fn user_offset(&self, file: &TargetFile, address: u64) -> Option<u64> {
        None
    }

    /// Addresses of a source line (`file`, line, column).
    fn user_line(
        &self,
        file: &TargetFile,
        source: &str,
        line: u32,
        column: Option<u32>,
    ) -> Result<Vec<u64>, String> {
        Err(format!("No debug information found for {}", file.path))
    }

    /// Parameters of a user function from its debug information.
    fn user_args(
        &self,
        store: &mut TypeStore,
        file: &TargetFile,
        function: &UserFunction,
    ) -> Option<Vec<ArgField>> {
        None
    }

    /// Address and size of a data symbol of a program file, and whether the file is loaded
    /// at a random address.
    fn user_symbol(&self, file: &TargetFile, name: &str) -> Option<(u64, u64, bool)> {
        None
    }

    /// Static probes of a file that match.
    fn usdt(
        &self,
        file: &TargetFile,
        provider: &str,
        name: &str,
    ) -> Result<Vec<UsdtProbe>, String> {
        Ok(Vec::new())
    }

    /// Number of possible CPUs.
    fn ncpus(&self) -> u64 {
        1
    }

    /// Id of the cgroup at a path.
    fn cgroup_id(&self, path: &str) -> Option<u64> {
        None
    }

    /// Whether the kernel has this helper, map or program feature (names as in `--info`).
    fn has_feature(&self, name: &str) -> bool {
        true
    }
}

/// What the command line says about the script.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `$1`, `$2`...
    pub positional: Vec<String>,
    /// `--name` and `--name=value` after `--`.
    pub named: Vec<(String, Option<String>)>,
    /// `-p`: events of other processes do not run probes. (`-c` does not limit events: what
    /// the command starts is of interest, too.)
    pub pid: Option<u32>,
    /// `--cgroup`, `--container`: folders of the control groups in one of which a task must be.
    pub cgroups: Vec<String>,
    /// Process id of the command of `-c`.
    pub cpid: Option<u32>,
    /// `--unsafe`
    pub unsafe_: bool,
    /// `-k`
    pub warn_helpers: bool,
    /// Keep only the attach points whose names match, and begin and end.
    pub probe_filter: Option<regex::Regex>,
    /// Keep `test:` probes.
    pub test: bool,
    /// Keep `bench:` probes.
    pub bench: bool,
    /// Environment variables that start with `BPFTRACE_` or `RTRACE_`.
    pub env: HashMap<String, String>,
    /// Device and inode of the pid namespace where it is not the initial one.
    pub pid_ns: Option<(u64, u64)>,
    /// Whether the programs run in the kernel of this machine, not in the interpreter.
    pub in_kernel: bool,
}
