//! Declarations: from preprocessed tokens to types.
//!
//! In: tokens of one declaration after another. Out: types, names and enumeration constants in a
//! [`Definitions`]. Function bodies, prototypes and variables are passed over; what the grammar does not
//! know is reported to whoever wrote it and leaves nothing behind.

use pest::Parser as _;
use pest::iterators::Pair;

use super::defs::{Definitions, EnumConstant, WELL_KNOWN, basic_name};
use super::expr::{self, Value};
use super::layout::{self, Rules, Slot};
use super::model::{CType, NameSpace, RecordKind, TypeId, TypeSource};
use super::preprocess::{Preprocessor, Skipped};
use super::split::{Shape, declaration_end, function_name, nesting};
use super::store::{Def, Field, Record};
use super::token::{Interner, Kind, Loc, Token, tokenize};

#[derive(pest_derive::Parser)]
#[grammar = "../grammar/c.pest"]
struct Grammar;

/// Alignment of `aligned` without a number: the largest of any type.
const MAX_ALIGN: u64 = 16;

/// Brackets of any kind that may be open at once: parsing recurses.
const MAX_NESTING: usize = 100;

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
    /// The struct at hand replaces one of the other source's: what it holds must be the text's own
    /// too, or two kernels' worth of types would mix.
    replaces: bool,
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
            replaces: false,
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
        let outer = self.replaces;
        self.replaces |= self.in_script
            && !tag.is_empty()
            && self.externals.is_some_and(|e| e.find(space, tag).is_some());
        let mut fields = Vec::new();
        let mut slots = Vec::new();
        for part in body.into_inner() {
            match part.as_rule() {
                Rule::member => self.member(part, &mut fields, &mut slots)?,
                Rule::attribute => self.attribute(part, &mut attributes)?,
                _ => {}
            }
        }
        self.replaces = outer;
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
        let foreign = self.replaces && self.is_foreign(ty);
        let complete = if foreign { None } else { self.complete(ty) };
        let Some((size, align)) = complete else {
            let shown = super::render::type_name(&self.defs.store, ty);
            let why = if foreign {
                ": what replaces a type of the kernel must define what it holds"
            } else {
                ""
            };
            return fault(
                at,
                format!("definition error: member '{name}' has the incomplete type '{shown}'{why}"),
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

    /// Whether a value of this type is a struct, union or enum that the text does not define.
    fn is_foreign(&self, ty: TypeId) -> bool {
        let mut inner = self.defs.store.resolve(ty);
        while let CType::Array { element, .. } = self.defs.store.ctype(inner) {
            inner = self.defs.store.resolve(element);
        }
        match self.defs.store.def(inner) {
            Def::Forward(..) => true,
            Def::External { space, .. } => *space != NameSpace::Ordinary,
            _ => false,
        }
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
