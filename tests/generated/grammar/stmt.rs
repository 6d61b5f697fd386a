//! Statements.

use super::{Gen, Kind, Macro, Map, Node, Ty, Value, Var};
use crate::types::INTS;

/// How often a statement may run in a program's nested loops.
const RUNS: usize = 60;

fn stmt(template: &str, inner: impl IntoIterator<Item = Node>) -> Node {
    Node::new(Kind::Stmt, template, inner)
}

impl Gen {
    /// Some statements in a scope of their own.
    pub(super) fn stmts(&mut self, n: usize) -> Vec<Node> {
        (0..n).map(|_| self.stmt()).collect()
    }

    fn block(&mut self, most: usize) -> Node {
        let before = self.vars.len();
        self.place.depth -= 1;
        let n = self.rng.between(1, most);
        let list = self.stmts(n);
        self.place.depth += 1;
        self.vars.truncate(before);
        Node::list(Kind::Stmt, "{\n", list, "", "}\n")
    }

    fn stmt(&mut self) -> Node {
        let nested = self.place.depth > 0;
        match self.rng.below(40) {
            0..5 => self.let_(),
            5..10 => self.assign(),
            10..15 => self.store(),
            15..19 => self.print(),
            19 | 20 => self.printf(),
            21..24 if nested => self.if_(),
            24..27 if nested => self.for_range(),
            27 | 28 if nested => self.for_map(),
            29 if nested => self.while_(),
            30 if nested => {
                let n = self.rng.between(1, 3);
                let runs = self.place.runs;
                if runs * n > RUNS {
                    return self.assign();
                }
                self.place.runs *= n;
                let outer = std::mem::replace(&mut self.place.in_loop, false);
                let b = self.block(3);
                self.place.in_loop = outer;
                self.place.runs = runs;
                stmt(&format!("unroll ({n}) #"), [b])
            }
            31 if self.place.in_loop && nested => {
                let c = self.bool_(1);
                let what = *self.rng.pick(&["break", "continue"]);
                stmt(&format!("if (#) {{ {what}; }}\n"), [c])
            }
            32 if !self.place.in_fn => {
                let c = self.bool_(2);
                match self.rng.below(4) {
                    0 => stmt("if (#) { return; }\n", [c]),
                    _ => {
                        let p = self.print();
                        stmt("if (#) { # }\n", [c, p])
                    }
                }
            }
            33 => self.delete(),
            34 => self.find(),
            35 => self.whole_map(),
            36 => self.macro_call(),
            37 if nested => {
                let b = self.block(3);
                stmt("#", [b])
            }
            38 => self.struct_value(),
            39 => self.step_map(),
            _ => self.assign(),
        }
    }

    pub(super) fn let_(&mut self) -> Node {
        let ty = self.ty();
        if let Ty::Struct(_) = ty {
            return self.struct_value();
        }
        let name = self.name("$v");
        let value = self.expr(&ty, 3);
        let node = match self.rng.below(4) {
            0 => stmt(&format!("let {name} = #;\n"), [value]),
            1 if ty == Ty::Int => {
                let &(int, _) = self.rng.pick(INTS);
                let value = Node::new(Kind::Expr, &format!("({int})(#)"), [value]);
                stmt(&format!("let {name} : {int} = #;\n"), [value])
            }
            2 if ty == Ty::Int || ty == Ty::Str => {
                stmt(&format!("let {name};\n{name} = #;\n"), [value])
            }
            _ => stmt(&format!("{name} = #;\n"), [value]),
        };
        self.vars.push(Var {
            name,
            ty,
            assignable: true,
        });
        node
    }

    fn assign(&mut self) -> Node {
        let vars: Vec<_> = self.vars.iter().filter(|v| v.assignable).cloned().collect();
        if vars.is_empty() {
            return self.let_();
        }
        let v = self.rng.pick(&vars).clone();
        if let Ty::Struct(_) = v.ty {
            return self.print();
        }
        let value = self.expr(&v.ty, 3);
        if v.ty == Ty::Int && self.rng.one_in(2) {
            let op = *self
                .rng
                .pick(&["+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="]);
            return stmt(&format!("{} {op} #;\n", v.name), [value]);
        }
        stmt(&format!("{} = #;\n", v.name), [value])
    }

