//! Scripts and what checking says of them.

use std::collections::HashMap;

use super::env::{ArgField, ArgSource, Facts, FunctionQuery, Options, UserFunction};
use super::{Checked, SemaContext, check, hir};
use crate::diag::Diagnostics;
use crate::object::TargetFile;
use crate::source::SourceMap;
use crate::types::{
    AddrSpace, EnumDef, EnumId, Field, StructDef, StructId, StructKind, Type, TypeStore,
};

/// A machine with one struct, one enum, two trace events and one program.
struct Fake;

impl Facts for Fake {
    fn find_struct(&self, store: &mut TypeStore, kind: StructKind, name: &str) -> Option<StructId> {
        if name != "task_struct" || kind != StructKind::Struct {
            return None;
        }
        let def = StructDef {
            kind,
            name: name.into(),
            size: 64,
            align: 8,
            fields: None,
            btf: None,
        };
        Some(store.add_struct(def))
    }

    fn fill(&self, store: &mut TypeStore, id: StructId) {
        let field = |name: &str, ty, offset: u32, bits| Field {
            name: name.into(),
            ty,
            bit_offset: offset,
            bits,
            data_loc: false,
        };
        let parent = Type::Struct(id).ptr_in(AddrSpace::None);
        let fields = vec![
            field("pid", Type::I32, 0, None),
            field("tgid", Type::I32, 32, None),
            field("comm", Type::Array(Type::int(true, 1).into(), 16), 64, None),
            field("real_parent", parent.clone(), 192, None),
            field("group_leader", parent, 256, None),
            field("flag", Type::U32, 330, Some(3)),
            field("mac", Type::Array(Type::int(false, 1).into(), 6), 384, None),
        ];
        store.struct_def_mut(id).fields = Some(fields);
    }

    fn find_enum(&self, store: &mut TypeStore, name: &str) -> Option<EnumId> {
        (name == "pid_type").then(|| {
            store.add_enum(EnumDef {
                name: name.into(),
                size: 4,
                signed: false,
                variants: vec![("PIDTYPE_PID".into(), 0), ("PIDTYPE_SID".into(), 3)],
            })
        })
    }

    fn constant(&self, store: &mut TypeStore, name: &str) -> Option<(EnumId, i64)> {
        let value = match name {
            "PIDTYPE_PID" => 0,
            "PIDTYPE_SID" => 3,
            _ => return None,
        };
        let id = match store.find_enum("pid_type") {
            Some(id) => id,
            None => self.find_enum(store, "pid_type")?,
        };
        Some((id, value))
    }

    fn tracepoints(&self, category: &str, event: &str) -> Vec<(String, String)> {
        let all = [("sched", "switch"), ("sched", "wakeup")];
        all.into_iter()
            .filter(|(c, e)| {
                crate::env::wildcard::matches(category, c)
                    && crate::env::wildcard::matches(event, e)
            })
            .map(|(c, e)| (c.to_owned(), e.to_owned()))
            .collect()
    }

    fn tracepoint_fields(
        &self,
        _store: &mut TypeStore,
        _category: &str,
        event: &str,
    ) -> Option<Vec<ArgField>> {
        let at = if event == "switch" { 8 } else { 16 };
        Some(vec![
            ArgField {
                name: "prio".into(),
                ty: Type::I32,
                source: ArgSource::Offset(at),
            },
            ArgField {
                name: "name".into(),
                ty: Type::Str(0),
                source: ArgSource::DataLoc(at + 4),
            },
        ])
    }

    fn kernel_symbol(&self, name: &str) -> Option<u64> {
        (name == "avenrun").then_some(0xffff_ffff_8000_0000)
    }

    fn user_targets(&self, target: &str) -> Result<Vec<TargetFile>, String> {
        if target != "/bin/x" {
            return Err(format!(
                "uprobe target file '{target}' does not exist or is not executable"
            ));
        }
        Ok(vec![TargetFile::new("/bin/x")])
    }

    fn user_symbol(&self, _file: &TargetFile, name: &str) -> Option<(u64, u64, bool)> {
        (name == "moves").then_some((0x404000, 4, true))
    }

