//! JSON output against its description, `docs/json.md`: every line of these runs has the fields
//! and shapes that the tables there say, and every type of line there is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use serde_json::Value;

#[path = "support/kernel.rs"]
mod kernel;

const DOC: &str = include_str!("../docs/json.md");

/// The shape of a JSON value.
#[derive(Debug)]
enum Shape {
    Integer,
    Number,
    Text,
    Bool,
    Null,
    Any,
    /// One of the document's own.
    Named(String),
    List(Box<Shape>),
    /// Members: name, whether it is always there, shape.
    Object(Vec<(String, bool, Shape)>),
    Members(Box<Shape>),
    Either(Vec<Shape>),
}

/// Reads shapes as the document writes them.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn eat(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn want(&mut self, c: char) {
        assert!(self.eat(c), "'{c}' expected before '{}'", self.rest);
    }

    fn word(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        assert!(!word.is_empty(), "a name expected before '{}'", self.rest);
        self.rest = rest;
        word.to_owned()
    }

    fn shape(&mut self) -> Shape {
        let mut all = vec![self.one()];
        while self.eat('|') {
            all.push(self.one());
        }
        match all.len() {
            1 => all.remove(0),
            _ => Shape::Either(all),
        }
    }

    fn one(&mut self) -> Shape {
        if self.eat('[') {
            let of = self.shape();
            self.want(']');
            return Shape::List(Box::new(of));
        }
        if !self.eat('{') {
            return match self.word().as_str() {
                "integer" => Shape::Integer,
                "number" => Shape::Number,
                "text" => Shape::Text,
                "bool" => Shape::Bool,
                "null" => Shape::Null,
                "value" => Shape::Any,
                other => Shape::Named(other.to_owned()),
            };
        }
        if self.eat('*') {
            self.want(':');
            let of = self.shape();
            self.want('}');
            return Shape::Members(Box::new(of));
        }
        let mut members = Vec::new();
        loop {
            let name = self.word();
            let always = !self.eat('?');
            self.want(':');
            members.push((name, always, self.shape()));
            if self.eat('}') {
                return Shape::Object(members);
            }
            self.want(',');
        }
    }
}

/// The shapes of the document's tables by type.
fn shapes() -> BTreeMap<String, Shape> {
    let mut all = BTreeMap::new();
    for line in DOC.lines() {
        let line = line.replace("\\|", "\u{0}");
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, fields, ..] = cells[..] else {
            continue;
        };
        if !fields.starts_with('{') {
            continue;
        }
        let text = fields.replace('\u{0}', "|");
        let mut reader = Reader { rest: &text };
        let shape = reader.shape();
        assert_eq!(reader.rest.trim(), "", "{name}");
        assert!(all.insert(name.to_owned(), shape).is_none(), "{name} twice");
    }
    assert!(all.len() > 15, "{:?}", all.keys());
    all
}

