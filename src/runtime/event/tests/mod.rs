//! Whole runs of a [`Printer`]: records and maps built by hand, exact texts compared.

mod golden;
mod messages;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;

use super::*;
use crate::object::{
    AggStorage, EnumTable, Format as PrintfFormat, Layout, MapDef, MapKind, MapRole, MapValue,
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
