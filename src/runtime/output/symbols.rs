//! Names of addresses on this machine: [`Symbols`] over the symbolizers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::names::{Frame, Symbols};
use super::value::UserAddress;
use crate::runtime::symbolize::{
    self, Change, KernelSymbolizer, SourceLine, UserOptions, UserSymbolizer,
};
use crate::symbols::elf::ElfFile;

/// Symbols of the running kernel and of live processes. Nothing is read before it is needed.
pub struct SystemSymbols {
    kernel: KernelSymbolizer,
    user: UserSymbolizer,
    /// By the module's path as the process sees it, and the process.
    build_ids: HashMap<(u32, Arc<str>), Option<Vec<u8>>>,
}

impl SystemSymbols {
    /// Symbols whose user part is shown as `options` say.
    pub fn new(options: UserOptions) -> Self {
        Self {
            kernel: KernelSymbolizer::new(),
            user: UserSymbolizer::new(options),
            build_ids: HashMap::new(),
        }
    }
}

impl Symbols for SystemSymbols {
    fn kernel(&mut self, addr: u64, call: bool, emit: &mut dyn FnMut(Frame<'_>)) {
        // Named by the call, shown with the offset it returns to.
        let back = u64::from(call);
        let mut frame = self.kernel.resolve(addr.saturating_sub(back));
        frame.offset += back;
        give(&frame, emit);
    }

    fn user(&mut self, at: UserAddress, call: bool, emit: &mut dyn FnMut(Frame<'_>)) {
        let frame = match call {
            true => self.user.resolve_return(at.pid, at.addr),
            false => self.user.resolve(at.pid, at.addr),
        };
        give(&frame, emit);
    }

    fn look_at(&mut self, pid: u32) {
        self.user.look_at(pid);
    }

    fn watch(&mut self) {
        self.user.watch();
    }

    fn changed(&mut self, change: Change) {
        self.user.apply(change);
    }

    fn catch_up(&mut self) -> bool {
        self.user.is_behind() && self.user.catch_up()
    }

    fn incomplete(&self) -> u64 {
        self.user.incomplete()
    }

    fn build_id(&mut self, pid: u32, addr: u64) -> Option<(Vec<u8>, u64)> {
        let frame = self.user.resolve(pid, addr);
        let (module, offset) = (frame.module?, frame.file_offset?);
        let id = self
            .build_ids
            .entry((pid, Arc::clone(&module)))
            .or_insert_with(|| {
                let path = PathBuf::from(format!("/proc/{pid}/root{module}"));
                let id = ElfFile::open(&path).ok()?.build_id()?;
                Some(id.as_bytes().to_vec())
            });
        Some((id.clone()?, offset))
    }
}

fn give(frame: &symbolize::Frame, emit: &mut dyn FnMut(Frame<'_>)) {
    fn place(s: &SourceLine) -> (&str, u32) {
        (&s.file, s.line)
    }
    let module = frame.module.as_deref();
    for inlined in &frame.inlined {
        emit(Frame {
            name: Some(&inlined.name),
            offset: None,
            module,
            source: inlined.source.as_ref().map(place),
        });
    }
    if frame.symbol.is_some() || module.is_some() {
        emit(Frame {
            name: frame.symbol.as_deref(),
            offset: Some(frame.offset),
            module,
            source: frame.source.as_ref().map(place),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_this_process_has_a_name() {
        let mut symbols = SystemSymbols::new(UserOptions::default());
        let at = UserAddress {
            addr: SystemSymbols::new as *const () as u64,
            pid: std::process::id(),
            attach: None,
        };
        let mut seen = Vec::new();
        symbols.user(at, false, &mut |f| {
            seen.push((f.name.unwrap_or_default().to_owned(), f.offset));
        });
        assert_eq!(seen.len(), 1);
        assert!(seen[0].0.contains("SystemSymbols"), "{seen:?}");
        assert_eq!(seen[0].1, Some(0));
    }
}
