//! Declarations: from preprocessed tokens to types.
//!
//! In: tokens of one declaration after another. Out: types, names and enumeration constants in a
//! [`Store`]. Function bodies, prototypes and variables are passed over; what the grammar does not
//! know is reported to whoever wrote it and leaves nothing behind.

use std::collections::HashMap;

use pest::Parser as _;
use pest::iterators::Pair;

use super::expr::{self, Names, TypeInfo, Value};
use super::layout::{self, Rules, Slot};
use super::model::{CType, NameSpace, RecordKind, TypeId, TypeSource};
use super::preprocess::{PACK, Preprocessor, Skipped};
use super::store::{Def, Field, Record, Store};
use super::token::{Interner, Kind, Loc, Token, tokenize};

#[derive(pest_derive::Parser)]
#[grammar = "../grammar/c.pest"]
struct Grammar;

/// Alignment of `aligned` without a number: the largest of any type.
const MAX_ALIGN: u64 = 16;

/// Brackets of any kind that may be open at once: parsing recurses.
const MAX_NESTING: usize = 100;

/// Types that scripts use without including anything, unless somebody defines them.
const WELL_KNOWN: [(&str, &str); 36] = [
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

/// A mistake, at a byte of the declaration's text.
struct Fault {
    at: usize,
    message: String,
}

type Result<T> = std::result::Result<T, Fault>;

fn fault<T>(pair: &Pair<'_, Rule>, message: impl Into<String>) -> Result<T> {
    Err(Fault {
        at: pair.as_span().start(),
        message: message.into(),
    })
}

/// Attributes that matter to a layout.
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    packed: bool,
    aligned: Option<u64>,
    /// Bytes that `mode` asks for.
    mode: Option<u32>,
}

/// Reads declarations into [`Definitions`].
pub struct Reader<'a> {
    defs: Definitions,
    externals: Option<&'a dyn TypeSource>,
    pack: u64,
    /// Whether the declaration at hand stands in the script, where a second definition is wrong.
    in_script: bool,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.defs.fmt(f)
    }
}

impl<'a> Reader<'a> {
    /// A reader that takes types which are named but not defined from `externals`.
    pub fn new(externals: Option<&'a dyn TypeSource>) -> Self {
        Self {
            defs: Definitions::default(),
            externals,
            pack: 0,
            in_script: false,
        }
    }

    /// What has been read.
    pub fn finish(self) -> Definitions {
        self.defs
    }

    /// Reads all declarations in `tokens`.
    pub fn read(&mut self, tokens: &[Token], pp: &mut Preprocessor<'_>) {
        let mut at = 0;
        while at < tokens.len() {
            let (end, what) = declaration_end(&tokens[at..], &pp.names);
            let declaration = &tokens[at..at + end];
            at += end;
            match what {
                Shape::Types => self.declaration(declaration, pp),
                Shape::Pack(n) => self.pack = n,
                Shape::FunctionBody => {
                    let name = function_name(declaration, &pp.names);
                    let loc = declaration[0].loc;
                    if pp.in_script(loc) {
                        pp.complain(
                            loc,
                            "functions of C are not supported; write a macro or `fn`",
                        );
                    } else {
                        pp.skipped.push(Skipped {
                            place: pp.place(loc),
                            reason: format!("the body of function '{name}' is not compiled"),
                        });
                    }
                }
                Shape::Unfinished => {
                    let loc = declaration[0].loc;
                    pp.complain(loc, "the definition has no end");
                }
                Shape::Other => {}
            }
        }
    }

    fn declaration(&mut self, tokens: &[Token], pp: &mut Preprocessor<'_>) {
        if nesting(tokens, &pp.names) > MAX_NESTING {
            return pp.complain(tokens[0].loc, "the definition nests too deeply");
        }
        let (text, places) = self.text(tokens, &pp.names);
        self.in_script = pp.in_script(tokens[0].loc);
        let result = match Grammar::parse(Rule::declaration, &text) {
            Ok(mut pairs) => match pairs.next() {
                Some(pair) => self.declared(pair),
                None => Ok(()),
            },
            Err(e) => {
                let at = match e.location {
                    pest::error::InputLocation::Pos(at) => at,
                    pest::error::InputLocation::Span((at, _)) => at,
                };
                let word = text[at..]
                    .trim_start()
                    .split(' ')
                    .next()
                    .unwrap_or_default();
                let word = word.trim_start_matches('\u{1}');
                Err(Fault {
                    at,
                    message: if word.is_empty() {
                        "the definition ends too early".to_owned()
                    } else {
                        format!("`{word}` is not understood here")
                    },
                })
            }
        };
        if let Err(Fault { at, message }) = result {
            let i = places
                .partition_point(|&(offset, _)| offset <= at)
                .saturating_sub(1);
            let loc = places.get(i).map_or(tokens[0].loc, |&(_, loc)| loc);
            pp.complain(loc, message);
        }
    }

