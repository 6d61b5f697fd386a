//! `usdt`: static probes that programs carry.
//!
//! One probe can be at several places with its arguments in different registers; such places
//! become different programs.

use super::{Ap, Expander, ProbeCx};
use crate::env::wildcard;
use crate::object::{Attach, ProgramType};
use crate::sema::hir::Context;
use crate::types::AddrSpace;

/// `usdt:target:namespace:name`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let everything = String::from("*");
    let process = ex.cx.options.pid.or(ex.cx.options.cpid).is_some();
    let (mut target, provider, name) = match ap.parts.as_slice() {
        [target, name] => (target, "", name.as_str()),
        [target, provider, name] => (target, provider.as_str(), name.as_str()),
        [name] if process => (&everything, "", name.as_str()),
        _ => return ex.no_match(ap, &ap.parts.join(":")),
    };
    // A process is a target by itself.
    if target.is_empty() && process {
        target = &everything;
    }
    let files = match ex.cx.facts.user_targets(target) {
        Ok(files) => files,
        Err(text) => {
            let text = text.replacen("uprobe", "usdt", 1);
            return ex.missing(ap.span, text);
        }
    };
    let wild = [target.as_str(), provider, name]
        .into_iter()
        .any(wildcard::is_pattern);
    let mut any = false;
    for file in &files {
        let found = match ex.cx.facts.usdt(file, provider, name) {
            Ok(found) => found,
            Err(text) => {
                ex.missing(ap.span, text);
                continue;
            }
        };
        for p in found {
            any = true;
            let ctx = Context::PtRegs {
                user: true,
                ret: false,
            };
            let mut cx = ProbeCx::new(ap.provider, ProgramType::Kprobe, ctx);
            cx.space = AddrSpace::User;
            cx.file = Some(file.clone());
            cx.address = Some(p.address);
            cx.usdt_args = Some(p.args);
            let shown = super::shown_path(target, file);
            let full = format!("usdt:{shown}:{}:{}", p.provider, p.name);
            let attach = Attach::Uprobe {
                file: file.clone(),
                offset: p.offset,
                semaphore: p.semaphore,
                ret: false,
            };
            ex.attach_as(ap, full, attach, cx, wild, false);
        }
    }
    if !any {
        ex.no_match(ap, &ap.parts.join(":"));
    }
}
