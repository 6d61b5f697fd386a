//! What is not data: script messages, failures, losses, malformed records, the terminal.

use super::*;

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
        "stdin:1:9-12: ERROR: bad 5\nstdin:1:9-12: WARNING: odd\n"
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
        "Lost 7 events\n:0:0-1: WARNING: 7 events lost: the ring buffer was full\n\
         WARNING: Total lost event count: 7\n"
    );
    assert_eq!(
        build(Run::json()).0,
        "{\"type\": \"lost_events\", \"count\": 7, \"data\": {\"events\": 7}}\n\
         {\"type\": \"loss\", \"kind\": \"lost_event\", \"count\": 7, \"msg\": \
         \"7 events lost: the ring buffer was full\", \"filename\": \"\", \"line\": 0, \
         \"col\": 0}\n"
    );
    let mut quiet = Run::default();
    quiet.options.warnings = false;
    assert_eq!(build(quiet).1, "Lost 7 events\n");
}

/// A run with these failures: kind, line, times.
fn failing(sites: &[(SiteKind, u32, u64)]) -> Run {
    let mut r = Run::default();
    let c = r.map("counters", None, MapValue::Plain(Layout::None), (4, 8));
    r.object.maps[0].role = MapRole::Counters;
    r.object.counters_map = Some(MapId(c));
    r.object.sources.push(("a.bt".into(), "x\ny\n".into()));
    for (i, &(kind, line, times)) in sites.iter().enumerate() {
        r.object.sites.push(Site {
            kind,
            helper: "helper".into(),
            loc: Loc {
                file: 0,
                line,
                col: 1,
                end_line: line,
                end_col: 2,
            },
            expanded_from: vec![],
            message: String::new(),
        });
        r.maps
            .put(c, &(i as u32).to_ne_bytes(), &words(&[times as i64, 0]));
    }
    r
}

#[test]
fn a_place_that_always_fails_is_not_told_each_time() {
    let mut r = failing(&[(SiteKind::MapFull, 1, 100)]);
    for _ in 0..100 {
        r.event(EventKind::RuntimeError, &words(&[-7]));
    }
    let (_, err) = r.run();
    let told = err.matches("Map full").count();
    assert!((10..50).contains(&told), "{err}");
    let rest = format!("{} more updates dropped: the map is full", 100 - told);
    assert!(err.contains(&rest), "{err}");
}

#[test]
fn each_place_is_summed_up_once_in_the_order_of_the_script() {
    let sites = [
        (SiteKind::Stack, 2, 2),
        (SiteKind::Read, 1, 1),
        (SiteKind::Read, 1, 4),
        (SiteKind::Scratch, 1, 0),
        (SiteKind::MapLookup, 1, 9),
    ];
    assert_eq!(
        failing(&sites).run().1,
        "a.bt:1:1-2: WARNING: 5 reads of memory failed\nx\n~\n\
         a.bt:2:1-2: WARNING: 2 stacks not stored\ny\n~\n"
    );
}

#[test]
fn skipped_runs_and_dropped_records_count_as_lost() {
    let r = failing(&[(SiteKind::MapLookup, 1, 9), (SiteKind::Read, 1, 1)]);
    let err = Text::default();
    let mut printer = Printer::new(
        &r.object,
        Names::new(Box::new(NoSymbols), Clocks::default()),
        Writer::new(Box::new(Text::default()), Buffering::Line),
        Box::new(err.clone()),
        Options::default(),
    );
    let loc = Loc {
        line: 2,
        col: 1,
        end_line: 2,
        end_col: 2,
        file: 0,
    };
    printer.skipped("kprobe:f", loc, 3);
    printer.dropped(5).unwrap();
    printer.finish(&r.maps).unwrap();
    assert_eq!(printer.lost(), 9);
    let text = String::from_utf8(err.0.borrow().clone()).unwrap();
    assert!(
        text.contains(
            "a.bt:2:1-2: WARNING: 3 runs of kprobe:f skipped: the kernel was running a BPF \
             program on this CPU\ny\n~\n"
        ),
        "{text}"
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
fn exit_and_unwatch_are_for_the_loop() {
    let mut r = Run::default();
    r.event(
        EventKind::Exit {
            code: 8,
            known: None,
        },
        &words(&[3]),
    );
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
