//! `fentry`, `fexit` and `rawtracepoint`: tracing programs whose arguments BTF types, on functions
//! of the kernel and of BPF programs.
//!
//! Each program is bound to one function when it is loaded.

use std::sync::Arc;

use super::{Ap, Args, Expander, Match, ProbeCx, Provider};
use crate::diag::Code;
use crate::env::wildcard;
use crate::object::{Attach, ProgramType};
use crate::sema::env::{ArgField, ArgSource, Prototype};
use crate::sema::hir::{AttachSpec, Context};
use crate::types::{AddrSpace, Type, TypeStore, size_of};

/// Most arguments that a BPF trampoline passes on.
const MAX_ARGS: usize = 12;

/// `fentry:module:function`, `fentry:bpf:id:name`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let (module, function) = match ap.parts.as_slice() {
        [function] => (None, function.as_str()),
        [bpf, name] if bpf == "bpf" => return bpf_program(ex, ap, "*", name),
        [bpf, id, name] if bpf == "bpf" => return bpf_program(ex, ap, id, name),
        [module, function] => (Some(module.as_str()), function.as_str()),
        _ => {
            let text = format!(
                "{} probe type requires 1 or 2 arguments, or bpf:ID:NAME",
                ap.provider.name()
            );
            return ex.error(Code::ProbeArity, ap.span, text);
        }
    };
    let wild = wildcard::is_pattern(function) || module.is_some_and(wildcard::is_pattern);
    let found = ex.cx.facts.btf_functions(module, function);
    let mut any = false;
    for (function, owner) in found {
        let Some(proto) = ex.cx.facts.function(ex.store, Some(&owner), &function) else {
            continue;
        };
        let Some(slots) = Slots::of(&proto, ex.store).filter(|s| s.count <= MAX_ARGS) else {
            continue;
        };
        any = true;
        function_match(ex, ap, &function, &proto, &slots, wild);
    }
    if !any {
        let shown = ap.parts.join(":");
        ex.no_match(ap, &shown);
    }
}

fn function_match(
    ex: &mut Expander<'_, '_>,
    ap: &Ap,
    function: &str,
    proto: &Prototype,
    slots: &Slots,
    wild: bool,
) {
    let exit = ap.provider == Provider::Fexit;
    let ty = if exit {
        ProgramType::TracingFexit
    } else {
        ProgramType::TracingFentry
    };
    let count = slots.count as u8;
    let mut cx = ProbeCx::new(ap.provider, ty, Context::Args { count, btf: true });
    cx.space = AddrSpace::Kernel;
    cx.filter_pid = true;
    let name = format!("{}:{}:{function}", ap.provider.name(), proto.module);
    cx.args = Some(arguments(&format!("{name}_args"), proto, &slots.first));
    if exit && !matches!(proto.ret, Type::Void) {
        cx.retval = Some((proto.ret.clone(), count));
    }
    let attach = Attach::Fentry { exit, bpf: None };
    let module = (proto.module != "vmlinux").then(|| proto.module.clone());
    push(
        ex,
        ap,
        name,
        attach,
        cx,
        (function.to_owned(), module),
        wild,
    );
}

/// `fentry:bpf:id:name`: the functions of BPF programs that are loaded when the script starts.
fn bpf_program(ex: &mut Expander<'_, '_>, ap: &Ap, id: &str, name: &str) {
    let shown = ap.parts.join(":");
    let found = match ex.cx.facts.bpf_functions(id, name) {
        Ok(found) => found,
        Err(why) => return ex.no_match_because(ap, &shown, why),
    };
    if found.is_empty() {
        return ex.no_match(ap, &shown);
    }
    let exit = ap.provider == Provider::Fexit;
    let ty = match exit {
        true => ProgramType::TracingFexit,
        false => ProgramType::TracingFentry,
    };
    // Without a number a name means all programs that have such a function.
    let wild = wildcard::is_pattern(id) || wildcard::is_pattern(name);
    for f in found {
        // How many words the kernel passes is not known: the verifier may take all registers for
        // arguments, and where the result is depends on it.
        let ctx = Context::Args {
            count: 0,
            btf: true,
        };
        let mut cx = ProbeCx::new(ap.provider, ty, ctx);
        cx.space = AddrSpace::Kernel;
        cx.filter_pid = true;
        cx.no_args = Some("The args builtin cannot be used with BPF programs".to_owned());
        let full = format!("{}:bpf:{}:{}", ap.provider.name(), f.id, f.name);
        let attach = Attach::Fentry {
            exit,
            bpf: Some((f.id, f.name.clone())),
        };
        push(ex, ap, full, attach, cx, (f.name, None), wild);
    }
}

