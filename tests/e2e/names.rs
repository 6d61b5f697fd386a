//! Names of code, wherever they are kept, and what is said where there are none.

use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, RTRACE, fixture, have, rtrace, run, scratch};

/// Runs a tool of binutils on files.
#[track_caller]
fn tool(words: &[&str]) {
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{words:?}: {done:?}");
}

/// The address of a function in a file that has symbols.
#[track_caller]
fn address(file: &str, function: &str) -> u64 {
    let table = Command::new("nm").arg(file).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let line = table.lines().find(|l| l.ends_with(&format!(" {function}")));
    let line = line.unwrap_or_else(|| panic!("nm knows no {function} in {file}"));
    u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
}

fn build_id(file: &str) -> Option<String> {
    let notes = Command::new("readelf").args(["-n", file]).output().unwrap();
    let notes = String::from_utf8(notes.stdout).unwrap();
    let id = notes
        .lines()
        .find_map(|l| l.trim().strip_prefix("Build ID: "));
    id.map(str::to_owned)
}

/// A way to ship a program: what it is called, what is done to it, options and the environment
/// of the tracer, whether its code has names.
type Shipped<'a> = (
    &'a str,
    Vec<&'a str>,
    &'a [&'a str],
    Option<(&'a str, &'a str)>,
    bool,
);

/// The same program in every way in which distributions ship it; each is traced while it runs
/// and printed after it has ended.
#[test]
fn a_stripped_program_is_named_by_whatever_names_it() {
    const TEST: &str = "stripped programs";
    let flags = ["-g", "-O1", "-fno-omit-frame-pointer", "-ldl"];
    if !kernel::usable(TEST) || !have("objcopy", TEST) || !have("readelf", TEST) {
        return;
    }
    let Some(whole) = fixture("past.c", "past-whole", &flags) else {
        return;
    };
    let leaf = address(&whole, "leaf");
    let path = |name: &str| scratch(name).to_str().unwrap().to_owned();
    let (debug, mini) = (path("names.debug"), path("names.mini"));
    tool(&["objcopy", "--only-keep-debug", &whole, &debug]);
    tool(&["objcopy", "--strip-debug", &whole, &mini]);
    let mut packed = Vec::new();
    lzma_rs::xz_compress(&mut &std::fs::read(&mini).unwrap()[..], &mut packed).unwrap();
    let xz = path("names.mini.xz");
    std::fs::write(&xz, packed).unwrap();
    // What a debug file is found by besides.
    let (dirs, clients) = (path("names-debug-dir"), path("names-debuginfod"));
    let id = build_id(&whole);
    if let Some(id) = &id {
        let folder = format!("{dirs}/.build-id/{}", &id[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&debug, format!("{folder}/{}.debug", &id[2..])).unwrap();
        std::fs::create_dir_all(format!("{clients}/{id}")).unwrap();
        std::fs::copy(&debug, format!("{clients}/{id}/debuginfo")).unwrap();
    } else {
        eprintln!("skipped: {TEST}: this linker writes no build id");
    }
    let link = format!("--add-gnu-debuglink={debug}");
    let table = format!("--add-section=.gnu_debugdata={xz}");
    let no_id = "--remove-section=.note.gnu.build-id";
    let options: [&str; 2] = ["--debuginfo", &dirs];
    let cache = ("DEBUGINFOD_CACHE_PATH", clients.as_str());
    let cases: [Shipped<'_>; 6] = [
        ("nothing", vec![], &[], None, false),
        ("by-build-id", vec![], &options, None, id.is_some()),
        ("debuginfod-cache", vec![], &[], Some(cache), id.is_some()),
        ("debuglink", vec![no_id, &link], &[], None, true),
        ("wrong-debuglink", vec![], &[], None, false),
        ("mini-symbols", vec![&table], &[], None, true),
    ];
    for (name, changes, options, variable, named) in cases {
        let program = path(&format!("names-{name}"));
        if name == "wrong-debuglink" {
            // The debug file is no longer what the checksum is of.
            let mut bytes = std::fs::read(&debug).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&debug, bytes).unwrap();
            tool(&["cp", &path("names-debuglink"), &program]);
        } else {
            let mut words = vec!["objcopy", "--strip-all"];
            words.extend(changes);
            words.extend([&*whole, &*program]);
            tool(&words);
        }
        let script = format!("uprobe:{program}:{leaf:#x} {{ @[ustack] = count(); }}");
        let mut command = Command::new(RTRACE);
        command
            .args(options)
            .args(["-e", &script])
            .stdin(Stdio::null())
            .env("__BPFTRACE_NOTIFY_PROBES_ATTACHED", "1");
        if let Some((variable, value)) = variable {
            command.env(variable, value);
        }
        let mut tracer = Live::start(command);
        tracer.line("__BPFTRACE_NOTIFY_PROBES_ATTACHED");
        let mut traced = Command::new(&program);
        traced.stdin(Stdio::piped());
        let mut traced = Live::start(traced);
        traced.say("c");
        traced.end();
        let out = tracer.interrupt().ok();
        // Where a name is missing, what objdump counts, the same in every run. A probe on an
        // address does not know that it is on a first instruction: the caller may be left out.
        let (first, then) = match named {
            true => ("leaf+0".to_owned(), "main+".to_owned()),
            false => (
                format!("names-{name}+{leaf:#x}"),
                format!("names-{name}+0x"),
            ),
        };
        let expected = format!("@[\n        {first}\n");
        assert!(out.contains(&expected), "{name}: {first} in\n{out}");
        let (_, callers) = out.split_once(&expected).unwrap();
        assert!(
            callers.contains(&format!("        {then}")),
            "{name}: {then} in\n{out}"
        );
    }
}