    fn a_map(&mut self) -> Option<Map> {
        (!self.maps.is_empty()).then(|| self.rng.pick(&self.maps).clone())
    }

    fn store(&mut self) -> Node {
        match self.a_map() {
            Some(map) => self.store_to(&map),
            None => self.assign(),
        }
    }

    /// A store of a value that comes from no map: it gives the map its type.
    pub(super) fn first_store(&mut self, map: &Map) -> Node {
        let outer = std::mem::replace(&mut self.place.unordered, true);
        let node = self.store_to(map);
        self.place.unordered = outer;
        node
    }

    fn store_to(&mut self, map: &Map) -> Node {
        let to = self.element(map, 2);
        match &map.value {
            Value::Agg(call, _) => {
                let args: Vec<_> = call.matches('#').map(|_| self.int(2)).collect();
                stmt(&format!("# = {call};\n"), std::iter::once(to).chain(args))
            }
            Value::Plain(Ty::Struct(s)) => {
                let vars: Vec<_> = self
                    .vars_of(&Ty::Struct(*s))
                    .map(|v| v.name.clone())
                    .collect();
                if vars.is_empty() {
                    let made = self.struct_of(*s);
                    let v = self.vars.last().expect("just made").name.clone();
                    return stmt(&format!("## = {v};\n"), [made, to]);
                }
                let v = self.rng.pick(&vars).clone();
                stmt(&format!("# = {v};\n"), [to])
            }
            Value::Plain(ty) => {
                let ty = ty.clone();
                let value = self.expr(&ty, 3);
                if ty == Ty::Int && self.rng.one_in(3) {
                    let op = *self.rng.pick(&["+=", "-=", "*=", "|=", "^="]);
                    return stmt(&format!("# {op} #;\n"), [to, value]);
                }
                stmt("# = #;\n", [to, value])
            }
        }
    }

    fn step_map(&mut self) -> Node {
        let maps: Vec<_> = self
            .maps
            .iter()
            .filter(|m| m.value == Value::Plain(Ty::Int))
            .cloned()
            .collect();
        if maps.is_empty() {
            return self.assign();
        }
        let m = self.rng.pick(&maps).clone();
        let e = self.element(&m, 1);
        let form = *self.rng.pick(&["#++", "#--", "++#", "--#"]);
        stmt(&format!("{form};\n"), [e])
    }

    fn print(&mut self) -> Node {
        if self.rng.one_in(4)
            && let Some(m) = self.a_map()
        {
            let whole = match m.value {
                Value::Agg(_, reads) => !reads || self.rng.one_in(2),
                Value::Plain(_) => self.rng.one_in(2),
            };
            if whole || m.key.is_none() {
                return stmt(&format!("print({});\n", m.name), []);
            }
            let e = self.element(&m, 1);
            return stmt("print(#);\n", [e]);
        }
        let ty = self.ty();
        if let Ty::Struct(_) = ty
            && self.vars_of(&ty).next().is_none()
        {
            return self.struct_value();
        }
        let e = self.expr(&ty, 3);
        stmt("print((#));\n", [e])
    }

    fn printf(&mut self) -> Node {
        let n = self.rng.between(1, 5);
        let mut format = String::new();
        let mut args = Vec::new();
        for _ in 0..n {
            let (spec, ty): (&str, Ty) = match self.rng.below(12) {
                0 => ("%d", Ty::Int),
                1 => ("%ld", Ty::Int),
                2 => ("%llx", Ty::Int),
                3 => ("%-8lu|", Ty::Int),
                4 => ("%05d", Ty::Int),
                5 => ("%s", Ty::Str),
                6 => ("%-12s|", Ty::Str),
                7 => ("%s", Ty::Bool),
                8 => ("%d", Ty::Bool),
                9 => ("%p", Ty::Int),
                10 => ("%rx", Ty::Bool),
                _ => ("%s", Ty::array(&mut self.rng)),
            };
            format += spec;
            format += " ";
            args.push(match spec {
                "%rx" => {
                    let s = self.string(1);
                    let k = self.rng.between(1, 9);
                    Node::new(Kind::Expr, &format!("buf(#, {k})"), [s])
                }
                _ => self.expr(&ty, 2),
            });
        }
        let args = Node::list(Kind::Expr, "", args, ", ", "");
        stmt(&format!("printf(\"{format}\\n\", #);\n"), [args])
    }

