//! What the running kernel can do, found out by trying.
//!
//! One row a feature: name, meaning, the version it came with, and a probe. A probe runs when its
//! feature is first asked about, once. Versions are shown to people and never compared: kernels
//! are configured and patched.

use std::path::Path;
use std::sync::OnceLock;

use libbpf_sys as sys;

use super::bpf;
use super::btf::{Btf, Kind};
use crate::error::{Error, ErrorKind};

/// The answer of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel has it.
    Yes,
    /// The kernel does not.
    No,
    /// The probe was refused; the reason.
    Unknown(String),
}

impl Answer {
    fn from(yes: bool) -> Self {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// How a feature is found out.
enum Probe {
    /// A program of this type may call this helper.
    Helper(u32, u32),
    /// A typed raw tracepoint may call this helper.
    TracingHelper(u32),
    /// The kernel offers this function to programs.
    Kfunc(&'static str),
    /// This file exists.
    File(&'static str),
    /// Anything else.
    Fn(fn(Option<&Btf>) -> Answer),
}

/// A row of the table.
pub struct Row {
    /// The feature.
    pub feature: Feature,
    /// Its name in reports and in fakes.
    pub name: &'static str,
    /// What it serves, for people.
    pub doc: &'static str,
    /// The first kernel release that has it.
    pub since: &'static str,
    probe: Probe,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! features {
    ($($variant:ident $name:literal $since:literal $doc:literal = $probe:expr;)*) => {
        /// A feature of the kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Feature {
            $(#[doc = $doc] $variant,)*
        }

        /// All features.
        pub static FEATURES: &[Row] = &[
            $(Row {
                feature: Feature::$variant,
                name: $name,
                doc: $doc,
                since: $since,
                probe: $probe,
            },)*
        ];
    };
}

const KPROBE: u32 = sys::BPF_PROG_TYPE_KPROBE;
const RAW_TP: u32 = sys::BPF_PROG_TYPE_RAW_TRACEPOINT;

features! {
    Btf "btf" "5.2" "types of the kernel (/sys/kernel/btf/vmlinux)"
        = Probe::File("/sys/kernel/btf/vmlinux");
    ModuleBtf "module_btf" "5.11" "types of kernel modules"
        = Probe::Fn(|btf| in_btf(btf, |b| b.find_kind(&[Kind::Struct], "btf_module").is_some()));
    InsnLimit1M "insn_limit_1m" "5.2" "programs of up to a million instructions"
        = Probe::Fn(|_| long_program());
    Ringbuf "ringbuf" "5.8" "the ring buffer that events travel through"
        = Probe::Fn(|_| outcome(bpf::map(sys::BPF_MAP_TYPE_RINGBUF, 0, 0, page_size())));
    Loop "loop" "5.17" "bpf_loop: `for` over a range, `while`"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_loop);
    ForEachMapElem "for_each_map_elem" "5.13" "`for` over a map"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_for_each_map_elem);
    LookupPercpuElem "lookup_percpu_elem" "5.19" "reading per-CPU aggregations in expressions"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_map_lookup_percpu_elem);
    ProbeReadKernel "probe_read_kernel" "5.5" "separate reads of kernel and user memory"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_probe_read_kernel);
    NsPidTgid "ns_current_pid_tgid" "5.7" "pid and tid as their own PID namespace numbers them"
        = Probe::Helper(KPROBE, sys::BPF_FUNC_get_ns_current_pid_tgid);
    GetFuncIp "get_func_ip" "5.15" "`func` in probes of many functions"
        = Probe::Helper(KPROBE, sys::BPF_FUNC_get_func_ip);
    AttachCookie "attach_cookie" "5.15" "one program for many attach points"
        = Probe::Helper(KPROBE, sys::BPF_FUNC_get_attach_cookie);
    KtimeTai "get_tai_ns" "6.1" "nsecs(tai)"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_ktime_get_tai_ns);
    KtimeBoot "get_boot_ns" "5.8" "nsecs(boot)"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_ktime_get_boot_ns);
    Jiffies "jiffies64" "5.6" "jiffies"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_jiffies64);
    SendSignal "send_signal" "5.3" "signal()"
        = Probe::Helper(KPROBE, sys::BPF_FUNC_send_signal);
    SendSignalThread "send_signal_thread" "5.5" "signal_thread()"
        = Probe::Helper(KPROBE, sys::BPF_FUNC_send_signal_thread);
    OverrideReturn "override_return" "4.16" "override()"
        = Probe::Helper(KPROBE, sys::BPF_FUNC_override_return);
    ProbeWriteUser "probe_write_user" "4.8" "writing user memory; refused under lockdown"
        = Probe::Helper(KPROBE, sys::BPF_FUNC_probe_write_user);
    Strncmp "strncmp" "5.17" "comparing a string with a constant"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_strncmp);
    TaskStack "get_task_stack" "5.9" "stacks of other tasks"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_get_task_stack);
    CurrentTaskBtf "get_current_task_btf" "5.11" "curtask as a typed pointer"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_get_current_task_btf);
    FindVma "find_vma" "5.17" "the mapping that holds a user address"
        = Probe::Helper(RAW_TP, sys::BPF_FUNC_find_vma);
    DPath "dpath" "5.10" "path()"
        = Probe::TracingHelper(sys::BPF_FUNC_d_path);
    SkbOutput "skb_output" "5.5" "skboutput()"
        = Probe::TracingHelper(sys::BPF_FUNC_skb_output);
    SocketCookie "get_socket_cookie" "5.12" "socket_cookie()"
        = Probe::TracingHelper(sys::BPF_FUNC_get_socket_cookie);
    TaskVmaIter "iter_task_vma" "6.7" "walking a task's mappings inside a program"
        = Probe::Kfunc("bpf_iter_task_vma_new");
    AtomicFetch "atomic_fetch" "5.12" "atomic operations that return the old value"
        = Probe::Fn(|_| program(&[
            bpf::insn(0xb7, 1, 0, 0, 1),
            bpf::insn(0x7b, 10, 1, -8, 0),     // *(u64 *)(r10 - 8) = r1
            bpf::insn(0xdb, 10, 1, -8, 0x01),  // r1 = atomic_fetch_add((u64 *)(r10 - 8), r1)
            bpf::mov(0),
            bpf::exit(),
        ]));
    CpuV4 "cpu_v4" "6.6" "signed division and sign-extending loads"
        = Probe::Fn(|_| program(&[
            bpf::mov(-9),
            bpf::insn(0x37, 0, 0, 1, 2),       // r0 s/= 2
            bpf::exit(),
        ]));
    BatchOps "batch_ops" "5.6" "reading a map in few system calls"
        = Probe::Fn(|_| {
            let map = match bpf::map(sys::BPF_MAP_TYPE_HASH, 4, 8, 1) {
                Ok(map) => map,
                Err(e) => return refused(&e),
            };
            expect(bpf::lookup_batch(&map), libc::ENOENT)
        });
    RawTpTestRun "raw_tp_test_run" "5.10" "running begin, end and self by bpf(2)"
        = Probe::Fn(|_| match bpf::load(RAW_TP, 0, 0, &[bpf::mov(0), bpf::exit()]) {
            Ok(prog) => outcome(bpf::test_run(&prog)),
            Err((e, _)) => refused(&e),
        });
    PerfLink "perf_link" "5.15" "links, with cookies, for tracepoints, kprobes and uprobes"
        = Probe::Fn(|_| link(0, |p, _| bpf::link_no_perf_event(p), libc::EBADF));
    RawTpCookie "raw_tp_cookie" "6.10" "cookies for raw tracepoints"
        = Probe::Fn(|_| expect(bpf::raw_tracepoint_with_cookie(), libc::EBADF));
    Kprobe "kprobe" "4.17" "kernel probes by perf event"
        = Probe::File("/sys/bus/event_source/devices/kprobe/type");
    Uprobe "uprobe" "4.17" "user probes by perf event"
        = Probe::File("/sys/bus/event_source/devices/uprobe/type");
    UprobeRefCtr "uprobe_ref_ctr" "4.20" "the kernel counts USDT semaphores"
        = Probe::File("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset");
    KprobeMulti "kprobe_multi" "5.18" "one link for many kernel functions"
        = Probe::Fn(|_| link(sys::BPF_TRACE_KPROBE_MULTI, bpf::link_no_kprobe, libc::ESRCH));
    KprobeSession "kprobe_session" "6.10" "entry and return of a kernel function by one program"
        = Probe::Fn(|_| link(sys::BPF_TRACE_KPROBE_SESSION, bpf::link_no_kprobe, libc::ESRCH));
    UprobeMulti "uprobe_multi" "6.6" "one link for many user functions"
        = Probe::Fn(|_| link(sys::BPF_TRACE_UPROBE_MULTI, bpf::link_no_uprobe, libc::EBADF));
    UprobeSession "uprobe_session" "6.13" "entry and return of a user function by one program"
        = Probe::Fn(|_| link(sys::BPF_TRACE_UPROBE_SESSION, bpf::link_no_uprobe, libc::EBADF));
    Fentry "fentry" "5.5" "typed probes of kernel functions"
        = Probe::Fn(|btf| tracing(btf, sys::BPF_TRACE_FENTRY, "vfs_read"));
    TpBtf "tp_btf" "5.5" "typed raw tracepoints"
        = Probe::Fn(|btf| in_btf(btf, |b| match b.raw_tracepoint("sched_switch") {
            Some(tp) => load_tracing(sys::BPF_TRACE_RAW_TP, tp.id.0) == Answer::Yes,
            None => false,
        }));
    Iter "iter" "5.8" "iterators over kernel objects"
        = Probe::Fn(|btf| in_btf(btf, |b| match b.iterator("task") {
            Some((f, _)) => load_tracing(sys::BPF_TRACE_ITER, f.0) == Answer::Yes,
            None => false,
        }));
}

