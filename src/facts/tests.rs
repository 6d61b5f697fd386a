//! Scripts against made-up kernels.

use super::{FactOptions, HostFacts};
use crate::ctypes::{self, CEnv};
use crate::env::{FakeEnv, Feature};
use crate::sema::{self, SemaContext, env::Options};
use crate::source::SourceMap;
use crate::syntax;

const KERNEL: &str = "
    typedef unsigned int u32;
    enum state { RUNNING, STOPPED = 4 };
    struct mm { long total; };
    struct task_struct {
        int pid; char comm[16]; struct mm *mm; struct task_struct *parent;
        union { u32 flags; char bytes[4]; }; unsigned a : 3; unsigned b : 5; enum state state;
    };
    struct file { u32 f_flags; };
    long vfs_read(struct file *file, char *buf, unsigned long count);
    tracepoint void sched_switch(bool preempt, struct task_struct *prev);
";

fn kernel() -> FakeEnv {
    FakeEnv::new()
        .with_kernel(KERNEL)
        .unwrap()
        .with_functions("vfs_read\nvfs_write\nnft_do [nft]\n")
        .with_tracepoint(
            "syscalls",
            "sys_enter_execve",
            "\tfield:const char * filename;\toffset:16;\tsize:8;\tsigned:0;\n\tfield:const char *const * argv;\toffset:24;\tsize:8;\tsigned:0;\n",
        )
        .unwrap()
}

/// The typed program as text, or the messages.
fn check(env: &FakeEnv, script: &str) -> String {
    let mut sources = SourceMap::default();
    let file = sources.add("stdin", script);
    let parsed = syntax::parse(file, script);
    assert!(!parsed.diags.has_errors(), "{script}: {:?}", parsed.diags);
    let parts: Vec<_> = parsed
        .program
        .c_defs
        .iter()
        .map(|d| (d.text.as_str(), d.span))
        .collect();
    let c = if parts.is_empty() {
        CEnv::default()
    } else {
        ctypes::translate(&parts, &ctypes::Options::default()).0
    };
    let facts = HostFacts::new(env, c, FactOptions::default());
    let options = Options::default();
    let cx = SemaContext {
        sources: &sources,
        facts: &facts,
        options: &options,
    };
    let checked = sema::check(&parsed.program, &cx);
    match checked.program {
        Some(p) => sema::print::program(&p),
        None => {
            let messages: Vec<_> = checked.diags.iter().map(|d| d.message.clone()).collect();
            messages.join("\n")
        }
    }
}

#[track_caller]
fn has(script: &str, wanted: &[&str]) {
    let text = check(&kernel(), script);
    for w in wanted {
        assert!(text.contains(w), "{w:?} is not in:\n{text}");
    }
}

#[test]
fn members_of_kernel_structs_have_their_offsets() {
    has(
        "begin { $t = curtask; @a = $t.comm; @b = $t.mm.total; @c = $t.parent->parent->pid; @d = $t.flags; @e = $t.b; @f = $t.state; }",
        &[
            "map @a: string[17]",
            "load(*$t.0+4)",
            "map @b: int64",
            "map @c: int32",
            "map @d: uint32",
            "bits 3..8",
            "map @f: enum state",
        ],
    );
}

#[test]
fn the_script_comes_before_the_kernel() {
    has(
        "struct task_struct { long only; }; begin { @x = ((struct task_struct *)0)->only; }",
        &["map @x: int64"],
    );
    has(
        "struct s { u32 x; }; begin { @x = ((struct s *)0)->x; }",
        &["map @x: uint32"],
    );
}

#[test]
fn enumerators_and_common_constants_are_known() {
    has(
        "begin { @a = STOPPED; @b = AF_INET6; @c = RUNNING == 0; }",
        &["@a = 4:enum state", "@b = 10:int8", "@c = 1:bool"],
    );
}

#[test]
fn typed_arguments_come_from_prototypes() {
    has(
        "fentry:vfs_read { @f = args.file->f_flags; @n = args.count; }",
        &["load(*arg0:struct file *)", "@n = arg2:uint64"],
    );
    has("fexit:vfs_read { @r = retval; }", &["@r = arg3:int64"]);
    has(
        "rawtracepoint:sched_switch { @p = args.prev->pid; @q = args.preempt; }",
        &["load(*arg1:struct task_struct *)", "map @q: bool"],
    );
}

#[test]
fn pointers_of_system_calls_are_user_space() {
    has(
        "tracepoint:syscalls:sys_enter_execve { @f = str(args.filename); @a = str(args.argv[1]); }",
        &["load(ctx+16):int8 *", "load(ctx+24):int8 * *"],
    );
}

#[test]
fn functions_expand_with_their_modules() {
    has("kprobe:vfs_* { }", &["kprobe:vfs_read, kprobe:vfs_write"]);
    has("kprobe:nft:nft_* { }", &["probe kprobe:nft:nft_do"]);
    has("kprobe:nope_* { }", &["No matches for kprobe nope_*."]);
}

#[test]
fn missing_features_are_refused_unless_nobody_knows() {
    let script = "begin { for $i : 0..3 { print($i); } }";
    let old = kernel().without(Feature::Loop);
    assert_eq!(check(&old, script), "Missing required kernel feature: loop");
    let blind = kernel().without(Feature::Loop).without(Feature::Ringbuf);
    assert!(check(&blind, script).contains("for $i.0"));
}