    /// The tokens with one space between them and typedef names marked, and where each came from.
    fn text(&self, tokens: &[Token], names: &Interner) -> (String, Vec<(usize, Loc)>) {
        let mut text = String::with_capacity(tokens.len() * 6);
        let mut places = Vec::with_capacity(tokens.len());
        for t in tokens {
            let word = names.text(t.sym);
            if word == "__extension__" {
                continue;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            places.push((text.len(), t.loc));
            if t.kind == Kind::Ident && self.defs.store.find(NameSpace::Ordinary, word).is_some() {
                text.push('\u{1}');
            }
            text.push_str(word);
        }
        (text, places)
    }

    fn declared(&mut self, pair: Pair<'_, Rule>) -> Result<()> {
        let mut typedef = false;
        let mut base = (TypeId::VOID, Attributes::default());
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::typedef_word => typedef = true,
                Rule::specifiers => base = self.specifiers(part)?,
                // Declared without typedef: a variable, of which nobody can ask anything.
                Rule::declarator if typedef => {
                    let (name, ty, own) = self.declarator(part, base.0)?;
                    let ty = match own.mode.or(base.1.mode) {
                        Some(size) => self.with_mode(ty, size),
                        None => ty,
                    };
                    self.typedef(&name, ty, own.aligned.or(base.1.aligned));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn typedef(&mut self, name: &str, target: TypeId, align: Option<u64>) {
        // C11 allows to repeat a typedef; the first one stands.
        if self.defs.store.find(NameSpace::Ordinary, name).is_some() {
            return;
        }
        let id = self.defs.store.add(Def::Typedef {
            name: name.to_owned(),
            target,
            align,
        });
        self.defs.store.bind(NameSpace::Ordinary, name, id);
    }

    /// An integer type of the same signedness with another size.
    fn with_mode(&mut self, ty: TypeId, size: u32) -> TypeId {
        let store = &mut self.defs.store;
        let unsigned = matches!(
            store.ctype(store.resolve(ty)),
            CType::Int { signed: false, .. }
        );
        let name = match (size, unsigned) {
            (1, true) => "unsigned char",
            (1, false) => "signed char",
            (2, true) => "unsigned short",
            (2, false) => "short",
            (4, true) => "unsigned int",
            (4, false) => "int",
            (16, true) => "unsigned __int128",
            (16, false) => "__int128",
            (_, true) => "unsigned long",
            (_, false) => "long",
        };
        store.basic(name).unwrap_or(ty)
    }

    fn specifiers(&mut self, pair: Pair<'_, Rule>) -> Result<(TypeId, Attributes)> {
        let mut attributes = Attributes::default();
        let mut ty = TypeId::VOID;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::attribute => self.attribute(part, &mut attributes)?,
                Rule::record => ty = self.record(part)?,
                Rule::enumeration => ty = self.enumeration(part)?,
                Rule::typeof_type => {
                    for piece in part.into_inner() {
                        match piece.as_rule() {
                            Rule::specifiers => ty = self.specifiers(piece)?.0,
                            Rule::pointer => ty = self.defs.store.pointer(ty),
                            _ => {}
                        }
                    }
                }
                Rule::basic => {
                    let words: Vec<&str> = part.clone().into_inner().map(|w| w.as_str()).collect();
                    ty = match basic_name(&words) {
                        Some(name) if name == "__builtin_va_list" => self.va_list(),
                        Some(name) => self.defs.store.basic(&name).unwrap_or(TypeId::VOID),
                        None => {
                            return fault(&part, format!("`{}` is not supported", part.as_str()));
                        }
                    };
                }
                Rule::known_type => {
                    let name = part.as_str().trim_start_matches('\u{1}');
                    ty = match self.defs.store.find(NameSpace::Ordinary, name) {
                        Some(id) => id,
                        None => return fault(&part, format!("unknown type name '{name}'")),
                    };
                }
                Rule::unknown_type => {
                    let name = part.as_str().trim();
                    ty = match self.outside(NameSpace::Ordinary, name) {
                        Some(id) => id,
                        None => return fault(&part, format!("unknown type name '{name}'")),
                    };
                }
                _ => {}
            }
        }
        Ok((ty, attributes))
    }

    /// A type that the text only names: from the other source, or one that everybody knows.
    fn outside(&mut self, space: NameSpace, name: &str) -> Option<TypeId> {
        let external = self.externals.and_then(|e| {
            let id = e.find(space, name)?;
            Some((e.size(id)?, e.align(id)?))
        });
        if let Some((size, align)) = external {
            return Some(self.defs.store.add(Def::External {
                space,
                name: name.to_owned(),
                size,
                align,
            }));
        }
        if space != NameSpace::Ordinary {
            return None;
        }
        let &(_, basic) = WELL_KNOWN.iter().find(|w| w.0 == name)?;
        let target = self.defs.store.basic(basic)?;
        self.typedef(name, target, None);
        self.defs.store.find(NameSpace::Ordinary, name)
    }

    /// `va_list` of x86-64: an array of one 24-byte struct.
    fn va_list(&mut self) -> TypeId {
        match self.defs.store.basic("unsigned long") {
            Some(word) => self.defs.store.add(Def::Array(word, 3)),
            None => TypeId::VOID,
        }
    }

    /// The id of a tag, which may have no definition yet.
    fn tag(&mut self, space: NameSpace, name: &str) -> TypeId {
        if let Some(id) = self.defs.store.tag(space, name) {
            return id;
        }
        let id = self.defs.store.add(Def::Forward(space, name.to_owned()));
        self.defs.store.bind(space, name, id);
        id
    }

    fn record(&mut self, pair: Pair<'_, Rule>) -> Result<TypeId> {
        let mut kind = RecordKind::Struct;
        let mut tag = "";
        let mut attributes = Attributes::default();
        let mut body = None;
        let whole = pair.clone();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::record_word if part.as_str() == "union" => kind = RecordKind::Union,
                Rule::attribute => self.attribute(part, &mut attributes)?,
                Rule::name => tag = part.as_str().trim_start_matches('\u{1}'),
                Rule::record_body => body = Some(part),
                _ => {}
            }
        }
        let space = match kind {
            RecordKind::Struct => NameSpace::Struct,
            RecordKind::Union => NameSpace::Union,
        };
        let Some(body) = body else {
            return Ok(self.tag(space, tag));
        };
        let id = if tag.is_empty() {
            self.defs.store.add(Def::Forward(space, String::new()))
        } else {
            self.tag(space, tag)
        };
        if !matches!(
            self.defs.store.def(id),
            Def::Forward(..) | Def::External { .. }
        ) {
            // Headers that cannot know of each other repeat definitions; the first one stands.
            if !self.in_script {
                return Ok(id);
            }
            return fault(&whole, format!("{} {tag} is defined twice", kind.keyword()));
        }
        let mut fields = Vec::new();
        let mut slots = Vec::new();
        for part in body.into_inner() {
            match part.as_rule() {
                Rule::member => self.member(part, &mut fields, &mut slots)?,
                Rule::attribute => self.attribute(part, &mut attributes)?,
                _ => {}
            }
        }
        let rules = Rules {
            packed: attributes.packed,
            aligned: attributes.aligned,
            pack: self.pack,
        };
        let Some(layout) = layout::lay_out(kind, rules, &slots) else {
            return fault(&whole, format!("{} {tag} is too large", kind.keyword()));
        };
        for (field, offset) in fields.iter_mut().zip(&layout.offsets) {
            field.bit_offset = *offset;
        }
        // Nameless bitfields are padding.
        fields.retain(|f| !(f.name.is_empty() && f.bits.is_some()));
        self.defs.store.set(
            id,
            Def::Record(Record {
                kind,
                name: tag.to_owned(),
                size: layout.size,
                align: layout.align,
                members: fields,
            }),
        );
        Ok(id)
    }

    fn member(
        &mut self,
        pair: Pair<'_, Rule>,
        fields: &mut Vec<Field>,
        slots: &mut Vec<Slot>,
    ) -> Result<()> {
        let mut base = (TypeId::VOID, Attributes::default());
        let mut declared = false;
        let whole = pair.clone();
        let mut anonymous = false;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::specifiers => {
                    base = self.specifiers(part)?;
                    anonymous = matches!(
                        self.defs.store.def(base.0),
                        Def::Record(Record { name, .. }) if name.is_empty()
                    );
                }
                Rule::member_declarator => {
                    declared = true;
                    let mut name = String::new();
                    let mut ty = base.0;
                    let mut attributes = base.1;
                    let mut bits = None;
                    for piece in part.clone().into_inner() {
                        match piece.as_rule() {
                            Rule::declarator => {
                                let (n, t, own) = self.declarator(piece, base.0)?;
                                (name, ty) = (n, t);
                                attributes.packed |= own.packed;
                                attributes.aligned = own.aligned.or(attributes.aligned);
                            }
                            Rule::bitfield => bits = Some(self.bitfield(piece, &mut attributes)?),
                            Rule::attribute => self.attribute(piece, &mut attributes)?,
                            _ => {}
                        }
                    }
                    self.push_member(&part, name, ty, attributes, bits, fields, slots)?;
                }
                _ => {}
            }
        }
        // `struct { ... };` inside a record: its members are the record's own.
        if !declared && anonymous {
            self.push_member(&whole, String::new(), base.0, base.1, None, fields, slots)?;
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one member's parts, in one place"
    )]
    fn push_member(
        &mut self,
        at: &Pair<'_, Rule>,
        name: String,
        ty: TypeId,
        attributes: Attributes,
        bits: Option<u32>,
        fields: &mut Vec<Field>,
        slots: &mut Vec<Slot>,
    ) -> Result<()> {
        let Some((size, align)) = self.complete(ty) else {
            let shown = super::render::type_name(&self.defs.store, ty);
            return fault(
                at,
                format!("member '{name}' has the incomplete type '{shown}'"),
            );
        };
        if let Some(width) = bits
            && (u64::from(width) > size * 8 || width == 0 && !name.is_empty())
        {
            return fault(at, format!("bitfield '{name}' cannot have {width} bits"));
        }
        slots.push(Slot {
            size,
            align,
            aligned: attributes.aligned,
            packed: attributes.packed,
            bits,
            named: !name.is_empty(),
        });
        fields.push(Field {
            name,
            ty,
            bit_offset: 0,
            bits,
        });
        Ok(())
    }

    /// Size and alignment of a type; a tag without a definition gets one from outside.
    fn complete(&mut self, ty: TypeId) -> Option<(u64, u64)> {
        let mut inner = self.defs.store.resolve(ty);
        while let CType::Array { element, .. } = self.defs.store.ctype(inner) {
            inner = self.defs.store.resolve(element);
        }
        if let Def::Forward(space, name) = self.defs.store.def(inner).clone() {
            let e = self.externals?;
            let id = e.find(space, &name)?;
            let (size, align) = (e.size(id)?, e.align(id)?);
            self.defs.store.set(
                inner,
                Def::External {
                    space,
                    name,
                    size,
                    align,
                },
            );
        }
        let store = &self.defs.store;
        Some((store.size(ty)?, store.align(ty)?))
    }

    fn bitfield(&mut self, pair: Pair<'_, Rule>, attributes: &mut Attributes) -> Result<u32> {
        let mut width = 0;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::expression => {
                    let v = self.evaluate(&part)?;
                    width = match u32::try_from(v.bits) {
                        Ok(w) if w <= 64 => w,
                        _ => {
                            return fault(&part, format!("a bitfield cannot have {} bits", v.bits));
                        }
                    };
                }
                Rule::attribute => self.attribute(part, attributes)?,
                _ => {}
            }
        }
        Ok(width)
    }

    /// Name, type and attributes of a declarator on top of `base`.
    fn declarator(
        &mut self,
        pair: Pair<'_, Rule>,
        base: TypeId,
    ) -> Result<(String, TypeId, Attributes)> {
        let mut ty = base;
        let mut name = String::new();
        let mut attributes = Attributes::default();
        let mut nested = None;
        let mut suffixes = Vec::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::pointer => ty = self.defs.store.pointer(ty),
                Rule::name => name = part.as_str().trim_start_matches('\u{1}').to_owned(),
                Rule::declarator => nested = Some(part),
                Rule::array | Rule::function => suffixes.push(part),
                Rule::attribute => self.attribute(part, &mut attributes)?,
                _ => {}
            }
        }
        for suffix in suffixes.into_iter().rev() {
            if suffix.as_rule() == Rule::function {
                ty = self.defs.store.add(Def::Function(ty));
                continue;
            }
            let len = match suffix.clone().into_inner().next() {
                Some(e) => self.evaluate(&e)?.bits,
                None => 0,
            };
            let Ok(len) = u64::try_from(len) else {
                return fault(&suffix, format!("an array cannot have {len} elements"));
            };
            ty = self.defs.store.add(Def::Array(ty, len));
        }
        if let Some(inner) = nested {
            let (n, t, own) = self.declarator(inner, ty)?;
            (name, ty) = (n, t);
            attributes.packed |= own.packed;
            attributes.aligned = own.aligned.or(attributes.aligned);
        }
        Ok((name, ty, attributes))
    }

    fn enumeration(&mut self, pair: Pair<'_, Rule>) -> Result<TypeId> {
        let mut tag = "";
        let mut body = None;
        let whole = pair.clone();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::name => tag = part.as_str().trim_start_matches('\u{1}'),
                Rule::enum_body => body = Some(part),
                _ => {}
            }
        }
        let id = if tag.is_empty() {
            self.defs
                .store
                .add(Def::Forward(NameSpace::Enum, String::new()))
        } else {
            self.tag(NameSpace::Enum, tag)
        };
        let Some(body) = body else {
            if self.complete(id).is_none() {
                // An enumeration that is only named still has the size of all of them.
                self.defs.store.set(id, enum_def(tag, Vec::new()));
            }
            return Ok(id);
        };
        if let Def::Enum { variants, .. } = self.defs.store.def(id)
            && !variants.is_empty()
        {
            if !self.in_script {
                return Ok(id);
            }
            return fault(&whole, format!("enum {tag} is defined twice"));
        }
        let mut variants = Vec::new();
        let mut next = 0i64;
        for part in body
            .into_inner()
            .filter(|p| p.as_rule() == Rule::enumerator)
        {
            let mut name = "";
            for piece in part.clone().into_inner() {
                match piece.as_rule() {
                    Rule::name => name = piece.as_str().trim_start_matches('\u{1}'),
                    Rule::expression => next = self.evaluate(&piece)?.bits,
                    _ => {}
                }
            }
            if self.in_script && self.defs.constants.contains_key(name) {
                return fault(&part, format!("enumerator '{name}' is defined twice"));
            }
            let constant = EnumConstant {
                value: next,
                enumeration: id,
            };
            self.defs.constants.insert(name.to_owned(), constant);
            variants.push((name.to_owned(), next));
            next = next.wrapping_add(1);
        }
        self.defs.store.set(id, enum_def(tag, variants));
        Ok(id)
    }

    fn attribute(&mut self, pair: Pair<'_, Rule>, out: &mut Attributes) -> Result<()> {
        for item in pair.into_inner() {
            if item.as_rule() == Rule::alignas {
                if let Some(e) = item.into_inner().next() {
                    let n = self.evaluate(&e)?;
                    out.aligned = out.aligned.max(u64::try_from(n.bits).ok());
                }
                continue;
            }
            let mut parts = item.clone().into_inner();
            let name = parts
                .next()
                .map_or("", |n| n.as_str().trim_start_matches('\u{1}'));
            let argument = parts.next();
            match name.trim_matches('_') {
                "packed" => out.packed = true,
                "aligned" => {
                    let n = match &argument {
                        Some(e) => self.evaluate(e)?.bits.cast_unsigned(),
                        None => MAX_ALIGN,
                    };
                    if !n.is_power_of_two() || n > 1 << 28 {
                        return fault(&item, format!("{n} is not an alignment"));
                    }
                    out.aligned = out.aligned.max(Some(n));
                }
                "mode" => {
                    out.mode = match argument
                        .as_ref()
                        .map_or("", |a| a.as_str())
                        .trim_matches('_')
                    {
                        "QI" | "byte" => Some(1),
                        "HI" => Some(2),
                        "SI" => Some(4),
                        "DI" | "word" | "pointer" => Some(8),
                        "TI" => Some(16),
                        other => return fault(&item, format!("mode {other} is not supported")),
                    };
                }
                "vector_size" => return fault(&item, "vector types are not supported"),
                _ => {}
            }
        }
        Ok(())
    }

    fn evaluate(&self, pair: &Pair<'_, Rule>) -> Result<Value> {
        let text = pair.as_str().replace('\u{1}', "");
        let mut interner = Interner::default();
        let tokens = tokenize(&text, 0, &mut interner);
        let mut names = &self.defs;
        match expr::evaluate(&tokens, &interner, &mut names) {
            Ok(value) => Ok(value),
            Err(message) => fault(pair, message),
        }
    }
}