fn page_size() -> u32 {
    // SAFETY: sysconf takes no pointer.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn refused(e: &Error) -> Answer {
    if e.kind() == ErrorKind::PermissionDenied {
        return Answer::Unknown(e.to_string());
    }
    Answer::No
}

fn outcome<T>(result: Result<T, Error>) -> Answer {
    result.map_or_else(|e| refused(&e), |_| Answer::Yes)
}

/// A call that fails with `errno` where the feature is known.
fn expect<T>(result: Result<T, Error>, errno: i32) -> Answer {
    match result {
        Err(e) if e.errno() == Some(errno) => Answer::Yes,
        result => match outcome(result) {
            Answer::Yes => Answer::No,
            answer => answer,
        },
    }
}

fn in_btf(btf: Option<&Btf>, found: impl FnOnce(&Btf) -> bool) -> Answer {
    Answer::from(btf.is_some_and(found))
}

fn program(insns: &[[u8; 8]]) -> Answer {
    outcome(bpf::load(RAW_TP, 0, 0, insns).map_err(|(e, _)| e))
}

fn long_program() -> Answer {
    let mut insns = vec![bpf::mov(0); 5000];
    insns.push(bpf::exit());
    program(&insns)
}

/// Whether the verifier knows the helper for this type of program: it then complains about missing
/// arguments, or about nothing.
fn helper((prog_type, attach_type, target): (u32, u32, u32), helper: u32) -> Answer {
    let call = bpf::insn(0x85, 0, 0, 0, helper.cast_signed());
    match bpf::load(prog_type, attach_type, target, &[call, bpf::exit()]) {
        Ok(_) => Answer::Yes,
        Err((e, log)) if log.is_empty() => refused(&e),
        Err((_, log)) => {
            let unknown = ["unknown func", "invalid func", "cannot use helper"];
            Answer::from(!unknown.iter().any(|u| log.contains(u)))
        }
    }
}

