//! What a translation has defined, and what its names mean in constant expressions.

use std::collections::HashMap;

use super::expr::{self, Names, TypeInfo, Value};
use super::model::{CType, NameSpace, TypeId, TypeSource};
use super::store::Store;

/// Types that scripts use without including anything, unless somebody defines them.
pub(super) const WELL_KNOWN: [(&str, &str); 36] = [
    ("int8_t", "signed char"),
    ("int16_t", "short"),
    ("int32_t", "int"),
    ("int64_t", "long"),
    ("uint8_t", "unsigned char"),
    ("uint16_t", "unsigned short"),
    ("uint32_t", "unsigned int"),
    ("uint64_t", "unsigned long"),
    ("s8", "signed char"),
    ("s16", "short"),
    ("s32", "int"),
    ("s64", "long long"),
    ("u8", "unsigned char"),
    ("u16", "unsigned short"),
    ("u32", "unsigned int"),
    ("u64", "unsigned long long"),
    ("__s8", "signed char"),
    ("__s16", "short"),
    ("__s32", "int"),
    ("__s64", "long long"),
    ("__u8", "unsigned char"),
    ("__u16", "unsigned short"),
    ("__u32", "unsigned int"),
    ("__u64", "unsigned long long"),
    ("__be16", "unsigned short"),
    ("__be32", "unsigned int"),
    ("__be64", "unsigned long long"),
    ("__le16", "unsigned short"),
    ("__le32", "unsigned int"),
    ("__le64", "unsigned long long"),
    ("size_t", "unsigned long"),
    ("ssize_t", "long"),
    ("uintptr_t", "unsigned long"),
    ("intptr_t", "long"),
    ("bool", "_Bool"),
    ("pid_t", "int"),
];

/// A constant of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumConstant {
    /// Its value.
    pub value: i64,
    /// The enumeration that defines it.
    pub enumeration: TypeId,
}

/// What a translation has defined.
#[derive(Debug, Default)]
pub struct Definitions {
    /// The types.
    pub store: Store,
    /// Enumeration constants by name.
    pub constants: HashMap<String, EnumConstant>,
}

impl Names for &Definitions {
    fn constant(&self, name: &str) -> Option<Value> {
        self.constants.get(name).map(|c| Value::int(c.value))
    }

    fn starts_type(&self, word: &str) -> bool {
        is_type_word(word) || self.store.find(NameSpace::Ordinary, word).is_some()
    }

    fn type_info(&mut self, text: &str) -> Option<TypeInfo> {
        if let Some((element, dims)) = text.split_once('[') {
            let element = self.type_info(element.trim_end())?;
            let dims = dims.split(['[', ']', ' ']).filter(|d| !d.is_empty());
            let count = dims
                .map(|d| u64::try_from(expr::number(d)?.bits).ok())
                .try_fold(1u64, |n, d| n.checked_mul(d?))?;
            return Some(TypeInfo {
                size: element.size.checked_mul(count)?,
                align: element.align,
                integer: None,
            });
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if text.ends_with('*') {
            return Some(TypeInfo {
                size: 8,
                align: 8,
                integer: Some(false),
            });
        }
        let words: Vec<&str> = words.into_iter().filter(|w| !is_qualifier(w)).collect();
        let id = match words.as_slice() {
            ["struct", tag] => self.store.tag(NameSpace::Struct, tag)?,
            ["union", tag] => self.store.tag(NameSpace::Union, tag)?,
            ["enum", tag] => self.store.tag(NameSpace::Enum, tag)?,
            [name] if self.store.find(NameSpace::Ordinary, name).is_some() => {
                self.store.find(NameSpace::Ordinary, name)?
            }
            basic => {
                // A scratch store: names of basic types mean the same in every one.
                let mut scratch = Store::default();
                let id = scratch.basic(&basic_name(basic)?)?;
                return info(&scratch, id);
            }
        };
        info(&self.store, id)
    }
}

fn info(store: &Store, id: TypeId) -> Option<TypeInfo> {
    let integer = match store.ctype(store.resolve(id)) {
        CType::Int { signed, .. } | CType::Enum { signed, .. } => Some(signed),
        CType::Pointer(_) => Some(false),
        _ => None,
    };
    Some(TypeInfo {
        size: store.size(id)?,
        align: store.align(id)?,
        integer,
    })
}

fn is_qualifier(word: &str) -> bool {
    matches!(
        word,
        "const" | "volatile" | "__const" | "__volatile__" | "__extension__"
    )
}

fn is_type_word(word: &str) -> bool {
    is_qualifier(word)
        || matches!(
            word,
            "void"
                | "char"
                | "short"
                | "int"
                | "long"
                | "signed"
                | "unsigned"
                | "float"
                | "double"
                | "_Bool"
                | "struct"
                | "union"
                | "enum"
                | "__signed__"
                | "__int128"
        )
}

/// The one name that a combination of words such as `long unsigned int` stands for; `None` where
/// they make no basic type.
pub fn basic_name(words: &[&str]) -> Option<String> {
    let count = |w: &str| words.iter().filter(|x| **x == w).count();
    let unsigned = count("unsigned") > 0;
    let signed = count("signed") + count("__signed__") + count("__signed") > 0;
    let longs = count("long");
    for whole in ["void", "_Bool", "float", "__builtin_va_list"] {
        if count(whole) > 0 {
            return Some(whole.to_owned());
        }
    }
    if count("_Complex") + count("__complex__") > 0 {
        return None;
    }
    if count("__float128") + count("_Float128") > 0 {
        return Some("__float128".to_owned());
    }
    if count("double") > 0 {
        return Some(if longs > 0 { "long double" } else { "double" }.to_owned());
    }
    let base = if count("char") > 0 {
        return Some(
            match (unsigned, signed) {
                (true, _) => "unsigned char",
                (_, true) => "signed char",
                _ => "char",
            }
            .to_owned(),
        );
    } else if count("__int128") + count("__int128_t") > 0 {
        "__int128"
    } else if count("__uint128_t") > 0 {
        return Some("unsigned __int128".to_owned());
    } else if count("short") > 0 {
        "short"
    } else if longs > 1 {
        "long long"
    } else if longs == 1 {
        "long"
    } else if count("int") > 0 || unsigned || signed {
        "int"
    } else {
        return None;
    };
    Some(if unsigned {
        format!("unsigned {base}")
    } else {
        base.to_owned()
    })
}
