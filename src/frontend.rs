//! From a script's text to the typed program: parsing, imports, macros, C definitions, types.
//!
//! The files and the machine behind it are the caller's: a [`Loader`], an [`Env`] and
//! [`FactOptions`].

use std::path::PathBuf;

use crate::ctypes;
use crate::diag::Diagnostics;
use crate::env::Env;
use crate::facts::{FactOptions, HostFacts};
use crate::sema::{self, SemaContext, hir};
use crate::source::{SourceMap, Span};
use crate::syntax::ast;
use crate::syntax::imports::{self, Loader};
use crate::syntax::{self, expand};

/// What a compilation is given besides its text.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What the command line says about the script.
    pub options: sema::env::Options,
    /// Where probed programs are looked for.
    pub facts: FactOptions,
    /// `-I`
    pub include_dirs: Vec<PathBuf>,
    /// `--include`
    pub include_first: Vec<String>,
}

/// What comes of a script.
#[derive(Debug)]
pub struct Front {
    /// All texts that diagnostics and places refer to.
    pub sources: SourceMap,
    /// The tree after imports and macros, as far as it got.
    pub tree: ast::Program,
    /// The typed program; `None` if there are errors.
    pub program: Option<hir::Program>,
    /// Errors and warnings.
    pub diags: Diagnostics,
    /// Options that the script takes after `--`, with their descriptions.
    pub options: Vec<(String, Option<String>)>,
}

/// Checks the script `text`, which diagnostics call `name`.
pub fn check(
    name: &str,
    text: &str,
    loader: &mut dyn Loader,
    env: &dyn Env,
    request: &Request,
) -> Front {
    let mut sources = SourceMap::default();
    let file = sources.add(name, text);
    let parsed = syntax::parse(file, text);
    let mut diags = parsed.diags;
    let front = |sources, tree, diags| Front {
        sources,
        tree,
        program: None,
        diags,
        options: Vec::new(),
    };
    if diags.has_errors() {
        return front(sources, parsed.program, diags);
    }
    let tree = imports::resolve(parsed.program, file, &mut sources, loader, &mut diags);
    let tree = expand::expand(tree, None, &mut diags);
    if diags.has_errors() {
        return front(sources, tree, diags);
    }
    let c = definitions(&tree, env, request, &mut diags);
    let facts = HostFacts::new(env, c, request.facts.clone());
    let cx = SemaContext {
        sources: &sources,
        facts: &facts,
        options: &request.options,
    };
    let checked = sema::check(&tree, &cx);
    diags.merge(checked.diags);
    let program = checked.program.filter(|_| !diags.has_errors());
    Front {
        sources,
        tree,
        program,
        diags,
        options: checked.options,
    }
}

/// The C definitions of a script.
fn definitions(
    tree: &ast::Program,
    env: &dyn Env,
    request: &Request,
    diags: &mut Diagnostics,
) -> ctypes::CEnv {
    if tree.c_defs.is_empty() && request.include_first.is_empty() {
        return ctypes::CEnv::default();
    }
    let parts: Vec<(&str, Span)> = tree
        .c_defs
        .iter()
        .map(|d| (d.text.as_str(), d.span))
        .collect();
    let btf = env.btf();
    let options = ctypes::Options {
        include_dirs: &request.include_dirs,
        include_first: &request.include_first,
        have_btf: btf.is_some(),
        externals: btf.map(|b| &**b as &dyn ctypes::model::TypeSource),
        ..Default::default()
    };
    let (c, found) = ctypes::translate(&parts, &options);
    diags.merge(found);
    c
}
