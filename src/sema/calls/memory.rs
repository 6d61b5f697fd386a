//! Functions on memory, addresses and symbols.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Call, Rule};
use crate::diag::Code;
use crate::sema::hir::{Arg, CmpOp, Expr, ExprKind};
use crate::sema::value::{self, int_like, literal_text, literal_value};
use crate::syntax::ast;
use crate::types::{AddrSpace, Type};

/// Lowest address that is an error number: `-MAX_ERRNO` of include/linux/err.h.
const FIRST_ERROR: i64 = -4095;
/// Address families of include/linux/socket.h.
const AF_INET: i64 = 2;
const AF_INET6: i64 = 10;

pub(super) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "buf" => buf,
        "ntop" => ntop,
        "pton" => pton,
        "macaddr" => macaddr,
        "bswap" => bswap,
        "ksym" => |call| {
            let a = call.address(0)?;
            call.make(vec![Arg::Expr(a)], Type::KSym)
        },
        "usym" => |call| {
            let a = call.address(0)?;
            call.make(vec![Arg::Expr(a)], Type::USym)
        },
        "kaddr" => kaddr,
        "uaddr" => uaddr,
        "percpu_kaddr" => percpu_kaddr,
        "kptr" => |call| tag(call, AddrSpace::Kernel),
        "uptr" => |call| tag(call, AddrSpace::User),
        "is_err" => is_err,
        "container_of" => container_of,
        "memcmp" => memcmp,
        "path" => path,
        "socket_cookie" => |call| {
            let sk = call.value(0)?;
            if !matches!(sk.ty, Type::Ptr(..)) {
                let text = format!(
                    "socket_cookie() only supports pointer arguments ({} provided)",
                    call.c.spell(&sk.ty)
                );
                return call.fail(Code::ArgumentType, call.span, text);
            }
            call.make(vec![Arg::Expr(sk)], Type::U64)
        },
        "cgroupid" => cgroupid,
        "cgroup_path" => cgroup_path,
        _ => return None,
    })
}

fn buf(call: &mut Call<'_, '_>) -> Option<Expr> {
    let v = call.value(0)?;
    let number = int_like(&v.ty, &call.c.store).is_some() || matches!(v.ty, Type::Ptr(..));
    let inline = match &v.ty {
        Type::Array(..) | Type::Str(_) => Some(call.c.size(&v.ty)),
        _ => None,
    };
    if !number && inline.is_none() {
        let text = format!(
            "buf() expects an integer, string, or array argument but saw {}",
            call.c.spell(&v.ty)
        );
        return call.fail(Code::ArgumentType, call.span, text);
    }
    let max = call.c.config.max_strlen.saturating_sub(4);
    if call.len() == 1 {
        let Some(n) = inline.filter(|_| matches!(v.ty, Type::Array(..))) else {
            let text = format!(
                "buf() expects a length argument for non-array type {}",
                call.c.spell(&v.ty)
            );
            return call.fail(Code::ArgumentCount, call.span, text);
        };
        let n = n.min(max);
        return call.make(vec![Arg::Expr(v), Arg::Int(i64::from(n))], Type::Buf(n));
    }
    let len = call.integer(1)?;
    match literal_value(&len) {
        None => {
            let cap = inline.map_or(max, |n| n.min(max));
            let len = value::cast(len, &Type::U64);
            call.make(vec![Arg::Expr(v), Arg::Expr(len)], Type::Buf(cap))
        }
        Some(n) if n < 0 => call.fail(
            Code::BadArgument,
            call.span,
            "Builtin buf requires a non-negative literal",
        ),
        Some(n) => {
            let n = if n > i128::from(max) {
                let text = format!(
                    "buf() length is too long and will be shortened to {max} bytes (see BPFTRACE_MAX_STRLEN)"
                );
                call.c.warn(Code::ArgumentTruncated, call.arg_span(1), text);
                max
            } else {
                n as u32
            };
            // What lies behind a shorter string is zero, not whatever comes next in memory.
            let v = match &v.ty {
                Type::Str(have) if *have < n => value::cast(v, &Type::Str(n)),
                _ => v,
            };
            let n = match &v.ty {
                Type::Array(..) => n.min(call.c.size(&v.ty)),
                _ => n,
            };
            call.make(vec![Arg::Expr(v), Arg::Int(i64::from(n))], Type::Buf(n))
        }
    }
}

