//! Constant expressions of C: in `#if`, array lengths, enumerators, and the values of macros.
//!
//! In: tokens without macros, and what names and types mean. Out: a value with its type. Integers
//! only; anything else is an error that says so.

use super::token::{Interner, Kind, Token};

/// Nesting that an expression may have.
const MAX_DEPTH: u32 = 200;

/// A constant of an integer type after promotion: `int`, `long`, or one of them unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value, or its bit pattern if it is unsigned.
    pub bits: i64,
    /// Whether the type is unsigned.
    pub unsigned: bool,
    /// 4 or 8 bytes.
    pub size: u8,
}

impl Value {
    /// A value of type `int`, or of `long` if it does not fit.
    pub fn int(bits: i64) -> Self {
        Self {
            bits,
            unsigned: false,
            size: if i32::try_from(bits).is_ok() { 4 } else { 8 },
        }
    }

    /// A value of type `unsigned long`, as `sizeof` has it.
    pub fn size(bits: u64) -> Self {
        Self {
            bits: bits.cast_signed(),
            unsigned: true,
            size: 8,
        }
    }

    /// `bits` cut to the type of this value.
    fn with(self, bits: i64) -> Self {
        let bits = match (self.size, self.unsigned) {
            (4, false) => i64::from(bits as i32),
            (4, true) => i64::from(bits as u32),
            _ => bits,
        };
        Self { bits, ..self }
    }

    /// The value converted to an integer type of `size` bytes, then promoted.
    pub fn cast(self, size: u64, signed: bool) -> Self {
        let bits = match (size, signed) {
            (1, true) => i64::from(self.bits as i8),
            (1, false) => i64::from(self.bits as u8),
            (2, true) => i64::from(self.bits as i16),
            (2, false) => i64::from(self.bits as u16),
            (4, true) => i64::from(self.bits as i32),
            (4, false) => i64::from(self.bits as u32),
            _ => self.bits,
        };
        Self {
            bits,
            unsigned: !signed && size >= 4,
            size: if size > 4 { 8 } else { 4 },
        }
    }
}

/// What a type in an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// Bytes.
    pub size: u64,
    /// Bytes.
    pub align: u64,
    /// Whether values convert to it as to an integer, and then whether it is signed.
    pub integer: Option<bool>,
}

/// What names in an expression mean.
pub trait Names {
    /// The value of an identifier.
    fn constant(&self, name: &str) -> Option<Value>;
    /// Whether a word starts a type.
    fn starts_type(&self, word: &str) -> bool;
    /// The type that the tokens between parentheses name.
    fn type_info(&mut self, text: &str) -> Option<TypeInfo>;
}

/// The meaning of names in `#if`: none; every identifier is 0.
#[derive(Clone, Copy, Debug)]
pub struct Conditional;

impl Names for Conditional {
    fn constant(&self, _: &str) -> Option<Value> {
        Some(Value::int(0))
    }

    fn starts_type(&self, _: &str) -> bool {
        false
    }

    fn type_info(&mut self, _: &str) -> Option<TypeInfo> {
        None
    }
}

/// Evaluates all of `tokens`.
///
/// # Errors
/// Why they are no constant expression.
pub fn evaluate(
    tokens: &[Token],
    interner: &Interner,
    names: &mut dyn Names,
) -> Result<Value, String> {
    let mut e = Evaluator {
        tokens,
        at: 0,
        interner,
        names,
        depth: 0,
        dead: 0,
    };
    let value = e.ternary()?;
    match e.word() {
        "" => Ok(value),
        extra => Err(format!(
            "`{extra}` does not belong to a constant expression"
        )),
    }
}

struct Evaluator<'a> {
    tokens: &'a [Token],
    at: usize,
    interner: &'a Interner,
    names: &'a mut dyn Names,
    depth: u32,
    /// Above 0 in an operand that is not evaluated: its division by zero does not count.
    dead: u32,
}

