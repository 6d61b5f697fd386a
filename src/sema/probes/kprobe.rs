//! `kprobe` and `kretprobe`: kernel functions and addresses.

use super::uprobe::{address, split_offset};
use super::{Ap, Expander, ProbeCx, Provider};
use crate::diag::{Code, Diagnostic};
use crate::env::wildcard;
use crate::object::{Attach, ProgramType};
use crate::sema::hir::Context;
use crate::types::AddrSpace;

/// `kprobe:module:function+offset`, `kprobe:0xADDRESS`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let (module, function) = match ap.parts.as_slice() {
        [function] => (None, function.as_str()),
        [module, function] => (Some(module.as_str()), function.as_str()),
        _ => return,
    };
    let ret = ap.provider == Provider::Kretprobe;
    let (name, offset) = match split_offset(function) {
        Ok(split) => split,
        Err(text) => return ex.error(Code::BadOffset, ap.span, text),
    };
    if ret && offset.is_some() {
        return ex.error(Code::BadOffset, ap.span, "Offset not allowed");
    }
    if let Some(address) = address(name) {
        return at_address(ex, ap, address, ret);
    }
    let wild = wildcard::is_pattern(name) || module.is_some_and(wildcard::is_pattern);
    let found = ex.cx.facts.kernel_functions(module, name);
    if wild && found.is_empty() {
        let shown = ap.parts.join(":");
        return ex.no_match(ap, &shown);
    }
    if found.is_empty() {
        let text = format!(
            "{name} is not traceable (either non-existing, inlined, or marked as \"notrace\"); attaching to it will likely fail"
        );
        ex.diags
            .push(Diagnostic::warning(Code::MissingProbe, ap.span, text));
        let module = module.map(str::to_owned);
        return push(ex, ap, module, name, offset, false);
    }
    for (function, owner) in found {
        // Which module is meant only matters if one was named.
        let owner = module.map(|_| owner);
        push(ex, ap, owner, &function, offset, wild);
    }
}

fn cx(ap: &Ap) -> ProbeCx {
    let ctx = Context::PtRegs {
        user: false,
        ret: ap.provider == Provider::Kretprobe,
    };
    let mut cx = ProbeCx::new(ap.provider, ProgramType::Kprobe, ctx);
    cx.space = AddrSpace::Kernel;
    cx.filter_pid = true;
    cx
}

fn push(
    ex: &mut Expander<'_, '_>,
    ap: &Ap,
    module: Option<String>,
    function: &str,
    offset: Option<u64>,
    wild: bool,
) {
    let owner = match &module {
        Some(m) if m != "vmlinux" => format!("{m}:"),
        _ => String::new(),
    };
    let plus = offset.map(|n| format!("+{n}")).unwrap_or_default();
    let name = format!("{}:{owner}{function}{plus}", ap.provider.name());
    let attach = Attach::Kprobe {
        symbol: function.to_owned(),
        module: module.filter(|m| m != "vmlinux"),
        offset: offset.unwrap_or(0),
        ret: ap.provider == Provider::Kretprobe,
    };
    ex.attach_as(ap, name, attach, cx(ap), wild, false);
}

fn at_address(ex: &mut Expander<'_, '_>, ap: &Ap, address: u64, ret: bool) {
    if !ex.cx.options.unsafe_ {
        let text = "Can't attach to a raw kernel address without --unsafe";
        return ex.error(Code::Unsafe, ap.span, text);
    }
    let name = format!("{}:0x{address:x}", ap.provider.name());
    let attach = Attach::Kprobe {
        symbol: String::new(),
        module: None,
        offset: address,
        ret,
    };
    ex.attach(ap, name, attach, cx(ap));
}
