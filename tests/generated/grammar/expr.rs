//! Expressions of a wanted type.

use super::{Gen, Kind, Macro, Map, Node, Ty, Value, Var};
use crate::types::INTS;

/// Strings with something in common.
const STRINGS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "abc",
    "abd",
    "abcdefgh",
    "abcdefghi",
    "hello world",
    "x\\ty",
    "0123456789012345678901234567890123456789",
    "a\\x01\\xffz",
    "cdef",
    "\\n",
];

fn expr(template: &str, inner: impl IntoIterator<Item = Node>) -> Node {
    Node::new(Kind::Expr, template, inner)
}

fn leaf(text: impl AsRef<str>) -> Node {
    Node::new(Kind::Expr, text.as_ref(), [])
}

impl Gen {
    /// An expression of type `ty`.
    pub(super) fn expr(&mut self, ty: &Ty, depth: usize) -> Node {
        match ty {
            Ty::Int => self.int(depth),
            Ty::Bool => self.bool_(depth),
            Ty::Str => self.string(depth),
            Ty::Enum(e) => self.enum_value(*e, depth),
            Ty::Array(..) | Ty::Tuple(_) | Ty::Record(_) | Ty::Struct(_) => {
                self.aggregate(ty, depth)
            }
        }
    }

    fn aggregate(&mut self, ty: &Ty, depth: usize) -> Node {
        if depth > 0 && self.rng.one_in(8) {
            let (c, a, b) = (
                self.bool_(depth - 1),
                self.expr(ty, depth - 1),
                self.expr(ty, depth - 1),
            );
            return expr("(# ? # : #)", [c, a, b]);
        }
        if self.rng.one_in(2)
            && let Some(v) = self.read(ty)
        {
            return v;
        }
        let less = depth.saturating_sub(1);
        match ty {
            Ty::Tuple(of) => {
                let inner: Vec<_> = of.iter().map(|t| self.expr(t, less)).collect();
                Node::list(Kind::Expr, "(", inner, ", ", ")")
            }
            Ty::Record(of) => {
                let mut template = String::from("(");
                for i in 0..of.len() {
                    if i > 0 {
                        template += ", ";
                    }
                    template += &format!("{} = #", Gen::field(i));
                }
                template += ")";
                let inner: Vec<_> = of.iter().map(|t| self.expr(t, less)).collect();
                expr(&template, inner)
            }
            Ty::Array(name, n) => {
                let size = INTS.iter().find(|i| i.0 == *name).expect("in the table").1 * n;
                let int = match size {
                    1 => "uint8",
                    2 => "uint16",
                    4 => "uint32",
                    _ => "uint64",
                };
                let value = self.int(less);
                expr(&format!("({name}[{n}])(({int})(#))"), [value])
            }
            // Variables of struct types are made by the statement that makes them.
            _ => match self.read(ty) {
                Some(n) => n,
                None => leaf("0"),
            },
        }
    }

    /// A variable or a map element of exactly this type.
    fn read(&mut self, ty: &Ty) -> Option<Node> {
        let vars: Vec<String> = self.vars_of(ty).map(|v| v.name.clone()).collect();
        let maps: Vec<Map> = self
            .maps
            .iter()
            .filter(|m| m.value == Value::Plain(ty.clone()))
            .cloned()
            .collect();
        if !vars.is_empty() && (maps.is_empty() || !self.rng.one_in(3)) {
            return Some(leaf(self.rng.pick(&vars)));
        }
        // What a map holds while other entries are visited depends on their order.
        if self.place.unordered || maps.is_empty() {
            return None;
        }
        let map = self.rng.pick(&maps).clone();
        Some(self.element(&map, 0))
    }

