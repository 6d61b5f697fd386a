//! Values and maps; tests called `gNN` are the specification's examples.

use super::*;

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
fn strings_that_were_cut_have_a_trailer() {
    let mut r = Run::default();
    r.object.config.max_strlen = 4;
    r.print(Layout::Str(4), b"abc\0");
    r.print(Layout::Str(4), b"ab\0\0");
    r.print(Layout::Str(3), b"ab\0");
    r.print(Layout::Str(3), b"abc");
    assert_eq!(r.output(), "abc..\nab\nab\nabc..\n\n\n");
}