    fn if_(&mut self) -> Node {
        let c = self.bool_(3);
        let a = self.block(4);
        match self.rng.below(3) {
            0 => stmt("if (#) #", [c, a]),
            1 => {
                let b = self.block(4);
                stmt("if (#) # else #", [c, a, b])
            }
            _ => {
                let (d, b, e) = (self.bool_(2), self.block(3), self.block(3));
                stmt("if # # else if (#) # else #", [c, a, d, b, e])
            }
        }
    }

    fn for_range(&mut self) -> Node {
        let most = RUNS / self.place.runs;
        if most < 2 {
            return self.assign();
        }
        let name = self.name("$i");
        let n = self.rng.between(1, most.min(8));
        let lo = self.rng.below(6);
        let range = match self.rng.below(5) {
            0 => format!("{lo}..{}", lo + n),
            1 => format!("-{lo}..{}", n as i64 - lo as i64)
                .replace("..-", "..-")
                .replace("-0", "0"),
            2 => {
                let v = self.int_var();
                return self.looped(name, n, "for (% : 0..(# & 3)) #", Some(v));
            }
            3 => {
                let v = self.int_var();
                let template = format!("for (% : (# & 3)..{}) #", n.max(3));
                return self.looped(name, n.max(3), &template, Some(v));
            }
            _ => format!("0..{n}"),
        };
        self.looped(name, n, &format!("for % : {range} #"), None)
    }

    fn looped(&mut self, name: String, n: usize, template: &str, bound: Option<Node>) -> Node {
        let runs = self.place.runs;
        self.place.runs *= n.max(3);
        let in_loop = std::mem::replace(&mut self.place.in_loop, true);
        let before = self.vars.len();
        self.vars.push(Var {
            name: name.clone(),
            ty: Ty::Int,
            assignable: self.rng.one_in(4),
        });
        let body = self.block(4);
        self.vars.truncate(before);
        self.place.in_loop = in_loop;
        self.place.runs = runs;
        stmt(
            &template.replace('%', &name),
            bound.into_iter().chain([body]),
        )
    }

    fn for_map(&mut self) -> Node {
        let maps: Vec<_> = self
            .maps
            .iter()
            .filter(|m| m.key.is_some() && !matches!(m.value, Value::Agg(_, false)))
            .cloned()
            .collect();
        if maps.is_empty() || self.place.in_fn {
            return self.store();
        }
        let m = self.rng.pick(&maps).clone();
        let key = m.key.clone().expect("keyed");
        let value = match &m.value {
            Value::Plain(t) => t.clone(),
            Value::Agg(..) => Ty::Int,
        };
        let name = self.name("$kv");
        let sum = self.name("$sum");
        let pair = Var {
            name: name.clone(),
            ty: Ty::Tuple(vec![key, value]),
            assignable: false,
        };
        let before = self.vars.clone();
        let outer = self.place.clone();
        self.vars.push(pair);
        let body = if m.only_key.is_some() {
            self.place.in_loop = true;
            self.block(4)
        } else {
            // Nothing that changes from entry to entry may be read but the entry.
            self.place.unordered = true;
            for v in &mut self.vars {
                v.assignable = false;
            }
            let (cond, value) = (self.bool_(2), self.int(2));
            stmt(
                &format!("{{\nif (#) {{ {sum} += (int64)(#); }}\n{sum}++;\n}}\n"),
                [cond, value],
            )
        };
        self.place = outer;
        self.vars = before;
        self.vars.push(Var {
            name: sum.clone(),
            ty: Ty::Int,
            assignable: true,
        });
        stmt(
            &format!("{sum} = (int64)0;\nfor ({name} : {}) #", m.name),
            [body],
        )
    }

