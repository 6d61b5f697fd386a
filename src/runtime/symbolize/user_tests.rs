//! Tests on live, ended and generated-code processes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::runtime::symbolize::process::Process as Look;
use crate::symbols::fixture;
use crate::symbols::index::SymbolIndex;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn options() -> UserOptions {
    UserOptions {
        dirs: DebugDirs::none(),
        ..UserOptions::default()
    }
}

/// A program of ours that waits on its standard input.
fn waiter(name: &str, flags: &[&str]) -> Option<(std::path::PathBuf, Running)> {
    let path = fixture::compile(name, "waiter.cpp", flags)?;
    let child = Command::new(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    // It says a line once it is in main.
    let mut byte = [0; 1];
    use std::io::Read as _;
    running
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut byte)
        .unwrap();
    Some((path, running))
}

/// The address of `symbol` of the program file in the process.
fn address(pid: u32, path: &std::path::Path, symbol: &str) -> u64 {
    let index = SymbolIndex::open(path, &DebugDirs::none()).unwrap();
    let vaddr = index.by_name(symbol)[0].addr;
    let offset = index.elf().vaddr_to_offset(vaddr).unwrap();
    let process = Look::look(pid).unwrap();
    let name = path.to_str().unwrap();
    let mapping = process
        .maps()
        .iter()
        .find(|m| &*m.name == name && (m.offset..m.offset + (m.end - m.start)).contains(&offset))
        .unwrap();
    mapping.start + (offset - mapping.offset)
}

#[test]
fn readable_names_with_decimal_offsets_in_pie_and_static_programs() {
    for (name, flags) in [
        ("waiter-pie", &["-pie", "-fPIE"][..]),
        ("waiter-static", &["-static", "-no-pie"]),
    ] {
        let Some((path, child)) = waiter(name, flags) else {
            return;
        };
        let pid = child.0.id();
        let addr = address(pid, &path, "_ZN4work4Loop4stepEi");
        let mut symbolizer = UserSymbolizer::new(options());
        let frame = symbolizer.resolve(pid, addr + 3);
        assert_eq!(frame.to_string(), "work::Loop::step(int)+3");
        assert_eq!(frame.module.as_deref(), path.to_str());
        let mut raw = UserSymbolizer::new(UserOptions {
            demangle: None,
            ..options()
        });
        assert_eq!(raw.resolve(pid, addr).to_string(), "_ZN4work4Loop4stepEi+0");
        let mut short = UserSymbolizer::new(UserOptions {
            demangle: Some(Form::Name),
            ..options()
        });
        assert_eq!(short.resolve(pid, addr).to_string(), "work::Loop::step+0");
    }
}

#[test]
fn a_process_that_was_remembered_resolves_after_its_end_and_its_files_deletion() {
    let Some(built) = fixture::compile("waiter-pie", "waiter.cpp", &["-pie", "-fPIE"]) else {
        return;
    };
    let copy = fixture::dir().join("waiter-deleted");
    // By a command: a descriptor of ours that another test's fork inherits would keep the file
    // busy (ETXTBSY).
    let copied = Command::new("cp").args([&built, &copy]).status().unwrap();
    assert!(copied.success());
    let mut child = Running(
        Command::new(&copy)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    use std::io::Read as _;
    child
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 1])
        .unwrap();
    let pid = child.0.id();
    let addr = address(pid, &copy, "_ZN4work4Loop4stepEi");
    std::fs::remove_file(&copy).unwrap();
    let mut symbolizer = UserSymbolizer::new(options());
    symbolizer.remember(pid);
    drop(child);
    let frame = symbolizer.resolve(pid, addr + 1);
    assert_eq!(frame.to_string(), "work::Loop::step(int)+1");
    assert_eq!(frame.module.as_deref(), copy.to_str());
}

#[test]
fn a_process_nobody_remembered_is_an_address() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let mut symbolizer = UserSymbolizer::new(options());
    assert_eq!(symbolizer.resolve(pid, 0x1234).to_string(), "0x1234");
}

