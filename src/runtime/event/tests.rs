//! Whole runs of a [`Printer`]: records and maps built by hand, exact texts compared.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;

use super::*;
use crate::object::{
    AggStorage, EnumTable, Format as PrintfFormat, MapDef, MapKind, MapRole, MapValue,
};
use crate::runtime::map::Visit;
use crate::runtime::output::{Buffering, Clocks, NoSymbols};
use crate::types::{AggKind, AggTy, StackKind, StackMode, StackTy};

/// Maps in memory, of two CPUs.
#[derive(Default)]
struct Maps {
    entries: RefCell<Entries>,
}

/// Values by map and key.
type Entries = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

impl Maps {
    fn put(&self, map: u32, key: &[u8], value: &[u8]) {
        let mut entries = self.entries.borrow_mut();
        entries.insert((map, key.to_vec()), value.to_vec());
    }
}

impl MapAccess for Maps {
    fn cpus(&self) -> usize {
        2
    }
    fn for_each(&self, map: MapId, f: Visit<'_>) -> Result<()> {
        for ((id, key), value) in self.entries.borrow().iter() {
            if *id == map.0 {
                f(key, value)?;
            }
        }
        Ok(())
    }
    fn lookup(&self, map: MapId, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let entries = self.entries.borrow();
        let found = entries.get(&(map.0, key.to_vec()));
        value.extend_from_slice(found.map_or(&[], Vec::as_slice));
        Ok(found.is_some())
    }
    fn update(&self, map: MapId, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(map.0, key, value);
        Ok(())
    }
    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool> {
        let mut entries = self.entries.borrow_mut();
        Ok(entries.remove(&(map.0, key.to_vec())).is_some())
    }
    fn clear(&self, map: MapId) -> Result<()> {
        self.entries.borrow_mut().retain(|(id, _), _| *id != map.0);
        Ok(())
    }
    fn zero(&self, map: MapId) -> Result<()> {
        for ((id, _), value) in self.entries.borrow_mut().iter_mut() {
            if *id == map.0 {
                value.fill(0);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Text(Rc<RefCell<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(b)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Text {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

fn int(signed: bool, size: u8) -> Layout {
    Layout::Int { signed, size }
}

fn field(name: &str, offset: u32, layout: Layout) -> FieldLayout {
    FieldLayout {
        name: name.into(),
        offset,
        bits: None,
        layout,
    }
}

/// A tuple whose fields lie at these offsets.
fn tuple(size: u32, fields: &[(u32, Layout)]) -> Layout {
    Layout::Tuple {
        fields: fields
            .iter()
            .map(|(at, l)| field("", *at, l.clone()))
            .collect(),
        size,
    }
}

/// An object, its maps, and the records that it emits.
#[derive(Default)]
struct Run {
    object: Object,
    maps: Maps,
    records: Vec<Vec<u8>>,
    options: Options,
}

impl Run {
    fn json() -> Self {
        Self {
            options: Options {
                format: Format::Json,
                ..Options::default()
            },
            ..Self::default()
        }
    }

    /// Adds an event and one record of it.
    fn event(&mut self, kind: EventKind, payload: &[u8]) {
        let id = self.object.events.len() as u32;
        self.object.events.push(Event {
            kind,
            loc: Loc {
                file: 0,
                line: 1,
                col: 9,
                end_line: 1,
                end_col: 12,
            },
            size: RECORD_HEADER + payload.len() as u32,
        });
        let mut record = id.to_ne_bytes().to_vec();
        record.extend_from_slice(&0u32.to_ne_bytes());
        record.extend_from_slice(payload);
        self.records.push(record);
    }

    fn print(&mut self, layout: Layout, bytes: &[u8]) {
        let value = field("", RECORD_HEADER, layout);
        self.event(EventKind::Print { value }, bytes);
    }

    /// `printf` with arguments one after the other.
    fn printf(&mut self, stream: Stream, format: &str, args: &[(Layout, &[u8])]) {
        let mut payload = Vec::new();
        let mut layouts = Vec::new();
        for (layout, bytes) in args {
            let at = RECORD_HEADER + payload.len() as u32;
            layouts.push(field("", at, layout.clone()));
            payload.extend_from_slice(bytes);
        }
        let kind = EventKind::Printf {
            stream,
            format: PrintfFormat::parse(format).unwrap(),
            args: layouts,
        };
        self.event(kind, &payload);
    }

    fn map(&mut self, name: &str, key: Option<Layout>, value: MapValue, entry: (u32, u32)) -> u32 {
        let percpu = matches!(value, MapValue::Agg(..));
        self.object.maps.push(MapDef {
            name: name.into(),
            kind: match percpu {
                true => MapKind::PercpuHash,
                false => MapKind::Hash,
            },
            key_size: entry.0,
            value_size: entry.1,
            max_entries: 4096,
            flags: 0,
            init: None,
            role: MapRole::User(UserMap {
                name: name.into(),
                key,
                value,
                set_flag: None,
            }),
        });
        self.object.maps.len() as u32 - 1
    }

    fn agg(&mut self, name: &str, kind: AggKind, storage: AggStorage, key: Option<Layout>) -> u32 {
        let ty = AggTy { kind, signed: true };
        self.map(name, key, MapValue::Agg(ty, storage), (8, 16))
    }

    /// What reaches output and error stream.
    fn run(self) -> (String, String) {
        let (out, err) = (Text::default(), Text::default());
        let mut printer = Printer::new(
            &self.object,
            Names::new(Box::new(NoSymbols), Clocks::default()),
            Writer::new(Box::new(out.clone()), Buffering::Line),
            Box::new(err.clone()),
            self.options,
        );
        for record in &self.records {
            printer.record(record, &self.maps).unwrap();
        }
        printer.finish(&self.maps).unwrap();
        (out.text(), err.text())
    }

    fn output(self) -> String {
        let (out, err) = self.run();
        assert_eq!(err, "");
        out
    }
}

fn words(words: &[i64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// What one CPU of two holds.
fn cpu0(value: &[i64]) -> Vec<u8> {
    let mut all = words(value);
    all.resize(all.len() * 2, 0);
    all
}

const BAR: &str = "|@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|";
const NO_BAR: &str = "|                                                    |";

#[test]
fn g01_values() {
    let mut r = Run::default();
    r.print(int(true, 8), &words(&[5]));
    r.print(Layout::Str(2), b"a\0");
    let t = tuple(
        4,
        &[(0, int(true, 1)), (1, Layout::Str(2)), (3, Layout::Bool)],
    );
    r.print(t, b"\x01x\0\x01");
    assert_eq!(r.output(), "5\na\n(1, x, true)\n\n\n");
}

#[test]
fn g02_maps_are_sorted_by_name_and_tuple_keys_lose_their_parentheses() {
    let mut r = Run::default();
    let key = tuple(17, &[(0, Layout::Str(16)), (16, Layout::Bool)]);
    let w = r.map("@w", Some(key), MapValue::Plain(int(true, 8)), (17, 8));
    let mut comm = b"bpftrace".to_vec();
    comm.resize(16, 0);
    comm.push(1);
    r.maps.put(w, &comm, &words(&[1]));
    let key = tuple(16, &[(0, int(true, 8)), (8, Layout::Str(2))]);
    let value = tuple(
        4,
        &[(0, int(true, 1)), (1, Layout::Str(2)), (3, Layout::Bool)],
    );
    let x = r.map("@x", Some(key), MapValue::Plain(value), (16, 4));
    r.maps
        .put(x, b"\x01\0\0\0\0\0\0\0a\0\0\0\0\0\0\0", b"\x01b\0\x01");
    let y = r.map(
        "@b",
        Some(Layout::Str(2)),
        MapValue::Plain(Layout::Bool),
        (2, 1),
    );
    r.maps.put(y, b"k\0", b"\x01");
    assert_eq!(
        r.output(),
        "\n\n@b[k]: true\n@w[bpftrace, true]: 1\n@x[1, a]: (1, b, true)\n"
    );
}

#[test]
fn g03_g05_g06_histograms() {
    let mut r = Run::default();
    let h = r.agg(
        "@h",
        AggKind::Hist { bits: 0 },
        AggStorage::Buckets(6),
        None,
    );
    r.maps.put(
        h,
        &[0; 4],
        &[words(&[1, 1, 0, 0, 0, 0]), words(&[0, 0, 0, 0, 1, 0])].concat(),
    );
    r.object.maps[0].value_size = 48;
    let kind = AggKind::Lhist {
        min: 0,
        max: 8192,
        step: 1024,
    };
    let l = r.agg("@l", kind, AggStorage::Keyed, Some(int(true, 8)));
    r.object.maps[1].value_size = 8;
    r.maps.put(l, &words(&[7, 3]), &words(&[1, 0]));
    let expect = format!(
        "\n\n@h:\n\
         (..., 0)               1 {BAR}\n\
         [0]                    1 {BAR}\n\
         [1]                    0 {NO_BAR}\n\
         [2, 4)                 0 {NO_BAR}\n\
         [4, 8)                 1 {BAR}\n\
         \n\
         @l[7]:\n\
         [2K, 3K)               1 {BAR}\n\
         \n"
    );
    assert_eq!(r.output(), expect);
}

#[test]
fn g07_aggregations() {
    let mut r = Run::default();
    let maps = [
        ("@av", AggKind::Avg, [2, 8]),
        ("@c", AggKind::Count, [1, 0]),
        ("@ma", AggKind::Max, [7 ^ i64::MIN, 1]),
        ("@mi", AggKind::Min, [!(-3 ^ i64::MIN), 1]),
        ("@s", AggKind::Stats, [2, 8]),
        ("@su", AggKind::Sum, [-3, 1]),
    ];
    for (name, kind, value) in maps {
        let m = r.agg(name, kind, AggStorage::Value, None);
        r.maps.put(m, &[0; 4], &cpu0(&value));
    }
    assert_eq!(
        r.output(),
        "\n\n@av: 4\n@c: 1\n@ma: 7\n@mi: -3\n\
         @s: { .count = 2, .average = 4, .total = 8 }\n@su: -3\n"
    );
}

#[test]
fn g08_g09_printf_of_integers() {
    let mut r = Run::default();
    let n = |v: i64| (int(true, 8), v.to_ne_bytes());
    let values = [1, 255, 255, 65, 3, 3, 3, 3].map(n);
    let mut args: Vec<(Layout, &[u8])> = values.iter().map(|(l, b)| (l.clone(), &b[..])).collect();
    args.insert(1, (Layout::Str(2), b"a\0"));
    r.printf(Stream::Out, "%d %s %x %p %c|%5d|%-5d|%05d|%+d|\n", &args);
    let minus = (int(false, 8), &u64::MAX.to_ne_bytes()[..]);
    let args = vec![minus; 6];
    r.printf(Stream::Out, "%x %lx %hx %hhx %ld %u\n", &args);
    r.printf(Stream::Out, "%05d|%#x|%6x|%-6x|%o\n", &args[..5]);
    assert_eq!(
        r.output(),
        "1 a ff 0xff A|    3|3    |00003|+3|\n\
         ffffffff ffffffffffffffff ffff ff -1 4294967295\n\
         -0001|0xffffffff|ffffffff|ffffffff|37777777777\n\n\n"
    );
}

#[test]
fn g16_buffers() {
    let mut r = Run::default();
    let bytes = b"\x04\0\0\0a\x01\xffz";
    let arg: (Layout, &[u8]) = (Layout::Buf(4), bytes);
    let args = [arg.clone(), arg.clone(), arg];
    r.printf(Stream::Out, "%r|%rx|%rh\n", &args);
    assert_eq!(
        r.output(),
        "a\\x01\\xffz|\\x61\\x01\\xff\\x7a|61 01 ff 7a\n\n\n"
    );
}

#[test]
fn g18_cleared_scalars_print_zero_when_asked_and_nothing_at_the_end() {
    let mut r = Run::default();
    let a = r.map("@a", None, MapValue::Plain(int(true, 8)), (4, 16));
    if let MapRole::User(user) = &mut r.object.maps[0].role {
        user.set_flag = Some(8);
    }
    r.maps.put(a, &[0; 4], &words(&[0, 0]));
    let print = EventKind::PrintMap {
        map: MapId(a),
        top: 0,
        div: 1,
    };
    r.event(print, &[]);
    assert_eq!(r.output(), "@a: 0\n\n\n");
}

#[test]
fn zeroed_counts_stay() {
    let mut r = Run::default();
    let c = r.agg("@c", AggKind::Count, AggStorage::Value, None);
    let unused = r.agg("@d", AggKind::Count, AggStorage::Value, None);
    r.maps.put(c, &[0; 4], &cpu0(&[3, 0]));
    r.maps.put(unused, &[0; 4], &cpu0(&[0, 0]));
    r.event(EventKind::Zero(MapId(c)), &[]);
    r.event(EventKind::Zero(MapId(unused)), &[]);
    assert_eq!(r.output(), "\n\n@c: 0\n");
}

#[test]
fn g19_g20_records_bools_and_enums() {
    let mut r = Run::default();
    r.object.enums.push(EnumTable {
        name: "pid_type".into(),
        variants: vec![("PIDTYPE_PID".into(), 0), ("PIDTYPE_SID".into(), 3)],
    });
    let record = |fields: &[(&str, u32, Layout)], size| Layout::Struct {
        fields: fields
            .iter()
            .map(|(n, at, l)| field(n, *at, l.clone()))
            .collect(),
        size,
    };
    let pair = tuple(2, &[(0, int(true, 1)), (1, int(true, 1))]);
    let a = record(&[("a", 0, int(true, 1))], 1);
    r.printf(Stream::Out, "%s %s\n", &[(pair, b"\x01\x02"), (a, b"\x01")]);
    let yes: (Layout, &[u8]) = (Layout::Bool, b"\x01");
    r.printf(Stream::Out, "%d %s\n", &[yes.clone(), yes]);
    r.print(tuple(1, &[(0, int(true, 1))]), b"\x01");
    let xy = record(&[("x", 0, int(true, 1)), ("y", 1, Layout::Str(2))], 3);
    r.print(xy, b"\x01b\0");
    let e = Layout::Enum {
        size: 4,
        signed: false,
        table: 0,
    };
    let (sid, odd) = (3u32.to_ne_bytes(), 77u32.to_ne_bytes());
    r.printf(
        Stream::Out,
        "%d %s\n",
        &[(e.clone(), &sid), (e.clone(), &sid)],
    );
    r.print(e, &odd);
    assert_eq!(
        r.output(),
        "(1, 2) { .a = 1 }\n1 true\n(1)\n{ .x = 1, .y = b }\n3 PIDTYPE_SID\n77\n\n\n"
    );
}

#[test]
fn g27_commands_files_and_join() {
    let mut r = Run::default();
    let text = |s| PrintfFormat::parse(s).unwrap();
    let system = EventKind::System {
        format: text("echo hi"),
        args: vec![],
    };
    r.event(system, &[]);
    let cat = EventKind::Cat {
        format: text("/proc/sys/kernel/ostype"),
        args: vec![],
    };
    r.event(cat, &[]);
    let join = EventKind::Join {
        sep: "-".into(),
        count: RECORD_HEADER,
        args: (0..3)
            .map(|i| field("", RECORD_HEADER + 4 + i * 2, Layout::Str(2)))
            .collect(),
    };
    r.event(join, b"\x02\0\0\0a\0b\0c\0");
    assert_eq!(r.output(), "hi\n\nLinux\na-b\n\n\n");
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let mut r = Run::default();
    let cat = EventKind::Cat {
        format: PrintfFormat::parse("/nope/x").unwrap(),
        args: vec![],
    };
    r.event(cat, &[]);
    let (out, err) = r.run();
    assert_eq!(out, "\n\n");
    assert_eq!(
        err,
        "ERROR: failed to open file '/nope/x' (No such file or directory)\n"
    );
}

#[test]
fn g29_top_and_div() {
    let mut r = Run::default();
    let m = r.agg("@", AggKind::Count, AggStorage::Value, Some(int(true, 8)));
    r.maps.put(m, &words(&[1]), &cpu0(&[1, 0]));
    r.maps.put(m, &words(&[2]), &cpu0(&[2, 0]));
    for (top, div) in [(1, 1), (0, 2)] {
        let map = MapId(m);
        r.event(EventKind::PrintMap { map, top, div }, &[]);
    }
    assert_eq!(
        r.output(),
        "@[2]: 2\n@[1]: 0\n@[2]: 1\n\n\n@[1]: 1\n@[2]: 2\n"
    );
}

#[test]
fn g30_g31_order() {
    let mut r = Run::default();
    let x = r.agg("@x", AggKind::Sum, AggStorage::Value, Some(Layout::Str(2)));
    for (key, v) in [(b"b\0", 3), (b"a\0", 5), (b"c\0", 1), (b"d\0", -5)] {
        r.maps.put(x, key, &cpu0(&[v, 0]));
    }
    let y = r.map(
        "@y",
        Some(int(true, 8)),
        MapValue::Plain(Layout::Str(2)),
        (8, 2),
    );
    for (key, v) in [(5, b"b\0"), (-1, b"c\0"), (3, b"a\0")] {
        r.maps.put(y, &words(&[key]), v);
    }
    let z = r.agg("@z", AggKind::Min, AggStorage::Value, Some(int(true, 8)));
    for (key, v) in [(1, -3), (2, 7)] {
        let rank = !(v ^ i64::MIN);
        r.maps.put(z, &words(&[key]), &cpu0(&[rank, 1]));
    }
    assert_eq!(
        r.output(),
        "\n\n@x[d]: -5\n@x[c]: 1\n@x[b]: 3\n@x[a]: 5\n@y[-1]: c\n@y[3]: a\n@y[5]: b\n\
         @z[2]: 7\n@z[1]: -3\n"
    );
}

#[test]
fn g33_json() {
    let mut r = Run::json();
    let t = tuple(3, &[(0, int(true, 1)), (1, Layout::Str(2))]);
    r.print(t, b"\x01x\0");
    r.print(int(false, 8), &u64::MAX.to_ne_bytes());
    r.printf(Stream::Out, "hi %d\n", &[(int(true, 1), b"\x05")]);
    let h = r.agg(
        "@h",
        AggKind::Hist { bits: 0 },
        AggStorage::Buckets(6),
        None,
    );
    r.object.maps[0].value_size = 48;
    r.maps.put(h, &[0; 4], &cpu0(&[1, 0, 0, 0, 1, 0]));
    let key = tuple(16, &[(0, int(true, 8)), (8, Layout::Str(2))]);
    let k = r.agg("@k", AggKind::Count, AggStorage::Value, Some(key));
    r.maps
        .put(k, b"\x01\0\0\0\0\0\0\0x\0\0\0\0\0\0\0", &cpu0(&[1, 0]));
    let s = r.agg("@s", AggKind::Stats, AggStorage::Value, None);
    r.maps.put(s, &[0; 4], &cpu0(&[1, 4]));
    let st = r.agg("@st", AggKind::Stats, AggStorage::Value, Some(int(true, 8)));
    r.maps.put(st, &words(&[1]), &cpu0(&[1, 9]));
    let expect = r#"{"type": "value", "data": [1,"x"]}
{"type": "value", "data": "18446744073709551615"}
{"type": "printf", "data": "hi 5\n"}
{"type": "hist", "data": {"@h": [{"max": -1, "count": 1},{"min": 0, "max": 0, "count": 0},{"min": 1, "max": 1, "count": 0},{"min": 2, "max": 3, "count": 0},{"min": 4, "max": 7, "count": 1}]}}
{"type": "map", "data": {"@k": {"1,x": 1}}}
{"type": "stats", "data": {"@s": {"count": 1, "average": 4, "total": 4}}}
{"type": "stats", "data": {"@st": {"1": {"count": 1, "average": 9, "total": 9}}}}
"#;
    let out = r.output();
    assert_eq!(out, expect);
    for line in out.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn stacks_as_values_and_keys() {
    let stack = |map| Layout::Stack {
        ty: StackTy {
            kind: StackKind::Kernel,
            mode: StackMode::Bpftrace,
            limit: 4,
        },
        map: MapId(map),
    };
    let build = |mut r: Run| {
        let s = r.map("s", None, MapValue::Plain(Layout::None), (8, 40));
        r.object.maps[0].role = MapRole::Stacks { limit: 4 };
        r.maps.put(s, &words(&[9]), &words(&[2, 0x10, 0x20, 0, 0]));
        let handle = words(&[9, 0]);
        let key = tuple(24, &[(0, int(true, 8)), (8, stack(s))]);
        let a = r.map("@a", Some(key), MapValue::Plain(int(true, 8)), (24, 8));
        r.maps.put(a, &words(&[1, 9, 0]), &words(&[1]));
        let b = r.map("@b", None, MapValue::Plain(stack(s)), (4, 16));
        r.maps.put(b, &[0; 4], &handle);
        r.print(stack(s), &handle);
        r.print(stack(s), &words(&[8, 0]));
        r
    };
    assert_eq!(
        build(Run::default()).output(),
        "\n        0x10\n        0x20\n\n\
         \n        [stack was not kept: its map is full]\n\n\n\n\
         @a[1, \n        0x10\n        0x20\n]: 1\n\
         @b: \n        0x10\n        0x20\n\n"
    );
    let json = build(Run::json()).output();
    assert!(
        json.contains(r#"{"type": "map", "data": {"@a": {"1,\n0x10\n0x20\n": 1}}}"#),
        "{json}"
    );
    assert!(
        json.contains(r#"{"@b": "\n        0x10\n        0x20\n"}"#),
        "{json}"
    );
}

#[test]
fn script_messages_carry_their_place() {
    let build = |mut r: Run| {
        let source = "begin { errorf(1) }".to_owned();
        r.object.sources.push(("stdin".into(), source));
        r.printf(Stream::Error, "bad %d\n", &[(int(true, 1), b"\x05")]);
        r.printf(Stream::Warning, "odd", &[]);
        r
    };
    let (_, err) = build(Run::default()).run();
    assert_eq!(
        err,
        "stdin:1:9-12: ERROR: bad 5\nbegin { errorf(1) }\n        ~~~\n\
         stdin:1:9-12: WARNING: odd\nbegin { errorf(1) }\n        ~~~\n"
    );
    assert_eq!(
        build(Run::json()).output(),
        "{\"type\": \"errorf\", \"msg\": \"bad 5\\n\", \"filename\": \"stdin\", \"line\": 1, \"col\": 9}\n\
         {\"type\": \"warnf\", \"msg\": \"odd\", \"filename\": \"stdin\", \"line\": 1, \"col\": 9}\n"
    );
}

#[test]
fn helper_errors_name_helper_and_code() {
    let build = |mut r: Run, k: bool| {
        r.options.helper_warnings = k;
        r.object.sources.push(("a.bt".into(), "x\n".into()));
        r.object.sites.push(Site {
            kind: SiteKind::Read,
            helper: "probe_read_str".into(),
            loc: Loc {
                file: 0,
                line: 1,
                col: 1,
                end_line: 1,
                end_col: 2,
            },
            expanded_from: vec![],
            message: String::new(),
        });
        r.event(EventKind::RuntimeError, &words(&[-14]));
        r.run()
    };
    let (_, err) = build(Run::default(), true);
    assert_eq!(
        err,
        "a.bt:1:1-2: WARNING: Bad address\n\
         Additional Info - helper: probe_read_str, retcode: -14\nx\n~\n"
    );
    assert_eq!(build(Run::default(), false).1, "");
    let (out, _) = build(Run::json(), true);
    assert_eq!(
        out,
        "{\"type\": \"helper_error\", \"msg\": \"Bad address\", \"helper\": \"probe_read_str\", \
         \"retcode\": -14, \"filename\": \"a.bt\", \"line\": 1, \"col\": 1}\n"
    );
}

#[test]
fn losses_are_told_at_the_end() {
    let build = |mut r: Run| {
        let c = r.map("counters", None, MapValue::Plain(Layout::None), (4, 8));
        r.object.maps[0].role = MapRole::Counters;
        r.object.counters_map = Some(MapId(c));
        r.object.sites.push(Site {
            kind: SiteKind::LostEvent,
            helper: String::new(),
            loc: Loc::default(),
            expanded_from: vec![],
            message: String::new(),
        });
        r.maps.put(c, &0u32.to_ne_bytes(), &words(&[3, 4]));
        r.run()
    };
    assert_eq!(
        build(Run::default()).1,
        "Lost 7 events\nWARNING: Total lost event count: 7\n"
    );
    assert_eq!(
        build(Run::json()).0,
        "{\"type\": \"lost_events\", \"count\": 7, \"data\": {\"events\": 7}}\n"
    );
}

#[test]
fn malformed_records_are_reported_and_skipped() {
    let mut r = Run::default();
    r.print(int(true, 8), &words(&[5]));
    let good = r.records[0].clone();
    r.records = vec![vec![1, 2], vec![9; 16], good[..10].to_vec(), good];
    let (out, err) = r.run();
    assert_eq!(out, "5\n\n\n");
    assert_eq!(err.lines().count(), 3);
    assert!(
        err.starts_with("ERROR: a record of 2 bytes was skipped: "),
        "{err}"
    );
}

#[test]
fn traced_strings_cannot_drive_the_terminal() {
    let evil: (Layout, &[u8]) = (Layout::Str(8), b"\x1b[2Ja\tb\0");
    for (terminal, shown) in [
        (true, "\\x1b[2Ja\tb|\x1b[0m"),
        (false, "\x1b[2Ja\tb|\x1b[0m"),
    ] {
        let mut r = Run::default();
        r.object.config.str_trunc_trailer.clear();
        r.options.terminal = terminal;
        r.printf(Stream::Out, "%s|\x1b[0m\n", std::slice::from_ref(&evil));
        assert_eq!(r.output(), format!("{shown}\n\n\n"));
    }
}

#[test]
fn strings_that_were_cut_have_a_trailer() {
    let mut r = Run::default();
    r.object.config.max_strlen = 4;
    r.print(Layout::Str(4), b"abc\0");
    r.print(Layout::Str(4), b"ab\0\0");
    r.print(Layout::Str(3), b"ab\0");
    r.print(Layout::Str(3), b"abc");
    assert_eq!(r.output(), "abc..\nab\nab\nabc..\n\n\n");
}

#[test]
fn exit_and_unwatch_are_for_the_loop() {
    let mut r = Run::default();
    r.event(EventKind::Exit { code: 8 }, &words(&[3]));
    r.event(EventKind::Unwatch { addr: 8 }, &words(&[0x1000]));
    let mut printer = Printer::new(
        &r.object,
        Names::new(Box::new(NoSymbols), Clocks::default()),
        Writer::new(Box::new(Text::default()), Buffering::Line),
        Box::new(Text::default()),
        Options::default(),
    );
    let mut flow = |i: usize| printer.record(&r.records[i], &r.maps).unwrap();
    assert_eq!(flow(0), Flow::Exit(3));
    assert_eq!(flow(1), Flow::Unwatch(0x1000));
}