fn ntop(call: &mut Call<'_, '_>) -> Option<Expr> {
    let at = call.len() - 1;
    let v = call.value(at)?;
    let span = call.span;
    let (family, v) = match &v.ty {
        Type::Array(..) | Type::Buf(_) | Type::Str(_) => match call.c.size(&v.ty) {
            4 => (AF_INET, v),
            16 => (AF_INET6, v),
            _ => {
                return call.fail(
                    Code::ArgumentType,
                    span,
                    "ntop() argument must be 4 or 16 bytes in size",
                );
            }
        },
        ty if int_like(ty, &call.c.store).is_some() => (AF_INET, value::cast(v, &Type::U32)),
        other => {
            let text = format!(
                "ntop() expects an integer or array argument, got {}",
                call.c.spell(other)
            );
            return call.fail(Code::ArgumentType, span, text);
        }
    };
    let family = if at == 1 {
        let af = call.unsigned(0)?;
        match literal_value(&af).and_then(|n| i64::try_from(n).ok()) {
            Some(n) => Arg::Int(n),
            None => Arg::Expr(af),
        }
    } else {
        Arg::Int(family)
    };
    call.make(vec![family, Arg::Expr(v)], Type::Inet)
}

fn pton(call: &mut Call<'_, '_>) -> Option<Expr> {
    let text = call.text(0)?;
    let bytes = if let Ok(a) = text.parse::<Ipv4Addr>() {
        a.octets().to_vec()
    } else if let Ok(a) = text.parse::<Ipv6Addr>() {
        a.octets().to_vec()
    } else {
        let text = format!("pton() expects a valid IPv4/IPv6 address, got {text}");
        return call.fail(Code::BadArgument, call.span, text);
    };
    Some(Expr {
        ty: Type::Array(Type::int(false, 1).into(), bytes.len() as u32),
        kind: ExprKind::Bytes(bytes.into()),
        loc: call.loc,
    })
}

fn macaddr(call: &mut Call<'_, '_>) -> Option<Expr> {
    let v = call.value(0)?;
    let span = call.span;
    if literal_text(&v).is_some() {
        return call.fail(
            Code::ArgumentType,
            span,
            "macaddr() does not support literal string arguments",
        );
    }
    match &v.ty {
        Type::Array(..) | Type::Str(_) => {
            if call.c.size(&v.ty) < 6 {
                return call.fail(
                    Code::ArgumentType,
                    span,
                    "macaddr() argument must be at least 6 bytes in size",
                );
            }
        }
        Type::Ptr(..) => {}
        other => {
            let text = format!(
                "macaddr() only supports array or pointer arguments ({} provided)",
                call.c.spell(other)
            );
            return call.fail(Code::ArgumentType, span, text);
        }
    }
    call.make(vec![Arg::Expr(v)], Type::Mac)
}

fn bswap(call: &mut Call<'_, '_>) -> Option<Expr> {
    let v = call.value(0)?;
    let Some(t) = int_like(&v.ty, &call.c.store) else {
        let text = format!(
            "bswap() only supports integer arguments ({} provided)",
            call.c.spell(&v.ty)
        );
        return call.fail(Code::ArgumentType, call.span, text);
    };
    let ty = Type::int(false, t.size);
    let v = value::cast(v, &ty);
    if t.size == 1 {
        return Some(v);
    }
    call.make(vec![Arg::Expr(v)], ty)
}

