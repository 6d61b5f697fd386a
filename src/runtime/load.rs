//! Loading an object: its maps, its BTF, its programs.
//!
//! In goes an [`Object`]; out come descriptors. What the kernel must know at load time about how
//! a program will be attached is decided here ([`Plan`]), once per program, from all its attach
//! points.

use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use libbpf_sys as lib;

use super::map::KernelMaps;
use super::shared::SharedMaps;
use super::sys::ENOTSUPP;
use super::sys::bpf::{self, AttachTarget, FuncRecord, LineRecord, ProgSpec};
use super::sys::process::{self, Capability};
use super::{privilege, verifier};
use crate::env::btf::Kind;
use crate::env::{self, Btf, Env, Feature, HostEnv};
use crate::error::{Error, ErrorKind, Result};
use crate::object::{Attach, MapId, Object, Program, ProgramId, ProgramType, RelocKind};

/// Programs from which on loading in parallel pays: a thread costs as much as a small program.
const PARALLEL: usize = 8;

/// Places from which on a program gets one link for all of them. A link detaches only after 40 ms
/// (Linux 6.18), in which the end of the run waits; single places are detached in one, but cost
/// a descriptor and 50 us each at the start.
const MULTI: usize = 16;

/// Largest verifier log (the kernel's own bound on older kernels).
const MAX_LOG: usize = (1 << 24) - 1;

/// How to load.
#[derive(Debug)]
pub struct LoadOptions<'a> {
    /// The machine: types to attach to, features.
    pub env: &'a HostEnv,
    /// The process that probes are limited to.
    pub pid: Option<u32>,
    /// Put the verifier's whole log into errors.
    pub verbose: bool,
    /// Maps that the object shall use instead of its own.
    pub shared: Option<&'a SharedMaps>,
}

/// How a program's attach points are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One by one.
    Single,
    /// Uprobes of a file together.
    UprobeMulti,
    /// Kernel functions together.
    KprobeMulti,
    /// System calls together, by the event of all.
    Syscalls,
}

/// A loaded program.
#[derive(Debug)]
pub struct LoadedProgram {
    /// Descriptor.
    pub fd: OwnedFd,
    /// How it will be attached.
    pub plan: Plan,
}

/// An object in the kernel, not attached to anything.
#[derive(Debug)]
pub struct Loaded {
    /// What was loaded.
    pub object: Arc<Object>,
    /// Its maps.
    pub maps: KernelMaps,
    /// Its programs in the order of the object.
    pub programs: Vec<LoadedProgram>,
}

impl Loaded {
    /// Loads `object`. Nothing is left in the kernel where it fails.
    ///
    /// # Errors
    /// The kernel refuses a map or a program: says which, why, and at which line of the script.
    pub fn load(object: Arc<Object>, options: &LoadOptions<'_>) -> Result<Self> {
        let maps = KernelMaps::create_sharing(&object, options.shared)?;
        // Without BTF everything still works but callbacks and the script's lines in the log.
        let btf = match object.btf.is_empty() {
            true => None,
            false => bpf::btf_load(&object.btf).ok(),
        };
        let plans = plans(&object, options);
        // As numbers: threads share them, not the maps.
        let map_fds: Vec<i32> = (0..object.maps.len() as u32)
            .map(|i| maps.get(MapId(i)).as_fd().as_raw_fd())
            .collect();
        let fds = Loader {
            object: &object,
            btf: btf.as_ref().map(AsFd::as_fd),
            license: CString::new(object.license.as_str())
                .map_err(|_| Error::invalid("zero byte in the license"))?,
            options,
            map_fds,
        }
        .all(&plans)?;
        let programs = fds
            .into_iter()
            .zip(plans)
            .map(|(fd, plan)| LoadedProgram { fd, plan })
            .collect();
        Ok(Self {
            object,
            maps,
            programs,
        })
    }

    /// A program's descriptor.
    pub fn program(&self, id: ProgramId) -> &LoadedProgram {
        &self.programs[id.0 as usize]
    }
}

