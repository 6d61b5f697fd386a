//! Facts about a machine: its kernel's types, tracepoints, symbols and features.
//!
//! The compiler asks one [`Env`] and never the kernel: [`HostEnv`] is the machine it runs on,
//! [`FakeEnv`] one made up for a test. Everything is read when it is first asked for, and nothing
//! else.

pub mod bpf;
pub mod btf;
pub mod cgroup;
pub mod fake;
pub mod features;
pub mod format;
pub mod host;
pub mod kallsyms;
pub mod machine;
pub mod privilege;
pub mod programs;
pub mod tracefs;
pub mod wildcard;

use std::sync::Arc;

use crate::error::Result;

pub use btf::Btf;
pub use fake::FakeEnv;
pub use features::Feature;
pub use host::{HostEnv, HostOptions};
pub use kallsyms::FunctionList;
pub use machine::Machine;
pub use programs::ProgramFunction;
pub use tracefs::Tracepoint;

/// The facts that compiling a script needs.
pub trait Env {
    /// The kernel's types.
    fn btf(&self) -> Option<&Arc<Btf>>;

    /// The types of a kernel module; `vmlinux` is the kernel itself.
    fn module_btf(&self, module: &str) -> Option<Arc<Btf>>;

    /// Names of the modules whose types are known, sorted, without `vmlinux`.
    fn modules(&self) -> Vec<String>;

    /// A tracepoint with its fields.
    ///
    /// # Errors
    /// A tracepoint that does not exist or may not be read.
    fn tracepoint(&self, category: &str, event: &str) -> Result<Tracepoint>;

    /// Category and event of the tracepoints that match both patterns, sorted.
    ///
    /// # Errors
    /// Tracepoints that may not be listed.
    fn tracepoints(&self, category: &str, event: &str) -> Result<Vec<(String, String)>>;

    /// The kernel functions that can be traced.
    ///
    /// # Errors
    /// A list that does not exist or may not be read.
    fn functions(&self) -> Result<&FunctionList>;

    /// The functions of loaded BPF programs whose number and name match both patterns.
    ///
    /// # Errors
    /// Programs that may not be listed.
    fn bpf_functions(&self, id: &str, name: &str) -> Result<Vec<ProgramFunction>>;

    /// The address of a kernel symbol.
    ///
    /// # Errors
    /// A symbol that does not exist, or a kernel that hides addresses.
    fn kernel_address(&self, symbol: &str) -> Result<u64>;

    /// Whether the kernel has a feature; no where that cannot be found out.
    fn has(&self, feature: Feature) -> bool;

    /// Sizes and counts of the machine.
    fn machine(&self) -> &Machine;
}