fn absent() -> Option<String> {
    fixture("absent.cpp", "absent", &["-g", "-O2"])
}

/// The lines of a hint that can be pasted.
fn to_paste(err: &str) -> Vec<&str> {
    err.lines()
        .filter_map(|l| l.strip_prefix("HINT:     "))
        .collect()
}

#[track_caller]
fn attaches(probe: &str) {
    let run = rtrace(&["--dry-run", "-e", &format!("{probe} {{ @ = count(); }}")]);
    assert_eq!(run.code, Some(0), "{probe}: {run:#?}");
}

#[test]
fn an_ambiguous_name_lists_spellings_that_work() {
    let Some(path) = absent().filter(|_| kernel::usable("ambiguous names")) else {
        return;
    };
    let run = rtrace(&[
        "-e",
        &format!("uprobe:{path}:gone::many {{ @ = count(); }}"),
    ]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.err.contains("gone::many names 2 functions"), "{run:#?}");
    let spellings = to_paste(&run.err);
    assert_eq!(spellings.len(), 2, "{run:#?}");
    spellings.iter().for_each(|s| attaches(s));
    // As people write it.
    for name in [
        "many(int)",
        "many(unsigned int, const char*)",
        "many(unsigned int,char const *)",
    ] {
        attaches(&format!("uprobe:{path}:gone::{name}"));
    }
}

#[test]
fn what_was_expanded_in_place_is_explained_by_what_can_be_probed() {
    let Some(path) = absent().filter(|_| kernel::usable("inlined functions")) else {
        return;
    };
    let run = rtrace(&[
        "-e",
        &format!("uprobe:{path}:gone::in_place {{ @ = count(); }}"),
    ]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.err.contains("expanded its calls in place"), "{run:#?}");
    let instead = to_paste(&run.err);
    assert!(
        instead.contains(&format!("uprobe:{path}:main").as_str()),
        "{run:#?}"
    );
    // A line of it, or of what was expanded into it in turn.
    assert!(
        instead.iter().any(|i| i.contains("@absent.cpp:")),
        "{run:#?}"
    );
    instead.iter().for_each(|i| attaches(i));
}

#[test]
fn a_stripped_file_says_that_it_is_and_what_helps() {
    const TEST: &str = "explaining stripped files";
    if !have("objcopy", TEST) || !kernel::usable(TEST) {
        return;
    }
    let Some(path) = absent() else { return };
    let stripped = scratch("absent-stripped");
    let stripped = stripped.to_str().unwrap();
    tool(&["objcopy", "--strip-all", &path, stripped]);
    let run = rtrace(&[
        "--dry-run",
        "-e",
        &format!("uprobe:{stripped}:gone::many {{ }}"),
    ]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(
        run.err.contains("is stripped: no function has a name"),
        "{run:#?}"
    );
    if let Some(id) = build_id(&path) {
        let file = format!(".build-id/{}/{}.debug", &id[..2], &id[2..]);
        assert!(run.err.contains(&file), "{run:#?}");
    }
}

#[test]
fn listings_show_readable_names_and_can_be_pasted() {
    let Some(path) = absent().filter(|_| kernel::usable("listed names")) else {
        return;
    };
    // By a part of the name that no symbol has.
    let out = rtrace(&["-l", &format!("uprobe:{path}:*gone::man*")]).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            format!("uprobe:{path}:_ZN4gone4manyEi // gone::many(int)"),
            format!("uprobe:{path}:_ZN4gone4manyEjPKc // gone::many(unsigned int, char const*)"),
        ]
    );
    lines.iter().for_each(|l| attaches(&format!("{l}\n")));
    let main = rtrace(&["-l", &format!("uprobe:{path}:main")]).ok();
    assert_eq!(main, format!("uprobe:{path}:main\n"));
}

#[test]
fn names_show_as_much_as_is_asked_for() {
    let Some(path) = absent().filter(|_| kernel::usable("forms of names")) else {
        return;
    };
    for (form, expected) in [
        ("full", "gone::many(unsigned int, char const*)"),
        ("no_return", "gone::many(unsigned int, char const*)"),
        ("no_params", "gone::many"),
        ("no_template_args", "gone::many"),
    ] {
        let script = format!(
            "config = {{ symbol_names = {form} }} \
             uprobe:{path}:_ZN4gone4manyEjPKc {{ printf(\"<%s>\\n\", usym(reg(\"ip\"))); }}"
        );
        let out = rtrace(&["-e", &script, "-c", &path]).ok();
        assert!(out.contains(&format!("<{expected}>\n")), "{form}: {out}");
    }
}

#[test]
fn the_cache_of_names_can_be_damaged_missing_or_unwanted() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6";
    if !std::path::Path::new(LIBRARY).exists() {
        eprintln!("skipped: the cache of names: no {LIBRARY}");
        return;
    }
    let dir = scratch("names-cache");
    let list = |to: &str| {
        let mut command = Command::new(RTRACE);
        command
            .args(["-l", &format!("uprobe:{LIBRARY}:*")])
            .stdin(Stdio::null())
            .env("RTRACE_CACHE", to);
        run(command).ok()
    };
    let folder = dir.to_str().unwrap();
    let first = list(folder);
    assert!(first.lines().count() > 1000);
    let files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|f| f.unwrap())
        .collect();
    if files.is_empty() {
        eprintln!("skipped: the cache of names: less than 1 GiB is free");
        return;
    }
    assert_eq!(list(folder), first, "from the cache");
    let path = files[0].path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(list(folder), first, "damaged");
    assert_eq!(list(""), first, "unwanted");
}