/// Decides for each program whether its attach points go into one link.
fn plans(object: &Object, options: &LoadOptions<'_>) -> Vec<Plan> {
    #[derive(Clone, Copy, Default)]
    struct Uses {
        uprobes: usize,
        kprobes: usize,
        entries: usize,
        returns: usize,
        syscalls: usize,
        others: usize,
    }
    let mut uses = vec![Uses::default(); object.programs.len()];
    for point in &object.attach {
        let u = &mut uses[point.program.0 as usize];
        match &point.attach {
            Attach::Uprobe { ret, .. } => {
                u.uprobes += 1;
                *(if *ret { &mut u.returns } else { &mut u.entries }) += 1;
            }
            Attach::Kprobe {
                symbol,
                module: None,
                offset: 0,
                ret,
            } if !symbol.is_empty() => {
                u.kprobes += 1;
                *(if *ret { &mut u.returns } else { &mut u.entries }) += 1;
            }
            Attach::Syscall { .. } => u.syscalls += 1,
            // Never attached.
            Attach::Test(_) | Attach::Bench(_) => {}
            _ => u.others += 1,
        }
    }
    let env = options.env;
    // Linux 6.18 opens perf events on user places for CAP_SYS_ADMIN only; multi links content
    // themselves with CAP_BPF and CAP_PERFMON.
    let admin = process::effective_capabilities()
        .map_or(true, |caps| process::has(Capability::SysAdmin, caps));
    let multi = if admin { MULTI } else { 1 };
    uses.iter()
        .map(|u| {
            if u.syscalls > 0 {
                return Plan::Syscalls;
            }
            if u.others > 0 || u.uprobes + u.kprobes < multi || (u.entries > 0 && u.returns > 0) {
                return Plan::Single;
            }
            let pid_works = || options.pid.is_none() || bpf::uprobe_multi_knows_processes();
            if u.kprobes == 0 && env.has(Feature::UprobeMulti) && pid_works() {
                Plan::UprobeMulti
            } else if u.uprobes == 0 && env.has(Feature::KprobeMulti) {
                Plan::KprobeMulti
            } else {
                Plan::Single
            }
        })
        .collect()
}

/// What the loads of one object share.
struct Loader<'a> {
    object: &'a Object,
    btf: Option<BorrowedFd<'a>>,
    license: CString,
    options: &'a LoadOptions<'a>,
    map_fds: Vec<i32>,
}

