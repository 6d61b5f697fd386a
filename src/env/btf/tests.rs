use super::build::Builder;
use super::*;
use crate::ctypes::model::{CType, NameSpace, RecordKind, TypeSource};
use crate::ctypes::render;

fn sample() -> Vec<u8> {
    let mut b = Builder::default();
    let int = b.int("int", 4, 1);
    let uint = b.int("unsigned int", 4, 0);
    let ch = b.int("char", 1, 1);
    let comm = b.array(ch, 16);
    let inner = b.record(Kind::Union, "", 8, &[("a", int, 0, 0), ("b", comm, 0, 0)]);
    let task = b.record(
        Kind::Struct,
        "task",
        32,
        &[
            ("pid", int, 0, 0),
            ("low", uint, 32, 3),
            ("high", uint, 35, 5),
            ("", inner, 64, 0),
        ],
    );
    let user = b.wrap(Kind::TypeTag, "user", task);
    let ptr = b.wrap(Kind::Ptr, "", user);
    b.enumeration("kind", 4, &[("KIND_A", 0), ("KIND_B", -3)]);
    b.enumeration("", 8, &[("BIG", i64::MIN)]);
    let proto = b.function_type(TypeId::VOID, &[("", ptr), ("", int), ("", ptr)]);
    let pproto = b.wrap(Kind::Ptr, "", proto);
    b.wrap(Kind::Typedef, "btf_trace_wake", pproto);
    b.function(
        "__traceiter_wake",
        int,
        &[("__data", ptr), ("cpu", int), ("t", ptr)],
    );
    b.finish()
}

fn open(bytes: Vec<u8>) -> Btf {
    Btf::from_bytes(bytes, None).unwrap()
}

#[test]
fn members_through_anonymous_unions_and_bitfields() {
    let btf = open(sample());
    let task = btf.find(NameSpace::Struct, "task").unwrap();
    assert_eq!(btf.size(task), Some(32));
    let at = |name| btf.field(task, name).map(|m| (m.bit_offset, m.bits));
    assert_eq!(at("high"), Some((35, Some(5))));
    assert_eq!(at("b"), Some((64, None)));
    assert_eq!(at("nope"), None);
    let names: Vec<_> = btf.fields(task).iter().map(|m| m.name).collect();
    assert_eq!(names, ["pid", "low", "high", "a", "b"]);
}

#[test]
fn constants_and_tracepoints_by_name() {
    let btf = open(sample());
    assert_eq!(btf.constant("KIND_B").unwrap().value, -3);
    assert_eq!(btf.constant("BIG").unwrap().value, i64::MIN);
    assert_eq!(btf.constant("KIND"), None);
    let tp = btf.raw_tracepoint("wake").unwrap();
    let names: Vec<_> = tp.params.iter().map(|p| p.name).collect();
    assert_eq!(names, ["cpu", "t"]);
    assert_eq!(
        render::type_name(&btf, tp.params[1].ty),
        "__user struct task *"
    );
    assert_eq!(btf.raw_tracepoints(), ["wake"]);
}

#[test]
fn definitions_read_as_c() {
    let btf = open(sample());
    let task = btf.find(NameSpace::Struct, "task").unwrap();
    assert_eq!(
        render::definition(&btf, task),
        "struct task {\n\tint pid;\n\tunsigned int low: 3;\n\tunsigned int high: 5;\n\tunion {\n\
         \t\tint a;\n\t\tchar b[16];\n\t};\n};\n"
    );
    let kind = btf.find(NameSpace::Enum, "kind").unwrap();
    assert_eq!(
        render::definition(&btf, kind),
        "enum kind {\n\tKIND_A = 0,\n\tKIND_B = -3,\n};\n"
    );
}

#[test]
fn names_found_by_scan_and_by_table_agree() {
    let btf = open(sample());
    // More distinct questions than the scans that come before the table.
    for i in 0..40 {
        assert_eq!(btf.find(NameSpace::Struct, &format!("none{i}")), None);
    }
    let task = btf.find(NameSpace::Struct, "task").unwrap();
    assert!(matches!(
        btf.ctype(task),
        CType::Record {
            kind: RecordKind::Struct,
            name: "task",
            size: 32
        }
    ));
    assert_eq!(btf.find(NameSpace::Union, "task"), None);
    assert_eq!(btf.constant("KIND_B").unwrap().value, -3);
}

