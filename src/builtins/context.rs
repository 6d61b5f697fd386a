//! Values of the context: the process, the CPU, the event.

use crate::lower::call::{Lowering, context};

use super::Builtin;

/// The rows.
pub static ROWS: &[Builtin] = &[
    // Lowering: [Int(0: rtrace's namespace, 1: initial namespace)] -> uint32.
    Builtin {
        name: "pid",
        usage: "pid [(init | curr_ns)]",
        doc: "Process id of the current task, as rtrace's pid namespace counts it.",
        arity: (0, 1),
        lower: Lowering::Scalar(context::pid),
        ..Builtin::ROW
    },
    // Lowering: [Int(0: rtrace's namespace, 1: initial namespace)] -> uint32.
    Builtin {
        name: "tid",
        usage: "tid [(init | curr_ns)]",
        doc: "Thread id of the current task, as rtrace's pid namespace counts it.",
        arity: (0, 1),
        lower: Lowering::Scalar(context::tid),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "uid",
        usage: "uid",
        doc: "User id of the current task.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::uid),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "gid",
        usage: "gid",
        doc: "Group id of the current task.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::gid),
        ..Builtin::ROW
    },
    // Lowering: [] -> username.
    Builtin {
        name: "username",
        usage: "username",
        doc: "Name of the current task's user, looked up when it is printed.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::uid),
        ..Builtin::ROW
    },
    // Lowering: [] or [Expr(pid: uint32)] -> string[16].
    Builtin {
        name: "comm",
        usage: "comm [(pid)]",
        doc: "Name of the current thread, or of the thread with the given id.",
        arity: (0, 1),
        lower: Lowering::Memory(context::comm),
        ..Builtin::ROW
    },
    // Lowering: compile time (reads through task_struct).
    Builtin {
        name: "pcomm",
        usage: "pcomm [(task)]",
        doc: "Name of the parent of the current or the given task.",
        arity: (0, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time (reads through task_struct).
    Builtin {
        name: "ppid",
        usage: "ppid [(task)]",
        doc: "Process id of the parent of the current or the given task.",
        arity: (0, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time (reads through task_struct).
    Builtin {
        name: "leader_tid",
        usage: "leader_tid [(task)]",
        doc: "Thread id of the leader of the task's thread group.",
        arity: (0, 1),
        ..Builtin::ROW
    },
    // Lowering: compile time (reads through task_struct).
    Builtin {
        name: "leader_comm",
        usage: "leader_comm [(task)]",
        doc: "Name of the leader of the task's thread group.",
        arity: (0, 1),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "cpu",
        usage: "cpu",
        doc: "Number of the CPU that the probe runs on.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::cpu),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "ncpus",
        usage: "ncpus",
        doc: "Number of possible CPUs.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "numaid",
        usage: "numaid",
        doc: "Number of the NUMA node that the probe runs on.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::numaid),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "cgroup",
        usage: "cgroup",
        doc: "Id of the current task's cgroup (version 2).",
        arity: (0, 0),
        lower: Lowering::Scalar(context::cgroup),
        ..Builtin::ROW
    },
    // Lowering: [] -> struct task_struct *.
    Builtin {
        name: "curtask",
        usage: "curtask",
        doc: "The current task, a pointer to struct task_struct.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::curtask),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64.
    Builtin {
        name: "rand",
        usage: "rand",
        doc: "A random 32-bit number.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::rand),
        ..Builtin::ROW
    },
    // Lowering: [] -> ksym or usym, by the type of the call.
    Builtin {
        name: "func",
        usage: "func",
        doc: "The traced function.",
        arity: (0, 0),
        lower: Lowering::Either(context::func, context::func_user),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint64 (kretprobe, uretprobe; fexit has CtxArg instead).
    Builtin {
        name: "retval",
        usage: "retval",
        doc: "The value that the traced function returns.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::retval),
        ..Builtin::ROW
    },
    // Lowering: compile time (ExprKind::Probe).
    Builtin {
        name: "probe",
        usage: "probe",
        doc: "Full name of the attach point that fired.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: compile time.
    Builtin {
        name: "probetype",
        usage: "probetype",
        doc: "Name of the probe's type, such as `kprobe`; `special` for begin, end and self.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: [] -> uint8.
    Builtin {
        name: "usermode",
        usage: "usermode",
        doc: "1 if the interrupted task was in user mode.",
        arity: (0, 0),
        lower: Lowering::Scalar(context::usermode),
        ..Builtin::ROW
    },
    // Lowering: compile time (loads, CtxArg, DataLoc, Location).
    Builtin {
        name: "args",
        usage: "args",
        doc: "The arguments of the traced function or event, by name.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: compile time (ExprKind::Ctx).
    Builtin {
        name: "ctx",
        usage: "ctx",
        doc: "The raw context of the program.",
        arity: (0, 0),
        ..Builtin::ROW
    },
    // Lowering: [Int(offset in struct pt_regs)] -> uint64.
    Builtin {
        name: "reg",
        usage: "reg(name)",
        doc: "A register of the interrupted code, by its name in the architecture.",
        arity: (1, 1),
        lower: Lowering::Scalar(context::reg),
        ..Builtin::ROW
    },
];
