//! `-d object` and `-d bpf`: a compiled program as text.
//!
//! The stages before have printers of their own; this shows what the runtime gets.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::codegen::disasm::{self, Names};
use crate::codegen::insn::Insn;
use crate::object::{Loc, MapRole, Object, Program, RelocKind};

/// Maps, events, failure sites and attach points.
pub fn object(object: &Object) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for (i, map) in object.maps.iter().enumerate() {
        let role = match &map.role {
            MapRole::User(user) => {
                let key = user.key.as_ref().map(|k| format!("{k:?} -> "));
                format!("{}: {}{:?}", user.name, key.unwrap_or_default(), user.value)
            }
            role => format!("{role:?}"),
        };
        let _ = writeln!(
            out,
            "map{i} {:?} key {} value {} entries {} {role}",
            map.kind, map.key_size, map.value_size, map.max_entries
        );
    }
    for (i, event) in object.events.iter().enumerate() {
        let at = place(object, event.loc);
        let _ = writeln!(
            out,
            "event{i} {} bytes at {at}: {:?}",
            event.size, event.kind
        );
    }
    for (i, site) in object.sites.iter().enumerate() {
        let at = place(object, site.loc);
        let _ = writeln!(out, "site{i} {:?} {} at {at}", site.kind, site.helper);
    }
    for (i, point) in object.attach.iter().enumerate() {
        let _ = writeln!(
            out,
            "attach{i} {} -> program{}: {:?}",
            point.name, point.program.0, point.attach
        );
    }
    out
}

/// The programs, instruction by instruction.
pub fn bpf(object: &Object) -> String {
    let mut out = String::new();
    for (i, program) in object.programs.iter().enumerate() {
        let _ = writeln!(
            out,
            "program{i} {} {:?}, {} instructions",
            program.name,
            program.ty,
            program.insns.len()
        );
        let mut insns: Vec<Insn> = program.insns.iter().map(|&b| Insn::decode(b)).collect();
        // Maps are known by number until they are loaded.
        for reloc in &program.relocs {
            let (RelocKind::Map(map) | RelocKind::MapValue(map, _)) = reloc.kind;
            if let Some(insn) = insns.get_mut(reloc.insn as usize) {
                insn.imm = map.0 as i32;
            }
        }
        out.push_str(&disasm::listing(&insns, &ObjectNames { object, program }));
        out.push('\n');
    }
    out
}

struct ObjectNames<'a> {
    object: &'a Object,
    program: &'a Program,
}

impl Names for ObjectNames<'_> {
    fn map(&self, fd: i32) -> Option<Cow<'_, str>> {
        let map = self.object.maps.get(usize::try_from(fd).ok()?)?;
        Some(Cow::Borrowed(match &map.role {
            MapRole::User(user) => &user.name,
            _ => &map.name,
        }))
    }

    fn function(&self, slot: usize) -> Option<Cow<'_, str>> {
        let at = u32::try_from(slot).ok()?;
        let funcs = &self.program.funcs;
        let i = funcs.binary_search_by_key(&at, |f| f.insn).ok()?;
        Some(Cow::Borrowed(&funcs[i].name))
    }

    fn source(&self, slot: usize) -> Option<Cow<'_, str>> {
        let at = u32::try_from(slot).ok()?;
        let lines = &self.program.lines;
        let i = lines.partition_point(|l| l.insn <= at).checked_sub(1)?;
        let loc = lines[i].loc;
        let (_, text) = self.object.sources.get(loc.file as usize)?;
        let line = text.lines().nth((loc.line as usize).checked_sub(1)?)?;
        Some(Cow::Borrowed(line.trim()))
    }
}

fn place(object: &Object, loc: Loc) -> String {
    let name = object.sources.get(loc.file as usize);
    let name = name.map_or("", |(name, _)| name);
    format!("{name}:{}:{}", loc.line, loc.col)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Attach, ProgramType};
    use crate::runtime::testing;

    #[test]
    fn maps_and_functions_have_names() {
        let mut o = testing::counting_object();
        let p = testing::emitter(&mut o, ProgramType::RawTracepoint, 0, 1);
        testing::attach(&mut o, p, Attach::Begin);
        let text = object(&o);
        assert!(
            text.starts_with("map0 Array key 4 value 8 entries 64"),
            "{text}"
        );
        assert!(
            text.contains("attach0 Begin -> program0: Begin\n"),
            "{text}"
        );
        o.maps[1].name = "events".into();
        let text = bpf(&o);
        assert!(
            text.starts_with("program0 test_0 RawTracepoint, "),
            "{text}"
        );
        assert!(text.contains("events"), "{text}");
    }
}
