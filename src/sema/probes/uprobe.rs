//! `uprobe` and `uretprobe`: functions, addresses and source lines of user programs.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Ap, Args, Expander, ProbeCx, Provider};
use crate::diag::{Code, Diagnostic};
use crate::env::wildcard;
use crate::object::{Attach, ProgramType, TargetFile};
use crate::sema::env::{FunctionQuery, UserFunction};
use crate::sema::hir::Context;
use crate::sema::params;
use crate::types::AddrSpace;

/// `uprobe:target:function+offset`, `uprobe:target:0xADDRESS`, `uprobe:target:cpp:"name"`,
/// `uprobe:target@file:line:column`
pub(super) fn expand(ex: &mut Expander<'_, '_>, ap: &Ap) {
    let ret = ap.provider == Provider::Uretprobe;
    if ap.at.iter().any(|at| *at) {
        return source_line(ex, ap, ret);
    }
    let (target, language, function) = match ap.parts.as_slice() {
        [target, function] => (target, None, function.as_str()),
        [target, language, function] => (target, Some(language.as_str()), function.as_str()),
        other => {
            let text = format!(
                "{} probe type requires 2 or 3 arguments, found {}",
                ap.provider.name(),
                other.len()
            );
            return ex.error(Code::ProbeArity, ap.span, text);
        }
    };
    if let Some(language) = language
        && language != "cpp"
    {
        let text = format!("{language} is not a supported language; use cpp or none");
        return ex.error(Code::BadTarget, ap.span, text);
    }
    let files = match ex.cx.facts.user_targets(target) {
        Ok(files) => files,
        Err(text) => return ex.missing(ap.span, text),
    };
    if files.is_empty() {
        return ex.no_match(ap, &format!("{target}:{function}"));
    }
    let (name, offset) = match split_offset(function) {
        Ok(split) => split,
        Err(text) => return ex.error(Code::BadOffset, ap.span, text),
    };
    if ret && offset.is_some() {
        return ex.error(Code::BadOffset, ap.span, "Offset not allowed");
    }
    let many = wildcard::is_pattern(target);
    let mut found = false;
    for file in &files {
        let shown = super::shown_path(target, file);
        found |= if let Some(address) = address(name) {
            at_address(ex, ap, file, shown, address)
        } else {
            functions(
                ex,
                ap,
                file,
                shown,
                (language.is_some(), name),
                offset,
                many,
            )
        };
    }
    if !found {
        let path = match files.as_slice() {
            [one] => super::shown_path(target, one),
            _ => target,
        };
        // Reasons are looked for only in one file: over a wildcard they mean little.
        let found = match files.as_slice() {
            [one] if !wildcard::is_pattern(name) => {
                let query = || query(language.is_some(), name);
                let probe = format!("{}:{path}", ap.provider.name());
                if let Some(why) = ex.cx.facts.why_absent(one, query(), &probe) {
                    Err(why)
                } else {
                    Ok(ex.cx.facts.near_functions(one, query()))
                }
            }
            _ => Ok(Vec::new()),
        };
        let pattern = format!("{path}:{function}");
        match found {
            Ok(near) => ex.no_match_near(ap, &pattern, &near),
            Err(why) => ex.no_match_hint(ap, &pattern, Some(why)),
        }
    }
}

fn query(cpp: bool, pattern: &str) -> FunctionQuery<'_> {
    if cpp {
        FunctionQuery::Cpp(pattern)
    } else {
        FunctionQuery::Linked(pattern)
    }
}

/// Splits `name+offset`.
pub(super) fn split_offset(function: &str) -> Result<(&str, Option<u64>), String> {
    // Operators of C++ have a plus in their names.
    let Some((name, offset)) = function.rsplit_once('+') else {
        return Ok((function, None));
    };
    if name.is_empty() || name.ends_with("operator") || name.ends_with('+') {
        return Ok((function, None));
    }
    match params::number(offset).and_then(|n| u64::try_from(n).ok()) {
        Some(n) => Ok((name, Some(n))),
        None => Err(format!("Invalid offset: {offset}")),
    }
}

pub(super) fn address(name: &str) -> Option<u64> {
    if !name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    u64::try_from(params::number(name)?).ok()
}

fn context(ap: &Ap, file: &TargetFile, address: u64) -> ProbeCx {
    let ctx = Context::PtRegs {
        user: true,
        ret: ap.provider == Provider::Uretprobe,
    };
    let mut cx = ProbeCx::new(ap.provider, ProgramType::Kprobe, ctx);
    cx.space = AddrSpace::User;
    cx.file = Some(file.clone());
    cx.address = Some(address);
    cx
}