#[test]
fn a_module_continues_its_base() {
    let base = Arc::new(open(sample()));
    let mut b = Builder::on(&base);
    let task = base.find(NameSpace::Struct, "task").unwrap();
    b.record(Kind::Struct, "mine", 40, &[("t", task, 64, 0)]);
    let module = Btf::from_bytes(b.finish(), Some(base.clone())).unwrap();
    let mine = module.find(NameSpace::Struct, "mine").unwrap();
    assert_eq!(mine.0, base.end_id());
    let t = module.field(mine, "t").unwrap();
    assert_eq!(render::type_name(&module, t.ty), "struct task");
    assert_eq!(module.find(NameSpace::Struct, "task"), Some(task));
    assert_eq!(base.find(NameSpace::Struct, "mine"), None);
}

/// Asks everything of a blob; the point is that it returns.
fn walk(btf: &Btf) {
    for id in 0..btf.end_id().min(200) {
        let id = TypeId(id);
        _ = btf.size(id);
        _ = btf.align(id);
        _ = btf.fields(id);
        _ = render::definition(btf, id);
    }
    for name in ["task", "KIND_B", "wake"] {
        _ = btf.find(NameSpace::Struct, name);
        _ = btf.constant(name);
        _ = btf.raw_tracepoint(name);
        _ = btf.function(name);
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let good = sample();
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            if let Ok(btf) = Btf::from_bytes(bad, None) {
                walk(&btf);
            }
        }
        if let Ok(btf) = Btf::from_bytes(good[..at].to_vec(), None) {
            walk(&btf);
        }
    }
}

