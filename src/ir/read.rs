//! Reads the text form that [`print`](super::print) writes.
//!
//! Input: text; output: a [`Module`]. The reader checks spelling, not meaning: that is
//! [`verify`](super::verify)'s. Maps come back without their role. `;` starts a comment.

use std::fmt;

use crate::codegen::helper::HelperId;
use crate::object::{Loc, MapDef, MapId, MapRole};

use super::entity::{Block, FuncId, Slot, Value};
use super::func::{Func, FuncKind, Module, Node};
use super::inst::{Inst, MemTy, Term, Ty, Width};
use super::print::{ATOMIC_OPS, BIN_OPS, CONDS, FUNC_KINDS, MAP_KINDS};

/// Text that is not IR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Line, from 1.
    pub line: usize,
    /// What was expected, and where.
    pub message: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ReadError {}

/// Reads a module.
pub fn read(text: &str) -> Result<Module, ReadError> {
    let mut module = Module::default();
    let mut func: Option<Reader> = None;
    for (i, raw) in text.lines().enumerate() {
        let line = raw.split(';').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let mut c = Cursor { rest: line };
        let step = match &mut func {
            Some(_) if c.eat("}") => {
                if let Some(r) = func.take() {
                    module.add(r.func);
                }
                Ok(())
            }
            Some(r) => r.line(&mut c),
            None if line.starts_with("map") => {
                map_line(&mut c, module.maps.len()).map(|m| module.maps.push(m))
            }
            None => header(&mut c, module.funcs.len()).map(|r| func = Some(r)),
        };
        step.and_then(|()| c.end()).map_err(|message| ReadError {
            line: i + 1,
            message,
        })?;
    }
    match func {
        None => Ok(module),
        Some(r) => Err(ReadError {
            line: text.lines().count(),
            message: format!("function {:?} is not closed", r.func.name),
        }),
    }
}

type Step<T> = Result<T, String>;

/// What is left of a line.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn fail<T>(&self, what: &str) -> Step<T> {
        Err(format!("expected {what} at `{}`", self.rest))
    }

    fn end(&self) -> Step<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.fail("the end of the line")
    }

    fn eat(&mut self, s: &str) -> bool {
        match self.rest.strip_prefix(s) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, s: &str) -> Step<()> {
        if self.eat(s) {
            return Ok(());
        }
        self.fail(&format!("`{s}`"))
    }

    /// Letters, digits and `_`; `.` and white space are not skipped after it.
    fn word(&mut self) -> Step<&'a str> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        if end == 0 {
            return self.fail("a word");
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        Ok(word)
    }

    fn int<T: TryFrom<i64>>(&mut self) -> Step<T> {
        let sign = usize::from(self.rest.starts_with(['-', '+']));
        let digits = self.rest[sign..]
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len() - sign);
        let (text, rest) = self.rest.split_at(sign + digits);
        let number = text.parse::<i64>().ok().and_then(|n| T::try_from(n).ok());
        match number {
            Some(n) => {
                self.rest = rest.trim_start();
                Ok(n)
            }
            None => self.fail("a number in range"),
        }
    }

    fn entity(&mut self, prefix: &str) -> Step<u32> {
        if self.rest.starts_with(prefix)
            && self.rest[prefix.len()..].starts_with(|c: char| c.is_ascii_digit())
        {
            self.rest = &self.rest[prefix.len()..];
            return self.int();
        }
        self.fail(&format!("`{prefix}` and a number"))
    }

    fn named<T: Copy>(&mut self, table: &[(T, &str)], what: &str) -> Step<T> {
        let at = self.rest;
        let word = self.word()?;
        match table.iter().find(|(_, name)| *name == word) {
            Some((t, _)) => Ok(*t),
            None => {
                self.rest = at;
                self.fail(what)
            }
        }
    }

    /// A string as `{:?}` writes it.
    fn string(&mut self) -> Step<String> {
        if !self.rest.starts_with('"') {
            return self.fail("a string");
        }
        let mut out = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((i, ch)) = chars.next() {
            match ch {
                '"' => {
                    self.rest = self.rest[i + 2..].trim_start();
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, 'r')) => out.push('\r'),
                    Some((_, '0')) => out.push('\0'),
                    Some((_, 'u')) => {
                        let hex: String = chars
                            .by_ref()
                            .map(|(_, c)| c)
                            .take_while(|&c| c != '}')
                            .filter(char::is_ascii_hexdigit)
                            .collect();
                        let code = u32::from_str_radix(&hex, 16).ok();
                        match code.and_then(char::from_u32) {
                            Some(c) => out.push(c),
                            None => return self.fail("a character code"),
                        }
                    }
                    Some((_, c)) => out.push(c),
                    None => break,
                },
                c => out.push(c),
            }
        }
        self.fail("the end of a string")
    }

    fn width(&mut self) -> Width {
        if self.eat(".32") {
            Width::W32
        } else {
            Width::W64
        }
    }

    fn mem(&mut self) -> Step<MemTy> {
        self.expect(".")?;
        let signed = self.eat("s");
        Ok(MemTy::new(self.int()?, signed))
    }

    fn map(&mut self) -> Step<MapId> {
        self.entity("map").map(MapId)
    }

    fn ty(&mut self) -> Step<Ty> {
        let word = self.word()?;
        let or_null = self.eat("?");
        let ty = match (word, or_null) {
            ("scalar", false) => Ty::Scalar,
            ("ctx", false) => Ty::Ctx,
            ("frame", false) => Ty::Frame,
            ("map", false) => Ty::Map,
            ("map", true) => Ty::MapOrNull,
            ("kptr", false) => Ty::KPtr,
            ("func", false) => Ty::Func,
            ("mapval", _) => {
                self.expect("(")?;
                let m = self.map()?;
                self.expect(")")?;
                if or_null {
                    Ty::MapValOrNull(m)
                } else {
                    Ty::MapVal(m)
                }
            }
            ("mapkey", false) => {
                self.expect("(")?;
                let m = self.map()?;
                self.expect(")")?;
                Ty::MapKey(m)
            }
            ("rec", _) => {
                self.expect("(")?;
                let n = self.int()?;
                self.expect(")")?;
                if or_null {
                    Ty::RecOrNull(n)
                } else {
                    Ty::Rec(n)
                }
            }
            _ => return self.fail("a type"),
        };
        Ok(ty)
    }
}

