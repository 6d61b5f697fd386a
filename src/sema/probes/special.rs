//! `begin`, `end`, `self`, `test` and `bench`: programs that rtrace runs itself.

use super::{Ap, Expander, ProbeCx};
use crate::diag::Code;
use crate::object::{Attach, ProgramType};
use crate::sema::hir::Context;
use crate::sema::names;

fn cx(ap: &Ap) -> ProbeCx {
    ProbeCx::new(ap.provider, ProgramType::RawTracepoint, Context::None)
}

/// `begin`
pub(super) fn begin(ex: &mut Expander<'_, '_>, ap: &Ap) {
    ex.attach(ap, "begin".into(), Attach::Begin, cx(ap));
}

/// `end`
pub(super) fn end(ex: &mut Expander<'_, '_>, ap: &Ap) {
    ex.attach(ap, "end".into(), Attach::End, cx(ap));
}

/// `self:signal:SIGUSR1`
pub(super) fn self_(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let [kind, signal] = ap.parts.as_slice() else {
        return;
    };
    if kind != "signal" {
        let text = format!("Invalid self probe type: {kind}");
        return ex.error(Code::BadTarget, ap.span, text);
    }
    let number = names::signal_number(signal).filter(|_| signal == "SIGUSR1");
    let Some(number) = number.and_then(|n| i32::try_from(n).ok()) else {
        let text = format!("{signal} is not a supported signal");
        return ex.error(Code::BadTarget, ap.span, text);
    };
    let name = format!("self:signal:{signal}");
    ex.attach(ap, name, Attach::SelfSignal(number), cx(ap));
}

/// `test:name`
pub(super) fn test(ex: &mut Expander<'_, '_>, ap: &Ap) {
    if unique(ex, ap) && ex.cx.options.test {
        let name = ap.parts[0].clone();
        ex.attach(ap, format!("test:{name}"), Attach::Test(name), cx(ap));
    }
}

/// `bench:name`
pub(super) fn bench(ex: &mut Expander<'_, '_>, ap: &Ap) {
    if unique(ex, ap) && ex.cx.options.bench {
        let name = ap.parts[0].clone();
        ex.attach(ap, format!("bench:{name}"), Attach::Bench(name), cx(ap));
    }
}

fn unique(ex: &mut Expander<'_, '_>, ap: &Ap) -> bool {
    let name = format!("{}:{}", ap.provider.name(), ap.parts[0]);
    let new = ex.names.insert(name);
    if !new {
        let text = format!(
            "{} probe names must be unique: {}",
            ap.provider.name(),
            ap.parts[0]
        );
        ex.error(Code::BadTarget, ap.span, text);
    }
    new
}