/// GCC's choice of an enumeration's type: `unsigned int`, `int` if a value is negative, 64 bits if
/// a value needs them.
fn enum_def(tag: &str, variants: Vec<(String, i64)>) -> Def {
    let signed = variants.iter().any(|v| v.1 < 0);
    let fits = |v: i64| {
        if signed {
            i32::try_from(v).is_ok()
        } else {
            u32::try_from(v).is_ok()
        }
    };
    Def::Enum {
        name: tag.to_owned(),
        size: if variants.iter().all(|v| fits(v.1)) {
            4
        } else {
            8
        },
        signed,
        variants,
    }
}

/// What a run of tokens declares.
enum Shape {
    /// Types: it is parsed.
    Types,
    /// A function with its body.
    FunctionBody,
    /// A prototype or a variable.
    Other,
    /// `#pragma pack`
    Pack(u64),
    /// The text ended inside it.
    Unfinished,
}

/// Length of the first declaration in `tokens`, and what it is.
fn declaration_end(tokens: &[Token], names: &Interner) -> (usize, Shape) {
    let word = |i: usize| tokens.get(i).map_or("", |t| names.text(t.sym));
    if word(0) == PACK {
        return (
            3.min(tokens.len()),
            Shape::Pack(word(1).parse().unwrap_or(0)),
        );
    }
    let (mut braces, mut parens) = (0u32, 0u32);
    let (mut typedef, mut record, mut body) = (false, false, false);
    // A parenthesis at the top level that is no attribute's: a parameter list.
    let mut function = false;
    for i in 0..tokens.len() {
        let top = braces == 0 && parens == 0;
        match word(i) {
            "typedef" if top => typedef = true,
            "struct" | "union" | "enum" if top => record = true,
            "(" => {
                if top && i > 0 {
                    let before = word(i - 1);
                    let attribute = before.starts_with("__attribute")
                        || before.starts_with("__asm")
                        || matches!(before, "asm" | "_Alignas" | "__declspec");
                    function |= !attribute;
                }
                parens += 1;
            }
            ")" => parens = parens.saturating_sub(1),
            "{" => {
                body |= top;
                braces += 1;
            }
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 && function && !typedef {
                    return (i + 1, Shape::FunctionBody);
                }
            }
            ";" if top => {
                let shape = if typedef || record && (body || !function && i == 2) {
                    Shape::Types
                } else {
                    Shape::Other
                };
                return (i + 1, shape);
            }
            _ => {}
        }
    }
    (tokens.len(), Shape::Unfinished)
}

/// The largest number of brackets open at once.
fn nesting(tokens: &[Token], names: &Interner) -> usize {
    let (mut open, mut most) = (0usize, 0);
    for t in tokens {
        match names.text(t.sym) {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn function_name<'a>(tokens: &[Token], names: &'a Interner) -> &'a str {
    let open = tokens.windows(2).find(|w| {
        let (name, paren) = (names.text(w[0].sym), names.text(w[1].sym));
        paren == "(" && w[0].kind == Kind::Ident && !name.starts_with("__attribute")
    });
    open.map_or("?", |w| names.text(w[0].sym))
}