fn map_line(c: &mut Cursor<'_>, index: usize) -> Step<MapDef> {
    c.expect(&format!("map{index} ="))?;
    let kind = c.named(MAP_KINDS, "a map kind")?;
    c.expect("key")?;
    let key_size = c.int()?;
    c.expect("value")?;
    let value_size = c.int()?;
    c.expect("entries")?;
    let max_entries = c.int()?;
    c.expect("flags")?;
    let flags = c.int()?;
    let name = c.string()?;
    let init = if c.eat("init") {
        let hex = c.word()?.as_bytes();
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let bytes = hex
            .chunks(2)
            .map(|p| Some(digit(p[0])? << 4 | digit(*p.get(1)?)?))
            .collect::<Option<Vec<u8>>>();
        match bytes {
            Some(b) => Some(b),
            None => return c.fail("pairs of hexadecimal digits before this"),
        }
    } else {
        None
    };
    Ok(MapDef {
        name,
        kind,
        key_size,
        value_size,
        max_entries,
        flags,
        init,
        role: MapRole::Internal,
    })
}

fn header(c: &mut Cursor<'_>, index: usize) -> Step<Reader> {
    c.expect(&format!("fn{index} "))?;
    let kind: FuncKind = c.named(FUNC_KINDS, "a kind of function")?;
    let mut func = Func::new(c.string()?, kind);
    if c.eat("->") {
        func.ret = c.ty()?;
    }
    c.expect("{")?;
    Ok(Reader {
        func,
        loc: Loc::default(),
    })
}

/// A function being read.
struct Reader {
    func: Func,
    loc: Loc,
}

impl Reader {
    fn line(&mut self, c: &mut Cursor<'_>) -> Step<()> {
        if c.rest.starts_with("slot") && self.func.blocks.is_empty() {
            c.expect(&format!("slot{} ", self.func.slots.len()))?;
            let size = c.int()?;
            self.func.new_slot(size);
            return Ok(());
        }
        if c.rest.starts_with("block") {
            return self.block(c);
        }
        if self.func.blocks.is_empty() {
            return c.fail("a block");
        }
        if c.eat("@") {
            self.loc = place(c)?;
            return Ok(());
        }
        if let Some(term) = self.term(c)? {
            let loc = self.loc;
            let block = self.last();
            block.term = Some(term);
            block.term_loc = loc;
            return Ok(());
        }
        let start = c.rest;
        let mut result = None;
        if let Ok(v) = c.entity("v") {
            let v = self.value(v);
            let ty = if c.eat(":") { c.ty()? } else { Ty::Scalar };
            c.expect("=")?;
            self.func.values[v.index()] = ty;
            result = Some(v);
        } else {
            c.rest = start;
        }
        let ty = result.map_or(Ty::Scalar, |v| self.func.ty(v));
        let inst = self.inst(c, ty)?;
        let loc = self.loc;
        self.last().insts.push(Node { result, inst, loc });
        Ok(())
    }