fn link(
    attach_type: u32,
    attempt: fn(&std::os::fd::OwnedFd, u32) -> Result<(), Error>,
    errno: i32,
) -> Answer {
    match bpf::load(KPROBE, attach_type, 0, &[bpf::mov(0), bpf::exit()]) {
        Ok(prog) => expect(attempt(&prog, attach_type), errno),
        Err((e, _)) => refused(&e),
    }
}

fn load_tracing(attach_type: u32, target: u32) -> Answer {
    let insns = [bpf::mov(0), bpf::exit()];
    outcome(bpf::load(sys::BPF_PROG_TYPE_TRACING, attach_type, target, &insns).map_err(|(e, _)| e))
}

fn tracing(btf: Option<&Btf>, attach_type: u32, function: &str) -> Answer {
    match btf.and_then(|b| b.function(function)) {
        Some(f) => load_tracing(attach_type, f.id.0),
        None => Answer::No,
    }
}

/// The features of one kernel, as far as they have been asked about.
#[derive(Debug, Default)]
pub struct Features {
    answers: OnceLock<Box<[OnceLock<Answer>]>>,
}

impl Features {
    /// Whether the kernel has a feature, and if that cannot be said, why. `btf` is the running
    /// kernel's.
    pub fn ask(
        &self,
        feature: Feature,
        btf: impl FnOnce() -> Option<std::sync::Arc<Btf>>,
    ) -> &Answer {
        let answers = self
            .answers
            .get_or_init(|| FEATURES.iter().map(|_| OnceLock::new()).collect());
        let row = &FEATURES[feature as usize];
        answers[feature as usize].get_or_init(|| match row.probe {
            Probe::Helper(prog_type, id) => helper((prog_type, 0, 0), id),
            Probe::TracingHelper(id) => in_btf(btf().as_deref(), |b| {
                b.raw_tracepoint("sched_switch").is_some_and(|tp| {
                    let prog = (sys::BPF_PROG_TYPE_TRACING, sys::BPF_TRACE_RAW_TP, tp.id.0);
                    helper(prog, id) == Answer::Yes
                })
            }),
            Probe::Kfunc(name) => in_btf(btf().as_deref(), |b| b.function(name).is_some()),
            Probe::File(path) => Answer::from(Path::new(path).exists()),
            Probe::Fn(probe) => probe(btf().as_deref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn rows_are_in_the_order_of_the_features() {
        for (i, row) in FEATURES.iter().enumerate() {
            assert_eq!(row.feature as usize, i, "{}", row.name);
        }
    }

    #[test]
    fn this_kernel_answers_each_question() {
        let features = Features::default();
        let btf = Btf::open("/sys/kernel/btf/vmlinux").ok().map(Arc::new);
        for row in FEATURES {
            eprintln!(
                "{}: {:?}",
                row.name,
                features.ask(row.feature, || btf.clone())
            );
        }
        // Who may create a map may load a program, and a kernel with a ring buffer has a clock.
        if features.ask(Feature::Ringbuf, || None) == &Answer::Yes {
            assert_eq!(features.ask(Feature::KtimeBoot, || None), &Answer::Yes);
            assert_eq!(features.ask(Feature::InsnLimit1M, || None), &Answer::Yes);
        } else {
            eprintln!("SKIP: cannot create BPF maps");
        }
    }
}
