//! Programs of the language, typed as they are made.
//!
//! What a program prints does not depend on the machine, the time or the order of a hash map's
//! entries. Nearly all type-check; the few that do not (a fold that overflows, say) are drawn anew
//! by the caller.

mod expr;
mod stmt;

use super::rng::Rng;
use super::tree::{Kind, Node};
use super::types::{FIELDS, INTS, Ty};

/// A program from a seed.
pub fn program(seed: u64) -> Node {
    Gen::new(seed).program()
}

/// A variable in scope.
#[derive(Clone, Debug)]
struct Var {
    name: String,
    ty: Ty,
    /// Whether it may be assigned to.
    assignable: bool,
}

/// What a map holds.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Plain(Ty),
    /// An aggregation: the call with `#` for its argument, and whether it reads as an integer.
    Agg(&'static str, bool),
}

#[derive(Clone, Debug)]
struct Map {
    name: String,
    key: Option<Ty>,
    value: Value,
    /// The only key ever used, so that iteration has one order.
    only_key: Option<String>,
}

/// A function of the script: parameter types by name.
#[derive(Clone, Debug)]
struct Function {
    name: String,
    params: usize,
}

/// A macro of the script.
#[derive(Clone, Debug)]
enum Macro {
    /// Expressions in, an integer out.
    Value(String, usize),
    /// A variable is changed.
    Changes(String),
}

#[derive(Clone, Debug)]
struct Enum {
    name: String,
    variants: Vec<String>,
}

#[derive(Clone, Debug)]
struct Struct {
    name: String,
    /// Size in bytes, as C lays it out.
    size: usize,
    /// Fields that read as integers.
    ints: Vec<String>,
}

/// What may be said where.
#[derive(Clone, Debug)]
struct Place {
    /// `break` and `continue`.
    in_loop: bool,
    /// Nothing may be seen of the order of what runs.
    unordered: bool,
    in_fn: bool,
    /// How often statements here may run, at most.
    runs: usize,
    depth: usize,
}

struct Gen {
    rng: Rng,
    vars: Vec<Var>,
    maps: Vec<Map>,
    functions: Vec<Function>,
    macros: Vec<Macro>,
    enums: Vec<Enum>,
    structs: Vec<Struct>,
    names: usize,
    place: Place,
}

const AGGS: &[(&str, bool)] = &[
    ("count()", true),
    ("sum(#)", true),
    ("min(#)", true),
    ("max(#)", true),
    ("avg(#)", true),
    ("stats(#)", false),
    ("hist(#)", false),
    ("hist(#, 2)", false),
    ("lhist(#, 0, 100, 7)", false),
    ("lhist(#, 3, 1000, 50)", false),
];

