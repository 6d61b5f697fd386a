//! Functions whose effect is output: records for user space.

use crate::codegen::helper;
use crate::ir::Value;
use crate::ir::inst::{Cond, MemTy, Ty};
use crate::object::{
    Conv, EventKind, FieldLayout, Format, Layout, Piece, RECORD_HEADER, SiteKind, Stream,
};
use crate::sema::hir::{Arg, Call, Expr, ExprKind};
use crate::types::{AddrSpace, Type};

use super::super::fx::Fx;
use super::{expr, seq_file, text, time_format};

/// Most strings that `join()` prints.
const JOIN_STRINGS: u32 = 16;
/// Most bytes of each, terminator included.
const JOIN_BYTES: u32 = 1024;

pub(super) fn format(call: &Call) -> &Format {
    match call.args.first() {
        Some(Arg::Format(f)) => f,
        other => unreachable!("{}: {other:?} is no format", call.builtin.name),
    }
}

fn formatted<'a>(
    fx: &mut Fx<'_, 'a>,
    call: &'a Call,
    kind: impl FnOnce(Format, Vec<FieldLayout>) -> EventKind,
) {
    let mut fields = fx.fields(&call.args[1..], RECORD_HEADER);
    let layouts = std::mem::take(&mut fields.layouts);
    let kind = kind(format(call).clone(), layouts);
    fx.record(kind, fields.size, |fx, rec| fx.fill(fields, rec));
}

fn to_stream<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, stream: Stream) {
    formatted(fx, call, |format, args| EventKind::Printf {
        stream,
        format,
        args,
    });
}

/// `printf`
pub fn printf<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    if fx.is_pinned() {
        return seq_file::printf(fx, call);
    }
    to_stream(fx, call, Stream::Out);
}

/// `errorf`
pub fn errorf<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    to_stream(fx, call, Stream::Error);
}

/// `warnf`
pub fn warnf<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    to_stream(fx, call, Stream::Warning);
}

/// `system`
pub fn system<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    formatted(fx, call, |format, args| EventKind::System { format, args });
}

/// `cat`
pub fn cat<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    formatted(fx, call, |format, args| EventKind::Cat { format, args });
}

/// `print`
pub fn print<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    match &call.args[..] {
        [Arg::Map(map), ..] => {
            let map = fx.plan(*map).id;
            let top = match call.args.get(1) {
                Some(Arg::Int(n)) => *n as u32,
                _ => 0,
            };
            let div = match call.args.get(2) {
                Some(Arg::Int(n)) => (*n).max(1) as u64,
                _ => 1,
            };
            fx.record(
                EventKind::PrintMap { map, top, div },
                RECORD_HEADER,
                |_, _| {},
            );
        }
        [Arg::MapElem(map, key), ..] => print_stats(fx, *map, key.as_ref()),
        [Arg::Expr(_), ..] => {
            let mut fields = fx.fields(&call.args[..1], RECORD_HEADER);
            let value = fields.layouts.remove(0);
            fx.record(EventKind::Print { value }, fields.size, |fx, rec| {
                fx.fill(fields, rec);
            });
        }
        other => unreachable!("print of {other:?}"),
    }
}

/// `print(@m[k])` of `stats()`: the three numbers as they are now.
fn print_stats<'a>(
    fx: &mut Fx<'_, 'a>,
    map: crate::sema::hir::MapRef,
    key: Option<&'a crate::sema::hir::Expr>,
) {
    let plan = fx.plan(map);
    let mark = fx.mark();
    let key_at = fx.key(&plan, key);
    let mean = fx.sum_over_cpus(&plan, key_at);
    let (count, total) = fx.stats_parts(&plan, key_at);
    let word = Layout::Int {
        signed: plan.agg().is_some_and(|t| t.signed),
        size: 8,
    };
    let field = |name: &str, offset| FieldLayout {
        name: name.into(),
        offset,
        bits: None,
        layout: word.clone(),
    };
    let fields = vec![field("count", 0), field("average", 8), field("total", 16)];
    let value = FieldLayout {
        name: String::new(),
        offset: RECORD_HEADER,
        bits: None,
        layout: Layout::Struct { fields, size: 24 },
    };
    let kind = EventKind::Print { value };
    fx.record(kind, RECORD_HEADER + 24, |fx, rec| {
        let to = rec.plus(RECORD_HEADER);
        for (off, v) in [(0, count), (8, mean), (16, total)] {
            fx.b.store(MemTy::DW, to.ptr, to.off + off, v);
        }
    });
    fx.release(mark);
}