    fn user_functions(
        &self,
        _file: &TargetFile,
        query: FunctionQuery<'_>,
    ) -> Result<Vec<UserFunction>, Vec<String>> {
        let f = |name: &str, address: u64, demangled: Option<&str>| UserFunction {
            name: name.into(),
            demangled: demangled.map(str::to_owned),
            address,
            size: 16,
            offset: address - 0x400000,
        };
        let all = [
            f("main", 0x401000, None),
            f("alias", 0x401000, None),
            f("_Z1fi", 0x402000, Some("f(int)")),
            f("_Z1fv", 0x403000, Some("f()")),
        ];
        Ok(all
            .into_iter()
            .filter(|f| match query {
                FunctionQuery::Linked(p) => crate::env::wildcard::matches(p, &f.name),
                FunctionQuery::Cpp(p) => f
                    .demangled
                    .as_deref()
                    .is_some_and(|d| d == p || d.split('(').next() == Some(p)),
            })
            .collect())
    }
}

fn run_with(script: &str, options: &Options) -> (Checked, Diagnostics) {
    let mut sources = SourceMap::default();
    let file = sources.add("stdin", script);
    let parsed = crate::syntax::parse(file, script);
    let mut diags = parsed.diags;
    let program = crate::syntax::expand::expand(parsed.program, None, &mut diags);
    assert!(!diags.has_errors(), "{script}: {diags:?}");
    let cx = SemaContext {
        sources: &sources,
        facts: &Fake,
        options,
    };
    (check(&program, &cx), diags)
}

fn run(script: &str) -> Checked {
    run_with(script, &Options::default()).0
}

/// Messages of all diagnostics, errors first.
fn says(script: &str) -> Vec<String> {
    run(script)
        .diags
        .sorted()
        .iter()
        .map(|d| d.message.clone())
        .collect()
}

fn program(script: &str) -> hir::Program {
    let checked = run(script);
    match checked.program {
        Some(p) => p,
        None => panic!("{script}: {:?}", checked.diags),
    }
}

/// Types of all maps and of the variables of the first probe.
fn types(script: &str) -> HashMap<String, String> {
    let p = program(script);
    let mut out = HashMap::new();
    for m in &p.maps {
        let key = match &m.key {
            Some(k) => format!("[{}]", k.display(&p.types)),
            None => String::new(),
        };
        out.insert(
            m.name.clone(),
            format!("{}{key}", m.value.display(&p.types)),
        );
    }
    for l in &p.probes[0].locals {
        out.insert(l.name.clone(), l.ty.display(&p.types).to_string());
    }
    out
}

#[track_caller]
fn typed(script: &str, wanted: &[(&str, &str)]) {
    let got = types(script);
    for (name, ty) in wanted {
        assert_eq!(
            got.get(*name).map(String::as_str),
            Some(*ty),
            "{name} in {script}"
        );
    }
}

#[track_caller]
fn fails(script: &str, wanted: &[&str]) {
    assert_eq!(says(script), wanted, "{script}");
}

#[test]
fn literals_and_inference() {
    typed(
        "begin { $x = 1; @a = 300; @b = -1; }",
        &[("$x", "int8"), ("@a", "int16"), ("@b", "int8")],
    );
    typed("begin { @x = 1; @x = -1; }", &[("@x", "int8")]);
    typed("begin { $x = 1; $x = (uint64)2; }", &[("$x", "uint64")]);
    typed(
        "begin { $x = \"a\"; $x = \"abcdef\"; }",
        &[("$x", "string[7]")],
    );
    typed(
        "begin { @x[1,\"a\"] = 1; @x[(uint16)300, \"bcd\"] = 2 }",
        &[("@x", "int8[(uint16,string[4])]")],
    );
    typed(
        "begin { @x++; @y[1]--; $z = nsecs; }",
        &[("@x", "int64"), ("@y", "int64[int8]"), ("$z", "uint64")],
    );
    typed(
        "begin { $a = nsecs - 1; $b = cpu + 1; $c = 5; $d = $c * 2; }",
        &[("$a", "int64"), ("$b", "uint64"), ("$d", "int64")],
    );
    typed(
        "begin { @s = sum(-1); @t = sum(cpu); @h = hist(5); @c = count() }",
        &[
            ("@s", "sum_t"),
            ("@t", "usum_t"),
            ("@h", "hist_t"),
            ("@c", "count_t"),
        ],
    );
    typed(
        "begin { $t = (1, \"a\"); $u = $t.1; $r = (a=1, b=true); $v = $r.b }",
        &[
            ("$t", "(int8,string[2])"),
            ("$u", "string[2]"),
            ("$v", "bool"),
        ],
    );
}

