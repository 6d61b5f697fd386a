//! Records of the ring buffer, as a kernel that is out of its mind would send them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::OnceLock;

use rtrace::error::Result;
use rtrace::object::{MapId, Object};
use rtrace::runtime::MapAccess;
use rtrace::runtime::Sink as _;
use rtrace::runtime::event::{Options, Printer};
use rtrace::runtime::map::Visit;
use rtrace::runtime::output::{Buffering, Clocks, Format, Names, NoSymbols, Writer};

/// A script with events of all kinds but those that run commands or open files.
const SCRIPT: &str = r#"
struct pair { int a; char name[8]; unsigned long b : 5; };
enum state { ON = 1, OFF };
begin {
    printf("%d %s %x %p %c %5s %-3d|\n", pid, comm, arg, 7, 65, "x", 3);
    print(comm); print((1, "two", (3, 4))); print(nsecs); print(kstack); print(ustack);
    @m[comm, pid] = count(); @h = hist(pid); @l = lhist(pid, 0, 100, 10); @s = stats(pid);
    @min[1] = min(pid); @avg = avg(pid); @str["k"] = comm; @t = (1, comm);
    print(@m); print(@h); print(@m, 2, 3); clear(@s); zero(@m); print(@min[1]);
    time("%H:%M:%S\n"); printf("%s", strftime("%H", nsecs)); print(ntop(pid)); print(macaddr(0));
    print(buf(0, 16)); printf("%r %rx\n", buf(0, 4), buf(0, 8)); print(kaddr); print(username);
    join(0); errorf("%s", comm); warnf("%d", pid); print(usym(1)); print(ksym(1)); print(probe);
    print((enum state)pid); print((uint8[4])pid); print(cgroup); print(1 == pid);
    exit(pid);
}
"#;

/// Those statements of the script that this compiler takes, so that the target outlives changes
/// of the language.
fn object() -> &'static Object {
    static OBJECT: OnceLock<Object> = OnceLock::new();
    OBJECT.get_or_init(|| {
        let (head, body) = SCRIPT.split_once("begin {").expect("as written above");
        let mut kept = String::new();
        for statement in body.trim_end().trim_end_matches('}').split_inclusive(';') {
            let text = format!("{head}begin {{{kept}{statement}}}");
            if super::targets::compiled(&text).0.is_some() {
                kept.push_str(statement);
            }
        }
        let text = format!("{head}begin {{{kept}}}");
        let object = super::targets::compiled(&text).0;
        object.expect("each statement was taken")
    })
}

/// Every event's record filled with a few patterns.
pub fn seeds() -> Vec<Vec<u8>> {
    let events = &object().events;
    assert!(events.len() > 20, "the script makes too few events");
    let mut seeds = Vec::new();
    for (id, event) in events.iter().enumerate() {
        for fill in [0u8, 1, 0x41, 0xff] {
            let mut record = vec![fill; event.size as usize];
            record[..4].copy_from_slice(&(id as u32).to_ne_bytes());
            seeds.push(record);
        }
    }
    seeds
}

/// Maps that hold what a record brought.
#[derive(Default)]
struct Maps(RefCell<BTreeMap<u32, Vec<u8>>>);

impl MapAccess for Maps {
    fn cpus(&self) -> usize {
        2
    }

    fn for_each(&self, map: MapId, f: Visit<'_>) -> Result<()> {
        let def = &object().maps[map.0 as usize];
        let bytes = self.0.borrow().get(&map.0).cloned().unwrap_or_default();
        let sized = |n: u32, skip: usize| -> Vec<u8> {
            let mut out: Vec<u8> = bytes.iter().skip(skip).copied().take(n as usize).collect();
            out.resize(n as usize, 0);
            out
        };
        for i in 0..def.max_entries.min(3) as usize {
            let value = sized(def.value_size.next_multiple_of(8) * 2, i + 4);
            f(&sized(def.key_size, i * 8), &value)?;
        }
        Ok(())
    }

    fn lookup(&self, map: MapId, _: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        value.extend(self.0.borrow().get(&map.0).into_iter().flatten());
        Ok(!value.is_empty())
    }

    fn update(&self, _: MapId, _: &[u8], _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn delete(&self, _: MapId, _: &[u8]) -> Result<bool> {
        Ok(true)
    }

    fn clear(&self, _: MapId) -> Result<()> {
        Ok(())
    }

    fn zero(&self, _: MapId) -> Result<()> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Text(Rc<RefCell<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands a record over in every way of printing, and what maps hold with it.
pub fn feed(bytes: &[u8]) {
    let object = object();
    let maps = Maps::default();
    for i in 0..object.maps.len() as u32 {
        maps.0.borrow_mut().insert(i, bytes.to_vec());
    }
    for (format, terminal) in [
        (Format::Text, false),
        (Format::Text, true),
        (Format::Json, false),
    ] {
        let (out, err) = (Text::default(), Text::default());
        let mut printer = Printer::new(
            object,
            Names::new(Box::new(NoSymbols), Clocks::default()),
            Writer::new(Box::new(out.clone()), Buffering::Line),
            Box::new(err.clone()),
            Options {
                format,
                terminal,
                error_terminal: terminal,
                helper_warnings: true,
                ..Options::default()
            },
        );
        // What is wrong with a record is told; nothing else can go wrong.
        printer.record(bytes, &maps).expect("memory can be written");
        let _ = printer.batch_done(&maps);
        let _ = printer.finish(&maps);
        let out = out.0.borrow();
        if format == Format::Json {
            for line in out.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
                serde_json::from_slice::<serde_json::Value>(line)
                    .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(line)));
            }
        }
        if terminal {
            for shown in [&out, &err.0.borrow()] {
                let text = String::from_utf8_lossy(shown);
                let bad = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
                assert_eq!(text.chars().find(bad), None, "{text:?}");
            }
        }
    }
}
