//! The tables against gimli: on made-up registers and memory, both must find the same caller.

use std::time::Instant;

use super::*;
use crate::symbols::fixture;

/// A register's value: distinct and far apart.
fn register(r: gimli::Register) -> u64 {
    0x7000_0000_0000 + u64::from(r.0) * 0x10_0000
}

/// A word of memory: any function of the address will do.
fn memory(addr: u64) -> u64 {
    addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8
}

#[derive(Debug, PartialEq, Eq)]
struct Caller {
    cfa: u64,
    fp: Option<u64>,
    ra: Option<u64>,
}

/// What the table says; `None` if it cannot.
fn by_table(rule: &Rule, machine: &Machine, ip: u64) -> Option<Caller> {
    let (sp, fp) = (register(machine.sp), register(machine.fp));
    let at = |base: u64, offset: i32| base.wrapping_add_signed(offset.into());
    let cfa = match rule.cfa {
        Cfa::Sp(o) => at(sp, o),
        Cfa::Fp(o) => at(fp, o),
        Cfa::Register(r, o) => at(register(gimli::Register(r)), o),
        Cfa::DerefSp(o) => memory(at(sp, o)),
        Cfa::DerefFp(o) => memory(at(fp, o)),
        Cfa::Plt { base, pushed } => at(sp, base) + if ip & 15 >= pushed.into() { 8 } else { 0 },
        Cfa::Unsupported => return None,
    };
    let value = |saved: Saved, r: gimli::Register| match saved {
        Saved::Same => Some(register(r)),
        Saved::AtCfa(o) => Some(memory(at(cfa, o))),
        Saved::AtSp(o) => Some(memory(at(sp, o))),
        Saved::AtFp(o) => Some(memory(at(fp, o))),
        Saved::Undefined => None,
    };
    Some(Caller {
        cfa,
        fp: value(rule.fp, machine.fp),
        ra: value(rule.ra, machine.ra),
    })
}

fn evaluate(
    e: &UnwindExpression<usize>,
    frames: &EhFrame<Slice<'_>>,
    encoding: gimli::Encoding,
    machine: &Machine,
    ip: u64,
    initial: Option<u64>,
) -> u64 {
    let mut evaluation = e.get(frames).unwrap().evaluation(encoding);
    if let Some(value) = initial {
        evaluation.set_initial_value(value);
    }
    let mut state = evaluation.evaluate().unwrap();
    loop {
        state = match state {
            gimli::EvaluationResult::Complete => break,
            gimli::EvaluationResult::RequiresRegister { register: r, .. } => {
                let value = if r == machine.ra { ip } else { register(r) };
                evaluation
                    .resume_with_register(gimli::Value::Generic(value))
                    .unwrap()
            }
            gimli::EvaluationResult::RequiresMemory { address, .. } => evaluation
                .resume_with_memory(gimli::Value::Generic(memory(address)))
                .unwrap(),
            other => panic!("{other:?}"),
        };
    }
    match evaluation.result()[0].location {
        gimli::Location::Address { address } => address,
        ref other => panic!("{other:?}"),
    }
}

/// Every row of a file, at its first and last address. (Checked, unsupported.)
fn compare(elf: &ElfFile) -> (usize, usize) {
    let table = UnwindTable::build(elf).unwrap();
    let machine = Machine::of(elf).unwrap();
    let section = elf.section(".eh_frame").unwrap();
    let (frames, bases) = frames(elf, elf.raw_data(section));
    let mut context = UnwindContext::new();
    let (mut checked, mut unsupported) = (0, 0);
    let mut entries = frames.entries(&bases);
    while let Some(entry) = entries.next().unwrap() {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial
            .parse(|_, b, at| frames.cie_from_offset(b, at))
            .unwrap();
        if fde.initial_address() == 0 {
            continue;
        }
        let encoding = fde.cie().encoding();
        let mut rows = fde.rows(&frames, &bases, &mut context).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            for ip in [row.start_address(), row.end_address() - 1] {
                if row.start_address() == row.end_address() {
                    continue;
                }
                let rule = table.lookup(ip).copied().unwrap_or(Rule::NONE);
                let Some(ours) = by_table(&rule, &machine, ip) else {
                    unsupported += 1;
                    continue;
                };
                let eval = |e: &UnwindExpression<usize>, initial| {
                    evaluate(e, &frames, encoding, &machine, ip, initial)
                };
                let cfa = match row.cfa() {
                    gimli::CfaRule::RegisterAndOffset {
                        register: r,
                        offset,
                    } => register(*r).wrapping_add_signed(*offset),
                    gimli::CfaRule::Expression(e) => eval(e, None),
                };
                let value = |rule, r| match rule {
                    Some(RegisterRule::SameValue) => Some(register(r)),
                    Some(RegisterRule::Offset(o)) => Some(memory(cfa.wrapping_add_signed(o))),
                    Some(RegisterRule::Expression(e)) => Some(memory(eval(&e, Some(cfa)))),
                    None if r == machine.fp => Some(register(r)),
                    _ => None,
                };
                let theirs = Caller {
                    cfa,
                    fp: value(row.register(machine.fp), machine.fp),
                    ra: value(row.register(machine.ra), machine.ra),
                };
                assert_eq!(
                    ours,
                    theirs,
                    "{} at {ip:#x}: {rule:?}",
                    elf.path().display()
                );
                checked += 1;
            }
        }
    }
    (checked, unsupported)
}

