//! C types without a C compiler: their common shape, and the C front end for scripts.
//!
//! [`model`] is the shape that every source of types (BTF, C text, debug information) presents.
//! [`translate`] runs the C parts of a script: the preprocessor with its includes, the
//! declarations, the layout of records. What comes out is a [`CEnv`]: types, enumeration
//! constants and macros by name. What a header contains beyond that (functions, variables,
//! extensions) is passed over and noted; mistakes of the script are diagnostics.

pub mod consts;
pub mod defs;
pub mod expr;
pub mod headers;
pub mod layout;
pub mod macros;
pub mod model;
pub mod parse;
pub mod preprocess;
pub mod render;
mod split;
pub mod store;
pub mod token;

use std::cell::RefCell;
use std::path::PathBuf;

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::Span;

use defs::{Definitions, EnumConstant};
use expr::Value;
use headers::{Disk, Files, Search};
use macros::Macros;
use model::TypeSource;
use parse::Reader;
use preprocess::{Preprocessor, Skipped};
use store::Store;
use token::{Interner, Kind, tokenize};

/// What a translation needs beside the text.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Directories to search first (`-I`).
    pub include_dirs: &'a [PathBuf],
    /// Whether `include_dirs` holds the kernel's own headers (see [`headers::kernel_dirs`]): they
    /// are then read as the kernel reads them, with its configuration.
    pub kernel_headers: bool,
    /// Headers to read before the script (`--include`), in order.
    pub include_first: &'a [String],
    /// Whether the kernel's BTF was found: defines `BPFTRACE_HAVE_BTF`.
    pub have_btf: bool,
    /// Where types are found that the text names and does not define: the kernel's BTF.
    pub externals: Option<&'a dyn TypeSource>,
    /// Where headers are read from.
    pub files: &'a dyn Files,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            include_dirs: &[],
            kernel_headers: false,
            include_first: &[],
            have_btf: false,
            externals: None,
            files: &Disk,
        }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("include_dirs", &self.include_dirs)
            .field("kernel_headers", &self.kernel_headers)
            .field("include_first", &self.include_first)
            .field("have_btf", &self.have_btf)
            .finish_non_exhaustive()
    }
}

/// What a macro stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MacroValue {
    /// An integer constant.
    Int(Value),
    /// A string.
    Str(Vec<u8>),
    /// Any other text, its macros expanded.
    Text(String),
}

/// Everything that the C parts of a script define.
#[derive(Debug, Default)]
pub struct CEnv {
    defs: Definitions,
    /// Expanding a macro interns new texts.
    macros: RefCell<(Interner, Macros)>,
    /// What was passed over in headers, and why.
    pub skipped: Vec<Skipped>,
}

/// Runs the C parts of a script, in order, as one text: preprocessor lines and definitions, each
/// with its place in the script.
pub fn translate(parts: &[(&str, Span)], options: &Options<'_>) -> (CEnv, Diagnostics) {
    let search = Search::new(options.files, options.include_dirs);
    let mut pp = Preprocessor::new(search);
    if options.have_btf {
        pp.predefine("#define BPFTRACE_HAVE_BTF\n");
    }
    if options.kernel_headers {
        pp.predefine(
            "#define __KERNEL__\n#define __BPF_TRACING__\n#define KBUILD_MODNAME \"rtrace\"\n",
        );
        // The configuration of a tree that was never built is missing: nothing depends on it then.
        _ = pp.include_first("linux/kconfig.h");
    }
    for name in options.include_first {
        if !pp.include_first(name) {
            let message = format!("'{name}' file not found");
            pp.diagnostics
                .push(Diagnostic::error(Code::BadCDefinition, None, message));
        }
    }
    let tokens = pp.script(parts);
    let mut reader = Reader::new(options.externals);
    reader.read(&tokens, &mut pp);
    let env = CEnv {
        defs: reader.finish(),
        macros: RefCell::new((pp.names, pp.macros)),
        skipped: pp.skipped,
    };
    (env, pp.diagnostics)
}

impl TypeSource for CEnv {
    model::delegate_type_source!(self => self.defs.store);
}

impl CEnv {
    /// The types.
    pub fn types(&self) -> &Store {
        &self.defs.store
    }

    /// An enumeration constant.
    pub fn constant(&self, name: &str) -> Option<EnumConstant> {
        self.defs.constants.get(name).copied()
    }

    /// All enumeration constants, in no order.
    pub fn constants(&self) -> impl Iterator<Item = (&str, EnumConstant)> {
        self.defs.constants.iter().map(|(n, c)| (n.as_str(), *c))
    }

    /// What an object-like macro stands for; `None` for other names and for empty macros.
    pub fn macro_value(&self, name: &str) -> Option<MacroValue> {
        {
            let (names, macros) = &*self.macros.borrow();
            let definition = macros.get(names.get(name)?)?;
            if definition.params.is_some() {
                return None;
            }
        }
        self.value_of(name)
    }

    /// Whether `name` is a macro with parameters, and how many; the last one of a variadic macro
    /// takes all remaining arguments.
    pub fn macro_params(&self, name: &str) -> Option<usize> {
        let (names, macros) = &*self.macros.borrow();
        macros.get(names.get(name)?)?.params.as_ref().map(Vec::len)
    }

    /// What a text stands for once its macros are replaced, such as a call `_IOW('x', 1, int)`;
    /// `None` if nothing is left of it.
    pub fn value_of(&self, text: &str) -> Option<MacroValue> {
        let (names, macros) = &mut *self.macros.borrow_mut();
        let tokens = tokenize(text, u32::MAX, names);
        let tokens = macros.expand(&tokens, names);
        if tokens.is_empty() {
            return None;
        }
        if tokens.iter().all(|t| t.kind == Kind::String) {
            let mut bytes = Vec::new();
            for t in &tokens {
                bytes.extend(expr::unquote(names.text(t.sym))?);
            }
            return Some(MacroValue::Str(bytes));
        }
        let mut meaning = &self.defs;
        Some(match expr::evaluate(&tokens, names, &mut meaning) {
            Ok(value) => MacroValue::Int(value),
            Err(_) => MacroValue::Text(macros::text(&tokens, names)),
        })
    }

    /// Names of all macros that were defined, in no order.
    pub fn macro_names(&self) -> Vec<String> {
        let (names, macros) = &*self.macros.borrow();
        macros
            .iter()
            .map(|(s, _)| names.text(s).to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests;