impl Loader<'_> {
    fn all(&self, plans: &[Plan]) -> Result<Vec<OwnedFd>> {
        let jobs: Vec<(&Program, Plan)> = self
            .object
            .programs
            .iter()
            .zip(plans.iter().copied())
            .collect();
        let load = |jobs: &[(&Program, Plan)]| -> Vec<Result<OwnedFd>> {
            jobs.iter().map(|&(p, plan)| self.load(p, plan)).collect()
        };
        // Asking how many there are reads files.
        let threads = match jobs.len() < PARALLEL {
            true => 1,
            false => std::thread::available_parallelism().map_or(1, usize::from),
        };
        if threads < 2 {
            return jobs.iter().map(|&(p, plan)| self.load(p, plan)).collect();
        }
        let parts: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = jobs
                .chunks(jobs.len().div_ceil(threads))
                .map(|part| scope.spawn(move || load(part)))
                .collect();
            workers
                .into_iter()
                .map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
                .collect()
        });
        parts.into_iter().flatten().collect()
    }

    fn load(&self, program: &Program, plan: Plan) -> Result<OwnedFd> {
        let target = self.target(program)?;
        let insns = relocate(program, &self.map_fds)?;
        let name = bpf::kernel_name(&program.name);
        let (funcs, lines) = infos(program);
        let (ty, expected_attach_type) = types(program.ty, plan);
        let spec = ProgSpec {
            ty,
            expected_attach_type,
            name: &name,
            license: &self.license,
            insns: &insns,
            target: target.borrow(),
            btf: self.btf,
            funcs: &funcs,
            lines: &lines,
        };
        match bpf::prog_load(&spec, None).0 {
            Ok(fd) => Ok(fd),
            Err(e) => Err(self.failure(program, &spec, e)),
        }
    }

    /// Explains a failed load: loads once more with a log.
    fn failure(&self, program: &Program, spec: &ProgSpec<'_>, e: Error) -> Error {
        let mut size = (self.object.config.log_size as usize).clamp(4096, MAX_LOG);
        let mut log;
        loop {
            log = vec![0u8; size];
            let (again, needed) = bpf::prog_load(spec, Some(&mut log));
            let full = again.is_err_and(|e| e.errno() == Some(libc::ENOSPC));
            if !full || size == MAX_LOG {
                break;
            }
            size = needed.max(size * 4).min(MAX_LOG);
        }
        let len = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..len]);
        if log.trim().is_empty() {
            // Refused before the verifier saw it.
            return without_log(program, e);
        }
        let mut text = verifier::explain(self.object, program, &log);
        if self.options.verbose {
            text.push_str("\nThe verifier's log:\n");
            text.push_str(&log);
        }
        Error::new(ErrorKind::InvalidData, text)
    }

    fn target(&self, program: &Program) -> Result<Target> {
        let Some((name, module)) = &program.attach_btf else {
            return Ok(Target::None);
        };
        if let Some((id, function)) = self.bpf_target(program) {
            let fd = env::bpf::program_by_id(id)
                .map_err(|e| e.context(format!("BPF program {id} of {}", program.name)))?;
            let btf = Btf::from_bytes(env::bpf::program_btf(fd.as_fd())?, None)?;
            let ty = btf
                .function(function)
                .ok_or_else(|| Error::not_found(format!("BPF program {id} has no {function}")))?
                .id;
            return Ok(Target::Program(ty.0, fd));
        }
        let module = module.as_deref().filter(|m| *m != "vmlinux");
        let env = self.options.env;
        let btf: Cow<'_, Arc<Btf>> = match module {
            Some(m) => Cow::Owned(
                env.module_btf(m)
                    .ok_or_else(|| Error::not_found(format!("no types of module {m}")))?,
            ),
            None => Cow::Borrowed(env.btf().ok_or_else(|| {
                let why = env.btf_error();
                why.unwrap_or_else(|| Error::not_found("the kernel has no BTF"))
            })?),
        };
        let (kind, full) = match program.ty {
            ProgramType::TracingRawTp => (Kind::Typedef, format!("btf_trace_{name}")),
            ProgramType::TracingIter => (Kind::Func, format!("bpf_iter_{name}")),
            _ => (Kind::Func, name.clone()),
        };
        let id = btf
            .find_kind(&[kind], &full)
            .ok_or_else(|| Error::not_found(format!("the kernel's types have no {full}")))?;
        Ok(match module {
            // Types that a module shares with the kernel are the kernel's.
            Some(m) if id.0 >= btf.first_id() => Target::Module(id.0, bpf::module_btf(m)?),
            _ => Target::Kernel(id.0),
        })
    }

    /// For `fentry:bpf`: the program and its function.
    fn bpf_target(&self, program: &Program) -> Option<(u32, &str)> {
        self.object.attach.iter().find_map(|p| match &p.attach {
            Attach::Fentry {
                bpf: Some((id, function)),
                ..
            } if std::ptr::eq(&self.object.programs[p.program.0 as usize], program) => {
                Some((*id, function.as_str()))
            }
            _ => None,
        })
    }
}

fn without_log(program: &Program, e: Error) -> Error {
    let e = match e.errno() {
        Some(libc::EPERM | libc::EACCES) => {
            privilege::explain(e, &[Capability::Bpf, Capability::Perfmon])
        }
        Some(libc::E2BIG) => e.context("the program is too large for this kernel"),
        Some(ENOTSUPP) => e.context("this kernel cannot trace this function"),
        Some(libc::EINVAL) => e.context("this kernel does not know this kind of program"),
        _ => e,
    };
    e.context(format!("cannot load {}", program.name))
}

/// What a program attaches to, with the descriptors that keep it there.
enum Target {
    None,
    Kernel(u32),
    Module(u32, OwnedFd),
    Program(u32, OwnedFd),
}