#[test]
fn later_uses_reach_earlier_ones() {
    typed("begin { $x = @m; @m = (uint64)1; }", &[("$x", "uint64")]);
    typed(
        "begin { for $kv : @m { $k = $kv.0; $v = $kv.1 } @m[cpu] = \"abc\"; }",
        &[("$kv", "(uint64,string[4])")],
    );
}

#[test]
fn folding() {
    fails(
        "begin { $x = 1 / 0; }",
        &["unable to fold literals due to overflow or underflow"],
    );
    fails(
        "begin { $x = 1 << 64; }",
        &["unable to fold literals due to overflow or underflow"],
    );
    typed(
        "begin { $a = 1 << 63; $b = ~5; $c = -7 / 2; $d = \"a\" == \"a\"; $e = -1 == 4294967295 }",
        &[
            ("$a", "uint64"),
            ("$b", "uint64"),
            ("$c", "int8"),
            ("$d", "bool"),
            ("$e", "bool"),
        ],
    );
}

#[test]
fn mismatches() {
    fails(
        "begin { $x = 1; $x = \"a\"; }",
        &[
            "Type mismatch for $x: trying to assign value of type 'string[2]' when variable already has a type 'int8'",
        ],
    );
    fails(
        "begin { @x = 1; @x = \"a\"; }",
        &[
            "Type mismatch for @x: trying to assign value of type 'string[2]' when map already has a type 'int8'",
        ],
    );
    fails(
        "begin { @a[1] = 1; @a[1,2] = 1; }",
        &[
            "Argument mismatch for @a: trying to access with arguments: '(int8,int8)' when map expects arguments: 'int8'",
        ],
    );
    fails(
        "begin { @a[1] = 1; @a = 1; }",
        &[
            "@a used as a map without an explicit key (scalar map), previously used with an explicit key (non-scalar map)",
        ],
    );
    fails(
        "begin { @a = 1; @a[1] = 1; }",
        &[
            "@a used as a map with an explicit key (non-scalar map), previously used without an explicit key (scalar map)",
        ],
    );
    fails(
        "begin { let $x: int8 = 300; }",
        &[
            "Type mismatch for $x: trying to assign value of type 'int16' when variable already has a type 'int8'",
        ],
    );
    fails(
        "begin { $x = 1; $y = $x == \"a\"; }",
        &["Type mismatch for '==': comparing int8 with string[2]"],
    );
    fails(
        "begin { $x = comm; $y = $x < comm }",
        &["The < operator can not be used on expressions of types string[16], string[16]"],
    );
    fails(
        "begin { $c = cpu; $x = $c ? 1 : \"a\"; }",
        &["Branches must return the same type or compatible types: have 'int8' and 'string[2]'"],
    );
    fails("begin { if (comm) { } }", &["Invalid condition: string"]);
}

#[test]
fn names_and_scopes() {
    fails(
        "begin { $y = $x; }",
        &["Undefined or undeclared variable: $x"],
    );
    fails(
        "begin { if (cpu) { $x = 1; } $y = $x; }",
        &["Undefined or undeclared variable: $x"],
    );
    fails("begin { print(@y); }", &["Undefined map: @y"]);
    fails(
        "begin { let $x = 1; if (cpu) { let $x = 2; } }",
        &[
            "Variable $x was already declared. Variable shadowing is not allowed.",
            "This is the initial declaration.",
        ],
    );
    fails(
        "begin { $i = 1; for $i : 0..5 { } }",
        &[
            "Loop declaration shadows existing variable: $i",
            "This is the initial assignment.",
        ],
    );
    fails(
        "begin { break; }",
        &["'break' statement is not allowed in a probe"],
    );
    fails("begin { let $x; }", &["Variable $x was never assigned to."]);
    fails("begin { foo(); }", &["Unknown function: 'foo'"]);
    fails("begin { return; print(1); }", &["Unreachable statement."]);
    fails("begin { exit(); print(1); }", &["Unreachable statement."]);
    fails("begin { 5; }", &["Return value discarded."]);
    fails(
        "begin { @x[1] = 1; delete(@x, 1); @x[2]++; _ = has_key(@x, 1); }",
        &[],
    );
}