#[test]
fn what_is_not_btf_is_refused() {
    let refused = |bytes: &[u8]| {
        Btf::from_bytes(bytes.to_vec(), None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(b"abc"), "too short for a BTF header");
    assert_eq!(refused(&[0x7f; 64]), "not BTF: wrong magic number");
    let mut swapped = sample();
    swapped.swap(0, 1);
    assert_eq!(refused(&swapped), "BTF of the other byte order");
}

/// The kernel's own BTF, or a loud skip.
fn kernel() -> Option<Btf> {
    match Btf::open(Path::new(SYSFS).join("vmlinux")) {
        Ok(btf) => Some(btf),
        Err(e) => {
            eprintln!("SKIP: no kernel BTF: {e}");
            None
        }
    }
}

/// Every record and member of this kernel as bpftool reads them: `[id] STRUCT 'name' size=..
/// vlen=..` followed by one line a member.
#[test]
fn every_record_of_this_kernel_is_as_bpftool_says() {
    let Some(btf) = kernel() else { return };
    let out = std::process::Command::new("bpftool")
        .args([
            "btf",
            "dump",
            "file",
            "/sys/kernel/btf/vmlinux",
            "format",
            "raw",
        ])
        .output();
    let Ok(out) = out else {
        eprintln!("SKIP: no bpftool to compare with");
        return;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    let value = |line: &str, key: &str| -> Option<u64> {
        let rest = &line[line.find(key)? + key.len()..];
        let end = rest.find(' ').unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    let mut records = 0;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((id, rest)) = line.strip_prefix('[').and_then(|l| l.split_once("] ")) else {
            continue;
        };
        let id = TypeId(id.parse().unwrap());
        assert_eq!(
            format!("{:?}", btf.kind(id)).to_uppercase(),
            rest.split(' ').next().unwrap().replace('_', ""),
            "{line}"
        );
        if !rest.starts_with("STRUCT") && !rest.starts_with("UNION") {
            continue;
        }
        records += 1;
        assert_eq!(btf.size(id), value(rest, "size="), "{line}");
        let members = btf.members(id);
        assert_eq!(
            members.len() as u64,
            value(rest, "vlen=").unwrap(),
            "{line}"
        );
        for m in members {
            let want = lines.next().unwrap();
            let name = if m.name.is_empty() { "(anon)" } else { m.name };
            assert!(
                want.starts_with(&format!("\t'{name}' type_id={}", m.ty.0)),
                "{line}: {want}"
            );
            assert_eq!(
                Some(m.bit_offset),
                value(want, "bits_offset="),
                "{line}: {want}"
            );
            let bits = value(want, "bitfield_size=").filter(|&b| b != 0);
            assert_eq!(m.bits.map(u64::from), bits, "{line}: {want}");
        }
    }
    assert!(records > 1000, "bpftool printed {records} records");
    let last = text
        .lines()
        .rev()
        .find_map(|l| l.strip_prefix('[')?.split(']').next());
    assert_eq!(last.unwrap().parse::<u32>().unwrap() + 1, btf.end_id());
}

#[test]
fn this_kernel_answers_what_probes_ask() {
    let Some(btf) = kernel() else { return };
    let switch = btf.raw_tracepoint("sched_switch").unwrap();
    let args: Vec<_> = switch
        .params
        .iter()
        .map(|p| render::declaration(&btf, p.ty, p.name))
        .collect();
    assert_eq!(args[1], "struct task_struct *prev");
    assert_eq!(btf.constant("PIDTYPE_SID").unwrap().value, 3);
    let pid_t = btf.find(NameSpace::Ordinary, "pid_t").unwrap();
    assert_eq!(btf.size(pid_t), Some(4));
    let read = btf.function("vfs_read").unwrap();
    assert_eq!(
        render::declaration(&btf, read.params[0].ty, read.params[0].name),
        "struct file *file"
    );
    assert_eq!(render::type_name(&btf, read.ret), "ssize_t");
    let (_, context) = btf.iterator("task").unwrap();
    assert!(btf.field(context, "task").is_some());
    // The scan and the hash table give the same answers for every named struct.
    let structs: Vec<_> = btf
        .of_kind(Kind::Struct)
        .filter(|s| !s.1.is_empty())
        .collect();
    for (id, name) in structs.iter().step_by(7) {
        let found = btf.find(NameSpace::Struct, name).unwrap();
        assert!(found <= *id && btf.name(found) == *name, "{name}");
    }
}

/// The definitions that bpftool prints as C. It adds nameless bitfields for padding and attributes
/// that BTF does not hold, which are left out of the comparison.
#[test]
fn definitions_of_this_kernel_read_as_bpftools() {
    let Some(btf) = kernel() else { return };
    let out = std::process::Command::new("bpftool")
        .args([
            "btf",
            "dump",
            "file",
            "/sys/kernel/btf/vmlinux",
            "format",
            "c",
        ])
        .output();
    let Ok(out) = out else {
        eprintln!("SKIP: no bpftool to compare with");
        return;
    };
    let text = String::from_utf8(out.stdout).unwrap();
    let plain = |text: &str| -> String {
        text.lines()
            .filter(|l| {
                let l = l.trim_start();
                !["long: ", "int: ", "short: ", "char: "]
                    .iter()
                    .any(|p| l.starts_with(p))
            })
            .map(|l| l.replace(" __attribute__((packed))", ""))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (mut same, mut different) = (0, Vec::new());
    for block in text.split("\n\n").map(str::trim) {
        let mut words = block.split(' ');
        let space = match words.next() {
            Some("struct") => NameSpace::Struct,
            Some("union") => NameSpace::Union,
            Some("enum") => NameSpace::Enum,
            _ => continue,
        };
        let (Some(name), Some("{\n")) = (words.next(), words.next().map(|w| &w[..w.len().min(2)]))
        else {
            continue;
        };
        let Some(id) = btf.find(space, name) else {
            continue;
        };
        if plain(block) == plain(render::definition(&btf, id).trim_end()) {
            same += 1;
        } else {
            different.push(name);
        }
    }
    // Types of one name with two definitions are told apart by bpftool and not by a lookup.
    eprintln!("{same} equal, different: {different:?}");
    assert!(
        same > 1000 && different.len() * 200 < same,
        "{same} {different:?}"
    );
}