fn attach(file: &TargetFile, offset: u64, ret: bool) -> Attach {
    Attach::Uprobe {
        file: file.clone(),
        offset,
        semaphore: 0,
        ret,
    }
}

fn at_address(
    ex: &mut Expander<'_, '_>,
    ap: &Ap,
    file: &TargetFile,
    shown: &str,
    address: u64,
) -> bool {
    let Some(offset) = ex.cx.facts.user_offset(file, address) else {
        let text = format!("0x{address:x} is not within the code of {shown}");
        ex.error(Code::BadTarget, ap.span, text);
        return true;
    };
    let ret = ap.provider == Provider::Uretprobe;
    let name = format!("{}:{shown}:0x{address:x}", ap.provider.name());
    if ret && refuse_go(ex, ap, file, shown, &format!("0x{address:x}"), address) {
        return true;
    }
    if within_instruction(ex, ap, file, &name, address) {
        return true;
    }
    let cx = context(ap, file, address);
    ex.attach(ap, name, attach(file, offset, ret), cx);
    true
}

fn functions(
    ex: &mut Expander<'_, '_>,
    ap: &Ap,
    file: &TargetFile,
    shown: &str,
    (cpp, pattern): (bool, &str),
    offset: Option<u64>,
    many: bool,
) -> bool {
    let found = match ex.cx.facts.user_functions(file, query(cpp, pattern)) {
        Ok(found) => found,
        Err(spellings) => {
            ambiguous(ex, ap, shown, pattern, &spellings);
            return true;
        }
    };
    let pattern_wild = wildcard::is_pattern(pattern);
    let ret = ap.provider == Provider::Uretprobe;
    let mut seen = HashSet::new();
    let mut any = false;
    for f in found {
        // Aliases name one address, which is probed once.
        if !seen.insert(f.offset) {
            continue;
        }
        any = true;
        let at = offset.unwrap_or(0);
        if f.size > 0 && at >= f.size {
            let text = format!(
                "Offset outside the function bounds ('{}' size is {})",
                f.name, f.size
            );
            ex.error(Code::BadOffset, ap.span, text);
            continue;
        }
        let shown_name = format!("{}:{shown}:{}+{at}", ap.provider.name(), f.name);
        if at > 0 && within_instruction(ex, ap, file, &shown_name, f.address + at) {
            continue;
        }
        if ret && refuse_go(ex, ap, file, shown, &f.name, f.address) {
            if pattern_wild {
                // One refusal stands for all.
                break;
            }
            continue;
        }
        let mut cx = context(ap, file, f.address + at);
        if ex.usage.args {
            arguments(ex, &mut cx, file, &f, shown, ret || at > 0);
        }
        let linked = match (&f.demangled, cpp) {
            (Some(d), true) => format!("cpp:\"{d}\""),
            _ => f.name.clone(),
        };
        let plus = match offset {
            Some(n) => format!("+{n}"),
            None => String::new(),
        };
        let name = format!("{}:{shown}:{linked}{plus}", ap.provider.name());
        let place = attach(file, f.offset + at, ret);
        let wild = many || pattern_wild;
        ex.attach_as(ap, name, place, cx, wild, !ret && at == 0);
    }
    any
}

/// Refuses a place that is not the start of an instruction: the program would run into half of
/// one. Says nothing where instructions cannot be told apart.
fn within_instruction(
    ex: &mut Expander<'_, '_>,
    ap: &Ap,
    file: &TargetFile,
    name: &str,
    address: u64,
) -> bool {
    if ex.cx.options.unsafe_ {
        return false;
    }
    let Some(code) = ex.cx.facts.user_code(file, address) else {
        return false;
    };
    let at = address - code.address;
    let Err(next) = code.starts.binary_search(&at) else {
        return false;
    };
    let text = format!("{name} is in the middle of an instruction");
    let mut hint = "instructions of this function start at".to_owned();
    for start in code.starts[next.saturating_sub(1)..].iter().take(2) {
        hint.push_str(&format!(" +{start}"));
    }
    ex.diags
        .push(Diagnostic::error(Code::BadOffset, ap.span, text).hint(hint));
    true
}

/// Most return instructions that a refusal lists.
const MAX_RETURNS: usize = 8;