/// `time`
pub fn time<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let kind = EventKind::Time(time_format(call, 0));
    fx.record(kind, RECORD_HEADER, |_, _| {});
}

/// `exit`
pub fn exit<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let (code, known) = match call.args.first() {
        Some(arg) => (fx.number(call, 0), constant(arg)),
        None => (fx.b.iconst(0), Some(0)),
    };
    send_exit(fx, code, known);
}

/// An argument that is a number in the script.
fn constant(arg: &Arg) -> Option<i32> {
    match arg {
        Arg::Int(n) => Some(*n as i32),
        Arg::Expr(Expr {
            kind: ExprKind::Int(n),
            ..
        }) => Some(*n as i32),
        _ => None,
    }
}

fn send_exit(fx: &mut Fx<'_, '_>, code: Value, known: Option<i32>) {
    let kind = EventKind::Exit {
        code: RECORD_HEADER,
        known,
    };
    fx.record(kind, RECORD_HEADER + 8, |fx, rec| {
        let at = rec.plus(RECORD_HEADER);
        fx.b.store(MemTy::DW, at.ptr, at.off, code);
    });
}

/// `unwatch`
pub fn unwatch<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let addr = fx.scalar(expr(call, 0));
    let kind = EventKind::Unwatch {
        addr: RECORD_HEADER,
    };
    fx.record(kind, RECORD_HEADER + 8, |fx, rec| {
        let at = rec.plus(RECORD_HEADER);
        fx.b.store(MemTy::DW, at.ptr, at.off, addr);
    });
}

/// `assert`: reports, and ends the run with 1.
pub fn assert<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let (good, bad) = (fx.b.new_block(), fx.b.new_block());
    fx.condition(expr(call, 0), good, bad);
    fx.b.switch_to(bad);
    let code = fx.b.iconst(0);
    fx.report_message(SiteKind::Assert, "", code, text(call, 1));
    let one = fx.b.iconst(1);
    send_exit(fx, one, Some(1));
    let result = fx.b.iconst(1);
    fx.return_from_probe(result);
    fx.b.switch_to(good);
}

/// `join`: the strings of an array of pointers, up to a null pointer.
pub fn join<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let argv = expr(call, 0);
    let space = match fx.space(&argv.ty) {
        AddrSpace::None => AddrSpace::User,
        s => s,
    };
    let argv = fx.scalar(argv);
    let cap = JOIN_BYTES.min(fx.lw.program.config.max_strlen.max(1));
    let count = RECORD_HEADER;
    let first = RECORD_HEADER + 8;
    let args = (0..JOIN_STRINGS)
        .map(|i| FieldLayout {
            name: String::new(),
            offset: first + i * cap,
            bits: None,
            layout: Layout::Str(cap),
        })
        .collect();
    let kind = EventKind::Join {
        sep: text(call, 1).to_owned(),
        count,
        args,
    };
    let word = fx.temp(8);
    fx.record(kind, first + JOIN_STRINGS * cap, |fx, rec| {
        let end = fx.b.new_block();
        let n = rec.plus(count);
        fx.b.store_imm(MemTy::DW, n.ptr, n.off, 0);
        for i in 0..JOIN_STRINGS {
            let at = fx.b.add_imm(argv, 8 * i64::from(i));
            fx.probe_read(space, word, 8, at);
            let p = fx.b.load(MemTy::DW, word.ptr, word.off);
            let more = fx.b.new_block();
            let zero = fx.b.iconst(0);
            fx.b.br(Cond::Eq, p, zero, end, more);
            fx.b.switch_to(more);
            let to = rec.plus(first + i * cap);
            let len = fx.b.iconst(i64::from(cap));
            let bytes = fx.probe_read_str(space, to, cap, len, p);
            fx.count_cut(space, bytes, cap, p);
            fx.b.store_imm(MemTy::W, n.ptr, n.off, i64::from(i) + 1);
        }
        fx.b.jump(end, &[]);
        fx.b.switch_to(end);
    });
}