fn kaddr(call: &mut Call<'_, '_>) -> Option<Expr> {
    let name = call.text(0)?;
    match call.c.cx.facts.kernel_symbol(&name) {
        Some(a) => Some(value::constant(i128::from(a), Type::U64, call.loc)),
        None => {
            let text = format!("Failed to resolve kernel symbol: {name}");
            call.fail(Code::BadArgument, call.span, text)
        }
    }
}

fn uaddr(call: &mut Call<'_, '_>) -> Option<Expr> {
    let name = call.text(0)?;
    let file = call.c.unit.probe.as_ref().and_then(|p| p.file.clone());
    let Some(file) = file else {
        return call.fail(
            Code::WrongProbeForBuiltin,
            call.span,
            "uaddr can only be used with u(ret)probes and usdt probes",
        );
    };
    let Some((address, size, moves)) = call.c.cx.facts.user_symbol(&file, &name) else {
        let text = format!("Could not resolve symbol: {}:{name}", file.path);
        return call.fail(Code::BadArgument, call.span, text);
    };
    let target = match size {
        1 | 2 | 4 => Type::int(false, size as u8),
        _ => Type::U64,
    };
    // In a file that is loaded anywhere, the distance to the probe is what is known.
    let place = call.c.unit.probe.as_ref().and_then(|p| p.address);
    let distance = address.wrapping_sub(place.unwrap_or(0));
    let value = if moves { distance } else { address };
    let args = vec![Arg::Int(value as i64), Arg::Int(i64::from(moves))];
    call.make(args, target.ptr_in(AddrSpace::User))
}

fn percpu_kaddr(call: &mut Call<'_, '_>) -> Option<Expr> {
    let name = call.text(0)?;
    let Some(address) = call.c.cx.facts.kernel_symbol(&name) else {
        let text = format!("Could not resolve variable \"{name}\" from BTF");
        return call.fail(Code::BadArgument, call.span, text);
    };
    // Kernels for one CPU have no table: the template is the variable.
    let table = call.c.cx.facts.kernel_symbol("__per_cpu_offset");
    let cpus = call.c.cx.facts.ncpus();
    let mut args = vec![
        Arg::Int(address as i64),
        Arg::Int(table.unwrap_or(0) as i64),
        Arg::Int(cpus as i64),
    ];
    if call.len() > 1 {
        args.push(Arg::Expr(call.unsigned(1)?));
    }
    call.make(args, Type::U64.ptr_in(AddrSpace::Kernel))
}

fn tag(call: &mut Call<'_, '_>, space: AddrSpace) -> Option<Expr> {
    let v = call.value(0)?;
    let ty = match &v.ty {
        Type::Ptr(t, _) => Type::Ptr(t.clone(), space),
        ty if int_like(ty, &call.c.store).is_some() => Type::Void.ptr_in(space),
        other => {
            let text = format!(
                "{}() only supports pointer arguments ({} provided)",
                call.row.name,
                call.c.spell(other)
            );
            return call.fail(Code::ArgumentType, call.span, text);
        }
    };
    Some(value::cast(v, &ty))
}

fn is_err(call: &mut Call<'_, '_>) -> Option<Expr> {
    let p = call.address(0)?;
    let limit = value::constant(i128::from(FIRST_ERROR as u64), Type::U64, call.loc);
    Some(Expr {
        kind: ExprKind::Compare {
            op: CmpOp::Ge,
            signed: false,
            lhs: Box::new(p),
            rhs: Box::new(limit),
        },
        ty: Type::Bool,
        loc: call.loc,
    })
}