    fn last(&mut self) -> &mut super::func::BlockData {
        let at = self.func.blocks.len() - 1;
        &mut self.func.blocks[at]
    }

    fn value(&mut self, n: u32) -> Value {
        let v = Value(n);
        if v.index() >= self.func.values.len() {
            self.func.values.resize(v.index() + 1, Ty::Scalar);
        }
        v
    }

    fn use_(&mut self, c: &mut Cursor<'_>) -> Step<Value> {
        let n = c.entity("v")?;
        if n > 1 << 24 {
            return c.fail("a smaller value number before this");
        }
        Ok(self.value(n))
    }

    fn block(&mut self, c: &mut Cursor<'_>) -> Step<()> {
        c.expect(&format!("block{}", self.func.blocks.len()))?;
        let block = self.func.new_block();
        if c.eat("(") {
            loop {
                let v = self.use_(c)?;
                c.expect(":")?;
                let ty = c.ty()?;
                self.func.values[v.index()] = ty;
                self.func.block_mut(block).params.push(v);
                if !c.eat(",") {
                    break;
                }
            }
            c.expect(")")?;
        }
        c.expect(":")
    }

    fn list(&mut self, c: &mut Cursor<'_>) -> Step<Vec<Value>> {
        let mut out = Vec::new();
        if c.eat(")") {
            return Ok(out);
        }
        loop {
            out.push(self.use_(c)?);
            if !c.eat(",") {
                break;
            }
        }
        c.expect(")")?;
        Ok(out)
    }

    fn target(&mut self, c: &mut Cursor<'_>) -> Step<(Block, Vec<Value>)> {
        let block = Block(c.entity("block")?);
        let args = if c.eat("(") {
            self.list(c)?
        } else {
            Vec::new()
        };
        Ok((block, args))
    }

    fn term(&mut self, c: &mut Cursor<'_>) -> Step<Option<Term>> {
        Ok(Some(if c.eat("jump ") {
            let (to, args) = self.target(c)?;
            Term::Jump(to, args)
        } else if c.eat("br ") {
            let cond = c.named(CONDS, "a condition")?;
            let w = c.width();
            let a = self.use_(c)?;
            c.expect(",")?;
            let b = self.use_(c)?;
            c.expect(",")?;
            let then = self.target(c)?;
            c.expect(",")?;
            let els = self.target(c)?;
            let then_cold = c.eat("cold");
            Term::Br {
                cond,
                w,
                a,
                b,
                then,
                els,
                then_cold,
            }
        } else if c.eat("ret ") {
            Term::Ret(self.use_(c)?)
        } else {
            return Ok(None);
        }))
    }

    fn inst(&mut self, c: &mut Cursor<'_>, ty: Ty) -> Step<Inst> {
        let at = c.rest;
        let op = c.word()?;
        Ok(match op {
            "const" => Inst::Const(c.int()?),
            "neg" => Inst::Neg(self.use_(c)?),
            "opaque" => Inst::Opaque(self.use_(c)?),
            "non_null" => Inst::NonNull(self.use_(c)?),
            "sext" | "zext" | "bswap" => {
                c.expect(".")?;
                let bits = c.int()?;
                let a = self.use_(c)?;
                match op {
                    "bswap" => Inst::Bswap { bits, a },
                    _ => Inst::Ext {
                        signed: op == "sext",
                        bits,
                        a,
                    },
                }
            }
            "load" => {
                let mem = c.mem()?;
                let (ptr, off) = (self.use_(c)?, c.int()?);
                Inst::Load { mem, ptr, off }
            }
            "store" => {
                let mem = c.mem()?;
                let (ptr, off) = (self.use_(c)?, c.int()?);
                c.expect(",")?;
                let val = self.use_(c)?;
                Inst::Store { mem, ptr, off, val }
            }
            "atomic" => {
                c.expect(".")?;
                let op = c.named(ATOMIC_OPS, "an atomic operation")?;
                let fetch = c.eat(".fetch");
                c.expect(".")?;
                let size = c.int()?;
                let (ptr, off) = (self.use_(c)?, c.int()?);
                c.expect(",")?;
                let val = self.use_(c)?;
                let expected = if c.eat(",") {
                    Some(self.use_(c)?)
                } else {
                    None
                };
                Inst::Atomic {
                    op,
                    size,
                    fetch,
                    ptr,
                    off,
                    val,
                    expected,
                }
            }
            "slot_addr" => {
                let slot = Slot(c.entity("slot")?);
                Inst::SlotAddr {
                    slot,
                    off: c.int()?,
                }
            }
            "map_fd" => Inst::MapFd(c.map()?),
            "map_addr" => Inst::MapAddr {
                map: c.map()?,
                off: c.int()?,
            },
            "call" => {
                if let Ok(n) = c.entity("fn") {
                    c.expect("(")?;
                    return Ok(Inst::CallFunc {
                        func: FuncId(n),
                        args: self.list(c)?,
                    });
                }
                let helper = if let Ok(n) = c.entity("helper") {
                    HelperId::new(n)
                } else {
                    let name = c.word()?;
                    match HelperId::by_name(name) {
                        Some(h) => h,
                        None => return Err(format!("unknown helper `{name}`")),
                    }
                };
                c.expect("(")?;
                let args = self.list(c)?;
                Inst::Call {
                    helper,
                    args,
                    ret: ty,
                }
            }
            "func_addr" => Inst::FuncAddr(FuncId(c.entity("fn")?)),
            "zero" => {
                let (ptr, off) = (self.use_(c)?, c.int()?);
                c.expect(",")?;
                let len = c.int()?;
                Inst::Zero { ptr, off, len }
            }
            "copy" => {
                let (dst, dst_off) = (self.use_(c)?, c.int()?);
                c.expect(",")?;
                let (src, src_off) = (self.use_(c)?, c.int()?);
                c.expect(",")?;
                let len = c.int()?;
                c.expect(", align")?;
                let align = c.int()?;
                Inst::Copy {
                    dst,
                    dst_off,
                    src,
                    src_off,
                    len,
                    align,
                }
            }
            _ => {
                c.rest = at;
                let op = c.named(BIN_OPS, "an instruction")?;
                let w = c.width();
                let a = self.use_(c)?;
                c.expect(",")?;
                let b = self.use_(c)?;
                Inst::Bin { op, w, a, b }
            }
        })
    }
}

