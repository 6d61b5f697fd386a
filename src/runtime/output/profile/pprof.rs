//! pprof: a gzip'ed protocol buffer, `perftools.profiles.Profile`, that `go tool pprof`, Grafana
//! Pyroscope, speedscope and others read.
//!
//! Each function is a location of its own. What is in a key besides stacks is a label (`key`,
//! `key2`, ...) and no location, so that `-tagfocus` and `-tagroot` work on it. Field numbers are
//! those of profile.proto.

use std::collections::HashMap;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Kind, Profile};

/// Fields of `Profile`.
mod field {
    pub const SAMPLE_TYPE: u32 = 1;
    pub const SAMPLE: u32 = 2;
    pub const MAPPING: u32 = 3;
    pub const LOCATION: u32 = 4;
    pub const FUNCTION: u32 = 5;
    pub const STRING: u32 = 6;
    pub const TIME_NANOS: u32 = 9;
}

/// Writes a profile.
///
/// # Errors
/// The output cannot be written.
pub fn write(profile: &Profile, out: &mut impl Write) -> std::io::Result<()> {
    let mut packed = GzEncoder::new(out, Compression::default());
    packed.write_all(&encode(profile, SystemTime::now()))?;
    packed.finish().map(drop)
}

fn encode(profile: &Profile, now: SystemTime) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut out = Message::default();
    let mut sample_type = Message::default();
    sample_type.number(1, strings.id("samples"));
    sample_type.number(2, strings.id("count"));
    out.message(field::SAMPLE_TYPE, &sample_type);
    for (stack, weight) in profile.samples() {
        let mut sample = Message::default();
        let code = |f: &&u32| profile.get(**f).kind != Kind::Label;
        // Leaf first; ids count from 1.
        sample.packed(
            1,
            stack.iter().filter(code).rev().map(|&f| u64::from(f) + 1),
        );
        sample.packed(2, [weight.min(i64::MAX as u64)].into_iter());
        let labels = stack.iter().filter(|f| !code(f));
        for (i, &f) in labels.enumerate() {
            let key = match i {
                0 => "key".to_owned(),
                i => format!("key{}", i + 1),
            };
            let mut label = Message::default();
            label.number(1, strings.id(&key));
            label.number(2, strings.id(&profile.get(f).name));
            sample.message(3, &label);
        }
        out.message(field::SAMPLE, &sample);
    }
    let mut modules: HashMap<&str, u64> = HashMap::new();
    for (id, frame) in (1..).zip(profile.frames()) {
        if frame.kind == Kind::Label {
            continue;
        }
        let file = match (frame.kind, &*frame.module) {
            (Kind::Kernel, "") => "[kernel]",
            (_, module) => module,
        };
        let next = modules.len() as u64 + 1;
        let module = *modules.entry(file).or_insert(next);
        if module == next {
            let mut mapping = Message::default();
            mapping.number(1, module);
            mapping.number(5, strings.id(file));
            // has_functions: nothing is left to symbolize.
            mapping.number(7, 1);
            out.message(field::MAPPING, &mapping);
        }
        let name = strings.id(&frame.name);
        let mut function = Message::default();
        function.number(1, id);
        function.number(2, name);
        function.number(3, name);
        out.message(field::FUNCTION, &function);
        let mut line = Message::default();
        line.number(1, id);
        let mut location = Message::default();
        location.number(1, id);
        location.number(2, module);
        location.message(4, &line);
        out.message(field::LOCATION, &location);
    }
    for text in &strings.all {
        out.bytes(field::STRING, text.as_bytes());
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.number(field::TIME_NANOS, now.as_nanos() as u64);
    out.0
}

/// The string table, of which the first is empty.
struct Strings {
    all: Vec<String>,
    ids: HashMap<String, u64>,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            all: vec![String::new()],
            ids: HashMap::from([(String::new(), 0)]),
        }
    }
}

impl Strings {
    fn id(&mut self, text: &str) -> u64 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = self.all.len() as u64;
        self.all.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        id
    }
}

