//! What the runtime's tests share: whether the kernel lets us, small objects, small programs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load::{LoadOptions, Loaded};
use crate::codegen::helper;
use crate::codegen::insn::{AluOp, AtomicOp, Insn, JmpOp, R0, R1, R2, R3, R4, R6, R10, Size};
use crate::env::HostEnv;
use crate::object::{
    Attach, AttachPoint, Loc, MapDef, MapId, MapKind, MapRole, Object, Program, ProgramId,
    ProgramType, Reloc, RelocKind,
};

/// Whether BPF can be used here, with everything that root may do; says why not.
pub fn kernel_usable(test: &str) -> bool {
    use super::sys::process::{Capability, effective_capabilities, has};
    let why = match super::privilege::check() {
        Err(e) => e.to_string(),
        Ok(()) if !effective_capabilities().is_ok_and(|c| has(Capability::SysAdmin, c)) => {
            "not root".to_owned()
        }
        Ok(()) => return true,
    };
    eprintln!("skipped: {test}: {why}");
    false
}

/// As [`kernel_usable`], and programs can ask for their attach cookie.
pub fn cookies_usable(test: &str) -> bool {
    use crate::env::{Env, Feature};
    if !kernel_usable(test) {
        return false;
    }
    let has = HostEnv::default().has(Feature::AttachCookie);
    if !has {
        eprintln!("skipped: {test}: cookies need Linux 5.15");
    }
    has
}

/// A map definition without role.
pub fn map(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "test".into(),
        kind,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        init: None,
        role: MapRole::Internal,
    }
}

/// An object with these maps and nothing else.
pub fn object(maps: Vec<MapDef>) -> Object {
    Object {
        license: "GPL".into(),
        maps,
        ..Object::default()
    }
}

/// The first map.
pub const MAP0: MapId = MapId(0);
/// The second map.
pub const MAP1: MapId = MapId(1);

/// An object with an array of 64 counters ([`MAP0`]) and a ring buffer ([`MAP1`]).
pub fn counting_object() -> Object {
    let mut ring = map(MapKind::Ringbuf, 0, 0, 1 << 16);
    ring.role = MapRole::Events;
    Object {
        events_map: Some(MAP1),
        ..object(vec![map(MapKind::Array, 4, 8, 64), ring])
    }
}

/// Adds a program.
pub fn program(
    object: &mut Object,
    ty: ProgramType,
    insns: Vec<Insn>,
    relocs: Vec<Reloc>,
) -> ProgramId {
    object.programs.push(Program {
        name: format!("test_{}", object.programs.len()),
        ty,
        insns: insns.iter().map(|i| i.encode()).collect(),
        relocs,
        funcs: Vec::new(),
        lines: Vec::new(),
        attach_btf: None,
        emits: None,
    });
    ProgramId(object.programs.len() as u32 - 1)
}

/// Adds an attach point.
pub fn attach(object: &mut Object, program: ProgramId, attach: Attach) -> usize {
    object.attach.push(AttachPoint {
        name: format!("{attach:?}"),
        program,
        attach,
        loc: Loc::default(),
        wildcard: false,
    });
    object.attach.len() - 1
}

/// A program that adds one to the counter `slot`, or to the one that the attach cookie names.
pub fn counter(object: &mut Object, ty: ProgramType, slot: Option<i32>) -> ProgramId {
    let mut insns = Vec::new();
    match slot {
        Some(n) => insns.push(Insn::mov64(R0, n)),
        None => insns.push(Insn::call(helper::GET_ATTACH_COOKIE)),
    }
    insns.push(Insn::stx(Size::W, R10, -4, R0));
    let insn = insns.len() as u32;
    insns.extend(Insn::ld_map_fd(R1, 0));
    insns.extend([
        Insn::mov64(R2, R10),
        Insn::alu64(AluOp::Add, R2, -4),
        Insn::call(helper::MAP_LOOKUP_ELEM),
        Insn::jmp64(JmpOp::Eq, R0, 0, 2),
        Insn::mov64(R1, 1),
        Insn::atomic(AtomicOp::Add, Size::DW, R0, 0, R1),
        Insn::mov64(R0, 0),
        Insn::exit(),
    ]);
    let relocs = vec![Reloc {
        insn,
        kind: RelocKind::Map(MAP0),
    }];
    program(object, ty, insns, relocs)
}

