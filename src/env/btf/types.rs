//! BTF records as C types: the [`TypeSource`] of a blob.

use super::Btf;
use super::raw::{Kind, Record, word};
use crate::ctypes::model::{
    CType, IntKind, Member, NameSpace, Param, Qualifier, RecordKind, TypeId, TypeSource, Variant,
};

/// Bits of the word that follows an integer's record: encoding, bit offset, width.
mod int {
    pub const SIGNED: u32 = 1;
    pub const CHAR: u32 = 2;
    pub const BOOL: u32 = 4;
}

impl Btf {
    /// Offset and width within its storage of an integer type that is not a whole number of bytes:
    /// how compilers before the kind flag (4.20) described bitfields.
    fn odd_int(&self, id: TypeId) -> Option<(u32, u32)> {
        let r = self.record(self.resolve(id))?;
        if r.kind != Kind::Int {
            return None;
        }
        let data = word(r.tail, 0);
        let (offset, bits) = (data >> 16 & 0xff, data & 0xff);
        (offset != 0 || bits != r.size_or_type.saturating_mul(8)).then_some((offset, bits))
    }

    fn member<'a>(&'a self, record: &Record<'_>, bytes: &[u8]) -> Member<'a> {
        let ty = TypeId(word(bytes, 4));
        let offset = word(bytes, 8);
        let (bit_offset, bits) = if record.flag {
            let width = offset >> 24;
            (offset & 0xff_ffff, (width != 0).then_some(width))
        } else if let Some((shift, width)) = self.odd_int(ty) {
            (offset.saturating_add(shift), Some(width))
        } else {
            (offset, None)
        };
        Member {
            name: self.string(word(bytes, 0)),
            ty,
            bit_offset: u64::from(bit_offset),
            bits,
        }
    }
}

impl TypeSource for Btf {
    fn ctype(&self, id: TypeId) -> CType<'_> {
        let Some(r) = self.record(id) else {
            return CType::Void;
        };
        let name = self.string(r.name_off);
        let target = TypeId(r.size_or_type);
        let qualified = |qualifier| CType::Qualified { qualifier, target };
        let record = |kind| CType::Record {
            kind,
            name,
            size: u64::from(r.size_or_type),
        };
        match r.kind {
            Kind::Void | Kind::Datasec => CType::Void,
            Kind::Int => {
                let encoding = word(r.tail, 0) >> 24;
                CType::Int {
                    name,
                    size: r.size_or_type,
                    signed: encoding & int::SIGNED != 0,
                    kind: if encoding & int::BOOL != 0 {
                        IntKind::Bool
                    // gcc marks no type as a character.
                    } else if encoding & int::CHAR != 0 || r.size_or_type == 1 && name == "char" {
                        IntKind::Char
                    } else {
                        IntKind::Number
                    },
                }
            }
            Kind::Float => CType::Float {
                name,
                size: r.size_or_type,
            },
            Kind::Ptr => CType::Pointer(target),
            Kind::Array => CType::Array {
                element: TypeId(word(r.tail, 0)),
                len: u64::from(word(r.tail, 8)),
            },
            Kind::Struct => record(RecordKind::Struct),
            Kind::Union => record(RecordKind::Union),
            Kind::Enum | Kind::Enum64 => CType::Enum {
                name,
                size: r.size_or_type,
                signed: r.flag,
            },
            Kind::Fwd => CType::Forward {
                space: if r.flag {
                    NameSpace::Union
                } else {
                    NameSpace::Struct
                },
                name,
            },
            Kind::Typedef => CType::Typedef { name, target },
            Kind::Const => qualified(Qualifier::Const),
            Kind::Volatile => qualified(Qualifier::Volatile),
            Kind::Restrict => qualified(Qualifier::Restrict),
            Kind::TypeTag => qualified(Qualifier::Tag(name)),
            Kind::FuncProto => CType::Function { ret: target },
            // A function or a variable names its type; a tag annotates one.
            Kind::Func | Kind::Var | Kind::DeclTag => CType::Typedef { name, target },
        }
    }

    fn members(&self, id: TypeId) -> Vec<Member<'_>> {
        match self.record(id) {
            Some(r) if matches!(r.kind, Kind::Struct | Kind::Union) => {
                r.elements(12).map(|m| self.member(&r, m)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn variants(&self, id: TypeId) -> Vec<Variant<'_>> {
        let Some(r) = self.record(id) else {
            return Vec::new();
        };
        let variant = |bytes, value| Variant {
            name: self.string(word(bytes, 0)),
            value,
        };
        match r.kind {
            Kind::Enum => r
                .elements(8)
                .map(|v| {
                    let low = word(v, 4);
                    let signed = i64::from(low.cast_signed());
                    variant(v, if r.flag { signed } else { i64::from(low) })
                })
                .collect(),
            Kind::Enum64 => r
                .elements(12)
                .map(|v| {
                    let bits = u64::from(word(v, 4)) | u64::from(word(v, 8)) << 32;
                    variant(v, bits.cast_signed())
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn params(&self, id: TypeId) -> Vec<Param<'_>> {
        match self.record(id) {
            Some(r) if r.kind == Kind::FuncProto => r
                .elements(8)
                .map(|p| Param {
                    name: self.string(word(p, 0)),
                    ty: TypeId(word(p, 4)),
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn find(&self, space: NameSpace, name: &str) -> Option<TypeId> {
        let kinds: &[Kind] = match space {
            NameSpace::Struct => &[Kind::Struct],
            NameSpace::Union => &[Kind::Union],
            NameSpace::Enum => &[Kind::Enum, Kind::Enum64],
            NameSpace::Ordinary => &[Kind::Typedef, Kind::Int, Kind::Float],
        };
        self.find_kind(kinds, name)
    }
}