#[test]
fn stripped_code_is_module_and_vaddr() {
    let Some((path, child)) = waiter("waiter-stripped", &["-s", "-static", "-no-pie"]) else {
        return;
    };
    let pid = child.0.id();
    let elf = crate::symbols::elf::ElfFile::open(&path).unwrap();
    let text = elf.section(".text").unwrap().addr;
    let mut symbolizer = UserSymbolizer::new(options());
    let frame = symbolizer.resolve(pid, text + 0x20);
    assert_eq!(
        frame.to_string(),
        format!("waiter-stripped+{:#x}", text + 0x20)
    );
    assert_eq!(frame.file_offset, elf.vaddr_to_offset(text + 0x20));
}

#[test]
fn addresses_in_no_mapping_are_addresses() {
    let mut symbolizer = UserSymbolizer::new(options());
    let me = std::process::id();
    for addr in [0, 1, 0xdead, u64::MAX] {
        assert_eq!(
            symbolizer.resolve(me, addr).to_string(),
            format!("{addr:#x}")
        );
        assert_eq!(
            symbolizer.resolve_return(me, addr).to_string(),
            format!("{addr:#x}")
        );
    }
}

#[test]
fn the_vdso_has_names() {
    let mut symbolizer = UserSymbolizer::new(options());
    let me = std::process::id();
    let process = Look::look(me).unwrap();
    let Some(vdso) = process.maps().iter().find(|m| &*m.name == "[vdso]") else {
        eprintln!("SKIPPED: no vDSO");
        return;
    };
    let named = (vdso.start..vdso.end)
        .step_by(16)
        .filter_map(|a| symbolizer.resolve(me, a).symbol)
        .any(|s| s.contains("clock_gettime"));
    assert!(named);
}

#[test]
fn a_library_that_is_loaded_later_resolves() {
    let Some(python) = ["/usr/bin/python3.11", "/usr/bin/python3"]
        .iter()
        .find_map(|p| fixture::system(p))
    else {
        return;
    };
    let script = "import sys,ctypes; print(1,flush=True); sys.stdin.readline(); \
        l=ctypes.CDLL('libstdc++.so.6'); print(1,flush=True); sys.stdin.readline()";
    let mut child = Running(
        Command::new(python)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let pid = child.0.id();
    let mut symbolizer = UserSymbolizer::new(options());
    symbolizer.remember(pid);
    child.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    out.read_line(&mut line).unwrap();
    let process = Look::look(pid).unwrap();
    let Some(library) = process
        .maps()
        .iter()
        .find(|m| m.executable && m.name.contains("libstdc++"))
    else {
        eprintln!("SKIPPED: no libstdc++");
        return;
    };
    let index =
        SymbolIndex::open(std::path::Path::new(&*library.name), &DebugDirs::none()).unwrap();
    let vaddr = index.by_name("__cxa_throw")[0].addr;
    let offset = index.elf().vaddr_to_offset(vaddr).unwrap();
    std::thread::sleep(Duration::from_millis(25));
    let frame = symbolizer.resolve(pid, library.start + (offset - library.offset));
    assert_eq!(frame.to_string(), "__cxa_throw+0");
}

#[test]
fn an_exec_under_the_same_pid_is_noticed() {
    let Some((path, _)) = waiter("waiter-static", &["-static", "-no-pie"]) else {
        return;
    };
    let script = format!("read x; exec {}", path.display());
    let mut child = Running(
        Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pid = child.0.id();
    let mut symbolizer = UserSymbolizer::new(options());
    symbolizer.remember(pid);
    use std::io::{Read as _, Write as _};
    child.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    child
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 1])
        .unwrap();
    std::thread::sleep(Duration::from_millis(25));
    let addr = address(pid, &path, "_ZN4work4Loop4stepEi");
    assert_eq!(
        symbolizer.resolve(pid, addr).to_string(),
        "work::Loop::step(int)+0"
    );
}