/// A message in the wire format of protocol buffers.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    const VARINT: u32 = 0;
    const BYTES: u32 = 2;

    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn number(&mut self, field: u32, n: u64) {
        self.varint(u64::from(field << 3 | Self::VARINT));
        self.varint(n);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field << 3 | Self::BYTES));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, inner: &Message) {
        self.bytes(field, &inner.0);
    }

    fn packed(&mut self, field: u32, numbers: impl Iterator<Item = u64>) {
        let mut inner = Message::default();
        numbers.for_each(|n| inner.varint(n));
        self.message(field, &inner);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::tests::profile;
    use super::*;

    /// A field: its number, and a number or bytes.
    #[derive(Clone, Debug)]
    enum Field {
        Number(u32, u64),
        Bytes(u32, Vec<u8>),
    }

    fn varint(data: &mut &[u8]) -> u64 {
        let mut n = 0;
        for shift in (0..).step_by(7) {
            let (&b, rest) = data.split_first().unwrap();
            *data = rest;
            n |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return n;
            }
        }
        unreachable!()
    }

    fn decode(mut data: &[u8]) -> Vec<Field> {
        let mut all = Vec::new();
        while !data.is_empty() {
            let tag = varint(&mut data);
            let n = varint(&mut data);
            let field = (tag >> 3) as u32;
            all.push(match tag & 7 {
                0 => Field::Number(field, n),
                2 => {
                    let (bytes, rest) = data.split_at(n as usize);
                    data = rest;
                    Field::Bytes(field, bytes.to_vec())
                }
                other => panic!("wire type {other}"),
            });
        }
        all
    }

    fn all(fields: &[Field], wanted: u32) -> Vec<Vec<u8>> {
        let bytes = fields.iter().filter_map(|f| match f {
            Field::Bytes(n, b) if *n == wanted => Some(b.clone()),
            _ => None,
        });
        bytes.collect()
    }

    fn number(fields: &[Field], wanted: u32) -> u64 {
        let mut numbers = fields.iter().filter_map(|f| match f {
            Field::Number(n, v) if *n == wanted => Some(*v),
            _ => None,
        });
        numbers.next().unwrap_or(0)
    }

    fn packed(mut bytes: &[u8]) -> Vec<u64> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            out.push(varint(&mut bytes));
        }
        out
    }

    #[test]
    fn a_reader_finds_the_stacks_again() {
        let p = profile(&[("@node;main;work;read!", 300), ("main;leaf", 2)]);
        let mut gz = Vec::new();
        write(&p, &mut gz).unwrap();
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(&gz[..])
            .read_to_end(&mut raw)
            .unwrap();
        let top = decode(&raw);
        let strings: Vec<String> = all(&top, field::STRING)
            .into_iter()
            .map(|s| String::from_utf8(s).unwrap())
            .collect();
        assert_eq!(strings[0], "");
        let text = |id: u64| strings[id as usize].as_str();
        let by_id = |field| -> HashMap<u64, Vec<Field>> {
            let messages = all(&top, field).into_iter().map(|m| decode(&m));
            messages.map(|m| (number(&m, 1), m)).collect()
        };
        let (functions, mappings) = (by_id(field::FUNCTION), by_id(field::MAPPING));
        let locations = by_id(field::LOCATION);
        let name = |location: u64| {
            let location = &locations[&location];
            let line = decode(&all(location, 4)[0]);
            let file = text(number(&mappings[&number(location, 2)], 5));
            format!("{}@{file}", text(number(&functions[&number(&line, 1)], 2)))
        };
        let mut seen: Vec<(Vec<String>, Vec<u64>, Vec<String>)> = all(&top, field::SAMPLE)
            .into_iter()
            .map(|s| {
                let s = decode(&s);
                let labels = all(&s, 3).into_iter().map(|l| {
                    let l = decode(&l);
                    format!("{}={}", text(number(&l, 1)), text(number(&l, 2)))
                });
                let stack = packed(&all(&s, 1)[0]).into_iter().map(name).collect();
                (stack, packed(&all(&s, 2)[0]), labels.collect())
            })
            .collect();
        seen.sort();
        let strings = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            seen,
            [
                (strings(&["leaf@/bin/x", "main@/bin/x"]), vec![2], vec![]),
                (
                    strings(&["read@[kernel]", "work@/bin/x", "main@/bin/x"]),
                    vec![300],
                    strings(&["key=@node"])
                ),
            ]
        );
        let unit = decode(&all(&top, field::SAMPLE_TYPE)[0]);
        assert_eq!(
            (text(number(&unit, 1)), text(number(&unit, 2))),
            ("samples", "count")
        );
        assert!(number(&top, field::TIME_NANOS) > 1_600_000_000_000_000_000);
    }
}
