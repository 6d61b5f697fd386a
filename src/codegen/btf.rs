//! The BTF that goes to the kernel with the programs: names and signatures of functions,
//! names and lines of the script.
//!
//! The kernel wants it for two things: callbacks of `bpf_loop` and `bpf_for_each_map_elem`
//! must be declared static functions, and the verifier quotes script lines in its log.
//! Layout: header, types, strings, as Documentation/bpf/btf.rst has it, in this machine's
//! byte order.

use std::collections::HashMap;

/// `BTF_KIND_INT`
const KIND_INT: u32 = 1;
/// `BTF_KIND_FUNC`
const KIND_FUNC: u32 = 12;
/// `BTF_KIND_FUNC_PROTO`
const KIND_FUNC_PROTO: u32 = 13;
/// `BTF_INT_SIGNED` in the encoding byte of an integer.
const INT_SIGNED: u32 = 1 << 24;
/// Magic number of the header.
const MAGIC: u16 = 0xeb9f;
/// Bytes of the header.
const HEADER: u32 = 24;

/// Linkage of a function (`BTF_FUNC_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Verified where it is called; the only kind that may be a callback.
    Static = 0,
    /// Verified by itself; programs' entries.
    Global = 1,
}

/// BTF under construction.
#[derive(Debug)]
pub struct Btf {
    types: Vec<u32>,
    count: u32,
    strings: Vec<u8>,
    offsets: HashMap<String, u32>,
    protos: HashMap<usize, u32>,
    /// Type ids of `int` and `u64`.
    int: u32,
    word: u32,
}

impl Default for Btf {
    fn default() -> Self {
        Self::new()
    }
}

impl Btf {
    /// BTF with the two integer types that signatures use.
    pub fn new() -> Self {
        let mut b = Self {
            types: Vec::new(),
            count: 0,
            strings: vec![0],
            offsets: HashMap::from([(String::new(), 0)]),
            protos: HashMap::new(),
            int: 0,
            word: 0,
        };
        let name = b.string("int");
        b.int = b.add(&[name, KIND_INT << 24, 4, INT_SIGNED | 32]);
        let name = b.string("u64");
        b.word = b.add(&[name, KIND_INT << 24, 8, 64]);
        b
    }

    fn add(&mut self, words: &[u32]) -> u32 {
        self.types.extend_from_slice(words);
        self.count += 1;
        self.count
    }

    /// Offset of a string, added unless it is there already. Zero bytes are dropped.
    pub fn string(&mut self, s: &str) -> u32 {
        if let Some(&at) = self.offsets.get(s) {
            return at;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(s.bytes().filter(|&b| b != 0));
        self.strings.push(0);
        self.offsets.insert(s.to_owned(), at);
        at
    }

    /// Type id of a function of `params` numbers that returns `int`.
    pub fn func(&mut self, name: &str, params: usize, linkage: Linkage) -> u32 {
        let proto = match self.protos.get(&params) {
            Some(&id) => id,
            None => {
                let mut words = vec![0, KIND_FUNC_PROTO << 24 | params as u32, self.int];
                for i in 0..params {
                    // The kernel insists on names of parameters.
                    words.push(self.string(&format!("a{i}")));
                    words.push(self.word);
                }
                let id = self.add(&words);
                self.protos.insert(params, id);
                id
            }
        };
        let name = self.string(&identifier(name));
        self.add(&[name, KIND_FUNC << 24 | linkage as u32, proto])
    }

    /// The bytes to load.
    pub fn finish(self) -> Vec<u8> {
        let types_len = self.types.len() as u32 * 4;
        let mut out = Vec::with_capacity((HEADER + types_len) as usize + self.strings.len());
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]); // version, flags
        for word in [HEADER, 0, types_len, types_len, self.strings.len() as u32] {
            out.extend(word.to_ne_bytes());
        }
        for word in &self.types {
            out.extend(word.to_ne_bytes());
        }
        out.extend(&self.strings);
        out
    }
}

/// A C identifier as close to `name` as may be.
fn identifier(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(127)
        .collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        assert_eq!(identifier("kprobe:vfs_read"), "kprobe_vfs_read");
        assert_eq!(identifier("1st"), "_1st");
    }

    #[test]
    fn strings_and_signatures_are_shared() {
        let mut b = Btf::new();
        let f = b.func("f", 2, Linkage::Static);
        let g = b.func("g", 2, Linkage::Global);
        assert_eq!(g, f + 1);
        assert_eq!(b.string("f"), b.string("f"));
        let bytes = b.finish();
        assert_eq!(bytes[..2], MAGIC.to_ne_bytes());
        assert_eq!(bytes.last(), Some(&0));
    }
}
