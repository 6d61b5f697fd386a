//! What a command's argument can become.

use rustyline::completion::Pair;

use super::super::commands::{self, COMMANDS, Verb};
use super::{Candidates, documented, files, plain};
use crate::builtins;
use crate::diag::Code;
use crate::sema;

impl Candidates {
    /// Candidates of the last word of a command line, and that word; `None` if the line is no
    /// command with an argument.
    pub(super) fn arguments_of_command<'a>(&self, line: &'a str) -> Option<(&'a str, Vec<Pair>)> {
        let (command, rest) = commands::find(line)?;
        // Before the first blank it is the name that is typed.
        let line = line.trim_start();
        line.find(char::is_whitespace)?;
        let word = &line[line.rfind([' ', ',']).map_or(0, |i| i + 1)..];
        let is_first = rest.is_empty() || rest == word;
        let matching = |all: Vec<Pair>| {
            let found = all.into_iter().filter(|p| p.replacement.starts_with(word));
            found.collect::<Vec<_>>()
        };
        let found = match command.verb {
            Verb::Help => {
                let names = COMMANDS.iter().map(|c| documented(c.name, c.usage, c.doc));
                let rows = builtins::all().map(|b| documented(b.name, b.usage, b.doc));
                matching(names.chain(rows).collect())
            }
            Verb::Edit if !is_first => return None,
            Verb::Disable | Verb::Enable | Verb::Delete | Verb::Edit => matching(self.items()),
            Verb::Watch if is_first => {
                let maps = self.known().maps.clone();
                matching(maps.into_iter().map(plain).collect())
            }
            Verb::List | Verb::Args => {
                let (word, found) = self.probes(rest, false);
                return Some((word, found));
            }
            Verb::Load | Verb::Save => files(word)
                .into_iter()
                .map(|p| plain(p.replacement.trim_end_matches(':').to_owned()))
                .collect(),
            Verb::Set => {
                let options = sema::config::options();
                matching(
                    options
                        .into_iter()
                        .map(|o| plain(format!("{o}=")))
                        .collect(),
                )
            }
            Verb::Explain => {
                let word = word.to_uppercase();
                let codes = Code::ALL.iter().filter(|c| c.id().starts_with(&word));
                codes
                    .map(|c| Pair {
                        display: format!("{}  {}", c.id(), c.brief()),
                        replacement: c.id().to_owned(),
                    })
                    .collect()
            }
            Verb::Pid => matching(processes()),
            Verb::Cgroup if word.starts_with('/') => files(word),
            _ => Vec::new(),
        };
        Some((word, found))
    }

    /// Numbers of the items, shown with their texts.
    fn items(&self) -> Vec<Pair> {
        let known = self.known();
        let items = known.items.iter().map(|(number, text)| Pair {
            display: format!("{number}  {text}"),
            replacement: number.to_string(),
        });
        items.collect()
    }
}

/// Processes, shown with their names.
fn processes() -> Vec<Pair> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let named = pids.into_iter().filter_map(|pid| {
        // It may have ended meanwhile.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Pair {
            display: format!("{pid}  {}", name.trim_end()),
            replacement: pid.to_string(),
        })
    });
    named.collect()
}
