//! `tracepoint`: trace events, with their records as `args`.

use std::sync::Arc;

use super::{Ap, Args, Expander, ProbeCx};
use crate::env::wildcard;
use crate::nearest::Nearest;
use crate::object::{Attach, ProgramType};
use crate::sema::env::{ArgField, ArgSource};
use crate::sema::hir::Context;
use crate::types::{AddrSpace, Field, StructDef, StructId, StructKind};

/// `tracepoint:category:event`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let (category, event) = match ap.parts.as_slice() {
        [one] if wildcard::is_pattern(one) => ("*", one.as_str()),
        [one] => return ex.no_match(ap, one),
        [category, event] => (category.as_str(), event.as_str()),
        _ => return,
    };
    let pattern = wildcard::is_pattern(category) || wildcard::is_pattern(event);
    let matches = ex.cx.facts.tracepoints(category, event);
    if matches.is_empty() {
        if let Some(why) = ex.cx.facts.no_tracepoints() {
            return ex.no_match_because(ap, &format!("{category}:{event}"), why);
        }
        let near = if pattern {
            Vec::new()
        } else {
            near(ex, category, event)
        };
        return ex.no_match_near(ap, &format!("{category}:{event}"), &near);
    }
    for (category, event) in matches {
        let mut cx = ProbeCx::new(ap.provider, ProgramType::Tracepoint, Context::Tracepoint);
        cx.space = AddrSpace::Kernel;
        cx.default_return = 1;
        cx.filter_pid = true;
        let name = format!("tracepoint:{category}:{event}");
        if ex.usage.args {
            let fields = ex.cx.facts.tracepoint_fields(ex.store, &category, &event);
            let args_name = format!("{name}_args");
            match fields {
                Some(fields) => {
                    if ex.usage.args_whole {
                        cx.args_struct = Some(record(ex, &args_name, &fields));
                    }
                    cx.args = Some(Arc::new(Args {
                        name: args_name,
                        fields,
                    }));
                }
                None => {
                    cx.no_args = Some(format!("The format of {category}:{event} cannot be read"));
                }
            }
        }
        let attach = Attach::Tracepoint { category, event };
        ex.attach_as(ap, name, attach, cx, pattern, false);
    }
}

/// Events that are spelt much like one that is not there: of its category, else of any.
fn near(ex: &Expander<'_, '_>, category: &str, event: &str) -> Vec<String> {
    let full = format!("{category}:{event}");
    let mut near = Nearest::new(&full, 3);
    let mut all = ex.cx.facts.tracepoints(category, "*");
    if all.is_empty() {
        all = ex.cx.facts.tracepoints("*", "*");
    }
    for (category, event) in all {
        near.offer(&format!("{category}:{event}"));
    }
    near.into_names()
}

/// The record as a struct.
fn record(ex: &mut Expander<'_, '_>, name: &str, fields: &[ArgField]) -> StructId {
    let members: Vec<Field> = fields
        .iter()
        .filter_map(|f| {
            let (offset, data_loc) = match f.source {
                ArgSource::Offset(o) => (o, false),
                ArgSource::DataLoc(o) => (o, true),
                _ => return None,
            };
            Some(Field {
                name: f.name.clone(),
                ty: f.ty.clone(),
                bit_offset: offset * 8,
                bits: None,
                data_loc,
            })
        })
        .collect();
    let size = members
        .iter()
        .map(|f| f.bit_offset / 8 + crate::types::size_of(&f.ty, ex.store))
        .max();
    ex.store.add_struct(StructDef {
        kind: StructKind::Struct,
        name: name.to_owned(),
        size: size.unwrap_or(0),
        align: 8,
        fields: Some(members),
        btf: None,
    })
}