#[test]
fn generated_code_is_named_by_the_perf_map() {
    let Some((_, child)) = waiter("waiter-pie", &["-pie", "-fPIE"]) else {
        return;
    };
    let pid = child.0.id();
    let process = Look::look(pid).unwrap();
    let Some(anon) = process
        .maps()
        .iter()
        .find(|m| m.executable && m.name.is_empty())
    else {
        panic!("the fixture maps executable memory");
    };
    let path = std::path::PathBuf::from(format!("/tmp/perf-{pid}.map"));
    std::fs::write(
        &path,
        format!("{:x} 20 LazyCompile:~listen a.js:3\n", anon.start),
    )
    .unwrap();
    let mut symbolizer = UserSymbolizer::new(options());
    let at = |s: &mut UserSymbolizer, o| s.resolve(pid, anon.start + o).to_string();
    assert_eq!(at(&mut symbolizer, 4), "LazyCompile:~listen a.js:3+4");
    assert_eq!(
        at(&mut symbolizer, 0x40),
        format!("{:#x}", anon.start + 0x40)
    );
    let mut more = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    use std::io::Write as _;
    writeln!(more, "{:x} 20 later", anon.start + 0x40).unwrap();
    assert_eq!(at(&mut symbolizer, 0x41), "later+1");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn node_methods_resolve_in_a_running_node() {
    let Some(node) = fixture::system("/usr/bin/node") else {
        return;
    };
    let mut child = Running(
        Command::new(node)
            .args(["-e", "console.log(1); setTimeout(()=>{}, 20000)"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    use std::io::Read as _;
    child
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 1])
        .unwrap();
    let pid = child.0.id();
    let index = SymbolIndex::open(node, &DebugDirs::none()).unwrap();
    let name = "_ZN4node7TCPWrap6ListenERKN2v820FunctionCallbackInfoINS1_5ValueEEE";
    let listen = index.by_name(name)[0].addr;
    let addr = address(pid, node, name);
    assert_eq!(addr, listen, "ET_EXEC runs where it was linked");
    let mut symbolizer = UserSymbolizer::new(options());
    let start = Instant::now();
    let frame = symbolizer.resolve(pid, addr + 9);
    eprintln!("first frame in node: {:?}", start.elapsed());
    assert_eq!(
        frame.to_string(),
        "node::TCPWrap::Listen(v8::FunctionCallbackInfo<v8::Value> const&)+9"
    );
    let start = Instant::now();
    for _ in 0..1000 {
        symbolizer.resolve(pid, addr + 9);
    }
    eprintln!("1000 known frames: {:?}", start.elapsed());
}

#[test]
fn lines_and_inlined_functions_on_request() {
    let Some(path) = fixture::compile("inlined-run", "inlined.c", &["-g", "-static", "-no-pie"])
    else {
        return;
    };
    let index = SymbolIndex::open(&path, &DebugDirs::none()).unwrap();
    let outer = index.by_name("outer").remove(0);
    // The program ends at once, so its module is asked directly.
    let mapping = Mapping {
        start: outer.addr & !0xfff,
        end: (outer.addr & !0xfff) + 0x1000,
        offset: index.elf().vaddr_to_offset(outer.addr).unwrap() & !0xfff,
        executable: true,
        file: super::super::maps::FileId {
            device: (0, 0),
            inode: std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap()),
        },
        name: Arc::from(path.to_str().unwrap()),
        deleted: false,
    };
    let mut cache = ModuleCache::new(DebugDirs::none());
    let module = cache
        .module(0, &super::super::cache::Root::Shared, &mapping)
        .unwrap();
    let options = UserOptions {
        lines: true,
        ..options()
    };
    let all: Vec<String> = (outer.addr..outer.addr + outer.size)
        .map(|at| {
            let mut frame = locate(&mapping, Some(&module), at, at);
            name(&mut frame, &module, &mapping, at, &options);
            let names: Vec<_> = frame.inlined.iter().map(|f| &*f.name).collect();
            format!(
                "{} in {}",
                names.join(" in "),
                frame.symbol.as_deref().unwrap_or("?")
            )
        })
        .collect();
    assert!(
        all.iter().any(|s| s == "inner in middle in outer"),
        "{all:?}"
    );
}

#[test]
fn rust_functions_of_this_process_with_their_lines() {
    let me = std::process::id();
    let lines = UserOptions {
        lines: true,
        ..options()
    };
    let mut symbolizer = UserSymbolizer::new(lines);
    let line = line!();
    let frame = symbolizer.resolve(
        me,
        rust_functions_of_this_process_with_their_lines as *const () as u64,
    );
    assert_eq!(
        frame.symbol.as_deref(),
        Some(
            "rtrace::runtime::symbolize::user::tests::rust_functions_of_this_process_with_their_lines"
        )
    );
    let source = frame.source.unwrap();
    assert!(source.file.ends_with("symbolize/user_tests.rs"));
    assert!((line - 9..line).contains(&source.line), "{source:?}");
}

#[test]
fn a_program_in_another_mount_namespace_resolves() {
    let Some(built) = fixture::compile("waiter-pie", "waiter.cpp", &["-pie", "-fPIE"]) else {
        return;
    };
    let place = fixture::dir().join("other-root");
    std::fs::create_dir_all(&place).unwrap();
    let inside = place.join("waiter");
    let script = format!(
        "mount -t tmpfs none {0} && cp {1} {2} && exec {2}",
        place.display(),
        built.display(),
        inside.display()
    );
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(child) = child else {
        eprintln!("SKIPPED: no unshare");
        return;
    };
    let mut child = Running(child);
    use std::io::Read as _;
    if child
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 1])
        .is_err()
    {
        eprintln!("SKIPPED: no mount namespaces");
        return;
    }
    assert!(!inside.exists(), "it is in the other namespace only");
    let pid = child.0.id();
    let process = Look::look(pid).unwrap();
    let index = SymbolIndex::open(&built, &DebugDirs::none()).unwrap();
    let vaddr = index.by_name("_ZN4work4Loop4stepEi")[0].addr;
    let offset = index.elf().vaddr_to_offset(vaddr).unwrap();
    let name = inside.to_str().unwrap();
    let mapping = process
        .maps()
        .iter()
        .find(|m| &*m.name == name && m.executable)
        .unwrap();
    let mut symbolizer = UserSymbolizer::new(options());
    let frame = symbolizer.resolve(pid, mapping.start + (offset - mapping.offset));
    assert_eq!(frame.to_string(), "work::Loop::step(int)+0");
    assert_eq!(frame.module.as_deref(), Some(name));
}