impl Target {
    fn borrow(&self) -> AttachTarget<'_> {
        match self {
            Target::None => AttachTarget::None,
            Target::Kernel(id) => AttachTarget::Btf(*id, None),
            Target::Module(id, fd) => AttachTarget::Btf(*id, Some(fd.as_fd())),
            Target::Program(id, fd) => AttachTarget::Program(*id, fd.as_fd()),
        }
    }
}

/// Program type and expected attach type.
fn types(ty: ProgramType, plan: Plan) -> (lib::bpf_prog_type, lib::bpf_attach_type) {
    match (ty, plan) {
        (ProgramType::Kprobe, Plan::Single | Plan::Syscalls) => (lib::BPF_PROG_TYPE_KPROBE, 0),
        (ProgramType::Kprobe, Plan::UprobeMulti) => {
            (lib::BPF_PROG_TYPE_KPROBE, lib::BPF_TRACE_UPROBE_MULTI)
        }
        (ProgramType::Kprobe, Plan::KprobeMulti) => {
            (lib::BPF_PROG_TYPE_KPROBE, lib::BPF_TRACE_KPROBE_MULTI)
        }
        (ProgramType::Tracepoint, _) => (lib::BPF_PROG_TYPE_TRACEPOINT, 0),
        (ProgramType::PerfEvent, _) => (lib::BPF_PROG_TYPE_PERF_EVENT, 0),
        (ProgramType::RawTracepoint, _) => (lib::BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
        (ProgramType::TracingRawTp, _) => (lib::BPF_PROG_TYPE_TRACING, lib::BPF_TRACE_RAW_TP),
        (ProgramType::TracingFentry, _) => (lib::BPF_PROG_TYPE_TRACING, lib::BPF_TRACE_FENTRY),
        (ProgramType::TracingFexit, _) => (lib::BPF_PROG_TYPE_TRACING, lib::BPF_TRACE_FEXIT),
        (ProgramType::TracingIter, _) => (lib::BPF_PROG_TYPE_TRACING, lib::BPF_TRACE_ITER),
    }
}

/// The program's instructions with descriptors in place of map numbers.
fn relocate(program: &Program, fds: &[i32]) -> Result<Vec<[u8; 8]>> {
    let mut insns = program.insns.clone();
    let broken = || {
        let name = &program.name;
        Error::invalid(format!("{name}: relocation outside of the program"))
    };
    for r in &program.relocs {
        let at = r.insn as usize;
        let (map, pseudo, offset) = match r.kind {
            RelocKind::Map(m) => (m, lib::BPF_PSEUDO_MAP_FD, None),
            RelocKind::MapValue(m, off) => (m, lib::BPF_PSEUDO_MAP_VALUE, Some(off)),
        };
        let fd = *fds.get(map.0 as usize).ok_or_else(broken)?;
        let [first, second] = insns.get_mut(at..at + 2).ok_or_else(broken)? else {
            return Err(broken());
        };
        // The source register says what the constant stands for; the destination stays.
        first[1] = if cfg!(target_endian = "little") {
            (first[1] & 0x0f) | ((pseudo as u8) << 4)
        } else {
            (first[1] & 0xf0) | pseudo as u8
        };
        first[4..].copy_from_slice(&fd.to_ne_bytes());
        second[4..].copy_from_slice(&offset.unwrap_or(0).to_ne_bytes());
    }
    Ok(insns)
}

fn infos(program: &Program) -> (Vec<FuncRecord>, Vec<LineRecord>) {
    let funcs = program.funcs.iter().map(|f| FuncRecord {
        insn_off: f.insn,
        type_id: f.btf_id,
    });
    let lines = program.lines.iter().map(|l| LineRecord {
        insn_off: l.insn,
        file_name_off: l.file_off,
        line_off: l.line_off,
        // The kernel's BPF_LINE_INFO_LINE_NUM and BPF_LINE_INFO_LINE_COL.
        line_col: (l.loc.line << 10) | l.loc.col.min(0x3ff),
    });
    (funcs.collect(), lines.collect())
}