    fn while_(&mut self) -> Node {
        let most = RUNS / self.place.runs;
        if most < 2 {
            return self.assign();
        }
        let name = self.name("$w");
        let n = self.rng.between(1, most.min(5));
        let runs = self.place.runs;
        self.place.runs *= n;
        let in_loop = std::mem::replace(&mut self.place.in_loop, true);
        let before = self.vars.len();
        self.vars.push(Var {
            name: name.clone(),
            ty: Ty::Int,
            assignable: false,
        });
        let body = self.block(2);
        self.vars.truncate(before);
        self.place.in_loop = in_loop;
        self.place.runs = runs;
        stmt(
            &format!("{name} = 0;\nwhile ({name} < {n}) {{\n{name}++;\n#}}\n"),
            [body],
        )
    }

    fn delete(&mut self) -> Node {
        let Some(m) = self.a_map() else {
            return self.print();
        };
        let template = match (&m.key, self.rng.one_in(2)) {
            (None, true) => return stmt(&format!("_ = delete({});\n", m.name), []),
            (None, false) => return stmt(&format!("print(delete({}));\n", m.name), []),
            (Some(_), true) => format!("_ = delete({}, #);\n", m.name),
            (Some(_), false) => format!("print(delete({}, #));\n", m.name),
        };
        let key = self.key(&m, 2);
        stmt(&template, [key])
    }

    fn find(&mut self) -> Node {
        let maps: Vec<_> = self
            .maps
            .iter()
            .filter(|m| m.key.is_some())
            .filter(|m| matches!(m.value, Value::Plain(_)))
            .cloned()
            .collect();
        if maps.is_empty() {
            return self.print();
        }
        let m = self.rng.pick(&maps).clone();
        let v = self.name("$f");
        let key = self.key(&m, 2);
        stmt(
            &format!(
                "let {v};\nif (find({}, #, {v})) {{ print({v}); }}\n",
                m.name
            ),
            [key],
        )
    }

    /// What user space does with a map, later.
    fn whole_map(&mut self) -> Node {
        let Some(m) = self.a_map() else {
            return self.print();
        };
        if self.place.in_fn || self.rng.one_in(2) {
            return stmt(&format!("print({});\n", m.name), []);
        }
        let what = *self.rng.pick(&["clear", "zero", "print"]);
        stmt(&format!("{what}({});\n", m.name), [])
    }

    fn macro_call(&mut self) -> Node {
        let all: Vec<_> = self
            .macros
            .iter()
            .filter_map(|m| match m {
                Macro::Changes(name) => Some(name.clone()),
                Macro::Value(..) => None,
            })
            .collect();
        let vars: Vec<_> = self
            .vars_of(&Ty::Int)
            .filter(|v| v.assignable)
            .map(|v| v.name.clone())
            .collect();
        if all.is_empty() || vars.is_empty() {
            return self.assign();
        }
        let (name, v) = (self.rng.pick(&all).clone(), self.rng.pick(&vars).clone());
        stmt(&format!("{name}({v});\n"), [])
    }

    /// A struct's value, read from the bytes of a variable.
    fn struct_value(&mut self) -> Node {
        if self.structs.is_empty() {
            return self.assign();
        }
        let at = self.rng.below(self.structs.len());
        self.struct_of(at)
    }

    fn struct_of(&mut self, at: usize) -> Node {
        let of = self.structs[at].clone();
        let source = self.name("$src");
        let name = self.name("$st");
        // A tuple of integers that has its size.
        let parts: Vec<_> = (0..of.size.div_ceil(8)).map(|_| self.int(2)).collect();
        let one = parts.len() == 1;
        let parts: Vec<_> = parts
            .into_iter()
            .map(|p| Node::new(Kind::Expr, "(uint64)(#)", [p]))
            .collect();
        let value = match one {
            true => Node::list(Kind::Expr, "", parts, ", ", ""),
            false => Node::list(Kind::Expr, "(", parts, ", ", ")"),
        };
        self.vars.push(Var {
            name: name.clone(),
            ty: Ty::Struct(at),
            assignable: false,
        });
        stmt(
            &format!(
                "{source} = #;\n{name} = *((struct {} *)(&{source}));\n",
                of.name
            ),
            [value],
        )
    }
}
