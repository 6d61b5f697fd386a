//! Optimisation: small passes over one function at a time, each with its own file.
//!
//! Input and output are modules that [`verify`](super::verify) accepts and that mean the same.
//! Every pass has a name, can be switched off and can be watched (`-d ir,PASS`), so that a
//! wrong translation is found by comparison. All are near-linear in the size of the function.

mod blocks;
mod dce;
mod dse;
mod fold;
mod gvn;
mod mem2reg;
mod rename;
mod thread;

use super::func::{Func, Module};

/// A pass.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Name, as options and dumps spell it.
    pub name: &'static str,
    /// What it does, for help texts.
    pub about: &'static str,
    run: fn(&Module, &mut Func),
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const BLOCKS: Pass = Pass {
    name: "blocks",
    about: "folds constant branches, joins blocks, removes unreachable ones",
    run: |_, f| blocks::run(f),
};
const MEM2REG: Pass = Pass {
    name: "mem2reg",
    about: "keeps frame slots in registers",
    run: |_, f| mem2reg::run(f),
};
const FOLD: Pass = Pass {
    name: "fold",
    about: "folds constants, simplifies arithmetic",
    run: fold::run,
};
const THREAD: Pass = Pass {
    name: "thread",
    about: "jumps past branches whose outcome the way there decides",
    run: |_, f| thread::run(f),
};
const GVN: Pass = Pass {
    name: "gvn",
    about: "computes equal values once",
    run: |_, f| gvn::run(f),
};
const DSE: Pass = Pass {
    name: "dse",
    about: "removes stores that nothing reads",
    run: |_, f| dse::run(f),
};
const DCE: Pass = Pass {
    name: "dce",
    about: "removes values that nothing uses",
    run: |_, f| dce::run(f),
};

/// Every pass, once.
pub const PASSES: &[Pass] = &[BLOCKS, MEM2REG, FOLD, THREAD, GVN, DSE, DCE];

/// The order in which `-O2` runs them.
const PIPELINE: &[Pass] = &[
    BLOCKS, MEM2REG, FOLD, THREAD, BLOCKS, GVN, FOLD, THREAD, BLOCKS, GVN, DSE, DCE, BLOCKS,
];

/// How much to optimise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Level {
    /// Unreachable blocks go, nothing else changes.
    O0,
    /// Everything.
    #[default]
    O2,
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Level.
    pub level: Level,
    /// Names of passes to leave out.
    pub without: Vec<String>,
}

/// Drops blocks that cannot be reached, which are no valid IR. Whoever builds a function
/// statement by statement leaves some behind jumps.
pub fn drop_unreachable(module: &mut Module) {
    for f in &mut module.funcs {
        blocks::remove_unreachable(f);
    }
}

/// Optimises every function of `module`. `observe` sees the module after each pass, with the
/// pass's name; a pass that runs several times is seen several times.
pub fn optimise(
    module: &mut Module,
    options: &Options,
    observe: &mut dyn FnMut(&'static str, &Module),
) {
    // Even at -O0 unreachable blocks must go: they are no valid IR.
    drop_unreachable(module);
    if options.level == Level::O0 {
        return;
    }
    for pass in PIPELINE {
        if options.without.iter().any(|n| n == pass.name) {
            continue;
        }
        run_one(module, pass);
        observe(pass.name, module);
    }
}

/// The same where nobody looks: one function after the other goes through all passes, while it is
/// in the processor's caches.
pub fn optimise_unseen(module: &mut Module, options: &Options) {
    drop_unreachable(module);
    if options.level == Level::O0 {
        return;
    }
    let wanted = |pass: &&Pass| options.without.iter().all(|n| n != pass.name);
    let passes: Vec<_> = PIPELINE.iter().filter(wanted).collect();
    let mut funcs = std::mem::take(&mut module.funcs);
    for f in &mut funcs {
        for pass in &passes {
            (pass.run)(module, f);
        }
    }
    module.funcs = funcs;
}

/// Runs the pass called `name`; `false` if there is none.
pub fn run_named(module: &mut Module, name: &str) -> bool {
    match PASSES.iter().find(|p| p.name == name) {
        Some(p) => {
            run_one(module, p);
            true
        }
        None => false,
    }
}

fn run_one(module: &mut Module, pass: &Pass) {
    let mut funcs = std::mem::take(&mut module.funcs);
    for f in &mut funcs {
        // Functions see the maps; none of them looks at other functions.
        (pass.run)(module, f);
    }
    module.funcs = funcs;
}

#[cfg(test)]
mod tests;