#[test]
fn calls() {
    fails(
        "begin { print(); }",
        &["print() requires at least one argument (0 provided)"],
    );
    fails(
        "begin { @x = count(1); }",
        &["count() requires no arguments (1 provided)"],
    );
    fails(
        "begin { count(); }",
        &["count() must be assigned directly to a map"],
    );
    fails(
        "begin { printf(5); }",
        &["printf() expects a string literal (int provided)"],
    );
    fails(
        "begin { @x = sum(\"a\"); }",
        &["sum() only supports integer arguments (string[2] provided)"],
    );
    fails(
        "begin { printf(\"%d\\n\"); }",
        &["not enough arguments for format string (0 supplied, 1 expected)"],
    );
    fails(
        "begin { printf(\"%d\", \"a\"); }",
        &["unsupported format specifier for type 'string[2]': d"],
    );
    fails("begin { clear(5); }", &["clear() expects a map argument"]);
    fails(
        "begin { system(\"ls\"); }",
        &["system() is an unsafe function being used in safe mode"],
    );
    fails("begin { @h = hist(1, 9); }", &["hist: bits 9 must be 0..5"]);
    fails(
        "begin { @h = lhist(1, 10, 5, 1); }",
        &["lhist() min must be less than max (provided min 10 and max 5)"],
    );
    fails(
        "begin { print(kstack(foo)); }",
        &[
            "Error parsing stack mode: kstack: Invalid value for stack_mode: valid values are bpftrace, raw, perf, and build_id.",
        ],
    );
    fails(
        "begin { print(nsecs(foo)); }",
        &["Invalid timestamp mode: foo"],
    );
    fails(
        "begin { print(kaddr(\"nope\")); }",
        &["Failed to resolve kernel symbol: nope"],
    );
    fails(
        "begin { print(1, 2); }",
        &["Non-map print() only takes 1 argument, 2 found"],
    );
    fails(
        "begin { @h[1] = hist(5); print(@h[1]); }",
        &[
            "Map type hist_t cannot print the value of individual keys. You must print the whole map.",
        ],
    );
}

#[test]
fn context_of_probes() {
    fails(
        "begin { print(args.x); }",
        &[
            "The args builtin can only be used with tracepoint, rawtracepoint, fentry/fexit, and uprobe probes (special used here)",
        ],
    );
    fails(
        "begin { print(arg0); }",
        &["The arg0 builtin can only be used with 'kprobes', 'uprobes' and 'usdt' probes"],
    );
    fails(
        "begin { print(retval); }",
        &[
            "The retval builtin can only be used with 'kretprobe' and 'uretprobe' and 'fentry' probes",
        ],
    );
    fails(
        "begin { print(func); }",
        &["The func builtin can not be used with 'begin' probes"],
    );
    fails(
        "begin { print(reg(\"ip\")); }",
        &["reg can not be used with \"begin\" probes"],
    );
    typed(
        "tracepoint:sched:switch { $p = args.prio; $n = args.name; }",
        &[("$p", "int32"), ("$n", "string[1024]")],
    );
    fails(
        "tracepoint:sched:switch { print(args); }",
        &["struct tracepoint:sched:switch_args type passed to print() is not printable"],
    );
    fails(
        "tracepoint:sched:switch { print(args.nope); }",
        &[
            "Struct/union of type 'struct tracepoint:sched:switch_args' does not contain a field named 'nope'",
        ],
    );
    typed(
        "begin { $c = curtask.comm; $p = curtask->real_parent->tgid; $q = ppid; $f = curtask.flag }",
        &[
            ("$c", "string[17]"),
            ("$p", "int32"),
            ("$q", "uint32"),
            ("$f", "uint32"),
        ],
    );
    fails(
        "begin { print(curtask.nope); }",
        &["Struct/union of type 'struct task_struct' does not contain a field named 'nope'"],
    );
}