/// Refuses a return probe on a Go function and says what to probe instead.
fn refuse_go(
    ex: &mut Expander<'_, '_>,
    ap: &Ap,
    file: &TargetFile,
    shown: &str,
    name: &str,
    address: u64,
) -> bool {
    if ex.cx.options.unsafe_ || !ex.cx.facts.is_go(file, address) {
        return false;
    }
    let text = format!("uretprobe would crash {shown}: {name} is Go code");
    let mut hint = "Go moves its stacks and finds a return address that is not its own; \
                    probe where the function returns instead"
        .to_owned();
    if let Some(code) = ex.cx.facts.user_code(file, address)
        && code.address == address
        && !code.returns.is_empty()
    {
        for at in code.returns.iter().take(MAX_RETURNS) {
            hint.push_str(&format!("\n    uprobe:{shown}:\"{name}+{at}\""));
        }
        if code.returns.len() > MAX_RETURNS {
            let more = code.returns.len() - MAX_RETURNS;
            hint.push_str(&format!("\n    and {more} more"));
        }
        hint.push_str("\nwhere reg(\"ax\") is the first result");
    }
    ex.diags
        .push(Diagnostic::error(Code::GoReturn, ap.span, text).hint(hint));
    true
}

/// Most functions that an ambiguous name lists.
const MAX_LISTED: usize = 10;

/// A plain name of several functions: lists what to write instead.
fn ambiguous(ex: &mut Expander<'_, '_>, ap: &Ap, shown: &str, pattern: &str, spellings: &[String]) {
    let text = format!("{pattern} names {} functions of {shown}", spellings.len());
    let provider = ap.provider.name();
    let mut hint = "write one of".to_owned();
    for s in spellings.iter().take(MAX_LISTED) {
        hint.push_str(&format!("\n    {provider}:{shown}:cpp:\"{s}\""));
    }
    if spellings.len() > MAX_LISTED {
        hint.push_str(&format!("\n    and {} more", spellings.len() - MAX_LISTED));
    }
    hint.push_str(&format!(
        "\nor all of them: {provider}:{shown}:cpp:\"{pattern}\""
    ));
    ex.diags
        .push(Diagnostic::error(Code::AmbiguousName, ap.span, text).hint(hint));
}

fn arguments(
    ex: &mut Expander<'_, '_>,
    cx: &mut ProbeCx,
    file: &TargetFile,
    f: &UserFunction,
    shown: &str,
    moved: bool,
) {
    if moved {
        return;
    }
    match ex.cx.facts.user_args(ex.store, file, f) {
        Some(fields) => {
            cx.args = Some(Arc::new(Args {
                name: format!("uprobe:{shown}:{}_args", f.name),
                fields,
            }));
        }
        None => cx.no_args = Some(format!("No debuginfo found for {shown}")),
    }
}

/// `uprobe:target@file:line[:column]`
fn source_line(ex: &mut Expander<'_, '_>, ap: &Ap, ret: bool) {
    if ret {
        return ex.error(
            Code::BadTarget,
            ap.span,
            "Return probes cannot be placed on source lines",
        );
    }
    let (target, source, line, column) = match ap.parts.as_slice() {
        [target, source, line] => (target, source, line, None),
        [target, source, line, column] => (target, source, line, Some(column)),
        _ => {
            return ex.error(
                Code::BadTarget,
                ap.span,
                "A source line is written as uprobe:target@file:line",
            );
        }
    };
    let number = |t: &String| t.parse::<u32>().ok();
    let (Some(line), column) = (number(line), column.map(number)) else {
        let text = format!("Invalid line number: {line}");
        return ex.error(Code::BadTarget, ap.span, text);
    };
    if column == Some(None) {
        return ex.error(Code::BadTarget, ap.span, "Invalid column number");
    }
    let files = match ex.cx.facts.user_targets(target) {
        Ok(files) => files,
        Err(text) => return ex.missing(ap.span, text),
    };
    for file in &files {
        let addresses = ex.cx.facts.user_line(file, source, line, column.flatten());
        let addresses = match addresses {
            Ok(a) => a,
            Err(text) => {
                ex.error(Code::NoMatch, ap.span, text);
                continue;
            }
        };
        if addresses.is_empty() {
            ex.no_match(ap, &format!("{target}@{source}:{line}"));
        }
        for address in addresses {
            let Some(offset) = ex.cx.facts.user_offset(file, address) else {
                continue;
            };
            let name = format!("uprobe:{}:{address}", super::shown_path(target, file));
            let cx = context(ap, file, address);
            ex.attach(ap, name, attach(file, offset, false), cx);
        }
    }
}