fn container_of(call: &mut Call<'_, '_>) -> Option<Expr> {
    let p = call.address(0)?;
    let ty = match call.args.get(1)? {
        ast::Arg::Type(t) => call.c.type_expr(t)?,
        ast::Arg::Expr(e) => call.c.expr(e).ty,
    };
    let Some(member) = call.word(2) else {
        return call.fail(
            Code::ArgumentType,
            call.arg_span(2),
            "container_of() expects the name of a member as third argument",
        );
    };
    let path = [ast::Ident {
        name: member.to_owned(),
        span: call.arg_span(2),
    }];
    let Type::Struct(id) = ty else {
        let text = format!("'{}' is not a C type.", call.c.spell(&ty));
        return call.fail(Code::ArgumentType, call.span, text);
    };
    let Some(field) = call.c.member(id, member) else {
        call.c.no_field(&ty, &path[0], call.span);
        return None;
    };
    let offset = value::constant(i128::from(field.bit_offset / 8), Type::U64, call.loc);
    let start = Expr {
        kind: ExprKind::Binary(crate::sema::hir::BinOp::Sub, Box::new(p), Box::new(offset)),
        ty: Type::U64,
        loc: call.loc,
    };
    Some(value::cast(start, &ty.ptr_in(AddrSpace::Kernel)))
}

fn memcmp(call: &mut Call<'_, '_>) -> Option<Expr> {
    let a = call.value(0)?;
    let b = call.value(1)?;
    let n = call.value(2)?;
    match literal_value(&n).and_then(|n| i64::try_from(n).ok()) {
        Some(n) if n >= 0 => call.make(vec![Arg::Expr(a), Arg::Expr(b), Arg::Int(n)], Type::I64),
        _ => call.fail(
            Code::LiteralRequired,
            call.arg_span(2),
            "memcmp() requires a non-negative literal",
        ),
    }
}

fn path(call: &mut Call<'_, '_>) -> Option<Expr> {
    let v = call.value(0)?;
    if !matches!(v.ty, Type::Ptr(..) | Type::Struct(_)) {
        let text = format!(
            "path() only supports pointer or C type argument ({} provided)",
            call.c.spell(&v.ty)
        );
        return call.fail(Code::ArgumentType, call.span, text);
    }
    use crate::sema::probes::Provider;
    let allowed = call.c.unit.probe.as_ref().is_none_or(|p| {
        matches!(
            p.provider,
            Provider::Fentry | Provider::Fexit | Provider::Iter
        )
    });
    if !allowed {
        return call.fail(
            Code::WrongProbeForBuiltin,
            call.span,
            "The path function can only be used with 'fentry', 'fexit', 'iter' probes",
        );
    }
    // A struct in memory is passed by address.
    let v = match v.kind {
        ExprKind::Load(p) => Expr {
            ty: v.ty.ptr_in(AddrSpace::Kernel),
            kind: ExprKind::AddrOf(p),
            loc: v.loc,
        },
        kind => Expr { kind, ..v },
    };
    let max = call.c.config.max_strlen;
    let mut size = max;
    if call.len() > 1 {
        let n = call.value(1)?;
        match literal_value(&n).and_then(|n| u32::try_from(n).ok()) {
            Some(n) => size = n.min(max).max(1),
            None => {
                return call.fail(
                    Code::LiteralRequired,
                    call.arg_span(1),
                    "Builtin path requires a non-negative literal",
                );
            }
        }
    }
    call.make(
        vec![Arg::Expr(v), Arg::Int(i64::from(size))],
        Type::Str(size),
    )
}

fn cgroupid(call: &mut Call<'_, '_>) -> Option<Expr> {
    let path = call.text(0)?;
    match call.c.cx.facts.cgroup_id(&path) {
        Some(id) => Some(value::constant(i128::from(id), Type::U64, call.loc)),
        None => {
            let text = format!("Failed to find cgroup: {path}");
            call.fail(Code::BadArgument, call.span, text)
        }
    }
}

fn cgroup_path(call: &mut Call<'_, '_>) -> Option<Expr> {
    let id = call.unsigned(0)?;
    let filter = if call.len() > 1 {
        call.text(1)?
    } else {
        String::new()
    };
    let filter = call.c.time_format(&filter);
    call.make(
        vec![Arg::Expr(id), Arg::TimeFormat(filter)],
        Type::CgroupPath,
    )
}
