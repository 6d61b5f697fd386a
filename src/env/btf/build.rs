//! Writes BTF: small blobs for tests and for environments that are not this machine.
//!
//! In: types in order, each referring to earlier or later ids. Out: the bytes of a blob that
//! [`Btf`](super::Btf) and the kernel read. Types are written as given, without deduplication.

use std::collections::HashMap;

use super::raw::Kind;
use crate::ctypes::model::TypeId;

/// A BTF blob under construction.
#[derive(Debug)]
pub struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: HashMap<String, u32>,
    next: u32,
    first_string: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            known: HashMap::new(),
            next: 1,
            first_string: 0,
        }
    }
}

impl Builder {
    /// A blob that continues `base`, as a module's does.
    pub fn on(base: &super::Btf) -> Self {
        Self {
            next: base.end_id(),
            first_string: base.first_string() + base.string_bytes().len() as u32,
            ..Self::default()
        }
    }

    /// The id that the next type gets.
    pub fn next_id(&self) -> TypeId {
        TypeId(self.next)
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&at) = self.known.get(text) {
            return at;
        }
        let at = self.first_string + self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.to_owned(), at);
        at
    }

    fn push(&mut self, name: &str, kind: Kind, flag: bool, len: usize, word: u32) -> TypeId {
        let name = self.string(name);
        let info = (kind as u32) << 24 | u32::from(flag) << 31 | len as u32 & 0xffff;
        self.words(&[name, info, word]);
        self.next += 1;
        TypeId(self.next - 1)
    }

    fn words(&mut self, words: &[u32]) {
        for w in words {
            self.types.extend_from_slice(&w.to_le_bytes());
        }
    }

    /// An integer of `size` bytes; `encoding` as in the format: 1 signed, 2 char, 4 bool.
    pub fn int(&mut self, name: &str, size: u32, encoding: u32) -> TypeId {
        let id = self.push(name, Kind::Int, false, 0, size);
        self.words(&[(encoding << 24) | (size * 8)]);
        id
    }

    /// A floating-point number of `size` bytes.
    pub fn float(&mut self, name: &str, size: u32) -> TypeId {
        self.push(name, Kind::Float, false, 0, size)
    }

    /// A type that refers to one other: pointer, qualifier, typedef, function, type tag.
    pub fn wrap(&mut self, kind: Kind, name: &str, target: TypeId) -> TypeId {
        self.push(name, kind, false, 0, target.0)
    }

    /// A declared struct or union.
    pub fn forward(&mut self, name: &str, union: bool) -> TypeId {
        self.push(name, Kind::Fwd, union, 0, 0)
    }

    /// An array of `len` elements.
    pub fn array(&mut self, element: TypeId, len: u32) -> TypeId {
        let id = self.push("", Kind::Array, false, 0, 0);
        self.words(&[element.0, element.0, len]);
        id
    }

    /// A struct or union of `size` bytes; members are name, type, offset in bits and, for a
    /// bitfield, width in bits or else 0.
    pub fn record(
        &mut self,
        kind: Kind,
        name: &str,
        size: u32,
        members: &[(&str, TypeId, u32, u32)],
    ) -> TypeId {
        let flag = members.iter().any(|m| m.3 != 0);
        let id = self.push(name, kind, flag, members.len(), size);
        for &(name, ty, offset, bits) in members {
            let name = self.string(name);
            let bits = if flag { bits << 24 } else { 0 };
            self.words(&[name, ty.0, offset | bits]);
        }
        id
    }

    /// An enumeration of `size` bytes: 8 makes a 64-bit one, anything else stores 32 bits.
    pub fn enumeration(&mut self, name: &str, size: u32, values: &[(&str, i64)]) -> TypeId {
        let signed = values.iter().any(|v| v.1 < 0);
        let wide = size == 8;
        let kind = if wide { Kind::Enum64 } else { Kind::Enum };
        let id = self.push(name, kind, signed, values.len(), size);
        for &(name, value) in values {
            let name = self.string(name);
            self.words(&[name, value as u32]);
            if wide {
                self.words(&[(value >> 32) as u32]);
            }
        }
        id
    }

    /// A function type.
    pub fn function_type(&mut self, ret: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let id = self.push("", Kind::FuncProto, false, params.len(), ret.0);
        for &(name, ty) in params {
            let name = self.string(name);
            self.words(&[name, ty.0]);
        }
        id
    }

    /// A function `name` with its type.
    pub fn function(&mut self, name: &str, ret: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let ty = self.function_type(ret, params);
        self.wrap(Kind::Func, name, ty)
    }

    /// The finished blob.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.types.len() + self.strings.len());
        out.extend_from_slice(&0xeb9f_u16.to_le_bytes());
        out.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for w in [24, 0, types, types, strings] {
            out.extend_from_slice(&u32::to_le_bytes(w));
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out
    }
}