    /// A variable or a literal of a key's type.
    fn simple(&mut self, ty: &Ty) -> Node {
        let vars: Vec<String> = self.vars_of(ty).map(|v| v.name.clone()).collect();
        if !vars.is_empty() && self.rng.one_in(2) {
            return leaf(self.rng.pick(&vars));
        }
        match ty {
            Ty::Bool => leaf(*self.rng.pick(&["true", "false"])),
            Ty::Str => leaf(format!("\"{}\"", self.rng.pick(STRINGS))),
            Ty::Enum(e) => {
                let of = self.enums[*e].variants.clone();
                leaf(self.rng.pick(&of))
            }
            Ty::Tuple(of) => {
                let inner: Vec<_> = of.iter().map(|t| self.simple(t)).collect();
                Node::list(Kind::Expr, "(", inner, ", ", ")")
            }
            _ => self.literal(),
        }
    }

    pub(super) fn vars_of<'a>(&'a self, ty: &'a Ty) -> impl Iterator<Item = &'a Var> + 'a {
        self.vars.iter().filter(move |v| v.ty == *ty)
    }

    /// `@m` or `@m[key]`.
    pub(super) fn element(&mut self, map: &Map, depth: usize) -> Node {
        match &map.key {
            None => leaf(&map.name),
            Some(_) => {
                let key = self.key(map, depth);
                expr(&format!("{}[#]", map.name), [key])
            }
        }
    }

    /// A key of a map, without brackets; parts of a tuple may come bare.
    pub(super) fn key(&mut self, map: &Map, depth: usize) -> Node {
        if let Some(only) = &map.only_key {
            return leaf(only);
        }
        let ty = map.key.clone().expect("a keyed map");
        // Few keys, so that they meet.
        match &ty {
            Ty::Int if !self.rng.one_in(4) => leaf(self.rng.below(4).to_string()),
            _ if depth == 0 => self.simple(&ty),
            _ => self.expr(&ty, depth - 1),
        }
    }

    fn enum_value(&mut self, e: usize, depth: usize) -> Node {
        if depth > 0
            && self.rng.one_in(2)
            && let Some(v) = self.read(&Ty::Enum(e))
        {
            return v;
        }
        let of = self.enums[e].clone();
        // A literal must be the number of a variant.
        if depth > 0
            && self.rng.one_in(4)
            && let Some(value) = self.read(&Ty::Int)
        {
            return expr(&format!("(enum {})(#)", of.name), [value]);
        }
        leaf(self.rng.pick(&of.variants))
    }

    fn literal(&mut self) -> Node {
        let text = match self.rng.below(12) {
            0..6 => self.rng.below(12).to_string(),
            6 => self
                .rng
                .pick(&[
                    "127",
                    "128",
                    "255",
                    "256",
                    "32767",
                    "65535",
                    "65536",
                    "2147483647",
                    "2147483648",
                    "4294967295",
                    "4294967296",
                    "0x7fffffffffffffff",
                    "0xffffffffffffffff",
                    "0x8000000000000000",
                    "1ms",
                    "1e6",
                    "077",
                    "1_000",
                ])
                .to_string(),
            7 | 8 => format!("-{}", self.rng.between(1, 200)),
            9 => format!("0x{:x}", self.rng.next() >> self.rng.below(64)),
            _ => self.rng.below(100_000).to_string(),
        };
        leaf(text)
    }

    /// An integer that folding does not know, if there is one.
    pub(super) fn int_var(&mut self) -> Node {
        match self.read(&Ty::Int) {
            Some(n) => n,
            None => self.literal(),
        }
    }

    /// An integer.
    pub(super) fn int(&mut self, depth: usize) -> Node {
        if depth == 0 {
            return match self.rng.below(3) {
                0 => self.literal(),
                _ => self.int_var(),
            };
        }
        let d = depth - 1;
        match self.rng.below(48) {
            0..4 => self.literal(),
            4..10 => self.int_var(),
            10..20 => self.binary(d),
            20 => {
                let a = self.int(d);
                expr("-(#)", [a])
            }
            21 => {
                let a = self.int(d);
                expr("~(#)", [a])
            }
            22..26 => {
                let &(ty, _) = self.rng.pick(INTS);
                let a = self.int(d);
                expr(&format!("({ty})(#)"), [a])
            }
            26 | 27 => {
                let (c, a, b) = (self.bool_(d), self.int(d), self.int(d));
                expr("(# ? # : #)", [c, a, b])
            }
            28 => {
                let b = self.bool_(d);
                expr("(int64)(#)", [b])
            }
            29 => {
                let s = self.string(d);
                expr("(int64)strlen(#)", [s])
            }
            30 => {
                let (a, b) = (self.string(d), self.string(d));
                let n = self.rng.below(9);
                expr(&format!("strncmp(#, #, {n})"), [a, b])
            }
            31 => {
                let (a, b) = (self.string(d), self.string(d));
                expr("strstr(#, #)", [a, b])
            }
            32 => self.aggregation_read(),
            33 | 34 => self.part(&Ty::Int, d),
            35 => {
                let &(ty, n) = self
                    .rng
                    .pick(&[("uint16", 2), ("uint32", 4), ("uint64", 8)]);
                let a = self.int(d);
                let _ = n;
                expr(&format!("bswap(({ty})(#))"), [a])
            }
            36 => self.call(d),
            37 => self.macro_value(d),
            38 => self.step(),
            39 => self.block_value(d),
            40 => {
                let (c, a, b) = (self.bool_(d), self.int(d), self.int(d));
                expr("(if (#) { # } else { # })", [c, a, b])
            }
            41 => {
                let e = self.rng.below(self.enums.len().max(1));
                if self.enums.is_empty() {
                    return self.int_var();
                }
                let (a, b) = (self.enum_value(e, d), self.int(d));
                expr("(# + #)", [a, b])
            }
            42 => self.char_at(d),
            43 => self.struct_field(),
            44 => {
                let maps: Vec<_> = self
                    .maps
                    .iter()
                    .filter(|m| m.key.is_some())
                    .map(|m| m.name.clone())
                    .collect();
                if maps.is_empty() || self.place.unordered {
                    return self.int_var();
                }
                leaf(format!("len({})", self.rng.pick(&maps)))
            }
            45 => {
                let a = self.int(d);
                expr("sizeof((#))", [a])
            }
            46 => {
                let (a, b) = (self.int(d), self.int(d));
                expr("(# ?: #)", [a, b])
            }
            _ => {
                let v = self.int_var();
                expr("(# + 1)", [v])
            }
        }
    }

    fn binary(&mut self, d: usize) -> Node {
        let op = *self.rng.pick(&[
            "+", "+", "-", "-", "*", "*", "/", "%", "&", "|", "^", "<<", ">>",
        ]);
        let a = match self.rng.one_in(3) {
            true => self.int(d),
            false => self.int_var(),
        };
        let b = match op {
            // Any amount at run time, a valid one in a fold.
            "<<" | ">>" => match self.rng.below(3) {
                0 => {
                    let v = self.int_var();
                    expr("(# & 63)", [v])
                }
                1 => {
                    let v = self.int_var();
                    expr("(uint8)((#) % 64)", [v])
                }
                _ => leaf(self.rng.below(64).to_string()),
            },
            "/" | "%" => match self.rng.below(3) {
                0 => leaf(self.rng.between(1, 20).to_string()),
                1 => self.read(&Ty::Int).unwrap_or_else(|| leaf("7")),
                _ => {
                    // Never a zero that folding sees.
                    let (v, b) = (self.read(&Ty::Int), self.int(d));
                    match v {
                        Some(v) => expr("(# | #)", [v, b]),
                        None => leaf("3"),
                    }
                }
            },
            _ => self.int(d),
        };
        expr(&format!("(# {op} #)"), [a, b])
    }

    fn aggregation_read(&mut self) -> Node {
        let maps: Vec<_> = self
            .maps
            .iter()
            .filter(|m| matches!(m.value, Value::Agg(_, true)))
            .cloned()
            .collect();
        if maps.is_empty() || self.place.unordered {
            return self.int_var();
        }
        let map = self.rng.pick(&maps).clone();
        let e = self.element(&map, 1);
        expr("((int64)#)", [e])
    }

    /// A part of that type of some compound variable.
    fn part(&mut self, wanted: &Ty, d: usize) -> Node {
        let mut ways = Vec::new();
        for v in &self.vars {
            match &v.ty {
                Ty::Tuple(of) => {
                    for (i, t) in of.iter().enumerate() {
                        if t == wanted {
                            ways.push(format!("{}.{i}", v.name));
                            ways.push(format!("{}[{i}]", v.name));
                        }
                    }
                }
                Ty::Record(of) => {
                    for (i, t) in of.iter().enumerate() {
                        if t == wanted {
                            ways.push(format!("{}.{}", v.name, Gen::field(i)));
                        }
                    }
                }
                Ty::Array(_, n) if *wanted == Ty::Int => {
                    ways.push(format!("{}[{}]", v.name, n - 1));
                    ways.push(format!("{}[(uint64)(#)]", v.name));
                    ways.push(format!("{}[(uint8)(#)]", v.name));
                }
                _ => {}
            }
        }
        if ways.is_empty() {
            return self.expr(wanted, d);
        }
        let way = self.rng.pick(&ways).clone();
        if way.contains('#') {
            let index = self.int(d);
            return expr(&way, [index]);
        }
        leaf(way)
    }

    fn call(&mut self, d: usize) -> Node {
        // Functions call no functions: the verifier allows few frames.
        if self.functions.is_empty() || self.place.in_fn || self.place.unordered {
            return self.int_var();
        }
        let f = self.rng.pick(&self.functions).clone();
        let args: Vec<_> = (0..f.params).map(|_| self.int(d)).collect();
        let args: Vec<_> = args.into_iter().map(|a| expr("(int64)(#)", [a])).collect();
        Node::list(Kind::Expr, &format!("{}(", f.name), args, ", ", ")")
    }

    fn macro_value(&mut self, d: usize) -> Node {
        let all: Vec<_> = self
            .macros
            .iter()
            .filter_map(|m| match m {
                Macro::Value(name, n) => Some((name.clone(), *n)),
                Macro::Changes(_) => None,
            })
            .collect();
        if all.is_empty() {
            return self.int_var();
        }
        let (name, n) = self.rng.pick(&all).clone();
        let args: Vec<_> = (0..n).map(|_| self.int(d)).collect();
        Node::list(Kind::Expr, &format!("{name}("), args, ", ", ")")
    }

    /// `$x++` and the like.
    fn step(&mut self) -> Node {
        let vars: Vec<_> = self
            .vars_of(&Ty::Int)
            .filter(|v| v.assignable)
            .map(|v| v.name.clone())
            .collect();
        if vars.is_empty() {
            return self.literal();
        }
        let v = self.rng.pick(&vars);
        let form = *self.rng.pick(&["%++", "%--", "++%", "--%"]);
        expr(&format!("({})", form.replace('%', v)), [])
    }

    fn block_value(&mut self, d: usize) -> Node {
        let name = self.name("$b");
        let first = self.int(d);
        self.vars.push(Var {
            name: name.clone(),
            ty: Ty::Int,
            assignable: true,
        });
        let last = self.int(d);
        self.vars.pop();
        expr(&format!("{{ let {name} = #; # }}"), [first, last])
    }

    fn char_at(&mut self, d: usize) -> Node {
        let vars: Vec<_> = self.vars_of(&Ty::Str).map(|v| v.name.clone()).collect();
        if vars.is_empty() {
            return self.int_var();
        }
        let v = self.rng.pick(&vars).clone();
        if self.rng.one_in(2) {
            return leaf(format!("{v}[0]"));
        }
        let i = self.int(d);
        expr(&format!("{v}[(uint8)(#)]"), [i])
    }

    fn struct_field(&mut self) -> Node {
        let mut ways = Vec::new();
        for v in &self.vars {
            if let Ty::Struct(s) = v.ty {
                for f in &self.structs[s].ints {
                    ways.push(format!("{}.{f}", v.name));
                }
            }
        }
        if ways.is_empty() {
            return self.int_var();
        }
        leaf(self.rng.pick(&ways))
    }

    /// A truth value.
    pub(super) fn bool_(&mut self, depth: usize) -> Node {
        if depth == 0 {
            return match self.read(&Ty::Bool) {
                Some(n) if self.rng.one_in(2) => n,
                _ => {
                    let v = self.int_var();
                    let n = self.literal();
                    expr("(# < #)", [v, n])
                }
            };
        }
        let d = depth - 1;
        match self.rng.below(16) {
            0 => leaf(*self.rng.pick(&["true", "false"])),
            1..7 => {
                let op = *self.rng.pick(&["==", "!=", "<", "<=", ">", ">="]);
                let (a, b) = (self.int(d), self.int(d));
                expr(&format!("(# {op} #)"), [a, b])
            }
            7 => {
                let op = *self.rng.pick(&["==", "!="]);
                let (a, b) = (self.string(d), self.string(d));
                expr(&format!("(# {op} #)"), [a, b])
            }
            8 => {
                let a = self.bool_(d);
                expr("!(#)", [a])
            }
            9 | 10 => {
                let op = *self.rng.pick(&["&&", "||"]);
                let (a, b) = (self.bool_(d), self.bool_(d));
                expr(&format!("(# {op} #)"), [a, b])
            }
            11 => {
                let (a, b) = (self.string(d), self.string(d));
                expr("strcontains(#, #)", [a, b])
            }
            12 => {
                let maps: Vec<_> = self
                    .maps
                    .iter()
                    .filter(|m| m.key.is_some())
                    .cloned()
                    .collect();
                if maps.is_empty() || self.place.unordered {
                    return self.bool_(0);
                }
                let m = self.rng.pick(&maps).clone();
                let key = self.key(&m, d);
                // Several parts of a key are one tuple here.
                expr(&format!("has_key({}, #)", m.name), [key])
            }
            13 => self.part(&Ty::Bool, d),
            14 => {
                let a = self.int(d);
                expr("(bool)(#)", [a])
            }
            _ => match self.read(&Ty::Bool) {
                Some(n) => n,
                None => self.bool_(d),
            },
        }
    }

    /// A string.
    pub(super) fn string(&mut self, depth: usize) -> Node {
        if depth > 0 {
            let d = depth - 1;
            match self.rng.below(14) {
                0 => {
                    let s = self.string(d);
                    return expr("str(#)", [s]);
                }
                1 => {
                    let s = self.string(d);
                    let n = self.rng.below(12);
                    return expr(&format!("str(#, {n})"), [s]);
                }
                2 => {
                    let (s, n) = (self.string(d), self.int(d));
                    return expr("str(#, (uint8)(#))", [s, n]);
                }
                3 => {
                    let (a, b) = (self.string(d), self.string(d));
                    return expr("str_concat(#, #)", [a, b]);
                }
                4 => {
                    let (c, a, b) = (self.bool_(d), self.string(d), self.string(d));
                    return expr("(# ? # : #)", [c, a, b]);
                }
                5 => return self.part(&Ty::Str, d),
                6 => {
                    let n = self.int(d);
                    return expr("strerror((int32)(# & 127))", [n]);
                }
                7 => {
                    let n = self.int(d);
                    return expr("signal_name((int32)(# & 63))", [n]);
                }
                8..12 => {
                    if let Some(v) = self.read(&Ty::Str) {
                        return v;
                    }
                }
                _ => {}
            }
        }
        if self.rng.one_in(2)
            && let Some(v) = self.read(&Ty::Str)
        {
            return v;
        }
        leaf(format!("\"{}\"", self.rng.pick(STRINGS)))
    }
}