/// A program that emits the 16-byte record `{ u32 event; u32 0; u64 payload }`.
pub fn emitter(object: &mut Object, ty: ProgramType, event: i32, payload: i32) -> ProgramId {
    let mut insns = vec![
        Insn::st(Size::W, R10, -16, event),
        Insn::st(Size::W, R10, -12, 0),
        Insn::st(Size::DW, R10, -8, payload),
    ];
    let insn = insns.len() as u32;
    insns.extend(Insn::ld_map_fd(R1, 0));
    insns.extend([
        Insn::mov64(R2, R10),
        Insn::alu64(AluOp::Add, R2, -16),
        Insn::mov64(R3, 16),
        Insn::mov64(R4, 0),
        Insn::call(helper::RINGBUF_OUTPUT),
        Insn::mov64(R6, R0),
        Insn::mov64(R0, 0),
        Insn::exit(),
    ]);
    let relocs = vec![Reloc {
        insn,
        kind: RelocKind::Map(MAP1),
    }];
    program(object, ty, insns, relocs)
}

/// Repeats the last attach point until its program has so many that they share a link, where the
/// kernel has such links.
pub fn crowd(object: &mut Object) {
    for _ in 0..16 {
        object.attach.extend(object.attach.last().cloned());
    }
}

/// Loads an object.
pub fn load(object: Object) -> (Loaded, HostEnv) {
    let env = HostEnv::default();
    let options = LoadOptions {
        env: &env,
        pid: None,
        verbose: true,
        shared: None,
    };
    let loaded = Loaded::load(Arc::new(object), &options).unwrap();
    (loaded, env)
}

/// Whether the kernel has a map of this name.
pub fn map_named(name: &str) -> bool {
    use libbpf_sys as lib;
    let mut id = 0;
    loop {
        // SAFETY: `id` outlives the call.
        if unsafe { lib::bpf_map_get_next_id(id, &raw mut id) } != 0 {
            return false;
        }
        // SAFETY: takes a number.
        let fd = unsafe { lib::bpf_map_get_fd_by_id(id) };
        if fd < 0 {
            continue;
        }
        let mut info = lib::bpf_map_info::default();
        let mut size = size_of_val(&info) as u32;
        // SAFETY: `info` has `size` bytes and outlives the call; the descriptor is ours and is
        // not used after it is closed.
        let got = unsafe {
            let got = lib::bpf_map_get_info_by_fd(fd, &raw mut info, &raw mut size);
            libc::close(fd);
            got
        };
        let is = info.name.iter().map(|&c| c as u8).take_while(|&c| c != 0);
        if got == 0 && is.eq(name.bytes()) {
            return true;
        }
    }
}

/// The counters of [`counting_object`].
pub fn counts(loaded: &Loaded) -> Vec<u64> {
    use super::map::MapAccess;
    let mut out = vec![0; 64];
    loaded
        .maps
        .for_each(MAP0, &mut |k, v| {
            let slot = u32::from_ne_bytes(k.try_into().unwrap()) as usize;
            out[slot] = u64::from_ne_bytes(v.try_into().unwrap());
            Ok(())
        })
        .unwrap();
    out
}

/// Fails unless `workload` stops changing the counters, now that everything is detached. It gets
/// some tries: a process that another test starts has copies of our links until it executes.
pub fn assert_silent(loaded: &Loaded, workload: impl Fn()) {
    let mut seen = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let before = counts(loaded);
        workload();
        seen = (before, counts(loaded));
        if seen.0 == seen.1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("detached programs count on: {seen:?}");
}

/// A C program compiled for one test, deleted afterwards.
pub struct CProgram {
    dir: PathBuf,
    /// The executable.
    pub path: PathBuf,
}

impl CProgram {
    /// Compiles `source`; `None`, with the reason, where there is no compiler.
    pub fn compile(name: &str, source: &str, flags: &[&str]) -> Option<CProgram> {
        let dir = std::env::temp_dir().join(format!("rtrace-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (src, path) = (dir.join("t.c"), dir.join("t"));
        std::fs::write(&src, source).unwrap();
        let made = std::process::Command::new("cc")
            .args(["-O1", "-o"])
            .args([&path, &src])
            .args(flags)
            .status();
        match made {
            Ok(s) if s.success() => Some(CProgram { dir, path }),
            Ok(s) => panic!("cc failed: {s}"),
            Err(e) => {
                eprintln!("skipped: {name}: no C compiler: {e}");
                None
            }
        }
    }

    /// File offset of a function.
    pub fn offset(&self, symbol: &str) -> u64 {
        file_offset(&self.path, symbol)
    }
}

impl Drop for CProgram {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// File offset of a symbol in an ELF file, by segment.
pub fn file_offset(path: &Path, symbol: &str) -> u64 {
    use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
    let data = std::fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let addr = file
        .symbols()
        .find(|s| s.name() == Ok(symbol))
        .unwrap()
        .address();
    file.segments()
        .find(|s| (s.address()..s.address() + s.size()).contains(&addr))
        .map(|s| addr - s.address() + s.file_range().0)
        .unwrap()
}
