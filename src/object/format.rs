//! printf formats: parsed once, checked by the compiler, applied by the runtime.
//!
//! Grammar of a conversion: `%[-][+][ ][#][0][width][.precision][length]conv`, `%%`. The space
//! flag is accepted and dropped. Unknown conversion letters are text, as in `%z`.

use std::fmt;

/// A parsed format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Text and conversions in order.
    pub pieces: Vec<Piece>,
}

/// Part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// A conversion; each takes one argument.
    Spec(Spec),
}

/// A conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `-`: left-justified.
    pub left: bool,
    /// `+`: sign always.
    pub plus: bool,
    /// `#`: alternative form.
    pub alt: bool,
    /// `0`: padded with zeros.
    pub zero: bool,
    /// Least width in characters.
    pub width: u32,
    /// Precision: most characters of a string.
    pub precision: Option<u32>,
    /// Size of an integer.
    pub len: LenMod,
    /// What to do.
    pub conv: Conv,
}

/// Length modifier of an integer conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LenMod {
    /// 8 bits.
    HH,
    /// 16 bits.
    H,
    /// 32 bits.
    None,
    /// 64 bits: `l`, `ll`, `j`, `z`.
    L,
}

/// Conversion letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conv {
    /// `%d`, `%i`
    Signed,
    /// `%u`
    Unsigned,
    /// `%o`
    Octal,
    /// `%x`
    Hex,
    /// `%X`
    HexUpper,
    /// `%c`
    Char,
    /// `%p`
    Pointer,
    /// `%s`
    Text,
    /// `%r`: printable ASCII as it is, the rest as `\xHH`.
    Raw,
    /// `%rx`: every byte as `\xHH`.
    RawHexEscaped,
    /// `%rh`: hexadecimal bytes separated by spaces.
    RawHex,
    /// `%gr`: names of page allocation flags.
    GfpFlags,
}

/// Why a format does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// A conversion that C has and we have not: `e`, `f`, `g`, `a`.
    Unsupported(char),
    /// A width or precision of more than 9 digits.
    TooWide,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(c) => write!(f, "unsupported format specifier: {c}"),
            Self::TooWide => f.write_str("width or precision is too large"),
        }
    }
}

impl Format {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut out = Self::default();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            out.text(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('%') {
                out.text("%");
                rest = after;
                continue;
            }
            match parse_spec(tail)? {
                Some((spec, used)) => {
                    out.pieces.push(Piece::Spec(spec));
                    rest = &tail[used..];
                }
                None => {
                    out.text("%");
                    rest = tail;
                }
            }
        }
        out.text(rest);
        Ok(out)
    }

    /// The conversions in order.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.pieces.iter().filter_map(|p| match p {
            Piece::Spec(s) => Some(s),
            Piece::Text(_) => None,
        })
    }

    fn text(&mut self, s: &str) {
        if s.is_empty() {
            return;
        }
        if let Some(Piece::Text(t)) = self.pieces.last_mut() {
            t.push_str(s);
        } else {
            self.pieces.push(Piece::Text(s.to_owned()));
        }
    }
}

/// Parses what follows a `%`; `None` if it is no conversion.
fn parse_spec(s: &str) -> Result<Option<(Spec, usize)>, FormatError> {
    let b = s.as_bytes();
    let mut i = 0;
    let mut flag = |c: u8| {
        let hit = b.get(i) == Some(&c);
        i += usize::from(hit);
        hit
    };
    let left = flag(b'-');
    let plus = flag(b'+');
    flag(b' ');
    let alt = flag(b'#');
    let zero = flag(b'0');
    let width = number(b, &mut i)?.unwrap_or(0);
    let precision = if b.get(i) == Some(&b'.') {
        i += 1;
        Some(number(b, &mut i)?.unwrap_or(0))
    } else {
        None
    };
    let rest = &b[i..];
    let (len, n) = match rest {
        [b'h', b'h', ..] => (LenMod::HH, 2),
        [b'h', ..] => (LenMod::H, 1),
        [b'l', b'l', ..] => (LenMod::L, 2),
        [b'l' | b'j' | b'z', ..] => (LenMod::L, 1),
        _ => (LenMod::None, 0),
    };
    i += n;
    let rest = &b[i..];
    let (conv, n) = match rest {
        [b'd' | b'i', ..] => (Conv::Signed, 1),
        [b'u', ..] => (Conv::Unsigned, 1),
        [b'o', ..] => (Conv::Octal, 1),
        [b'x', ..] => (Conv::Hex, 1),
        [b'X', ..] => (Conv::HexUpper, 1),
        [b'c', ..] => (Conv::Char, 1),
        [b'p', ..] => (Conv::Pointer, 1),
        [b's', ..] => (Conv::Text, 1),
        [b'r', b'x', ..] => (Conv::RawHexEscaped, 2),
        [b'r', b'h', ..] => (Conv::RawHex, 2),
        [b'r', ..] => (Conv::Raw, 1),
        [b'g', b'r', ..] => (Conv::GfpFlags, 2),
        [
            c @ (b'e' | b'f' | b'g' | b'a' | b'E' | b'F' | b'G' | b'A'),
            ..,
        ] => {
            return Err(FormatError::Unsupported(char::from(*c)));
        }
        _ => return Ok(None),
    };
    let spec = Spec {
        left,
        plus,
        alt,
        zero,
        width,
        precision,
        len,
        conv,
    };
    Ok(Some((spec, i + n)))
}

fn number(b: &[u8], i: &mut usize) -> Result<Option<u32>, FormatError> {
    let start = *i;
    while b.get(*i).is_some_and(u8::is_ascii_digit) {
        *i += 1;
    }
    if *i == start {
        return Ok(None);
    }
    if *i - start > 9 {
        return Err(FormatError::TooWide);
    }
    let digits = b[start..*i].iter();
    Ok(Some(digits.fold(0, |n, d| n * 10 + u32::from(d - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(s: &str) -> Vec<Spec> {
        Format::parse(s).unwrap().specs().copied().collect()
    }

    #[test]
    fn flags_width_and_length() {
        let s = specs("%-5d|%05lld|%+d|%10.3s");
        assert!(s[0].left && s[0].width == 5 && s[0].conv == Conv::Signed);
        assert!(s[1].zero && s[1].width == 5 && s[1].len == LenMod::L);
        assert!(s[2].plus);
        assert_eq!((s[3].width, s[3].precision), (10, Some(3)));
    }

    #[test]
    fn percent_and_unknown_letters_are_text() {
        let f = Format::parse("100%% %k %").unwrap();
        assert_eq!(f.pieces, [Piece::Text("100% %k %".into())]);
    }

    #[test]
    fn floats_are_refused_but_gfp_flags_are_not() {
        assert_eq!(Format::parse("%f"), Err(FormatError::Unsupported('f')));
        assert_eq!(specs("%gr")[0].conv, Conv::GfpFlags);
    }

    #[test]
    fn absurd_widths_are_refused() {
        assert_eq!(Format::parse("%9999999999d"), Err(FormatError::TooWide));
    }
}