/// `file:line:col-line:col`
fn place(c: &mut Cursor<'_>) -> Step<Loc> {
    let file = c.int()?;
    c.expect(":")?;
    let line = c.int()?;
    c.expect(":")?;
    let col = c.int()?;
    c.expect("-")?;
    let end_line = c.int()?;
    c.expect(":")?;
    Ok(Loc {
        file,
        line,
        col,
        end_line,
        end_col: c.int()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = r#"map0 = hash key 8 value 16 entries 4096 flags 0 "a \"b\""
map1 = array key 4 value 4 entries 1 flags 128 "data" init 00ff10ab

fn0 entry "probe_1" {
    slot0 16
    slot1 8
block0(v0: ctx):
    @ 0:3:5-3:9
    v1: frame = slot_addr slot0+8
    v2 = load.8 v0+112
    v3 = load.s4 v0-4
    store.8 v1+0, v2
    v4 = const -5
    v5 = add v2, v3
    v6 = ashr.32 v5, v4
    v7 = neg v6
    v8 = sext.16 v7
    v9 = zext.8 v8
    v10 = bswap.32 v9
    v11: map = map_fd map0
    v12: mapval?(map0) = call bpf_map_lookup_elem(v11, v1)
    br eq v12, v4, block1(v10), block2 cold
block1(v13: scalar):
    @ 0:4:1-5:2
    v14: mapval(map1) = map_addr map1+0
    v15 = atomic.add.fetch.8 v14+0, v13
    atomic.or.4 v14+0, v13
    v16 = atomic.cmpxchg.fetch.8 v14+0, v13, v15
    v17 = call fn1(v16)
    v18: func = func_addr fn1
    v19 = call helper999()
    ret v17
block2:
    v20: mapval(map0) = non_null v12
    zero v20+0, 16
    copy v20+0, v1-8, 16, align 8
    v21: rec?(24) = call bpf_ringbuf_reserve(v11, v4, v4)
    v22: rec(24) = non_null v21
    v23: kptr = load.8 v0+0
    jump block1(v4)
}

fn1 static "helper" -> mapval?(map0) {
block0(v0: scalar):
    br slt.32 v0, v0, block1, block1
block1:
    ret v0
}
"#;

    #[test]
    fn text_survives_reading_and_printing() {
        let module = read(ALL).unwrap();
        assert_eq!(module.to_string(), ALL);
        assert_eq!(read(&module.to_string()).unwrap().to_string(), ALL);
    }

    #[test]
    fn errors_say_where() {
        let text = "fn0 entry \"f\" {\nblock0:\n    v1 = frob v0\n}\n";
        let e = read(text).unwrap_err();
        assert_eq!(e.line, 3);
        assert_eq!(e.message, "expected an instruction at `frob v0`");
        assert!(read("fn0 entry \"f\" {").is_err());
        assert!(read("fn0 entry \"f\" {\n ret v0\n}").is_err());
    }
}