impl Gen {
    fn new(seed: u64) -> Gen {
        Gen {
            rng: Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)),
            vars: Vec::new(),
            maps: Vec::new(),
            functions: Vec::new(),
            macros: Vec::new(),
            enums: Vec::new(),
            structs: Vec::new(),
            names: 0,
            place: Place {
                in_loop: false,
                unordered: false,
                in_fn: false,
                runs: 1,
                depth: 4,
            },
        }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn ty(&mut self) -> Ty {
        Ty::any(&mut self.rng, 2, self.enums.len(), self.structs.len())
    }

    fn program(&mut self) -> Node {
        let mut items = Vec::new();
        for _ in 0..self.rng.below(3) {
            items.push(self.enum_());
        }
        for _ in 0..self.rng.below(3) {
            items.push(self.struct_());
        }
        for _ in 0..self.rng.between(1, 6) {
            self.map();
        }
        if self.rng.one_in(6) {
            let kind = *self.rng.pick(&["hash", "lruhash", "percpuhash"]);
            let fitting: Vec<_> = self
                .maps
                .iter()
                .filter(|m| m.key.is_some())
                .filter(|m| matches!(m.value, Value::Agg(..)) == kind.starts_with("percpu"))
                .collect();
            if let Some(m) = fitting.first() {
                let text = format!("let {} = {kind}(64);\n", m.name);
                items.push(Node::new(Kind::Stmt, &text, []));
            }
        }
        for _ in 0..self.rng.below(3) {
            items.push(self.function());
        }
        for _ in 0..self.rng.below(3) {
            items.push(self.macro_());
        }
        items.push(self.first_probe());
        if self.rng.one_in(3) {
            items.push(self.probe("begin"));
        }
        if self.rng.one_in(8) {
            items.push(self.interval());
        }
        if self.rng.one_in(2) {
            items.push(self.probe("end"));
        }
        Node::list(Kind::Stmt, "", items, "", "")
    }

    fn enum_(&mut self) -> Node {
        let name = self.name("E");
        let mut text = format!("enum {name} {{ ");
        let mut variants = Vec::new();
        let mut value = 0;
        for i in 0..self.rng.between(1, 5) {
            let v = format!("{name}_{i}");
            value += self.rng.between(1, 50);
            text += &match self.rng.one_in(2) {
                true => format!("{v} = {value}, "),
                false => format!("{v}, "),
            };
            variants.push(v);
        }
        text += "};\n";
        self.enums.push(Enum { name, variants });
        Node::new(Kind::Stmt, &text, [])
    }

    fn struct_(&mut self) -> Node {
        let name = self.name("S");
        let mut text = format!("struct {name} {{ ");
        let mut ints = Vec::new();
        let (mut size, mut align) = (0usize, 1);
        for i in 0..self.rng.between(1, 5) {
            let &(ty, bytes) = self.rng.pick(&[
                ("char", 1),
                ("unsigned char", 1),
                ("short", 2),
                ("unsigned short", 2),
                ("int", 4),
                ("unsigned int", 4),
                ("long", 8),
                ("unsigned long", 8),
            ]);
            let field = format!("f{i}");
            let start = size.next_multiple_of(bytes);
            if self.rng.one_in(4) {
                let n = self.rng.between(1, 3);
                text += &format!("{ty} {field}[{n}]; ");
                size = start + n * bytes;
                if bytes > 1 {
                    ints.push(format!("{field}[{}]", self.rng.below(n)));
                }
            } else {
                text += &format!("{ty} {field}; ");
                size = start + bytes;
                ints.push(field);
            }
            align = align.max(bytes);
        }
        if size % 4 == 0 && self.rng.one_in(3) {
            text += "int b0 : 3; unsigned int b1 : 7; ";
            size += 4;
            align = align.max(4);
            ints.extend(["b0".into(), "b1".into()]);
        }
        text += "};\n";
        let size = size.next_multiple_of(align);
        self.structs.push(Struct { name, size, ints });
        Node::new(Kind::Stmt, &text, [])
    }

    fn map(&mut self) {
        let name = self.name("@m");
        let mut key = self
            .rng
            .below(3)
            .gt(&0)
            .then(|| Ty::key(&mut self.rng, self.enums.len()));
        let value = match self.rng.below(3) {
            0 => {
                let &(call, reads) = self.rng.pick(AGGS);
                Value::Agg(call, reads)
            }
            _ => Value::Plain(self.ty()),
        };
        let mut only_key = None;
        if self.rng.one_in(4)
            && let Some(k) = &mut key
        {
            *k = Ty::Int;
            only_key = Some(self.rng.below(1000).to_string());
        }
        self.maps.push(Map {
            name,
            key,
            value,
            only_key,
        });
    }

    fn function(&mut self) -> Node {
        let name = self.name("fun");
        let params = self.rng.below(4);
        let mut head = String::new();
        let before = self.vars.len();
        for i in 0..params {
            let v = self.name("$p");
            let &(ty, _) = self.rng.pick(INTS);
            if i > 0 {
                head += ", ";
            }
            head += &format!("{v} : {ty}");
            self.vars.push(Var {
                name: v,
                ty: Ty::Int,
                assignable: false,
            });
        }
        let outer = self.place.clone();
        self.place.in_fn = true;
        self.place.depth = 2;
        let mut body = self.stmts(2);
        let result = self.int(2);
        self.place = outer;
        self.vars.truncate(before);
        let &(ty, _) = self.rng.pick(&[("int64", 8), ("int64", 8), ("uint64", 8)]);
        body.push(Node::new(
            Kind::Stmt,
            &format!("return ({ty})(#);\n"),
            [result],
        ));
        let body = Node::list(Kind::Stmt, "", body, "", "");
        let node = Node::new(
            Kind::Stmt,
            &format!("fn {name}({head}): {ty} {{\n#}}\n"),
            [body],
        );
        self.functions.push(Function { name, params });
        node
    }

    fn macro_(&mut self) -> Node {
        let name = self.name("mac");
        if self.rng.one_in(3) {
            let v = self.name("$q");
            let vars = std::mem::replace(
                &mut self.vars,
                vec![Var {
                    name: v.clone(),
                    ty: Ty::Int,
                    assignable: true,
                }],
            );
            let maps = std::mem::take(&mut self.maps);
            let value = self.int(2);
            self.vars = vars;
            self.maps = maps;
            let op = *self.rng.pick(&["=", "+=", "^=", "-="]);
            self.macros.push(Macro::Changes(name.clone()));
            return Node::new(
                Kind::Stmt,
                &format!("macro {name}({v}) {{ {v} {op} #; }}\n"),
                [value],
            );
        }
        let n = self.rng.between(0, 2);
        let params: Vec<_> = (0..n).map(|_| self.name("p")).collect();
        let vars = std::mem::take(&mut self.vars);
        let maps = std::mem::take(&mut self.maps);
        // Parameters are expressions: no `$`, never assigned.
        for p in &params {
            self.vars.push(Var {
                name: p.clone(),
                ty: Ty::Int,
                assignable: false,
            });
        }
        let local = self.name("$l");
        let first = self.int(2);
        self.vars.push(Var {
            name: local.clone(),
            ty: Ty::Int,
            assignable: true,
        });
        let value = self.int(2);
        self.vars = vars;
        self.maps = maps;
        let list = params.join(", ");
        self.macros.push(Macro::Value(name.clone(), n));
        Node::new(
            Kind::Stmt,
            &format!("macro {name}({list}) {{ let {local} = #; # }}\n"),
            [first, value],
        )
    }

    /// The first probe; it gives every map an element, so that all have types.
    fn first_probe(&mut self) -> Node {
        let before = self.vars.len();
        let mut body = self.first_vars_without_maps();
        for map in self.maps.clone() {
            body.push(self.first_store(&map));
        }
        let n = self.rng.between(2, 14);
        body.extend(self.stmts(n));
        body.extend(self.last_prints());
        self.vars.truncate(before);
        Node::new(
            Kind::Stmt,
            "begin {\n#}\n",
            [Node::list(Kind::Stmt, "", body, "", "")],
        )
    }

    fn probe(&mut self, name: &str) -> Node {
        let before = self.vars.len();
        let mut body = self.first_vars();
        let n = self.rng.between(2, 14);
        body.extend(self.stmts(n));
        body.extend(self.last_prints());
        self.vars.truncate(before);
        let predicate = if self.rng.one_in(8) {
            let cond = self.bool_(1);
            Some(cond)
        } else {
            None
        };
        let body = Node::list(Kind::Stmt, "", body, "", "");
        match predicate {
            Some(p) => Node::new(Kind::Stmt, &format!("{name} /#/ {{\n#}}\n"), [p, body]),
            None => Node::new(Kind::Stmt, &format!("{name} {{\n#}}\n"), [body]),
        }
    }

    /// Runs its body once, on maps of its own: when it fires relative to what BEGIN printed is
    /// up to the machine. Should the body return, the next tick ends the program.
    fn interval(&mut self) -> Node {
        let maps = std::mem::take(&mut self.maps);
        let functions = std::mem::take(&mut self.functions);
        self.map();
        let n = self.rng.between(1, 5);
        let mut body = self.first_vars_without_maps();
        let own = self.maps[0].clone();
        body.push(self.first_store(&own));
        body.extend(self.stmts(n));
        body.extend(self.last_prints());
        self.vars.clear();
        self.maps = maps;
        self.functions = functions;
        let done = self.name("@done");
        let body = Node::list(Kind::Stmt, "", body, "", "");
        let code = self.rng.below(3);
        Node::new(
            Kind::Stmt,
            &format!(
                "interval:ms:1 {{\nif ({done} == 1) {{ exit({code}); }}\n{done} = 1;\n{{\n#}}\nexit({code});\n}}\n"
            ),
            [body],
        )
    }

    fn first_vars(&mut self) -> Vec<Node> {
        (0..self.rng.between(1, 5)).map(|_| self.let_()).collect()
    }

    /// Variables whose types come from no map: the first stores take theirs from them.
    fn first_vars_without_maps(&mut self) -> Vec<Node> {
        let outer = std::mem::replace(&mut self.place.unordered, true);
        let body = self.first_vars();
        self.place.unordered = outer;
        body
    }

    fn last_prints(&mut self) -> Vec<Node> {
        let mut out = Vec::new();
        let vars = self.vars.clone();
        for v in &vars {
            if self.rng.one_in(2) {
                out.push(Node::new(Kind::Stmt, &format!("print({});\n", v.name), []));
            }
        }
        out
    }

    /// A field's name.
    fn field(i: usize) -> &'static str {
        FIELDS[i]
    }
}
