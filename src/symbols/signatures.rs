//! The signatures of many mangled names: made on all processors, and kept on disk.
//!
//! In: numbers of symbols and their raw names. Out: for each name that could be demangled its
//! number and text. Stored, it is a count, then (number, start, length) of each, four bytes each
//! in little-endian order, then the text.

use super::demangle::{self, Form};
use super::disk_cache::{DiskCache, Key, Stored};

/// Below this many names one thread demangles faster than several start.
const PARALLEL: usize = 1000;
/// Bytes of the count, and of each item.
const COUNT: usize = 4;
const ITEM: usize = 12;

/// Signatures by the number of their symbol.
pub(super) struct Signatures {
    arenas: Vec<Arena>,
    items: Vec<Item>,
}

enum Arena {
    Made(String),
    /// Text from this offset.
    Stored(Stored, usize),
}

impl Arena {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Made(text) => text.as_bytes(),
            Self::Stored(stored, start) => &stored[*start..],
        }
    }
}

struct Item {
    symbol: u32,
    arena: u32,
    start: u32,
    len: u32,
}

impl Signatures {
    /// Demangles these symbols.
    pub(super) fn demangle<'a>(symbols: &[u32], name: impl Fn(u32) -> &'a [u8] + Sync) -> Self {
        let threads = match symbols.len() {
            n if n < PARALLEL => 1,
            _ => std::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
        };
        let share = symbols.len().div_ceil(threads).max(1);
        let work = |arena: usize, part: &[u32]| {
            let mut text = String::new();
            let mut items = Vec::with_capacity(part.len());
            for &symbol in part {
                let Ok(raw) = std::str::from_utf8(name(symbol)) else {
                    continue;
                };
                let Some(signature) = demangle::demangle(raw, Form::Signature) else {
                    continue;
                };
                let (Ok(start), Ok(len)) =
                    (u32::try_from(text.len()), u32::try_from(signature.len()))
                else {
                    break;
                };
                items.push(Item {
                    symbol,
                    arena: arena as u32,
                    start,
                    len,
                });
                text.push_str(&signature);
            }
            (text, items)
        };
        let parts: Vec<(String, Vec<Item>)> = if threads == 1 {
            vec![work(0, symbols)]
        } else {
            std::thread::scope(|scope| {
                let running: Vec<_> = symbols
                    .chunks(share)
                    .enumerate()
                    .map(|(arena, part)| {
                        let work = &work;
                        scope.spawn(move || work(arena, part))
                    })
                    .collect();
                running
                    .into_iter()
                    .map(|t| t.join().expect("demangling does not panic"))
                    .collect()
            })
        };
        let mut all = Self {
            arenas: Vec::with_capacity(parts.len()),
            items: Vec::with_capacity(symbols.len()),
        };
        for (text, items) in parts {
            all.arenas.push(Arena::Made(text));
            all.items.extend(items);
        }
        all
    }

    /// Calls `f` with each symbol and its signature.
    pub(super) fn for_each(&self, mut f: impl FnMut(u32, &str)) {
        for item in &self.items {
            let start = item.start as usize;
            let bytes = self.arenas[item.arena as usize].bytes();
            let text = bytes.get(start..start + item.len as usize);
            // What was stored is not trusted to be text.
            if let Some(Ok(text)) = text.map(std::str::from_utf8) {
                f(item.symbol, text);
            }
        }
    }

    /// Stores them.
    pub(super) fn store(&self, disk: &DiskCache, key: Key<'_>) {
        let Ok(count) = u32::try_from(self.items.len()) else {
            return;
        };
        let mut table = Vec::with_capacity(COUNT + self.items.len() * ITEM);
        table.extend_from_slice(&count.to_le_bytes());
        let mut bases = Vec::with_capacity(self.arenas.len());
        let mut base = 0usize;
        for arena in &self.arenas {
            bases.push(base);
            base += arena.bytes().len();
        }
        for item in &self.items {
            let start = bases[item.arena as usize] + item.start as usize;
            // Text beyond 4 GiB is not worth it.
            let Ok(start) = u32::try_from(start) else {
                return;
            };
            for n in [item.symbol, start, item.len] {
                table.extend_from_slice(&n.to_le_bytes());
            }
        }
        let mut parts: Vec<&[u8]> = vec![&table];
        parts.extend(self.arenas.iter().map(Arena::bytes));
        disk.store(key, &parts);
    }

    /// What was stored, if it makes sense for so many symbols.
    pub(super) fn from_stored(stored: Stored, symbols: usize) -> Option<Self> {
        let count = u32::from_le_bytes(*stored.first_chunk()?) as usize;
        let table = stored.get(COUNT..COUNT.checked_add(count.checked_mul(ITEM)?)?)?;
        let mut items = Vec::with_capacity(count);
        for item in table.as_chunks::<ITEM>().0 {
            let word = |at: usize| {
                u32::from_le_bytes([item[at], item[at + 1], item[at + 2], item[at + 3]])
            };
            let symbol = word(0);
            if symbol as usize >= symbols {
                return None;
            }
            items.push(Item {
                symbol,
                arena: 0,
                start: word(4),
                len: word(8),
            });
        }
        let start = COUNT + count * ITEM;
        Some(Self {
            arenas: vec![Arena::Stored(stored, start)],
            items,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["_ZN2ns1fEi", "main", "_ZN2ns1gEv", "_ZN3\u{e9}1hEv"];

    fn all(s: &Signatures) -> Vec<(u32, String)> {
        let mut all = Vec::new();
        s.for_each(|symbol, text| all.push((symbol, text.to_owned())));
        all.sort();
        all
    }

    #[test]
    fn what_is_stored_comes_back_and_damage_does_not() {
        let dir = std::env::temp_dir().join(format!("rtrace-signatures-{}", std::process::id()));
        let disk = DiskCache::at(&dir, 1 << 24);
        let key = |version| Key {
            kind: "test",
            version,
            identity: b"x",
        };
        let symbols: Vec<u32> = (0..3000).collect();
        let name = |n: u32| NAMES[n as usize % NAMES.len()].as_bytes();
        let made = Signatures::demangle(&symbols, name);
        let expected = all(&made);
        assert_eq!(expected[0], (0, "ns::f(int)".to_owned()));
        assert!(expected.len() >= 1500);
        made.store(&disk, key(1));
        let load = |version, symbols| Signatures::from_stored(disk.load(key(version))?, symbols);
        assert_eq!(all(&load(1, 3000).unwrap()), expected);
        assert!(load(1, 10).is_none(), "numbers of another file");
        for (i, bytes) in [&b""[..], &[255; 4], &[1, 0, 0, 0, 0], &[0; 4]]
            .iter()
            .enumerate()
        {
            disk.store(key(2), &[bytes]);
            let found = load(2, 3000);
            assert_eq!(found.is_some(), i == 3);
            assert!(found.is_none_or(|f| all(&f).is_empty()));
        }
        // A place beyond the text is left out.
        let item: Vec<u8> = [1u32, 0, 50, 9]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        disk.store(key(3), &[&item, b"abc"]);
        assert!(all(&load(3, 3000).unwrap()).is_empty());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