fn fits(shapes: &BTreeMap<String, Shape>, shape: &Shape, v: &Value) -> bool {
    let fits = |shape, v| fits(shapes, shape, v);
    match (shape, v) {
        (Shape::Integer, Value::Number(n)) => n.is_i64() || n.is_u64(),
        (Shape::Number, Value::Number(n)) => n.is_i64() || n.is_u64(),
        (Shape::Number, Value::String(s)) => s.parse::<i128>().is_ok(),
        (Shape::Text, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => true,
        (Shape::Null, Value::Null) | (Shape::Any, _) => true,
        (Shape::Named(name), v) => fits(&shapes[name], v),
        (Shape::List(of), Value::Array(items)) => items.iter().all(|i| fits(of, i)),
        (Shape::Members(of), Value::Object(o)) => o.values().all(|m| fits(of, m)),
        (Shape::Either(ways), v) => ways.iter().any(|w| fits(w, v)),
        (Shape::Object(members), Value::Object(o)) => {
            let known = |name: &String| members.iter().any(|(n, ..)| n == name);
            o.keys().all(known)
                && members.iter().all(|(name, always, of)| match o.get(name) {
                    Some(m) => fits(of, m),
                    None => !always,
                })
        }
        _ => false,
    }
}

fn rtrace(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_rtrace"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("rtrace runs");
    String::from_utf8(out.stdout).expect("JSON is UTF-8")
}

/// Checks the lines of a run; gives the types seen.
fn check(shapes: &BTreeMap<String, Shape>, output: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for line in output.lines() {
        let v: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let Value::Object(mut o) = v else {
            panic!("no object: {line}");
        };
        let Some(Value::String(kind)) = o.remove("type") else {
            panic!("no type: {line}");
        };
        let shape = shapes
            .get(&kind)
            .unwrap_or_else(|| panic!("not in docs/json.md: {line}"));
        assert!(
            fits(shapes, shape, &Value::Object(o)),
            "{line}\nis not {shape:?}"
        );
        seen.insert(kind);
    }
    seen
}

/// Runs that need no kernel, which between them print most types of lines.
const RUNS: &[&[&str]] = &[
    &[
        "-e",
        r#"begin {
            printf("a\"b\xff %d\n", 5); print((1, "x", true, (a=1, b=(c=-2)))); print(pton("::1"));
            print(18446744073709551615); print(buf("ab", 2)); print(()); print((uint8*)16);
            @m["k"] = 1; @m["l"] = 2; print(@m["k"]); @s = "scalar"; @t[1, (2, "a")] = (1, "b");
            @r[(a=1, b="q")] = true; @big[1] = (uint64)18446744073709551615;
            @h = hist(-1); @h = hist(9); @hk[1, "x"] = hist(5, 2); @l = lhist(-5, 0, 10, 5);
            @l = lhist(50, 0, 10, 5); @lk[3] = lhist(4, 0, 10, 5);
            @a = avg(3); @ak[1] = avg(-4); @st = stats(5); @sk[2] = stats(6); print(@sk[2]);
            @c[1] = count(); @su = sum(-5); @mi = min(3); @ma[1] = max(4);
            @ts = tseries(5, 1s, 3); @tk[1] = tseries(7, 1ms, 2, "sum");
            time("%H\n"); cat("/proc/sys/kernel/ostype"); join(0);
            errorf("bad %d", 1); warnf("hm");
            $z = 0; print(5 / $z);
        }"#,
    ],
    &["--unsafe", "-e", r#"begin { system("echo 1; echo 2"); }"#],
    &["-e", "let @f = hash(1); begin { @f[1] = 1; @f[2] = 2; }"],
    &["-k", "-e", "begin { @f[1] = 1; print(@f[2]); }"],
    &["-e", "begin { print(*(uint8*)16); }"],
    &["-e", r#"begin { assert(1 == 2, "no"); }"#],
];

#[test]
fn every_line_is_as_documented() {
    let shapes = shapes();
    let mut seen = BTreeSet::new();
    let kernel = kernel::usable("every_line_is_as_documented (in the kernel)");
    let engines: &[&str] = if kernel {
        &["--engine=user", "--engine=kernel"]
    } else {
        &["--engine=user"]
    };
    for engine in engines {
        for run in RUNS {
            let args: Vec<_> = ["-f", "json", engine].iter().chain(*run).copied().collect();
            seen.append(&mut check(&shapes, &rtrace(&args)));
        }
    }
    if kernel {
        let tests = r#"test:a { return 0 } test:b { printf("x"); return 1 }"#;
        seen.append(&mut check(
            &shapes,
            &rtrace(&["-f", "json", "--test", "-e", tests]),
        ));
        let bench = rtrace(&["-f", "json", "--bench", "-e", "bench:a { }"]);
        seen.append(&mut check(&shapes, &bench));
        // More events at once than one page holds.
        let flood = r#"config = { perf_rb_pages = 1 }
            begin { for $i : 0..5000 { printf("%d %s\n", $i, comm); } exit() }"#;
        seen.append(&mut check(&shapes, &rtrace(&["-f", "json", "-e", flood])));
    }
    let missing: Vec<_> = shapes
        .keys()
        .filter(|k| !seen.contains(*k))
        .map(String::as_str)
        .collect();
    let elsewhere: &[&str] = if kernel {
        &["diagnostic", "span"]
    } else {
        &[
            "benchmark_result",
            "diagnostic",
            "loss",
            "lost_events",
            "span",
            "test_result",
        ]
    };
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|m| !elsewhere.contains(m))
        .collect();
    assert!(
        missing.is_empty(),
        "documented, but never seen: {missing:?}"
    );
}

#[test]
fn diagnostics_are_as_documented() {
    let shapes = shapes();
    let dir = std::env::temp_dir().join(format!("rtrace-json-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory for scripts");
    let scripts = [
        ("good.bt", "begin { print(1); }\n"),
        (
            "bad.bt",
            "macro two(x) { x + \"a\" }\nmacro one(x) { two(x) }\nbegin { print(one(5)); printff(1); let $a = 1; let $a = 2; 5; }\n",
        ),
        ("syntax.bt", "begin { print(1 }\n"),
    ];
    let mut expanded = 0;
    for (name, text) in scripts {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("a script can be written");
        let path = path.to_str().expect("the path is text");
        let out = rtrace(&["check", "--format", "json", path]);
        let v: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{out}: {e}"));
        let Value::Array(items) = v else {
            panic!("no array: {out}");
        };
        assert_eq!(items.is_empty(), name == "good.bt", "{out}");
        for d in items {
            assert!(
                fits(&shapes, &shapes["diagnostic"], &d),
                "{d} is not {:?}",
                shapes["diagnostic"]
            );
            let chain = d["expanded_from"].as_array().map_or(0, Vec::len);
            expanded = expanded.max(chain);
        }
    }
    std::fs::remove_dir_all(&dir).expect("the directory can be removed");
    assert_eq!(expanded, 2, "the chain of macro calls is told");
}
