//! What lowering promises, seen in the IR of small scripts.

use crate::compile::{self, Observer, Options, Stage};
use crate::ctypes;
use crate::diag::render;
use crate::env::FakeEnv;
use crate::facts::FactOptions;
use crate::ir::pass;
use crate::object::{MapKind, MapRole, Object};
use crate::sema;
use crate::source::SourceMap;
use crate::syntax::imports::{Found, LoadError, Loader};

struct NoImports;

impl Loader for NoImports {
    fn find(&mut self, _: &str, path: &str) -> Result<Found, LoadError> {
        Err(LoadError::NotFound(vec![path.to_owned()]))
    }

    fn read(&mut self, path: &str) -> Result<String, String> {
        Err(path.to_owned())
    }
}

#[derive(Default)]
struct LastIr(String);

impl Observer for LastIr {
    fn stage(&mut self, stage: Stage, text: &mut dyn FnMut() -> String) {
        if matches!(stage, Stage::Ir | Stage::IrPass(_)) {
            self.0 = text();
        }
    }
}

/// Object and optimised IR of a script.
fn lower(script: &str) -> (Object, String) {
    try_lower(script).unwrap_or_else(|e| panic!("{script}\n{e}"))
}

fn try_lower(script: &str) -> Result<(Object, String), String> {
    let env = FakeEnv::new();
    let mut sources = SourceMap::default();
    let file = sources.add("stdin", script);
    let options = Options {
        sema: sema::env::Options::default(),
        facts: FactOptions::default(),
        headers: ctypes::Options::default(),
        loader: &mut NoImports,
        passes: pass::Options::default(),
    };
    let mut ir = LastIr::default();
    let done = compile::compile(&mut sources, file, &env, options, &mut ir);
    let style = render::Style::default();
    match done.object {
        Some(object) => Ok((object, ir.0)),
        None => Err(render::text(&done.diags, &sources, style)),
    }
}

/// The text of the first function of this kind.
fn function<'a>(ir: &'a str, kind: &str) -> &'a str {
    let at = ir.find(kind).unwrap_or_else(|| panic!("no {kind} in {ir}"));
    let end = ir[at..].find("\n}").map_or(ir.len(), |n| at + n);
    &ir[at..end]
}

#[test]
fn a_scalar_count_is_one_lookup_and_one_atomic_addition() {
    let (object, ir) = lower("BEGIN { @ = count() }");
    let entry = function(&ir, " entry ");
    assert_eq!(entry.matches("call ").count(), 1, "{entry}");
    assert_eq!(entry.matches("atomic.add.8").count(), 1, "{entry}");
    assert_eq!(object.maps.len(), 1);
    assert_eq!(object.maps[0].kind, MapKind::PercpuArray);
}

#[test]
fn a_scalar_number_is_added_to_without_a_helper() {
    let (object, ir) = lower("BEGIN { @x++ }");
    assert!(!function(&ir, " entry ").contains("call "), "{ir}");
    assert_eq!(object.maps[0].kind, MapKind::Array);
}

#[test]
fn a_first_insertion_that_loses_the_race_adds_to_the_winner() {
    let (_, ir) = lower("BEGIN { @x[1]++ }");
    let entry = function(&ir, " entry ");
    for once in ["bpf_map_lookup_elem", "atomic.add.8", "bpf_map_update_elem"] {
        assert_eq!(entry.matches(once).count(), 1, "{entry}");
    }
    // A failed insertion goes back to where the key is looked up.
    let (before, after) = entry.split_once("bpf_map_lookup_elem").unwrap();
    let head = before.lines().rfind(|l| l.starts_with("block")).unwrap();
    let (head, _) = head.split_once('(').unwrap();
    let (_, inserted) = after.split_once("bpf_map_update_elem").unwrap();
    let branch = inserted.lines().find(|l| l.contains("br slt"));
    assert!(
        branch.is_some_and(|l| l.contains(&format!("{head}("))),
        "{entry}"
    );
}

#[test]
fn records_are_filled_in_place() {
    let (object, ir) = lower(r#"BEGIN { printf("%d %s\n", 1, comm) }"#);
    let entry = function(&ir, " entry ");
    let reserve = entry.find("bpf_ringbuf_reserve").unwrap();
    let comm = entry.find("bpf_get_current_comm").unwrap();
    assert!(reserve < comm, "{entry}");
    assert!(
        !object
            .maps
            .iter()
            .any(|m| matches!(m.role, MapRole::Scratch))
    );
}

#[test]
fn large_strings_take_scratch_and_give_it_back_once() {
    let (object, ir) = lower(r#"BEGIN { $x = str(1); @[$x] = 1; return; }"#);
    let entry = function(&ir, " entry ");
    assert_eq!(
        entry.matches("= call fn").count(),
        entry.matches("call fn").count()
    );
    let scratch = object
        .maps
        .iter()
        .find(|m| matches!(m.role, MapRole::Scratch))
        .unwrap();
    assert!(scratch.value_size >= 1024);
    assert!(scratch.max_entries > 1, "programs nest");
}

#[test]
fn a_comparison_with_a_literal_reads_no_more_than_it_compares() {
    let (object, _) = lower(r#"BEGIN { if (str(1) == "abc") { @x = 1 } }"#);
    assert!(
        !object
            .maps
            .iter()
            .any(|m| matches!(m.role, MapRole::Scratch))
    );
}

#[test]
fn variables_that_only_a_loop_body_uses_stay_in_its_frame() {
    let (_, ir) = lower("BEGIN { for $i : 0..10 { $x = $i * 2; @ = sum($x) } }");
    let body = function(&ir, "loop_body");
    // The environment's fixed words end at byte 32; the first value of the loop follows.
    assert!(!body.contains("+40"), "{body}");
}

#[test]
fn values_beyond_the_limits_are_diagnosed_with_their_place() {
    let script = "config = { max_strlen = 20000 } BEGIN { $a = str(1); $b = str(2); @[$a] = $b; }";
    let error = try_lower(script).unwrap_err();
    assert!(error.contains("lower max_strlen"), "{error}");
    assert!(error.starts_with("stdin:1:"), "{error}");
}