/// Binary operators, loosest first.
const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", ">", "<=", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl<'a> Evaluator<'a> {
    /// The next token's text, empty at the end.
    fn word(&self) -> &'a str {
        self.tokens
            .get(self.at)
            .map_or("", |t| self.interner.text(t.sym))
    }

    fn accept(&mut self, word: &str) -> bool {
        let hit = self.word() == word && self.at < self.tokens.len();
        self.at += usize::from(hit);
        hit
    }

    fn need(&mut self, word: &str) -> Result<(), String> {
        if self.accept(word) {
            return Ok(());
        }
        Err(match self.word() {
            "" => format!("`{word}` is missing at the end"),
            found => format!("`{word}` expected before `{found}`"),
        })
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("the expression nests too deeply".to_owned());
        }
        let result = f(self);
        self.depth -= 1;
        result
    }

    fn unevaluated<T>(&mut self, dead: bool, f: impl FnOnce(&mut Self) -> T) -> T {
        self.dead += u32::from(dead);
        let result = f(self);
        self.dead -= u32::from(dead);
        result
    }

    fn ternary(&mut self) -> Result<Value, String> {
        let condition = self.binary(0)?;
        if !self.accept("?") {
            return Ok(condition);
        }
        let yes = condition.bits != 0;
        let a = self.unevaluated(!yes, |e| e.nested(Self::ternary))?;
        self.need(":")?;
        let b = self.unevaluated(yes, |e| e.nested(Self::ternary))?;
        let (a, b) = common(a, b);
        Ok(if yes { a } else { b })
    }

    fn binary(&mut self, level: usize) -> Result<Value, String> {
        let Some(&operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(&op) = operators.iter().find(|&&op| op == self.word()) {
            self.at += 1;
            let decided = match op {
                "||" => left.bits != 0,
                "&&" => left.bits == 0,
                _ => false,
            };
            let right = self.unevaluated(decided, |e| e.binary(level + 1))?;
            left = self.apply(op, left, right)?;
        }
        Ok(left)
    }

    fn apply(&self, op: &str, left: Value, right: Value) -> Result<Value, String> {
        let truth = |b: bool| Value::int(i64::from(b));
        match op {
            "||" => return Ok(truth(left.bits != 0 || right.bits != 0)),
            "&&" => return Ok(truth(left.bits != 0 && right.bits != 0)),
            "<<" => return Ok(left.with(left.bits.wrapping_shl(right.bits as u32))),
            ">>" if left.unsigned => {
                let bits = left.bits.cast_unsigned().wrapping_shr(right.bits as u32);
                return Ok(left.with(bits.cast_signed()));
            }
            ">>" => return Ok(left.with(left.bits.wrapping_shr(right.bits as u32))),
            _ => {}
        }
        let (a, b) = common(left, right);
        let order = if a.unsigned {
            a.bits.cast_unsigned().cmp(&b.bits.cast_unsigned())
        } else {
            a.bits.cmp(&b.bits)
        };
        Ok(match op {
            "|" => a.with(a.bits | b.bits),
            "^" => a.with(a.bits ^ b.bits),
            "&" => a.with(a.bits & b.bits),
            "==" => truth(order.is_eq()),
            "!=" => truth(order.is_ne()),
            "<" => truth(order.is_lt()),
            ">" => truth(order.is_gt()),
            "<=" => truth(order.is_le()),
            ">=" => truth(order.is_ge()),
            "+" => a.with(a.bits.wrapping_add(b.bits)),
            "-" => a.with(a.bits.wrapping_sub(b.bits)),
            "*" => a.with(a.bits.wrapping_mul(b.bits)),
            _ if b.bits == 0 => {
                if self.dead > 0 {
                    return Ok(a);
                }
                return Err("division by zero".to_owned());
            }
            "/" if a.unsigned => {
                a.with((a.bits.cast_unsigned() / b.bits.cast_unsigned()).cast_signed())
            }
            "/" => a.with(a.bits.wrapping_div(b.bits)),
            _ if a.unsigned => {
                a.with((a.bits.cast_unsigned() % b.bits.cast_unsigned()).cast_signed())
            }
            _ => a.with(a.bits.wrapping_rem(b.bits)),
        })
    }

    fn unary(&mut self) -> Result<Value, String> {
        let op = self.word();
        match op {
            "-" | "+" | "~" | "!" => {
                self.at += 1;
                let v = self.nested(Self::unary)?;
                Ok(match op {
                    "-" => v.with(v.bits.wrapping_neg()),
                    "~" => v.with(!v.bits),
                    "!" => Value::int(i64::from(v.bits == 0)),
                    _ => v,
                })
            }
            "__extension__" => {
                self.at += 1;
                self.nested(Self::unary)
            }
            "sizeof" | "_Alignof" | "__alignof__" => {
                self.at += 1;
                self.size_of(op == "sizeof")
            }
            _ => self.primary(),
        }
    }

    fn size_of(&mut self, size: bool) -> Result<Value, String> {
        if let Some(info) = self.parenthesized_type()? {
            return Ok(Value::size(if size { info.size } else { info.align }));
        }
        if self
            .tokens
            .get(self.at)
            .is_some_and(|t| t.kind == Kind::String)
        {
            let len = unquote(self.word()).map_or(0, |s| s.len() as u64 + 1);
            self.at += 1;
            return Ok(Value::size(len));
        }
        let v = self.unevaluated(true, |e| e.nested(Self::unary))?;
        Ok(Value::size(u64::from(v.size)))
    }

    /// `(type)`, if that is what comes next.
    fn parenthesized_type(&mut self) -> Result<Option<TypeInfo>, String> {
        if self.word() != "(" {
            return Ok(None);
        }
        let Some(first) = self.tokens.get(self.at + 1) else {
            return Ok(None);
        };
        if first.kind != Kind::Ident || !self.names.starts_type(self.interner.text(first.sym)) {
            return Ok(None);
        }
        let mut depth = 0;
        let mut end = self.at;
        let close = loop {
            let Some(t) = self.tokens.get(end) else {
                return Err("`)` is missing at the end".to_owned());
            };
            match self.interner.text(t.sym) {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break end;
            }
            end += 1;
        };
        let text = super::macros::text(&self.tokens[self.at + 1..close], self.interner);
        self.at = close + 1;
        match self.names.type_info(&text) {
            Some(info) => Ok(Some(info)),
            None => Err(format!("`{text}` is not a type of known size")),
        }
    }

    /// Passes over `(...)`, if that is what comes next.
    fn skip_call(&mut self) {
        let mut depth = 0u32;
        while let Some(t) = self.tokens.get(self.at) {
            match self.interner.text(t.sym) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ if depth == 0 => return,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn primary(&mut self) -> Result<Value, String> {
        if let Some(info) = self.parenthesized_type()? {
            let v = self.nested(Self::unary)?;
            let signed = info
                .integer
                .ok_or_else(|| "a cast to a type that is no integer".to_owned())?;
            return Ok(v.cast(info.size, signed));
        }
        if self.accept("(") {
            let v = self.nested(Self::ternary)?;
            self.need(")")?;
            return Ok(v);
        }
        let Some(t) = self.tokens.get(self.at) else {
            return Err("a value is missing at the end".to_owned());
        };
        let word = self.word();
        self.at += 1;
        match t.kind {
            Kind::Number => number(word).ok_or_else(|| format!("`{word}` is not an integer")),
            Kind::Char => character(word).ok_or_else(|| format!("{word} is not a character")),
            Kind::Ident if word == "__builtin_constant_p" => {
                let inside = self.at;
                let known = self.nested(Self::primary).is_ok();
                self.at = inside;
                self.skip_call();
                Ok(Value::int(i64::from(known)))
            }
            Kind::Ident => match self.names.constant(word) {
                Some(value) => Ok(value),
                // A call for what is not constant, in the branch that is not taken.
                None if self.dead > 0 => {
                    self.skip_call();
                    Ok(Value::int(0))
                }
                None => Err(format!("`{word}` is not a constant")),
            },
            _ => Err(format!("`{word}` is not a value")),
        }
    }
}

/// Both operands in the type that the operator works in.
fn common(a: Value, b: Value) -> (Value, Value) {
    let size = a.size.max(b.size);
    // The unsigned operand wins unless the other type holds all its values.
    let unsigned = a.unsigned && a.size == size || b.unsigned && b.size == size;
    let to = Value {
        bits: 0,
        unsigned,
        size,
    };
    (to.with(a.bits), to.with(b.bits))
}

/// An integer literal; `None` for floating-point numbers and malformed ones.
pub fn number(text: &str) -> Option<Value> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = if let Some(hex) = lower.strip_prefix("0x") {
        (hex, 16)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (binary, 2)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at(end);
    let (unsigned, long) = match suffix {
        "" => (false, false),
        "u" => (true, false),
        "l" | "ll" => (false, true),
        "ul" | "ull" | "lu" | "llu" => (true, true),
        _ => return None,
    };
    let bits = match digits {
        // `0` alone; `0u` leaves no digits behind its prefix.
        "" if radix == 8 => 0,
        digits => u64::from_str_radix(digits, radix).ok()?,
    };
    let fits_int = i32::try_from(bits).is_ok();
    let fits_uint = u32::try_from(bits).is_ok() && (unsigned || radix != 10);
    let size = if !long && (fits_int || fits_uint) {
        4
    } else {
        8
    };
    let needs_unsigned = match size {
        4 => !fits_int,
        _ => i64::try_from(bits).is_err(),
    };
    Some(Value {
        bits: bits.cast_signed(),
        unsigned: unsigned || needs_unsigned,
        size,
    })
}

/// A character constant.
fn character(text: &str) -> Option<Value> {
    let body = text.trim_start_matches(['L', 'u', 'U', '8']);
    let bytes = unquote(body)?;
    match bytes.as_slice() {
        [] => None,
        // char is signed on x86.
        [b] => Some(Value::int(i64::from(b.cast_signed()))),
        // Several characters: as gcc packs them.
        many => Some(Value::int(
            many.iter().fold(0i64, |v, &b| v << 8 | i64::from(b)),
        )),
    }
}

/// The bytes of a quoted text.
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    let quote = text.chars().next()?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?.as_bytes();
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(&b) = inner.get(at) {
        at += 1;
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let escape = *inner.get(at)?;
        at += 1;
        let digits = |at: usize, most: usize, radix: u32| {
            inner[at..]
                .iter()
                .take(most)
                .take_while(|&&b| char::from(b).is_digit(radix))
                .count()
        };
        out.push(match escape {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 7,
            b'b' => 8,
            b'v' => 11,
            b'f' => 12,
            b'e' => 27,
            b'0'..=b'7' => {
                at -= 1;
                let n = digits(at, 3, 8);
                let text = std::str::from_utf8(&inner[at..at + n]).ok()?;
                at += n;
                u32::from_str_radix(text, 8).ok()? as u8
            }
            b'x' => {
                let n = digits(at, 16, 16);
                let text = std::str::from_utf8(&inner[at..at + n]).ok()?;
                at += n;
                u64::from_str_radix(text, 16).ok()? as u8
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctypes::token::tokenize;

    fn eval(text: &str) -> Result<Value, String> {
        let mut interner = Interner::default();
        let tokens = tokenize(text, 0, &mut interner);
        evaluate(&tokens, &interner, &mut Conditional)
    }

    fn bits(text: &str) -> i64 {
        eval(text).unwrap().bits
    }

    #[test]
    fn arithmetic_follows_c() {
        assert_eq!(bits("1 + 2 * 3 - 4 / 2"), 5);
        assert_eq!(bits("1 << 4 | 1 == 1"), 17);
        assert_eq!(bits("-1 < 0u"), 0);
        assert_eq!(bits("-1 < 0l"), 1);
        assert_eq!(bits("1 ? 2 : 0 ? 3 : 4"), 2);
        assert_eq!(bits("0 && 1 / 0 || !5"), 0);
        assert_eq!(bits("'a' + '\\0' + '\\x10'"), 113);
        assert_eq!(bits("__builtin_constant_p(1 + 1) ? 7 : 8"), 7);
        assert_eq!(bits("0x7fffffff + 1"), i64::from(i32::MIN));
        assert_eq!(bits("0xffffffff"), 0xffff_ffff);
        assert_eq!(bits("~0u"), 0xffff_ffff);
        assert_eq!(bits("010 + 0b11"), 11);
        assert_eq!(eval("18446744073709551615").unwrap(), Value::size(u64::MAX));
    }

    #[test]
    fn what_is_no_constant_says_why() {
        assert_eq!(eval("1 / 0").unwrap_err(), "division by zero");
        assert_eq!(eval("(1").unwrap_err(), "`)` is missing at the end");
        assert_eq!(
            eval("1 2").unwrap_err(),
            "`2` does not belong to a constant expression"
        );
        assert_eq!(eval("1.5").unwrap_err(), "`1.5` is not an integer");
        assert_eq!(eval("").unwrap_err(), "a value is missing at the end");
        assert!(eval(&"(".repeat(100_000)).is_err());
        assert!(eval(&"-".repeat(100_000)).is_err());
    }
}
