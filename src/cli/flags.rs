//! The table of options: one row gives parsing and help.
//!
//! Parsing follows getopt_long: options and operands mix, long names may be abbreviated, the
//! last of a repeated option wins, `--` ends the options.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// Nothing; how often it was given counts.
    Count,
    /// A value, shown by this name.
    One(&'static str),
    /// A value each time; all of them count.
    Many(&'static str),
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name parsed options are looked up by.
    pub id: &'static str,
    /// `-x`
    pub short: Option<char>,
    /// `--name`
    pub long: Option<&'static str>,
    /// Its value.
    pub takes: Takes,
    /// Heading in the help.
    pub group: &'static str,
    /// One line of help; empty for options that only exist for compatibility.
    pub help: &'static str,
}

macro_rules! rows {
    ($($group:literal { $($id:ident $short:tt $long:tt $takes:expr, $help:literal;)* })*) => {
        &[$($(Row {
            id: stringify!($id),
            short: rows!(@short $short),
            long: rows!(@long $long),
            takes: $takes,
            group: $group,
            help: $help,
        },)*)*]
    };
    (@short _) => { None };
    (@short $c:literal) => { Some($c) };
    (@long _) => { None };
    (@long $s:literal) => { Some($s) };
}

use Takes::{Count, Many, Nothing, One};

/// All options, in the order of the help.
pub static FLAGS: &[Row] = rows! {
    "Program" {
        eval 'e' _ One("PROGRAM"), "Run this program";
        include_dir 'I' _ Many("DIR"), "Search DIR for C headers and imports";
        include _ "include" Many("FILE"), "Include FILE before the program";
        unsafe_mode _ "unsafe" Nothing, "Allow calls that change the system";
        interactive 'i' "interactive" Nothing, "Start a session, from the program if there is one";
        live _ "live" Nothing, "Show maps, histograms and probes on the full screen, as `rtrace top`";
        mode _ "mode" One("MODE"), "codegen, compiler-bench, bench, test or format";
        test _ "test" Nothing, "Run the test: probes of the program";
        bench _ "bench" Nothing, "Run the bench: probes of the program";
        format_script _ "fmt" Nothing, "Print the program in standard layout";
    }
    "Tracing" {
        pid 'p' "pid" One("PID"), "Trace this process only; ends when it does";
        cmd 'c' "cmd" One("COMMAND"), "Run COMMAND and trace it; ends when it does";
        cgroup _ "cgroup" Many("PATH"), "Trace only what runs in this cgroup, or below it";
        container _ "container" Many("ID"), "Trace only what runs in this container, by id or name";
        dwarf_pid _ "dwarf-pid" Many("PID"), "Unwind stacks of PID by its DWARF tables";
        usdt_file_activation _ "usdt-file-activation" Nothing, "Activate USDT semaphores by file";
        probe_filter _ "probe-filter" One("REGEX"), "Attach only the probes whose name matches";
        traceable_functions _ "traceable-functions" One("FILE"), "Read the traceable kernel functions from FILE";
        debuginfo _ "debuginfo" Many("DIRS"), "Search DIRS (separated by colons) for debug files";
        no_feature _ "no-feature" Many("LIST"), "Do without kernel features: kprobe_multi, kprobe_session, uprobe_multi";
        engine _ "engine" One("ENGINE"), "kernel or user: where the program runs";
        dry_run _ "dry-run" Nothing, "Attach and leave without running";
        btf 'b' "btf" Nothing, "";
    }
    "Output" {
        output 'o' "output" One("FILE"), "Write output to FILE, messages stay on standard error";
        format 'f' _ One("FORMAT"), "text, json; folded, flame or pprof: the stacks of maps";
        buffering 'B' _ One("MODE"), "line, full or none (default: line)";
        quiet 'q' "quiet" Nothing, "Do not tell when probes are attached";
        warnings 'k' "warnings" Count, "Warn when reading memory or a map fails";
        strict _ "strict" Nothing, "Exit with code 3 if anything was lost: events, updates, reads, stacks, runs";
        no_warnings _ "no-warnings" Nothing, "Suppress warnings";
        verbose 'v' _ Count, "Say more; with -l show arguments and fields";
    }
    "Information" {
        list 'l' "list" Nothing, "List the probes that match the operand, or those of a program";
        info _ "info" Nothing, "Show what this machine supports";
        debug 'd' "debug" Many("STAGES"), "Print ast, hir, ir, regs, bpf, object, verifier, timing or all";
        emit_elf _ "emit-elf" One("FILE"), "";
        aot _ "aot" One("FILE"), "";
        optimise 'O' _ One("LEVEL"), "Optimise: 0 not at all, 2 all passes (default)";
        help 'h' "help" Nothing, "Show this help";
        version 'V' "version" Nothing, "Show the version";
    }
};

/// The parser of the table, with operands under the id `operands`.
pub fn command() -> Command {
    let mut command = Command::new("rtrace")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .infer_long_args(true)
        .args_override_self(true);
    for row in FLAGS {
        let mut arg = Arg::new(row.id).allow_hyphen_values(matches!(row.takes, One(_) | Many(_)));
        if let Some(short) = row.short {
            arg = arg.short(short);
        }
        if let Some(long) = row.long {
            arg = arg.long(long);
        }
        arg = match row.takes {
            Nothing => arg.action(ArgAction::SetTrue),
            Count => arg.action(ArgAction::Count),
            One(_) => arg
                .action(ArgAction::Set)
                .value_parser(ValueParser::os_string()),
            Many(_) => arg
                .action(ArgAction::Append)
                .value_parser(ValueParser::os_string()),
        };
        command = command.arg(arg);
    }
    command.arg(
        Arg::new("operands")
            .num_args(0..)
            .action(ArgAction::Append)
            .value_parser(ValueParser::os_string()),
    )
}

/// The help text.
pub fn help() -> String {
    let mut out = String::from(
        "USAGE:\n  \
           rtrace [options] FILE [parameters]\n  \
           rtrace [options] -e PROGRAM [parameters]\n  \
           rtrace [options] -            program from standard input\n  \
           rtrace [options] [-i FILE]    a session on the terminal\n  \
           rtrace top FILE               a live view of maps and probes\n  \
           rtrace -l [SEARCH|FILE]       list probes\n  \
           rtrace flame [options]        profile, and draw a flame graph\n  \
           rtrace explain CODE | check FILE... | fmt FILE... | doctor\n\n\
         Parameters are $1, $2, ...; after `--` also --name=value for getopt().\n",
    );
    let mut group = "";
    for row in FLAGS.iter().filter(|r| !r.help.is_empty()) {
        if row.group != group {
            group = row.group;
            out.push_str(&format!("\n{group}:\n"));
        }
        let value = match row.takes {
            One(name) | Many(name) => format!(" {name}"),
            Nothing | Count => String::new(),
        };
        let names = match (row.short, row.long) {
            (Some(s), Some(l)) => format!("-{s}, --{l}{value}"),
            (Some(s), None) => format!("-{s}{value}"),
            (None, l) => format!("    --{}{value}", l.unwrap_or(row.id)),
        };
        out.push_str(&format!("  {names:<30} {}\n", row.help));
    }
    out.push_str(
        "\nExamples:\n  \
           rtrace -e 'begin { printf(\"hello\\n\") }'\n  \
           rtrace -l 'tracepoint:syscalls:sys_enter_*'\n  \
           rtrace -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count() }'\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_a_valid_parser() {
        command().debug_assert();
    }

    #[test]
    fn help_shows_every_option_that_has_help() {
        let text = help();
        for row in FLAGS.iter().filter(|r| !r.help.is_empty()) {
            assert!(text.contains(row.help), "{}", row.id);
        }
    }
}
