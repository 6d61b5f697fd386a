//! The machine: linked programs, maps, and the entry points of the outside.

use aya_obj::generated as uapi;

use super::access::Frame;
use super::fault::{Fault, FaultKind};
use super::map::Map;
use super::memory::{Kind, MAX_INDEX, Pointer};
use super::vm::{MAX_DEPTH, Regs, Run};
use super::world::World;
use crate::codegen::insn::{Insn, PseudoLoad};
use crate::error::{Error, Result};
use crate::object::{MapDef, MapId, Object, Program, ProgramId, ProgramType, Reloc, RelocKind};

/// Instructions a run may take unless [`Machine::set_budget`] says otherwise. Far above what
/// the kernel's verifier accepts in one path, near what `bpf_loop` can reach in a second.
pub const DEFAULT_BUDGET: u64 = 100_000_000;

/// A linked program.
#[derive(Debug)]
struct Code {
    ty: ProgramType,
    insns: Vec<Insn>,
}

/// A BPF machine with maps and programs.
#[derive(Debug)]
pub struct Machine {
    maps: Vec<Map>,
    programs: Vec<Code>,
    budget: u64,
    cpus: usize,
    // Kept from run to run, so that a run allocates nothing.
    frames: Vec<Frame>,
    spare: Vec<Vec<u8>>,
}

impl Machine {
    /// A machine with the maps and programs of `object`, its per-CPU maps for `cpus` CPUs.
    /// Fails where a definition is impossible or a program malformed.
    pub fn load(object: &Object, cpus: usize) -> Result<Machine> {
        Machine::new(&object.maps, &object.programs, cpus)
    }