#[test]
fn attach_points() {
    fails("foo:bar { }", &["Invalid probe type: foo"]);
    fails(
        "begin:x { }",
        &["begin probe type requires 0 arguments, found 1"],
    );
    fails(
        "tracepoint:a:b { }",
        &[
            "No matches for tracepoint a:b.",
            "Probe has no valid attach points. If this is expected, set the 'missing_probes' config variable to 'warn'.",
        ],
    );
    fails(
        "tracepoint:a:* { }",
        &[
            "No matches for tracepoint a:*.",
            "Probe has no valid attach points. If this is expected, set the 'missing_probes' config variable to 'warn'.",
        ],
    );
    let p = program("tracepoint:a:*, interval:s:1 { }");
    assert_eq!(p.probes[0].attach.len(), 1);
    fails("interval:ns:5 { }", &["ns is not an accepted unit of time"]);
    fails(
        "interval:1ns { }",
        &["Invalid rate of interval probe. Minimum is 1000 or 1us. Found: 1 nanoseconds"],
    );
    fails("software:nope { }", &["nope is not a software probe"]);
    fails(
        "uprobe:/bin/x:nope { }",
        &[
            "No matches for uprobe /bin/x:nope.",
            "Probe has no valid attach points. If this is expected, set the 'missing_probes' config variable to 'warn'.",
        ],
    );
    let p = program("interval:1s, interval:s:1, BEGIN { print(probe); }");
    let names: Vec<_> = p
        .probes
        .iter()
        .flat_map(|p| &p.attach)
        .map(|a| a.name.as_str())
        .collect();
    assert_eq!(names, ["interval:us:1000000", "interval:s:1", "begin"]);
    assert_eq!(p.probes.len(), 2, "both intervals share a program");
}

#[test]
fn attach_points_share_a_program_unless_the_body_differs() {
    assert_eq!(
        program("tracepoint:sched:* { @ = count(); }").probes.len(),
        1
    );
    assert_eq!(
        program("tracepoint:sched:* { print(args.prio); }")
            .probes
            .len(),
        2
    );
    let p = program("uprobe:/bin/x:* { @[probe] = count(); }");
    assert_eq!(p.probes.len(), 1);
    assert_eq!(p.probes[0].attach.len(), 3, "an address is probed once");
    let p = program("uprobe:/bin/x:* { @[uaddr(\"moves\")] = count(); }");
    assert_eq!(
        p.probes.len(),
        3,
        "each knows its own distance to the symbol"
    );
}

#[test]
fn configuration() {
    fails(
        "config = { foo = 1 } begin { }",
        &["foo: not a known configuration option"],
    );
    fails(
        "config = { max_map_keys = a } begin { }",
        &["max_map_keys: expecting a number, got a"],
    );
    fails(
        "config = { missing_probes = x } begin { }",
        &[
            "missing_probes: Invalid value for missing_probes: valid values are ignore, warn, and error.",
        ],
    );
    assert_eq!(
        program("config = { BPFTRACE_MAX_MAP_KEYS = 5 } begin { }")
            .config
            .max_map_keys,
        5
    );
}

#[test]
fn map_declarations() {
    fails(
        "let @a = foo(2); begin { @a[1] = 1; }",
        &["Invalid bpf map type: foo"],
    );
    fails("let @a = hash(2); begin { }", &["Unused map: @a"]);
    fails(
        "let @a = hash(2); begin { @a[1] = count(); }",
        &[
            "Incompatible map types. Type from declaration: hash. Type from value/key type: percpuhash",
        ],
    );
}

#[test]
fn parameters() {
    let options = Options {
        positional: vec!["7".into(), "abc".into()],
        named: vec![("n".into(), Some("5".into()))],
        ..Default::default()
    };
    let (checked, _) = run_with(
        "begin { $a = $1; $b = str($2); $c = $#; $d = getopt(\"n\", 3); $e = str($2 + 1); }",
        &options,
    );
    let p = checked.program.unwrap();
    let got: Vec<_> = p.probes[0]
        .locals
        .iter()
        .map(|l| l.ty.display(&p.types).to_string())
        .collect();
    assert_eq!(got, ["int8", "string[4]", "int8", "int8", "string[3]"]);
    fails(
        "begin { print($3); }",
        &["Positional parameter $3 is empty or not provided. "],
    );
}

