//! Every type of a kernel's BTF against bpftool, which reads the same blob with code of its own.
//!
//! The kernel is this machine's, or those whose blobs lie in the folder `RTRACE_BTF_DIR` names:
//! `tests/vm/all` puts there what it copied from other kernels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use rtrace::ctypes::model::{CType, NameSpace, TypeId, TypeSource};
use rtrace::env::Btf;
use rtrace::types::import::Importer;
use rtrace::types::{Type, TypeStore, size_of};

/// A struct, union or enum as bpftool prints it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    kind: String,
    name: String,
    size: u64,
    /// Members: name, type, offset in bits, width of a bitfield. Enumerators: name, 0, value.
    parts: Vec<(String, u32, u64, Option<u32>)>,
}

/// The value of ` key=` in a line.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let at = line.find(&format!(" {key}="))? + key.len() + 2;
    line[at..].split_ascii_whitespace().next()
}

fn number(line: &str, key: &str) -> u64 {
    let text = value(line, key).unwrap_or("0");
    let text = text.trim_end_matches(['U', 'L']);
    match text.strip_prefix('-') {
        Some(_) => text.parse::<i64>().unwrap().cast_unsigned(),
        None => text.parse().unwrap(),
    }
}

fn quoted(line: &str) -> String {
    let mut parts = line.split('\'');
    let name = parts.nth(1).unwrap();
    if name == "(anon)" { "" } else { name }.to_owned()
}

/// All structs, unions and enums that bpftool sees in a blob.
fn theirs(blob: &Path) -> HashMap<u32, Entry> {
    let out = Command::new("bpftool")
        .args(["btf", "dump", "file"])
        .arg(blob)
        .args(["format", "raw"])
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{err}");
    let text = String::from_utf8(out.stdout).unwrap();
    let mut all = HashMap::new();
    let mut current: Option<(u32, Entry)> = None;
    for line in text.lines() {
        if let Some(part) = line.strip_prefix('\t') {
            if let Some((_, e)) = &mut current {
                let at = if e.kind.starts_with("ENUM") {
                    "val"
                } else {
                    "bits_offset"
                };
                let width = value(part, "bitfield_size").map(|w| w.parse().unwrap());
                let ty = number(part, "type_id") as u32;
                e.parts.push((quoted(part), ty, number(part, at), width));
            }
            continue;
        }
        if let Some((id, e)) = current.take() {
            all.insert(id, e);
        }
        let (id, rest) = line[1..].split_once("] ").unwrap();
        let kind = rest.split(' ').next().unwrap();
        if matches!(kind, "STRUCT" | "UNION" | "ENUM" | "ENUM64") {
            let entry = Entry {
                kind: kind.to_owned(),
                name: quoted(line),
                size: number(line, "size"),
                parts: Vec::new(),
            };
            current = Some((id.parse().unwrap(), entry));
        }
    }
    all.extend(current);
    all
}

/// The same type as our reader has it.
fn ours(btf: &Btf, id: TypeId, kind: &str) -> Option<Entry> {
    let (name, parts) = match btf.ctype(id) {
        CType::Record { name, .. } => {
            let members = btf.members(id);
            let one = |m: &rtrace::ctypes::model::Member<'_>| {
                (m.name.to_owned(), m.ty.0, m.bit_offset, m.bits)
            };
            (name, members.iter().map(one).collect())
        }
        CType::Enum { name, .. } => {
            let variants = btf.variants(id);
            let one = |v: &rtrace::ctypes::model::Variant<'_>| {
                (v.name.to_owned(), 0, v.value.cast_unsigned(), None)
            };
            (name, variants.iter().map(one).collect())
        }
        _ => return None,
    };
    Some(Entry {
        kind: kind.to_owned(),
        name: name.to_owned(),
        size: btf.size(id)?,
        parts,
    })
}

fn blobs() -> Vec<PathBuf> {
    match std::env::var_os("RTRACE_BTF_DIR") {
        Some(dir) => std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect(),
        None => vec![PathBuf::from("/sys/kernel/btf/vmlinux")],
    }
}

#[test]
fn every_struct_union_and_enum_is_as_bpftool_says() {
    if Command::new("bpftool").arg("version").output().is_err() {
        eprintln!("SKIP: no bpftool to compare with");
        return;
    }
    for blob in blobs() {
        if !blob.exists() {
            eprintln!("SKIP: this kernel has no BTF");
            return;
        }
        let btf = Btf::open(&blob).unwrap();
        let theirs = theirs(&blob);
        assert!(
            theirs.len() > 5_000,
            "{}: only {}",
            blob.display(),
            theirs.len()
        );
        for (id, entry) in &theirs {
            let ours = ours(&btf, TypeId(*id), &entry.kind);
            assert_eq!(ours.as_ref(), Some(entry), "{}: type {id}", blob.display());
        }
        let records = theirs.values().filter(|e| !e.kind.starts_with("ENUM"));
        let members: usize = records.clone().map(|e| e.parts.len()).sum();
        eprintln!(
            "{}: {} structs and unions with {members} members, {} enums",
            blob.display(),
            records.count(),
            theirs
                .values()
                .filter(|e| e.kind.starts_with("ENUM"))
                .count()
        );
        imported(btf, &theirs);
    }
}

/// What scripts see: types by name, with the members that are filled in on demand.
fn imported(btf: Btf, theirs: &HashMap<u32, Entry>) {
    let btf = Rc::new(btf);
    let importer = Importer::default();
    let source = importer.add(btf.clone(), Some(0));
    let mut store = TypeStore::default();
    for (id, entry) in theirs {
        if entry.kind.starts_with("ENUM") {
            continue;
        }
        let ty = importer.import(&mut store, source, TypeId(*id));
        let Type::Struct(s) = ty else {
            panic!("{entry:?} became {ty:?}")
        };
        importer.fill(&mut store, s);
        assert_eq!(u64::from(size_of(&ty, &store)), entry.size, "{entry:?}");
        let def = store.struct_def(s);
        let fields = def.fields.as_ref().unwrap();
        let offsets = |e: &Entry| -> Vec<(String, u64, Option<u32>)> {
            e.parts.iter().map(|p| (p.0.clone(), p.2, p.3)).collect()
        };
        let got: Vec<_> = fields
            .iter()
            .map(|f| {
                let bits = f.bits.map(u32::from);
                (f.name.clone(), u64::from(f.bit_offset), bits)
            })
            .collect();
        assert_eq!(got, offsets(entry), "{entry:?}");
    }
    // A name means one of the types that have it.
    let mut by_name: HashMap<(NameSpace, &str), Vec<u32>> = HashMap::new();
    for (id, e) in theirs {
        let space = match e.kind.as_str() {
            "STRUCT" => NameSpace::Struct,
            "UNION" => NameSpace::Union,
            _ => NameSpace::Enum,
        };
        if !e.name.is_empty() {
            by_name.entry((space, &e.name)).or_default().push(*id);
        }
    }
    for ((space, name), ids) in by_name {
        let found = btf.find(space, name).unwrap_or_else(|| panic!("no {name}"));
        assert!(
            ids.contains(&found.0),
            "{name} is {found:?}, not of {ids:?}"
        );
    }
}
