//! `iter`: programs that run once for every object of a kind.

use super::{Ap, Expander, Match, ProbeCx};
use crate::env::wildcard;
use crate::object::{Attach, ProgramType};
use crate::sema::hir::{AttachSpec, Context};
use crate::types::AddrSpace;

/// `iter:object:pin`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let object = ap.parts[0].as_str();
    let pin = ap.parts.get(1).map(|p| {
        if p.starts_with('/') {
            p.clone()
        } else {
            format!("/sys/fs/bpf/{p}")
        }
    });
    if wildcard::is_pattern(object) {
        return ex.no_match(ap, object);
    }
    let Some(context) = ex.cx.facts.iterator(ex.store, object) else {
        let text = format!("iter {object} not available for your kernel version.");
        return ex.missing(ap.span, text);
    };
    let mut cx = ProbeCx::new(ap.provider, ProgramType::TracingIter, Context::Iter);
    cx.space = AddrSpace::Kernel;
    cx.iter = Some(context);
    let loc = ex.cx.loc(ap.span);
    ex.push(Match {
        spec: AttachSpec {
            name: format!("iter:{object}"),
            attach: Attach::Iter {
                object: object.to_owned(),
                pin,
            },
            wildcard: false,
            at_entry: false,
            loc,
        },
        cx,
        attach_btf: Some((object.to_owned(), None)),
    });
}