#[test]
fn branches_that_cannot_run_are_not_typed() {
    fails(
        "begin { if comptime (is_str(1)) { $x = nope; } else { print(1); } }",
        &[],
    );
    fails(
        "begin { $x = cpu; if comptime ($x > 1) { } }",
        &["Unable to resolve comptime expression"],
    );
}

#[test]
fn enums_print_as_names() {
    typed(
        "begin { $x = PIDTYPE_SID; $y = (enum pid_type)3; $z = $x + 1 }",
        &[
            ("$x", "enum pid_type"),
            ("$y", "enum pid_type"),
            ("$z", "uint64"),
        ],
    );
    fails(
        "begin { $y = (enum pid_type)77; }",
        &["Enum: pid_type doesn't contain a variant value of 77"],
    );
}

/// Scripts with one mistake each, and what is said about it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "begin { $x = 5; $a = $x.0; }",
        "Can not access index '0' on expression of type 'int8'",
    ),
    (
        "begin { let $x: uint16 = -1; }",
        "Type mismatch for $x: trying to assign value of type 'int8' when variable already has a type 'uint16'",
    ),
    (
        "begin { let $y; print($y); }",
        "Could not resolve the type of this variable",
    ),
    (
        "begin { @h = hist(5); $x = @h; }",
        "Value 'hist_t' cannot be assigned to a scratch variable.",
    ),
    (
        "begin { $s = comm; $i = -1; print($s[$i]); }",
        "The array index operator [] only accepts non-negative integer indices. Got: int8",
    ),
    (
        "begin { $a = (uint8[4])1; print($a[5]); }",
        "the index 5 is out of bounds for array of size 4",
    ),
    (
        "begin { $p = (int32*)0; print(!$p); }",
        "The ! operator can not be used on expressions of type 'int32 *'",
    ),
    (
        "begin { $p = (int32*)0; print($p - $p); }",
        "The - operator can not be used on expressions of types int32 *, int32 *",
    ),
    (
        "begin { $x = offsetof(struct task_struct, real_parent.pid); }",
        "'struct task_struct *' is not a C type.",
    ),
    (
        "begin { $t = (1,2); print($t.5); }",
        "Invalid tuple index: 5. Found 2 elements in tuple.",
    ),
    (
        "begin { $t = (1,2); $i = cpu; print($t[$i]); }",
        "Array-style access for tuples only valid for integer literals",
    ),
    (
        "begin { $x = (string)1; }",
        "Cannot cast from \"int8\" to \"string\"",
    ),
    (
        "begin { @y = len(5); }",
        "len() expects a map or stack to be provided",
    ),
    (
        "begin { @x = 1; print(len(@x)); }",
        "call to len() expects a map with explicit keys (non-scalar map)",
    ),
    (
        "begin { @h = hist(1); @h = hist(1,2); }",
        "Different bits in a single hist unsupported",
    ),
    (
        "begin { @h = lhist(1,0,10,1); @h = lhist(1,0,20,1); }",
        "Different lhist bounds in a single map unsupported",
    ),
    (
        "begin { return \"a\"; }",
        "Probe return values can only be integers. Found string[2]",
    ),
    (
        "begin { @a = 1; for $kv : @a { } }",
        "@a has no explicit keys (scalar map), and cannot be used for iteration",
    ),
    (
        "begin { @a[1] = hist(1); for $kv : @a { } }",
        "Loop expression does not support type: hist_t",
    ),
    (
        "begin { unroll(0) { print(1); } }",
        "unroll minimum value is 1",
    ),
    (
        "begin { unroll(101) { print(1); } }",
        "unroll maximum value is 100",
    ),
    (
        "begin { $x = cpu; unroll($x) { print(1); } }",
        "invalid unroll value",
    ),
    (
        "fn f($a : int64) : int64 { return; } begin { }",
        "Function f is of type int64, cannot return void",
    ),
    ("begin { print(foo); }", "Unknown identifier: 'foo'"),
    (
        "begin { $x = (struct nope)1; }",
        "Cannot resolve unknown type \"struct nope\"",
    ),
    (
        "begin { print({ let $x = 1; }); }",
        "none type passed to print() is not printable",
    ),
    (
        "begin { printf(\"%f\", 1); }",
        "unsupported format specifier: f",
    ),
    (
        "begin { printf(\"%d\", 1, 2); }",
        "too many arguments for format string (2 supplied, 1 expected)",
    ),
    (
        "begin { @x[ctx] = 1; }",
        "context cannot be part of a map key",
    ),
    (
        "begin { @h = hist(1); @x = (1, @h); }",
        "Map type hist_t cannot exist inside a tuple.",
    ),
    (
        "begin { print(macaddr(\"abcdef\")); }",
        "macaddr() does not support literal string arguments",
    ),
    (
        "begin { print(ntop((uint8[8])0)); }",
        "ntop() argument must be 4 or 16 bytes in size",
    ),
    (
        "begin { print(buf(cpu)); }",
        "buf() expects a length argument for non-array type uint64",
    ),
    (
        "begin { print(str((1,2))); }",
        "str() expects a string, integer or a pointer type as first argument ((int8,int8) provided)",
    ),
    (
        "begin { print(strncmp(\"a\",\"b\",cpu)); }",
        "Builtin strncmp requires a non-negative literal",
    ),
    (
        "begin { print(strftime(\"%H\", -1)); }",
        "strftime() does not accept negative timestamps",
    ),
    (
        "begin { print(strftime(\"%H\", nsecs(monotonic))); }",
        "strftime() can not take a monotonic timestamp",
    ),
    (
        "config = { unstable_tseries = enable } begin { @ = tseries(1, 0, 5); }",
        "tseries() interval_ns must be >= 1 (0 provided)",
    ),
    (
        "begin { @ = lhist(1, 0, 100000, 1); }",
        "lhist() too many buckets, must be <= 1000 (would need 100000)",
    ),
    (
        "begin { @ = lhist(1, 0, 10, 20); }",
        "lhist() step is too large for the given range (provided step 20 for range 10)",
    ),
    (
        "begin { print(pid(foo)); }",
        "Invalid PID namespace mode: foo (expects: curr_ns or init)",
    ),
    (
        "begin { print(kstack(5000)); }",
        "kstack([int limit]): limit shouldn't exceed 1024, 5000 given",
    ),
    (
        "begin { print(kstack(build_id)); }",
        "'build_id' stack mode can only be used for ustack",
    ),
    (
        "begin { print(getopt(1,2,3,4)); }",
        "The 'getopt' function can take a maximum of three arguments and a minimum of one argument.",
    ),
    (
        "begin { printf($#); }",
        "printf() expects a string literal (int provided)",
    ),
    (
        "interval:s:1 { signal(\"SIGTERM\"); }",
        "signal() is unsafe. To use you need the --unsafe flag",
    ),
    (
        "tracepoint:sched:switch { print(args.common_pid); }",
        "BPF does not support accessing common tracepoint fields",
    ),
    (
        "interval:s:0 { }",
        "interval frequency should be a positive integer",
    ),
    ("hardware:nope:1 { }", "nope is not a hardware probe"),
    (
        "watchpoint:0x1000:3:rw { }",
        "watchpoint length must be one of (1,2,4,8)",
    ),
    ("watchpoint:0x1000:8:q { }", "invalid watchpoint mode: q"),
    (
        "self:signal:SIGTERM { }",
        "SIGTERM is not a supported signal",
    ),
    ("uretprobe:/bin/x:main+5 { }", "Offset not allowed"),
    (
        "uprobe:/bin/x:main+99 { }",
        "Offset outside the function bounds ('main' size is 16)",
    ),
    (
        "kprobe:0xffff { }",
        "Can't attach to a raw kernel address without --unsafe",
    ),
    (
        "begin { $x = print(1); }",
        "Invalid expression for assignment: 'none'",
    ),
    ("begin { static_assert(1 == 2, \"boo\"); }", "boo"),
    ("begin { fail(\"bad %d\", 5); }", "bad 5"),
];