    /// As [`load`](Self::load), from maps and programs alone. A load of a map that no
    /// relocation covers names the map by its index.
    pub fn new(maps: &[MapDef], programs: &[Program], cpus: usize) -> Result<Machine> {
        if maps.len() > MAX_INDEX {
            return Err(Error::invalid("too many maps"));
        }
        let cpus = cpus.max(1);
        let maps = maps
            .iter()
            .map(|def| Map::new(def, cpus))
            .collect::<Result<Vec<_>>>()?;
        let programs = programs
            .iter()
            .map(|p| {
                let insns = link(p, &maps).map_err(|e| e.context(format!("program {}", p.name)))?;
                Ok(Code { ty: p.ty, insns })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Machine {
            maps,
            programs,
            budget: DEFAULT_BUDGET,
            cpus,
            frames: Vec::with_capacity(MAX_DEPTH),
            spare: Vec::new(),
        })
    }

    /// Sets the number of instructions after which a run ends in a fault.
    pub fn set_budget(&mut self, instructions: u64) {
        self.budget = instructions;
    }

    /// Number of CPUs of per-CPU maps.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Runs a program on the context `ctx` and gives what it returns. The CPU is the world's,
    /// modulo the machine's. After a fault, maps hold what the program did until then and its
    /// reserved records are discarded.
    ///
    /// A program the machine does not have is a fault too ([`FaultKind::OutOfProgram`]).
    pub fn run(
        &mut self,
        program: ProgramId,
        ctx: &[u8],
        world: &mut dyn World,
    ) -> Result<u64, Fault> {
        let Some(code) = self.programs.get(program.0 as usize) else {
            return Err(Fault {
                insn: 0,
                kind: FaultKind::OutOfProgram,
            });
        };
        let cpu = world.cpu() as usize % self.cpus;
        let mut run = Run {
            code: &code.insns,
            maps: &mut self.maps,
            world,
            ctx,
            frames: &mut self.frames,
            depth: 0,
            keys: Vec::new(),
            spare: &mut self.spare,
            budget: self.budget,
            cpu,
            pc: 0,
            probe_mem: matches!(
                code.ty,
                ProgramType::TracingRawTp
                    | ProgramType::TracingFentry
                    | ProgramType::TracingFexit
                    | ProgramType::TracingIter
            ),
        };
        let at = Pointer::encode(Kind::Context, 0, 0);
        let mut result = run.call(0, Regs::with_args(&[at]));
        let insn = run.pc;
        for map in &mut self.maps {
            map.end_of_run();
            if let Some(ring) = map.ring()
                && ring.unreleased() > 0
            {
                ring.abandon();
                result = result.and(Err(FaultKind::UnreleasedRecord));
            }
        }
        result.map_err(|kind| Fault { insn, kind })
    }

    /// A map, to read.
    pub fn map(&self, id: MapId) -> Option<&Map> {
        self.maps.get(id.0 as usize)
    }

    /// A map, to change.
    pub fn map_mut(&mut self, id: MapId) -> Option<&mut Map> {
        self.maps.get_mut(id.0 as usize)
    }

    /// Hands all submitted records of a ring buffer to `f`, oldest first; how many there were.
    pub fn drain_ringbuf(&mut self, id: MapId, f: impl FnMut(&[u8])) -> usize {
        self.maps
            .get_mut(id.0 as usize)
            .and_then(Map::ring)
            .map_or(0, |ring| ring.drain(f))
    }
}

/// Decodes a program and replaces what stands for maps and functions by addresses.
fn link(program: &Program, maps: &[Map]) -> Result<Vec<Insn>> {
    let mut insns: Vec<Insn> = program.insns.iter().map(|&b| Insn::decode(b)).collect();
    let mut relocs = program.relocs.clone();
    relocs.sort_by_key(|r| r.insn);
    let mut slot = 0;
    while let Some(&i) = insns.get(slot) {
        if i.dst > 10 || i.src > 10 {
            return Err(malformed(slot, "no such register"));
        }
        if i.dst == 10
            && matches!(
                i.class(),
                uapi::BPF_ALU | uapi::BPF_ALU64 | uapi::BPF_LD | uapi::BPF_LDX
            )
        {
            return Err(malformed(slot, "writes to the frame pointer"));
        }
        if !i.is_ld_imm64() {
            slot += 1;
            continue;
        }
        let Some(&second) = insns.get(slot + 1) else {
            return Err(malformed(slot, "half of a 64-bit load"));
        };
        let reloc = relocs
            .binary_search_by_key(&(slot as u32), |r| r.insn)
            .ok()
            .and_then(|at| relocs.get(at));
        if let Some(value) = resolve(slot, i, second, reloc, maps)? {
            insns[slot] = Insn {
                src: 0,
                imm: value as i32,
                ..i
            };
            insns[slot + 1] = Insn {
                imm: (value >> 32) as i32,
                ..second
            };
        }
        slot += 2;
    }
    Ok(insns)
}

// The address that a 64-bit load stands for; `None` for a plain number and for what is left to
// fault when it is reached.
fn resolve(
    slot: usize,
    i: Insn,
    second: Insn,
    reloc: Option<&Reloc>,
    maps: &[Map],
) -> Result<Option<u64>> {
    let kind = match (reloc.map(|r| r.kind), PseudoLoad::from_src(i.src)) {
        (Some(kind), _) => kind,
        (None, Some(PseudoLoad::MapFd)) => RelocKind::Map(MapId(i.imm as u32)),
        (None, Some(PseudoLoad::MapValue)) => {
            RelocKind::MapValue(MapId(i.imm as u32), second.imm as u32)
        }
        (None, Some(PseudoLoad::Func)) => {
            let target = (slot + 1).wrapping_add_signed(i.imm as isize);
            return Ok(Some(Pointer::encode(Kind::Function, 0, target as u64)));
        }
        (None, Some(PseudoLoad::Imm | PseudoLoad::BtfId)) => return Ok(None),
        (None, None) => return Err(malformed(slot, "unknown kind of 64-bit load")),
    };
    let (RelocKind::Map(id) | RelocKind::MapValue(id, _)) = kind;
    let index = id.0 as usize;
    let Some(map) = maps.get(index) else {
        return Err(malformed(slot, "no such map"));
    };
    Ok(Some(match kind {
        RelocKind::Map(_) => Pointer::encode(Kind::Map, index, 0),
        RelocKind::MapValue(_, offset) => {
            Pointer::encode(Kind::MapValue, index, map.address(0, 0) + u64::from(offset))
        }
    }))
}

fn malformed(slot: usize, what: &str) -> Error {
    Error::invalid(format!("instruction {slot}: {what}"))
}
