//! The machine this process runs on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::btf::{Btf, SYSFS};
use super::features::{Answer, Features};
use super::kallsyms::{FunctionList, Kallsyms};
use super::tracefs::{Tracefs, Tracepoint};
use super::{Env, Feature, Machine, ProgramFunction, programs};
use crate::error::{Error, ErrorKind, Result};

/// Where facts come from, if not from the usual places.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// A file with the kernel's BTF (`BPFTRACE_BTF`); an empty path means to do without.
    pub btf: Option<PathBuf>,
    /// A list of traceable functions (`--traceable-functions`).
    pub functions: Option<PathBuf>,
    /// Features that are taken to be missing (`--no-feature`).
    pub without: Vec<Feature>,
}

/// This machine, each fact read once when first asked for.
#[derive(Debug, Default)]
pub struct HostEnv {
    options: HostOptions,
    btf: OnceLock<Result<Arc<Btf>, Failure>>,
    modules: Mutex<HashMap<String, Option<Arc<Btf>>>>,
    tracefs: OnceLock<Result<Tracefs, Failure>>,
    functions: OnceLock<Result<FunctionList, Failure>>,
    kallsyms: OnceLock<Result<Kallsyms, Failure>>,
    features: Features,
    machine: OnceLock<Machine>,
}

/// An error that is reported each time its fact is asked for again.
#[derive(Debug)]
struct Failure {
    kind: ErrorKind,
    message: String,
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self {
            kind: e.kind(),
            message: e.to_string(),
        }
    }
}

impl Failure {
    fn again(&self) -> Error {
        Error::new(self.kind, self.message.clone())
    }
}

impl HostEnv {
    /// This machine, with facts from other places as `options` say.
    pub fn new(options: HostOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    fn btf_path(&self) -> PathBuf {
        let usual = || Path::new(SYSFS).join("vmlinux");
        self.options.btf.clone().unwrap_or_else(usual)
    }

    fn read_btf(&self) -> &Result<Arc<Btf>, Failure> {
        let open = || Ok(Arc::new(Btf::open(self.btf_path())?));
        self.btf.get_or_init(open)
    }

    /// Why there is no BTF; `None` if there is.
    pub fn btf_error(&self) -> Option<Error> {
        self.read_btf().as_ref().err().map(Failure::again)
    }

    /// The mounted tracefs.
    ///
    /// # Errors
    /// A kernel without tracefs, or no right to use it.
    pub fn tracefs(&self) -> Result<&Tracefs> {
        let found = self.tracefs.get_or_init(|| Ok(Tracefs::find()?));
        found.as_ref().map_err(Failure::again)
    }

    /// The kernel's symbol table.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn kallsyms(&self) -> Result<&Kallsyms> {
        let read = self.kallsyms.get_or_init(|| Ok(Kallsyms::read()?));
        read.as_ref().map_err(Failure::again)
    }

    /// Whether the kernel has a feature, with the reason where that cannot be found out.
    pub fn feature(&self, feature: Feature) -> &Answer {
        if self.options.without.contains(&feature) {
            return &Answer::No;
        }
        self.features.ask(feature, || self.btf().cloned())
    }

    fn read_functions(&self) -> Result<FunctionList, Failure> {
        if let Some(path) = &self.options.functions {
            return Ok(FunctionList::read(path)?);
        }
        Ok(FunctionList::new(self.tracefs()?.filter_functions()?))
    }
}

impl Env for HostEnv {
    fn btf(&self) -> Option<&Arc<Btf>> {
        self.read_btf().as_ref().ok()
    }

    fn module_btf(&self, module: &str) -> Option<Arc<Btf>> {
        let base = self.btf()?;
        if module == "vmlinux" {
            return Some(base.clone());
        }
        if module.is_empty() || module.contains('/') || module.starts_with('.') {
            return None;
        }
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = modules.get(module) {
            return known.clone();
        }
        let path = Path::new(SYSFS).join(module);
        let opened = Btf::open_module(path, base.clone()).ok().map(Arc::new);
        modules.insert(module.to_owned(), opened.clone());
        opened
    }

    fn modules(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(SYSFS)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name != "vmlinux")
            .collect();
        names.sort_unstable();
        names
    }

    fn tracepoint(&self, category: &str, event: &str) -> Result<Tracepoint> {
        self.tracefs()?.tracepoint(category, event)
    }

    fn tracepoints(&self, category: &str, event: &str) -> Result<Vec<(String, String)>> {
        self.tracefs()?.events(category, event)
    }

    fn functions(&self) -> Result<&FunctionList> {
        let read = self.functions.get_or_init(|| self.read_functions());
        read.as_ref().map_err(Failure::again)
    }

    fn bpf_functions(&self, id: &str, name: &str) -> Result<Vec<ProgramFunction>> {
        programs::functions(id, name)
    }

    fn kernel_address(&self, symbol: &str) -> Result<u64> {
        self.kallsyms()?.address(symbol)
    }

    fn has(&self, feature: Feature) -> bool {
        *self.feature(feature) == Answer::Yes
    }

    fn machine(&self) -> &Machine {
        self.machine.get_or_init(Machine::probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_from_where_the_options_say() {
        let dir = std::env::temp_dir().join(format!("rtrace-host-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let list = dir.join("functions");
        std::fs::write(&list, "vfs_read\nnft_do [nf_tables]\n").unwrap();
        let host = HostEnv::new(HostOptions {
            btf: Some(PathBuf::new()),
            functions: Some(list),
            ..HostOptions::default()
        });
        assert!(host.functions().unwrap().contains("nft_do"));
        assert!(host.btf().is_none() && host.btf_error().is_some());
        assert!(host.module_btf("vmlinux").is_none());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_fact_that_cannot_be_read_says_why_each_time() {
        let host = HostEnv::new(HostOptions {
            functions: Some("/nonexistent/list".into()),
            ..HostOptions::default()
        });
        let why = || host.functions().unwrap_err().to_string();
        assert_eq!(why(), "/nonexistent/list: No such file or directory");
        assert_eq!(why(), why());
    }
}