#[test]
fn mistakes_are_named() {
    for (script, wanted) in MISTAKES {
        let said = says(script);
        assert!(said.iter().any(|m| m == wanted), "{script}: {said:?}");
        assert!(run(script).program.is_none(), "{script}");
    }
}

/// Scripts that are accepted with a warning.
const DOUBTS: &[(&str, &str)] = &[
    (
        "begin { $x = (uint64)5; $y = -1; print($x > $y); }",
        "Expression of type: uint64 being cast to type: int64. This may cause unexpected results. Use an explicit cast to suppress this warning.",
    ),
    (
        "begin { $a=-7; $b=(int64)2; print($a/$b); }",
        "signed operands for '/' can lead to undefined behavior (cast to unsigned to silence warning)",
    ),
    (
        "begin { let $x; print($x); $x = 1; }",
        "Variable used before it was assigned: $x",
    ),
    (
        "begin { $x = (int32)cpu; print((int32)$x) }",
        "Unnecessary cast: expression is already of type int32",
    ),
    (
        "begin { $i = 1; while $i < 5 { $i++; } }",
        "While loops are deprecated and may be removed in the future.",
    ),
    (
        "begin { for $i : 0..3 { print(@x); } @x = 1; }",
        "Due to it's asynchronous nature using 'print()' in a loop can lead to unexpected behavior. The map will likely be updated before the runtime can 'print' it.",
    ),
    (
        "begin { @s = stats(1); print(@s, 5); }",
        "print()'s top and div arguments are ignored when used on stats() maps.",
    ),
    (
        "begin { $x = \"a\" + 1; }",
        "literal string will always be empty",
    ),
    (
        "begin { $a = (int32*)0; $b = (int64*)0; print($a == $b); }",
        "comparison of distinct pointer types: int32 *, int64 *",
    ),
    (
        "begin { $a = kptr(5); $b = uptr(5); print($a == $b); }",
        "Addrspace mismatch",
    ),
    (
        "begin { @ = tseries(1, 1, 5); }",
        "Script is using an unstable feature: tseries. To prevent this warning you must explicitly enable it in the config e.g. unstable_tseries=enable",
    ),
    (
        "config = { strlen = 64 } begin { }",
        "strlen has been renamed, please use max_strlen",
    ),
    (
        "kprobe:f { }",
        "f is not traceable (either non-existing, inlined, or marked as \"notrace\"); attaching to it will likely fail",
    ),
];

