//! Functions on memory, addresses and symbols.

use crate::lower::call::{Lowering, memory, typed};

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: [Expr(pointer, integer, string or array), Int(bytes) or Expr(bytes: uint64)]
    // -> buffer[N].
    Builtin {
        name: "buf",
        usage: "buf(data [, length])",
        doc: "Copies bytes.",
        arity: (1, 2),
        lower: Lowering::Memory(memory::buf),
        ..Builtin::ROW
    },
    // Lowering: [Int(2 or 10) or Expr(family: uint64), Expr(uint32, or array or buffer of 4 or
    // 16 bytes)] -> inet.
    Builtin {
        name: "ntop",
        usage: "ntop([family, ] address)",
        doc: "An IPv4 or IPv6 address, formatted when it is printed.",
        arity: (1, 2),
        lower: Lowering::Memory(memory::ntop),
        ..Builtin::ROW
    },
    // Lowering: compile time (ExprKind::Bytes).
    Builtin {
        name: "pton",
        usage: "pton(text)",
        doc: "The bytes of an IPv4 or IPv6 address.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: [Expr(array of at least 6 bytes, string or pointer)] -> macaddr.
    Builtin {
        name: "macaddr",
        usage: "macaddr(bytes)",
        doc: "A hardware address, formatted when it is printed.",
        arity: (1, 1),
        lower: Lowering::Memory(memory::macaddr),
        ..Builtin::ROW
    },
    // Lowering: [Expr(n: unsigned of the result's size)] -> unsigned of the same size.
    Builtin {
        name: "bswap",
        usage: "bswap(n)",
        doc: "Reverses the order of bytes.",
        arity: (1, 1),
        lower: Lowering::Scalar(memory::bswap),
        ..Builtin::ROW
    },
    // Lowering: [Expr(address: uint64)] -> ksym.
    Builtin {
        name: "ksym",
        usage: "ksym(address)",
        doc: "A kernel address that prints as a symbol.",
        arity: (1, 1),
        lower: Lowering::Scalar(memory::ksym),
        ..Builtin::ROW
    },
    // Lowering: [Expr(address: uint64)] -> usym.
    Builtin {
        name: "usym",
        usage: "usym(address)",
        doc: "An address of the current process that prints as a symbol.",
        arity: (1, 1),
        lower: Lowering::Memory(memory::usym),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "kaddr",
        usage: "kaddr(symbol)",
        doc: "Address of a kernel symbol.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: [Int(address in the file), Int(1 if it moves with the load address)] ->
    // pointer or uint64.
    Builtin {
        name: "uaddr",
        usage: "uaddr(symbol)",
        doc: "Address of a symbol of the traced program.",
        arity: (1, 1),
        lower: Lowering::Scalar(memory::uaddr),
        ..Builtin::ROW
    },
    // Lowering: [Int(address in the template), Int(address of the table of distances, or 0),
    // Int(CPUs)] and perhaps [Expr(cpu: uint64)] -> pointer.
    Builtin {
        name: "percpu_kaddr",
        usage: "percpu_kaddr(symbol [, cpu])",
        doc: "Address of a per-CPU kernel variable, on this CPU or on another one.",
        arity: (1, 2),
        lower: Lowering::Scalar(typed::percpu_kaddr),
        ..Builtin::ROW
    },
    // Lowering: compile time (a cast).
    Builtin {
        name: "kptr",
        usage: "kptr(pointer)",
        doc: "The pointer, taken to point into kernel memory.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time (a cast).
    Builtin {
        name: "uptr",
        usage: "uptr(pointer)",
        doc: "The pointer, taken to point into user memory.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time (a comparison).
    Builtin {
        name: "is_err",
        usage: "is_err(pointer)",
        doc: "Whether a kernel pointer is an error number.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "container_of",
        usage: "container_of(pointer, type, member)",
        doc: "The structure of this type that the pointed-to member is part of.",
        arity: (3, 3),
        ..Builtin::ROW
    },
    // Lowering: [Expr(pointer or memory), Expr(pointer or memory), Int(n)] -> int64.
    Builtin {
        name: "memcmp",
        usage: "memcmp(a, b, n)",
        doc: "Compares n bytes; 0 if they are equal.",
        arity: (3, 3),
        lower: Lowering::Scalar(memory::memcmp),
        ..Builtin::ROW
    },
    // Lowering: [Expr(pointer), Int(bytes)] -> string[N].
    Builtin {
        name: "path",
        usage: "path(pointer [, size])",
        doc: "Full name of a `struct path`.",
        arity: (1, 2),
        kernel: Some((5, 10)),
        lower: Lowering::Memory(typed::path),
        ..Builtin::ROW
    },
    // Lowering: [Expr(pointer)] -> uint64.
    Builtin {
        name: "socket_cookie",
        usage: "socket_cookie(socket)",
        doc: "The unique number of a socket.",
        arity: (1, 1),
        kernel: Some((5, 12)),
        lower: Lowering::Scalar(typed::socket_cookie),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "cgroupid",
        usage: "cgroupid(path)",
        doc: "Id of the cgroup with this path.",
        arity: (1, 1),
        ..Builtin::ROW
    },
    // Lowering: [Expr(id: uint64), TimeFormat(filter)] -> cgroup_path.
    Builtin {
        name: "cgroup_path",
        usage: "cgroup_path(id [, filter])",
        doc: "Path of a cgroup, looked up when it is printed.",
        arity: (1, 2),
        lower: Lowering::Memory(memory::cgroup_path),
        ..Builtin::ROW
    },
];
