//! A made-up machine: for tests, and for compiling without asking the kernel.
//!
//! It has what it is given: types, tracepoints, functions, addresses, and the features that are
//! not taken away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::btf::Btf;
use super::format;
use super::kallsyms::FunctionList;
use super::machine::{Machine, PidNamespace};
use super::tracefs::Tracepoint;
use super::wildcard;
use super::{Env, Feature, ProgramFunction};
use crate::error::{Error, Result};

/// A machine with exactly the given facts.
#[derive(Debug)]
pub struct FakeEnv {
    btf: Option<Arc<Btf>>,
    modules: BTreeMap<String, Arc<Btf>>,
    tracepoints: BTreeMap<(String, String), Tracepoint>,
    functions: FunctionList,
    programs: Vec<ProgramFunction>,
    addresses: HashMap<String, u64>,
    missing: HashSet<Feature>,
    machine: Machine,
}

impl Default for FakeEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeEnv {
    /// A machine of four processors with every feature, and no types, tracepoints or functions.
    pub fn new() -> Self {
        Self {
            btf: None,
            modules: BTreeMap::new(),
            tracepoints: BTreeMap::new(),
            functions: FunctionList::default(),
            programs: Vec::new(),
            addresses: HashMap::new(),
            missing: HashSet::new(),
            machine: Machine {
                page_size: 4096,
                cpus_possible: 4,
                cpus_online: (0..4).collect(),
                pid_namespace: Some(PidNamespace {
                    dev: 4,
                    inode: 0xefff_fffc,
                }),
                release: "6.18.0".to_owned(),
            },
        }
    }

    /// With these kernel types.
    #[must_use]
    pub fn with_btf(mut self, btf: impl Into<Arc<Btf>>) -> Self {
        self.btf = Some(btf.into());
        self
    }

    /// With the types, functions and raw tracepoints that C text declares, in place of other
    /// kernel types: definitions, prototypes, and prototypes after the word `tracepoint`.
    ///
    /// # Errors
    /// Text that the C front end does not take.
    pub fn with_kernel(self, text: &str) -> Result<Self> {
        Ok(self.with_btf(Btf::from_bytes(super::btf::from_c::blob(text)?, None)?))
    }

    /// With the types of a module.
    #[must_use]
    pub fn with_module(mut self, name: &str, btf: impl Into<Arc<Btf>>) -> Self {
        self.modules.insert(name.to_owned(), btf.into());
        self
    }

    /// With a tracepoint whose record has these fields: text in the form of tracefs' `format`
    /// files, `field:int pid; offset:8; size:4; signed:1;` a line.
    ///
    /// # Errors
    /// A line that has another form.
    pub fn with_tracepoint(mut self, category: &str, event: &str, fields: &str) -> Result<Self> {
        let id = self.tracepoints.len() as u64 + 1;
        let text = format!("ID: {id}\n{fields}");
        let (id, fields) = format::parse(&text, category == "syscalls")?;
        let tracepoint = Tracepoint {
            category: category.to_owned(),
            event: event.to_owned(),
            id,
            fields,
        };
        let key = (category.to_owned(), event.to_owned());
        self.tracepoints.insert(key, tracepoint);
        Ok(self)
    }

    /// With these traceable functions, `NAME [MODULE]` a line.
    #[must_use]
    pub fn with_functions(mut self, list: &str) -> Self {
        self.functions = FunctionList::new(list.to_owned());
        self
    }

    /// With a function of a loaded BPF program.
    #[must_use]
    pub fn with_program(mut self, function: ProgramFunction) -> Self {
        self.programs.push(function);
        self
    }

    /// With a kernel symbol at an address.
    #[must_use]
    pub fn with_address(mut self, symbol: &str, address: u64) -> Self {
        self.addresses.insert(symbol.to_owned(), address);
        self
    }

    /// Without a feature.
    #[must_use]
    pub fn without(mut self, feature: Feature) -> Self {
        self.missing.insert(feature);
        self
    }

    /// With other sizes and counts.
    #[must_use]
    pub fn with_machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }
}

impl Env for FakeEnv {
    fn btf(&self) -> Option<&Arc<Btf>> {
        self.btf.as_ref()
    }

    fn module_btf(&self, module: &str) -> Option<Arc<Btf>> {
        if module == "vmlinux" {
            return self.btf.clone();
        }
        self.modules.get(module).cloned()
    }

    fn modules(&self) -> Vec<String> {
        self.modules.keys().cloned().collect()
    }

    fn tracepoint(&self, category: &str, event: &str) -> Result<Tracepoint> {
        let key = (category.to_owned(), event.to_owned());
        let missing = || Error::not_found(format!("no tracepoint is called {category}:{event}"));
        self.tracepoints.get(&key).cloned().ok_or_else(missing)
    }

    fn tracepoints(&self, category: &str, event: &str) -> Result<Vec<(String, String)>> {
        Ok(self
            .tracepoints
            .keys()
            .filter(|(c, e)| wildcard::matches(category, c) && wildcard::matches(event, e))
            .cloned()
            .collect())
    }

    fn functions(&self) -> Result<&FunctionList> {
        Ok(&self.functions)
    }

    fn bpf_functions(&self, id: &str, name: &str) -> Result<Vec<ProgramFunction>> {
        let wanted = |f: &&ProgramFunction| {
            wildcard::matches(id, &f.id.to_string()) && wildcard::matches(name, &f.name)
        };
        Ok(self.programs.iter().filter(wanted).cloned().collect())
    }

    fn kernel_address(&self, symbol: &str) -> Result<u64> {
        let missing = || Error::not_found(format!("the kernel has no symbol {symbol}"));
        self.addresses.get(symbol).copied().ok_or_else(missing)
    }

    fn has(&self, feature: Feature) -> bool {
        match feature {
            Feature::Btf => self.btf.is_some() && !self.missing.contains(&feature),
            _ => !self.missing.contains(&feature),
        }
    }

    fn machine(&self) -> &Machine {
        &self.machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_it_is_given() {
        let env = FakeEnv::new()
            .with_tracepoint("t", "one", "field:int pid; offset:8; size:4; signed:1;")
            .unwrap()
            .with_functions("vfs_read\n")
            .without(Feature::Loop);
        assert_eq!(env.tracepoint("t", "one").unwrap().fields[0].name, "pid");
        assert_eq!(env.tracepoints("*", "o*").unwrap().len(), 1);
        assert!(env.functions().unwrap().contains("vfs_read"));
        assert!(env.has(Feature::Ringbuf) && !env.has(Feature::Loop) && !env.has(Feature::Btf));
    }
}