fn push(
    ex: &mut Expander<'_, '_>,
    ap: &Ap,
    name: String,
    attach: Attach,
    cx: ProbeCx,
    target: (String, Option<String>),
    wildcard: bool,
) {
    let loc = ex.cx.loc(ap.span);
    ex.push(Match {
        spec: AttachSpec {
            name,
            attach,
            wildcard,
            at_entry: false,
            loc,
        },
        cx,
        attach_btf: Some(target),
    });
}

/// The words of the context that parameters take. A struct by value takes as many as it has
/// bytes for; the kernel attaches to functions with none above 16 bytes.
struct Slots {
    /// By parameter: its first word.
    first: Vec<u8>,
    /// Of all parameters; the return value comes after them.
    count: usize,
}

impl Slots {
    fn of(proto: &Prototype, store: &TypeStore) -> Option<Self> {
        let mut slots = Self {
            first: Vec::new(),
            count: 0,
        };
        for (_, ty) in &proto.params {
            slots.first.push(u8::try_from(slots.count).ok()?);
            slots.count += match size_of(ty, store) {
                0..=8 => 1,
                9..=16 => 2,
                _ => return None,
            };
        }
        Some(slots)
    }
}

/// Parameters as `args`, each at its word; those without a name are `argN`.
fn arguments(name: &str, proto: &Prototype, first: &[u8]) -> Arc<Args> {
    let fields = proto
        .params
        .iter()
        .zip(first)
        .enumerate()
        .map(|(i, ((name, ty), &at))| {
            let name = if name.is_empty() {
                format!("arg{i}")
            } else {
                name.clone()
            };
            ArgField {
                name,
                ty: ty.clone(),
                source: ArgSource::Ctx(at),
            }
        });
    Arc::new(Args {
        name: name.to_owned(),
        fields: fields.collect(),
    })
}

/// `rawtracepoint:module:event`
pub(super) fn raw_tracepoint(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let (module, event) = match ap.parts.as_slice() {
        [event] => (None, event.as_str()),
        [module, event] => (Some(module.as_str()), event.as_str()),
        _ => return,
    };
    let wild = wildcard::is_pattern(event) || module.is_some_and(wildcard::is_pattern);
    let module = module.filter(|m| !wildcard::is_pattern(m));
    let found = ex.cx.facts.raw_tracepoints(module, event);
    let mut any = false;
    for (event, owner) in found {
        let Some(proto) = ex.cx.facts.raw_tracepoint(ex.store, &event) else {
            continue;
        };
        let Some(slots) = Slots::of(&proto, ex.store) else {
            continue;
        };
        any = true;
        let count = slots.count as u8;
        let ctx = Context::Args { count, btf: true };
        let mut cx = ProbeCx::new(ap.provider, ProgramType::TracingRawTp, ctx);
        cx.space = AddrSpace::Kernel;
        cx.filter_pid = true;
        let name = format!("rawtracepoint:{owner}:{event}");
        cx.args = Some(arguments(&format!("{name}_args"), &proto, &slots.first));
        let attach = Attach::RawTracepoint {
            event: event.clone(),
        };
        let module = (owner != "vmlinux").then_some(owner);
        push(ex, ap, name, attach, cx, (event, module), wild);
    }
    if any {
        return;
    }
    if wild || ex.usage.args {
        let shown = ap.parts.join(":");
        return ex.no_match(ap, &shown);
    }
    // Without type information the kernel still knows the event by its name.
    let ctx = Context::Args {
        count: 0,
        btf: false,
    };
    let mut cx = ProbeCx::new(ap.provider, ProgramType::RawTracepoint, ctx);
    cx.space = AddrSpace::Kernel;
    cx.filter_pid = true;
    if ex.cx.facts.tracepoints("*", event).is_empty() {
        let shown = ap.parts.join(":");
        return ex.no_match(ap, &shown);
    }
    let attach = Attach::RawTracepoint {
        event: event.to_owned(),
    };
    ex.attach(ap, format!("rawtracepoint:{event}"), attach, cx);
}