#[test]
fn a_library_that_was_closed_still_resolves() {
    let Some(python) = ["/usr/bin/python3.11", "/usr/bin/python3"]
        .iter()
        .find_map(|p| fixture::system(p))
    else {
        return;
    };
    let script = "import sys,ctypes,_ctypes; l=ctypes.CDLL('libbz2.so.1.0'); print(1,flush=True); \
        sys.stdin.readline(); _ctypes.dlclose(l._handle); print(1,flush=True); sys.stdin.readline()";
    let mut child = Running(
        Command::new(python)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    if out.read_line(&mut line).unwrap() == 0 {
        eprintln!("SKIPPED: no libbz2");
        return;
    }
    let pid = child.0.id();
    let mut symbolizer = UserSymbolizer::new(options());
    symbolizer.remember(pid);
    let process = Look::look(pid).unwrap();
    let Some(library) = process
        .maps()
        .iter()
        .find(|m| m.executable && m.name.contains("libbz2"))
    else {
        eprintln!("SKIPPED: no libbz2");
        return;
    };
    let index =
        SymbolIndex::open(std::path::Path::new(&*library.name), &DebugDirs::none()).unwrap();
    let offset = index
        .elf()
        .vaddr_to_offset(index.by_name("BZ2_bzlibVersion")[0].addr)
        .unwrap();
    let addr = library.start + (offset - library.offset);
    child.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    out.read_line(&mut line).unwrap();
    let closed = Look::look(pid).unwrap().maps().find(addr).is_none();
    assert!(closed, "dlclose unmapped it");
    std::thread::sleep(Duration::from_millis(25));
    // An address in no mapping makes it look again, and the library is gone then.
    assert_eq!(symbolizer.resolve(pid, 1).to_string(), "0x1");
    assert_eq!(
        symbolizer.resolve(pid, addr).to_string(),
        "BZ2_bzlibVersion+0"
    );
}