#[test]
fn doubts_are_named() {
    for (script, wanted) in DOUBTS {
        let said = says(script);
        assert!(said.iter().any(|m| m == wanted), "{script}: {said:?}");
        assert!(run(script).program.is_some(), "{script}: {said:?}");
    }
}

#[test]
fn records_meet_by_name() {
    let p = program("begin { @a = (a=1, b=\"x\"); @a = (b=\"yy\", a=3); }");
    let text = super::print::program(&p);
    assert!(text.contains("@a = (3:int8, \"yy\":string[3])"), "{text}");
}

#[test]
fn long_chains_settle() {
    let links: Vec<String> = (0..100).map(|i| format!("@m{i} = @m{};", i + 1)).collect();
    let script = format!("begin {{ {} @m100 = \"abc\"; }}", links.join(" "));
    typed(&script, &[("@m0", "string[4]")]);
}

#[test]
fn one_mistake_is_reported_once() {
    fails(
        "begin { $x = nope; $y = $x + 1; print($y); @m = $y; print(@m); }",
        &["Unknown identifier: 'nope'"],
    );
}

#[test]
fn nothing_is_dropped_for_want_of_a_type() {
    fails("begin { @k[1] <<= @k[2]; }", &["Undefined map: @k"]);
    typed("begin { @x += nsecs; }", &[("@x", "uint64")]);
    fails(
        "begin { @a = @b; @b = @a; }",
        &["Undefined map: @b", "Undefined map: @a"],
    );
    let said = says("begin { for $kv : @a { @a[$kv.0] = $kv.1; } }");
    assert_eq!(said[0], "Undefined map: @a");
}

#[test]
fn loop_variables_of_two_signs_settle() {
    typed(
        "begin { @m = (uint64)5; for ($i : 0..@m) { $i = (int64)@m; @x = $i; } }",
        &[("@x", "int64")],
    );
}
