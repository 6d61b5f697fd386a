//! The commands of a session: a table, and how a typed line is told from a script.

/// What a command does; its name and the table say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Help,
    Probes,
    Maps,
    Disable,
    Enable,
    Delete,
    Edit,
    Clear,
    Watch,
    List,
    Args,
    Load,
    Save,
    History,
    Set,
    Explain,
    Pid,
    Cgroup,
    Quit,
}

/// A row of the table.
#[derive(Debug)]
pub struct Command {
    /// What it does.
    pub verb: Verb,
    /// Name as it is typed.
    pub name: &'static str,
    /// How it is used.
    pub usage: &'static str,
    /// One line of help.
    pub doc: &'static str,
    /// Whether what follows the name can be an argument; otherwise the line is a script. Names of
    /// commands are names of the language, too.
    takes: fn(&str) -> bool,
}

fn nothing(rest: &str) -> bool {
    rest.is_empty()
}

fn number(rest: &str) -> bool {
    rest.split([' ', ','])
        .all(|w| w.is_empty() || w.parse::<u32>().is_ok())
}

fn starts_with_number(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_ascii_digit()) || rest.is_empty()
}

fn anything(rest: &str) -> bool {
    !rest.starts_with(['(', '=', '+', '-', '[', ':', '{'])
}

fn pid(rest: &str) -> bool {
    matches!(rest, "" | "off") || rest.parse::<u32>().is_ok()
}

fn group(rest: &str) -> bool {
    matches!(rest, "" | "off") || rest.starts_with('/') || rest.parse::<u64>().is_ok()
}

const fn row(
    verb: Verb,
    name: &'static str,
    usage: &'static str,
    doc: &'static str,
    takes: fn(&str) -> bool,
) -> Command {
    Command {
        verb,
        name,
        usage,
        doc,
        takes,
    }
}

/// All commands, in the order of the help.
pub static COMMANDS: &[Command] = &[
    row(
        Verb::Help,
        "help",
        "help [NAME]",
        "These lines, or what a builtin does",
        anything,
    ),
    row(
        Verb::Probes,
        "probes",
        "probes",
        "The items of the script: hits, time, losses",
        nothing,
    ),
    row(
        Verb::Maps,
        "maps",
        "maps",
        "The maps and how many entries they have",
        nothing,
    ),
    row(
        Verb::Disable,
        "disable",
        "disable N...",
        "Detach a probe; its maps stay",
        number,
    ),
    row(
        Verb::Enable,
        "enable",
        "enable N...",
        "Attach it again",
        number,
    ),
    row(
        Verb::Delete,
        "delete",
        "delete N...",
        "Remove an item",
        number,
    ),
    row(
        Verb::Edit,
        "edit",
        "edit N [TEXT]",
        "Replace an item; without TEXT, type over the old one",
        starts_with_number,
    ),
    row(
        Verb::Clear,
        "clear",
        "clear",
        "Remove all items and maps",
        nothing,
    ),
    row(
        Verb::Watch,
        "watch",
        "watch @MAP [TOP]",
        "Show a map again and again until a key is pressed",
        anything,
    ),
    row(
        Verb::List,
        "list",
        "list PATTERN",
        "Probes that match, as with -l",
        anything,
    ),
    row(
        Verb::Args,
        "args",
        "args PATTERN",
        "Probes that match, with their arguments",
        |r| anything(r) && !r.starts_with('.'),
    ),
    row(Verb::Load, "load", "load FILE", "Add a script", anything),
    row(
        Verb::Save,
        "save",
        "save FILE",
        "Write the script, for `rtrace FILE`",
        anything,
    ),
    row(
        Verb::History,
        "history",
        "history",
        "What was typed",
        nothing,
    ),
    row(
        Verb::Set,
        "set",
        "set [KEY=VALUE]",
        "Change the configuration",
        anything,
    ),
    row(
        Verb::Explain,
        "explain",
        "explain CODE",
        "What an error means",
        anything,
    ),
    row(
        Verb::Pid,
        "pid",
        "pid [N|off]",
        "Limit all probes to a process",
        pid,
    ),
    row(
        Verb::Cgroup,
        "cgroup",
        "cgroup [PATH|ID|off]",
        "Limit all probes to a cgroup",
        group,
    ),
    row(
        Verb::Quit,
        "quit",
        "quit",
        "End: END probes run, maps are printed (also Ctrl-D)",
        nothing,
    ),
];

/// The command that a line is, and its arguments; a leading `:` says that it must be one.
pub fn find(line: &str) -> Option<(&'static Command, &str)> {
    let line = line.trim();
    let (line, forced) = match line.strip_prefix(':') {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let end = line
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let separated = rest.is_empty() || rest.starts_with(char::is_whitespace);
    let command = COMMANDS.iter().find(|c| c.name == name)?;
    let rest = rest.trim();
    (separated && (forced || (command.takes)(rest))).then_some((command, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(line: &str) -> Option<Verb> {
        find(line).map(|(c, _)| c.verb)
    }

    #[test]
    fn commands_and_language_share_names() {
        assert_eq!(verb("clear"), Some(Verb::Clear));
        assert_eq!(verb("clear(@x)"), None);
        assert_eq!(verb("delete 3"), Some(Verb::Delete));
        assert_eq!(verb("delete(@x, 1)"), None);
        assert_eq!(verb("delete @x[1]"), None);
        assert_eq!(verb("pid 12"), Some(Verb::Pid));
        assert_eq!(verb("pid == 12"), None);
        assert_eq!(verb(":pid"), Some(Verb::Pid));
        assert_eq!(verb("cgroup + 1"), None);
        assert_eq!(verb("1 << 12"), None);
        assert_eq!(find("edit 2 end { 1 }").unwrap().1, "2 end { 1 }");
    }
}
