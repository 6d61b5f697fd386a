//! `printf` of an iterator that is pinned: nobody waits for its records, so the kernel formats
//! and whoever reads the pin gets the text.

use crate::codegen::helper;
use crate::ir::inst::{MemTy, Ty};
use crate::object::{Attach, Conv, Piece, Spec};
use crate::sema::hir::{Arg, Call, Expr};
use crate::types::Type;

use super::super::fx::Fx;
use super::output::format;

/// Most values that `bpf_seq_printf` takes.
const MAX_VALUES: usize = 12;

impl Fx<'_, '_> {
    /// Whether this is an iterator that stays in the BPF file system.
    pub(super) fn is_pinned(&self) -> bool {
        self.probe.as_ref().is_some_and(|p| {
            let mut points = p.probe.attach.iter().map(|a| &a.attach);
            points.any(|a| matches!(a, Attach::Iter { pin: Some(_), .. }))
        })
    }
}

/// `printf` into the file that is being read.
pub fn printf<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let mut pattern = String::new();
    let mut values = call.args[1..].iter().filter_map(|a| match a {
        Arg::Expr(e) => Some(e),
        _ => None,
    });
    let mut shown: Vec<&'a Expr> = Vec::new();
    for piece in &format(call).pieces {
        match piece {
            Piece::Text(t) => pattern.push_str(&t.replace('%', "%%")),
            Piece::Spec(s) => {
                let Some(e) = values.next() else { continue };
                let Some(conversion) = conversion(s, &e.ty) else {
                    return refuse(fx, "what is a name only later: a symbol, a stack, a user");
                };
                pattern.push_str(&conversion);
                shown.push(e);
            }
        }
    }
    if shown.len() > MAX_VALUES {
        return refuse(fx, "more than 12 values");
    }
    let mark = fx.mark();
    let data = fx.temp(8 * shown.len().max(1) as u32);
    for (i, e) in shown.iter().enumerate() {
        let value = if e.ty.is_scalar() {
            fx.scalar(e)
        } else {
            let at = fx.memory(e);
            fx.pointer(at)
        };
        fx.b.store(MemTy::DW, data.ptr, data.off + 8 * i as i32, value);
    }
    // struct bpf_iter__X begins with its meta, struct bpf_iter_meta with the file.
    let ctx = fx.ctx();
    let meta = fx.b.load_ty(MemTy::DW, ctx, 0, Ty::KPtr);
    let file = fx.b.load_ty(MemTy::DW, meta, 0, Ty::KPtr);
    let text = fx.literal(&pattern);
    let text = fx.pointer(text);
    let size = fx.b.iconst(pattern.len() as i64 + 1);
    let data = fx.pointer(data);
    let bytes = fx.b.iconst(8 * shown.len() as i64);
    fx.b.call(
        helper::SEQ_PRINTF,
        &[file, text, size, data, bytes],
        Ty::Scalar,
    );
    fx.release(mark);
}

/// The conversion as the kernel knows it, if it can show such a value.
fn conversion(s: &Spec, ty: &Type) -> Option<String> {
    let conv = match (s.conv, ty) {
        (Conv::Text, Type::Str(_) | Type::Array(..)) => "s",
        (Conv::Char, _) => "c",
        (Conv::Signed, _) => "lld",
        (Conv::Unsigned, _) => "llu",
        (Conv::Hex | Conv::Octal, _) => "llx",
        (Conv::HexUpper, _) => "llX",
        (Conv::Pointer, _) => "px",
        _ => return None,
    };
    let flags = [(s.left, '-'), (s.plus, '+'), (s.alt, '#'), (s.zero, '0')];
    let mut out = String::from("%");
    // The kernel takes one flag.
    out.extend(flags.iter().find(|f| f.0).map(|f| f.1));
    if s.width > 0 {
        out.push_str(&s.width.to_string());
    }
    out.push_str(conv);
    Some(out)
}

fn refuse(fx: &mut Fx<'_, '_>, what: &str) {
    let loc = fx.b.loc();
    let text =
        format!("printf() of a pinned iterator is done by the kernel, which cannot show {what}");
    fx.limit(loc, text);
}