/// `debugf`: the kernel formats; at most three arguments.
pub fn debugf<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call) {
    let mut pattern = String::new();
    for piece in &format(call).pieces {
        match piece {
            Piece::Text(t) => pattern.push_str(&t.replace('%', "%%")),
            Piece::Spec(s) => pattern.push_str(match s.conv {
                Conv::Signed => "%lld",
                Conv::Unsigned => "%llu",
                Conv::Hex | Conv::HexUpper | Conv::Octal => "%llx",
                Conv::Pointer => "%px",
                _ => "%s",
            }),
        }
    }
    let mut values = Vec::new();
    for a in &call.args[1..] {
        let Arg::Expr(e) = a else { continue };
        let v = if e.ty.is_scalar() {
            fx.scalar(e)
        } else {
            let at = fx.memory(e);
            fx.pointer(at)
        };
        values.push(v);
    }
    let at = fx.literal(&pattern);
    let p = fx.pointer(at);
    let n = fx.b.iconst(pattern.len() as i64 + 1);
    let mut args = vec![p, n];
    args.extend(values.into_iter().take(3));
    fx.b.call(helper::TRACE_PRINTK, &args, Ty::Scalar);
}

/// Most bytes of a packet that are captured.
const PACKET: u32 = 4096;

/// `skboutput`: what the packet has in one piece, headers at least; the record says how long
/// all of it is.
pub fn skboutput<'a>(fx: &mut Fx<'_, 'a>, call: &'a Call, _: &Type) -> Value {
    let [data, whole, apart, len, off] = [1, 2, 3, 4, 5].map(|i| fx.scalar(expr(call, i)));
    let cap = match &expr(call, 4).kind {
        crate::sema::hir::ExprKind::Int(n) => (*n).clamp(1, u64::from(PACKET)) as u32,
        _ => PACKET,
    };
    let here = fx.b.sub(whole, apart);
    let left = |fx: &mut Fx<'_, 'a>, of: Value| {
        let skipped = fx.smaller(off, of);
        fx.b.sub(of, skipped)
    };
    let (here, whole) = (left(fx, here), left(fx, whole));
    let wanted = fx.smaller(len, here);
    let now = fx.b.call(helper::KTIME_GET_BOOT_NS, &[], Ty::Scalar);
    let from = fx.b.add(data, off);
    let start = RECORD_HEADER;
    let kind = EventKind::SkbOutput {
        path: text(call, 0).to_owned(),
        data: start,
    };
    fx.record(kind, start + 16 + cap, |fx, rec| {
        let at = rec.plus(start);
        let n = fx.at_most(wanted, cap);
        fx.b.store(MemTy::DW, at.ptr, at.off, now);
        fx.b.store(MemTy::W, at.ptr, at.off + 8, n);
        fx.b.store(MemTy::W, at.ptr, at.off + 12, whole);
        fx.zero(at.plus(16), cap);
        let to = fx.pointer(at.plus(16));
        let code =
            fx.b.call(helper::PROBE_READ_KERNEL, &[to, n, from], Ty::Scalar);
        fx.check_code(code, SiteKind::Read, "probe_read_kernel");
    });
    fx.b.iconst(0)
}