#[test]
fn tables_agree_with_gimli_on_what_this_machine_runs() {
    for path in [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/bin/python3.11",
        "/lib64/ld-linux-x86-64.so.2",
    ] {
        let Some(path) = fixture::system(path) else {
            continue;
        };
        let (checked, unsupported) = compare(&ElfFile::open(path).unwrap());
        eprintln!(
            "{}: {checked} places, {unsupported} unsupported",
            path.display()
        );
        assert!(checked > 1000);
        // A handful of hand-written functions use expressions of their own.
        assert!(unsupported * 1000 <= checked, "{unsupported} of {checked}");
    }
}

#[test]
fn plt_stubs_and_signal_frames_have_rules() {
    let Some(path) = fixture::system("/usr/bin/python3.11") else {
        return;
    };
    let elf = ElfFile::open(path).unwrap();
    let table = UnwindTable::build(&elf).unwrap();
    if elf.section(".plt").is_some() {
        assert!(
            table
                .rules()
                .iter()
                .any(|r| matches!(r.cfa, Cfa::Plt { base: 8, .. }))
        );
    }
    let Some(path) = fixture::system("/lib/x86_64-linux-gnu/libc.so.6") else {
        return;
    };
    let table = UnwindTable::build(&ElfFile::open(path).unwrap()).unwrap();
    assert!(
        table
            .rules()
            .iter()
            .any(|r| r.signal && matches!(r.cfa, Cfa::DerefSp(_)))
    );
}

#[test]
fn gaps_between_functions_have_no_rule() {
    let Some(path) = fixture::compile("shapes-pie", "shapes.cpp", &["-g"]) else {
        return;
    };
    let elf = ElfFile::open(&path).unwrap();
    let table = UnwindTable::build(&elf).unwrap();
    let text = elf.section(".text").unwrap();
    assert_eq!(table.lookup(0), None);
    assert_eq!(table.lookup(text.addr + text.size + 4096), None);
    assert_eq!(table.lookup(u64::MAX), None);
    // The program's first function has no caller.
    assert_eq!(table.lookup(elf.entry()).unwrap().ra, Saved::Undefined);
}

#[test]
fn a_function_that_pushes_the_frame_pointer() {
    let flags = ["-fno-omit-frame-pointer", "-fno-inline"];
    let Some(path) = fixture::compile("shapes-fp", "shapes.cpp", &flags) else {
        return;
    };
    let elf = ElfFile::open(&path).unwrap();
    let index = crate::symbols::index::SymbolIndex::open(
        &path,
        &crate::symbols::debuglink::DebugDirs::none(),
    )
    .unwrap();
    let f = index.by_name("_ZN3geo3runEi").remove(0);
    let table = UnwindTable::build(&elf).unwrap();
    let entry = table.lookup(f.addr).unwrap();
    assert_eq!(
        (entry.cfa, entry.fp, entry.ra),
        (Cfa::Sp(8), Saved::Same, Saved::AtCfa(-8))
    );
    let inside: Vec<_> = (f.addr..f.addr + f.size)
        .filter_map(|a| table.lookup(a))
        .collect();
    assert!(
        inside
            .iter()
            .any(|r| r.cfa == Cfa::Fp(16) && r.fp == Saved::AtCfa(-16))
    );
}

#[test]
fn node_is_small_enough_for_a_map() {
    let Some(node) = fixture::system("/usr/bin/node") else {
        return;
    };
    let start = Instant::now();
    let table = UnwindTable::build(&ElfFile::open(node).unwrap()).unwrap();
    eprintln!(
        "node: {} rows, {} rules in {:?}",
        table.rows().len(),
        table.rules().len(),
        start.elapsed()
    );
    assert!(table.rows().len() > 100_000);
    assert!(table.rules().len() < 4096);
    assert!(table.rows().is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn damaged_tables_never_panic() {
    let Some(path) = fixture::compile("shapes-pie", "shapes.cpp", &["-g"]) else {
        return;
    };
    let good = std::fs::read(&path).unwrap();
    let elf = ElfFile::open(&path).unwrap();
    let s = elf.section(".eh_frame").unwrap();
    let range = s.offset as usize..(s.offset + s.size) as usize;
    let mut seed = 7u32;
    for _ in 0..500 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes[range.start + (seed >> 4) as usize % range.len()] = (seed >> 24) as u8;
        }
        let elf = ElfFile::from_bytes(bytes, &path).unwrap();
        if let Ok(table) = UnwindTable::build(&elf) {
            let _ = table.lookup(elf.entry());
        }
    }
}
