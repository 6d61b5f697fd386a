//! Why a file has no function of a name, in words for whoever asked for it.
//!
//! In: the target that found nothing. Out: the first of these that is so: the compiler kept only
//! a changed copy; it expanded every call in place; the file was stripped, and what was found of
//! its debug information. Nothing is said where there is nothing to explain.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::debuglink::DebugDirs;
use super::demangle::{self, Form};
use super::dwarf::{InlinedCall, Lines};
use super::index::SymbolIndex;
use super::paths::basename;
use super::target::Target;

/// How long debug information is searched for calls expanded in place.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How many places or names an explanation lists.
const LISTED: usize = 5;

/// The explanation. `probe` is what a probe on this file begins with (`uprobe:/bin/x`).
pub fn explain(
    index: &SymbolIndex,
    target: &Target,
    dirs: &DebugDirs,
    probe: &str,
) -> Option<String> {
    let clones = target.clones(index);
    if !clones.is_empty() {
        return Some(changed_copies(&clones, probe));
    }
    if let Some(lines) = Lines::load(index.elf(), dirs) {
        let end = Instant::now() + PATIENCE;
        let calls = lines.inlined(&|name| target.names(name), LISTED, end);
        if !calls.is_empty() {
            return Some(in_place(&calls, target, probe));
        }
    }
    (!index.is_complete()).then(|| stripped(index))
}

fn changed_copies(clones: &[String], probe: &str) -> String {
    let mut text =
        "the compiler kept only a changed copy, whose arguments may be others:".to_owned();
    for name in clones.iter().take(LISTED) {
        let spelling = match name.contains([' ', '(']) {
            true => format!("cpp:\"{name}\""),
            false => name.clone(),
        };
        text.push_str(&format!("\n    {probe}:{spelling}"));
    }
    text
}

fn in_place(calls: &[InlinedCall], target: &Target, probe: &str) -> String {
    let mut text = format!(
        "{} has no code of its own: the compiler expanded its calls in place. Probe what calls \
         it, or a line of it:",
        target.text()
    );
    let readable = |name: &str| demangle::readable(name, Form::Signature).into_owned();
    let callers: BTreeSet<String> = calls
        .iter()
        .filter_map(|c| c.into.as_deref())
        .map(|into| match readable(into) {
            name if name == into => format!("{probe}:{name}"),
            name => format!("{probe}:cpp:\"{name}\""),
        })
        .collect();
    let lines: BTreeSet<String> = calls
        .iter()
        .filter_map(|c| c.body.as_ref())
        .map(|place| format!("{probe}@{}:{}", basename(&place.file), place.line))
        .collect();
    for spelling in callers.iter().chain(&lines).take(2 * LISTED) {
        text.push_str(&format!("\n    {spelling}"));
    }
    text
}

fn stripped(index: &SymbolIndex) -> String {
    let path = index.elf().path().display();
    let known = match index.is_empty() {
        true => "no function has a name",
        false => "only functions that others may link to have names",
    };
    let mut text = format!("{path} is stripped: {known}.");
    match index.elf().build_id() {
        Some(id) => text.push_str(&format!(
            " Install its debug symbols, or name a folder that has .build-id/{}/{}.debug with --debuginfo.",
            &id.to_string()[..2.min(id.to_string().len())],
            id.to_string().get(2..).unwrap_or_default(),
        )),
        None => text.push_str(" It has no build id, by which debug symbols would be found."),
    }
    text.push_str(" An address can be probed as it is: 0x1234 as objdump shows it.");
    text
}
