//! Subcommands: `explain`, `check`, `fmt`, `doctor`, `flame`.
//!
//! A word is a subcommand only as the first argument; a script of that name runs as `./check`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::input::{self, Input};
use super::terminal::{colour, complain, say};
use super::{REFUSED, flame, info};
use crate::compile;
use crate::ctypes;
use crate::diag::{Code, render};
use crate::env::Env as _;
use crate::source::SourceMap;
use crate::syntax;

/// Runs the subcommand called `name`; `None` if there is none.
pub fn run(name: &OsStr, rest: &[OsString]) -> Option<i32> {
    let run: fn(&[OsString]) -> i32 = match name.to_str()? {
        "explain" => explain,
        "check" => check,
        "fmt" => format,
        "doctor" => |_| info::doctor(),
        "flame" => flame::run,
        _ => return None,
    };
    Some(run(rest))
}

/// `explain CODE...`
fn explain(codes: &[OsString]) -> i32 {
    if codes.is_empty() {
        for code in Code::ALL {
            say(&format!("{}  {}\n", code.id(), code.brief()));
        }
        return 0;
    }
    let mut worst = 0;
    for id in codes {
        let id = id.to_string_lossy();
        match Code::from_id(&id.to_uppercase()) {
            Some(code) => {
                let kind = if code.id().starts_with('W') {
                    "warning"
                } else {
                    "error"
                };
                let text = format!(
                    "{} ({kind}): {}\n\n{}\n",
                    code.id(),
                    code.brief(),
                    code.explanation()
                );
                say(&text);
            }
            None => {
                complain(&format!("ERROR: there is no diagnostic called '{id}'"));
                worst = REFUSED;
            }
        }
    }
    worst
}

/// `check [--format json] FILE...`: diagnostics of scripts that are not run.
fn check(rest: &[OsString]) -> i32 {
    let mut json = false;
    let mut files = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--format" | "-f") => match words.next().and_then(|w| w.to_str()) {
                Some("json") => json = true,
                Some("text") => json = false,
                _ => {
                    complain("ERROR: USAGE: --format must be either 'text' or 'json'.");
                    return REFUSED;
                }
            },
            _ => files.push(word),
        }
    }
    if files.is_empty() {
        complain("ERROR: USAGE: rtrace check [--format json] FILE...");
        return REFUSED;
    }
    let env = crate::env::HostEnv::new(crate::env::HostOptions {
        btf: std::env::var_os("BPFTRACE_BTF").map(Into::into),
        ..Default::default()
    });
    let mut worst = 0;
    for file in files {
        let input = match input::read_file(Path::new(file)) {
            Ok(input) => input,
            Err(message) => {
                complain(&message);
                worst = REFUSED;
                continue;
            }
        };
        let mut sources = SourceMap::default();
        let id = sources.add(&input.name, &input.text);
        let mut loader = super::imports::FileLoader::new(&[]);
        let options = compile::Options {
            sema: Default::default(),
            facts: Default::default(),
            headers: ctypes::Options {
                have_btf: env.btf().is_some(),
                ..Default::default()
            },
            loader: &mut loader,
            passes: Default::default(),
        };
        let done = compile::compile(&mut sources, id, &env, options, &mut compile::Unobserved);
        if json {
            say(&format!("{}\n", render::json(&done.diags, &sources)));
        } else if !done.diags.is_empty() {
            let style = render::Style {
                color: colour(),
                codes: true,
            };
            complain(&render::text(&done.diags, &sources, style));
        }
        if done.diags.has_errors() {
            worst = REFUSED;
        }
    }
    worst
}

/// `fmt [--check | --write] [FILE...]`: scripts in standard layout, to standard output unless
/// they are written back or only compared.
fn format(rest: &[OsString]) -> i32 {
    let (mut compare, mut write) = (false, false);
    let mut files = Vec::new();
    for word in rest {
        match word.to_str() {
            Some("--check") => compare = true,
            Some("--write" | "-w") => write = true,
            _ => files.push(Path::new(word)),
        }
    }
    if files.is_empty() {
        return match input::read(&super::args::Program::Stdin) {
            Ok(input) => format_one(&input),
            Err(message) => {
                complain(&message);
                REFUSED
            }
        };
    }
    let mut worst = 0;
    for path in files {
        let formatted = input::read_file(path).and_then(|input| {
            let text = formatted(&input)?;
            Ok((input, text))
        });
        match formatted {
            Err(message) => {
                complain(&message);
                worst = REFUSED;
            }
            Ok((input, text)) if compare => {
                if input.text != text {
                    complain(&format!("{}: not in standard layout", input.name));
                    worst = REFUSED;
                }
            }
            Ok((input, text)) if write => {
                if input.text != text
                    && let Err(e) = std::fs::write(path, text)
                {
                    let e = crate::error::Error::from(e);
                    complain(&format!(
                        "ERROR: failed to write file '{}': {e}",
                        input.name
                    ));
                    worst = REFUSED;
                }
            }
            Ok((_, text)) => say(&text),
        }
    }
    worst
}

/// Prints one script in standard layout.
pub fn format_one(input: &Input) -> i32 {
    match formatted(input) {
        Ok(text) => {
            say(&text);
            0
        }
        Err(message) => {
            complain(&message);
            REFUSED
        }
    }
}

/// The script in standard layout, or its diagnostics.
fn formatted(input: &Input) -> Result<String, String> {
    let mut sources = SourceMap::default();
    let id = sources.add(&input.name, &input.text);
    let parsed = syntax::parse(id, &input.text);
    if parsed.diags.has_errors() {
        let style = render::Style {
            color: colour(),
            codes: false,
        };
        return Err(render::text(&parsed.diags, &sources, style));
    }
    Ok(syntax::print::format(&parsed.program, &input.text))
}
