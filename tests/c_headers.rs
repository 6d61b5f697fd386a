//! The C front end against gcc: every header of this machine that a script may include, every
//! struct, union, typedef and macro in it.
//!
//! Our front end reads a header; what it found becomes a C program of static assertions, which gcc
//! then compiles. Headers that gcc itself refuses are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use rtrace::ctypes::model::{CType, Member, NameSpace, TypeId, TypeSource};
use rtrace::ctypes::{CEnv, MacroValue, Options, translate};
use rtrace::env::Btf;
use rtrace::source::{FileId, Span};

const POSIX: [&str; 40] = [
    "sys/socket.h",
    "netinet/in.h",
    "netinet/tcp.h",
    "netinet/udp.h",
    "netinet/ip.h",
    "netinet/ip6.h",
    "netinet/if_ether.h",
    "arpa/inet.h",
    "sys/un.h",
    "sys/types.h",
    "sys/stat.h",
    "sys/time.h",
    "sys/times.h",
    "sys/resource.h",
    "sys/mman.h",
    "sys/uio.h",
    "sys/ioctl.h",
    "sys/epoll.h",
    "sys/inotify.h",
    "sys/statfs.h",
    "sys/vfs.h",
    "sys/sysinfo.h",
    "sys/utsname.h",
    "sys/wait.h",
    "sys/user.h",
    "sys/ptrace.h",
    "sys/signalfd.h",
    "time.h",
    "signal.h",
    "fcntl.h",
    "errno.h",
    "stdint.h",
    "stddef.h",
    "limits.h",
    "dirent.h",
    "poll.h",
    "pwd.h",
    "stdio.h",
    "pthread.h",
    "net/if.h",
];

/// The fewest headers that must pass where the machine has them.
const ENOUGH: usize = 300;

/// Headers of /usr/include/linux, directories below it left out.
fn kernel_headers() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/usr/include/linux")
        .into_iter()
        .flatten()
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| n.ends_with(".h"))
        .map(|n| format!("linux/{n}"))
        .collect();
    names.sort();
    names
}

fn read(header: &str) -> (CEnv, Vec<String>) {
    let text = format!("#include <{header}>\n");
    let at = Span::new(FileId(0), 0, text.len());
    let (env, diagnostics) = translate(&[(&text, at)], &Options::default());
    (env, diagnostics.iter().map(|d| d.message.clone()).collect())
}

/// Runs gcc on a program from standard input; its messages if it refuses.
fn gcc(program: &str, extra: &[&str]) -> Result<(), String> {
    let mut child = Command::new("gcc")
        .args(["-w", "-fsyntax-only", "-fmax-errors=20", "-x", "c"])
        .args(extra)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(program.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    if out.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&out.stderr).into_owned())
}

/// Assertions about one record by the C name that reaches it.
fn record_assertions(env: &CEnv, c_name: &str, id: TypeId, out: &mut String) {
    let types = env.types();
    let Some(size) = types.size(id) else { return };
    _ = writeln!(
        out,
        "_Static_assert(sizeof({c_name}) == {size}, \"size of {c_name}\");"
    );
    if !matches!(types.ctype(types.resolve(id)), CType::Record { .. }) {
        return;
    }
    if let Some(align) = types.align(id) {
        _ = writeln!(
            out,
            "_Static_assert(_Alignof({c_name}) == {align}, \"alignment of {c_name}\");"
        );
    }
    for m in types.fields(id) {
        if m.bits.is_none() {
            _ = writeln!(
                out,
                "_Static_assert(__builtin_offsetof({c_name}, {}) == {}, \"offset of {c_name}.{}\");",
                m.name,
                m.bit_offset / 8,
                m.name
            );
        }
    }
}

fn program(env: &CEnv, header: &str) -> String {
    let mut out = format!("#include <{header}>\n");
    let mut names: Vec<_> = env.types().names().collect();
    names.sort_unstable_by_key(|n| (n.0, n.1));
    for (space, name, id) in names {
        let c_name = match space {
            NameSpace::Struct => format!("struct {name}"),
            NameSpace::Union => format!("union {name}"),
            NameSpace::Enum => continue,
            NameSpace::Ordinary => name.to_owned(),
        };
        record_assertions(env, &c_name, id, &mut out);
    }
    for (name, constant) in env.constants() {
        let value = constant.value;
        if env.macro_value(name).is_some() {
            // linux/pkt_sched.h hides an enumerator behind a macro of its name.
            continue;
        }
        _ = writeln!(
            out,
            "_Static_assert((long)({name}) == {value}L, \"value of {name}\");"
        );
    }
    let mut macros = env.macro_names();
    macros.sort();
    for name in macros {
        // The compiler's own macros are not the header's: ours pretends to be an old gcc.
        if name.starts_with("__") || name.starts_with('_') {
            continue;
        }
        if let Some(MacroValue::Int(v)) = env.macro_value(&name) {
            let (cast, value) = if v.unsigned {
                ("unsigned long", format!("{}UL", v.bits.cast_unsigned()))
            } else if v.bits == i64::MIN {
                ("long", "(-9223372036854775807L - 1)".to_owned())
            } else {
                ("long", format!("{}L", v.bits))
            };
            _ = writeln!(
                out,
                "_Static_assert(({cast})({name}) == {value}, \"value of {name}\");"
            );
        }
    }
    out
}

/// What is wrong with our reading of a header.
fn compare(header: &str, skipped: &mut BTreeMap<String, String>) -> Result<bool, String> {
    let plain = format!("#include <{header}>\n");
    if gcc(&plain, &[]).is_err() {
        // Needs others before it, or another architecture.
        return Ok(false);
    }
    let (env, diagnostics) = read(header);
    if !diagnostics.is_empty() {
        return Err(format!("{header}: {diagnostics:?}"));
    }
    for s in &env.skipped {
        if !s.reason.starts_with("the body of function") {
            skipped.insert(s.place.clone(), s.reason.clone());
        }
    }
    gcc(&program(&env, header), &[]).map_err(|e| {
        let errors: Vec<&str> = e.lines().filter(|l| l.contains("error")).take(8).collect();
        format!("{header}:\n{}", errors.join("\n"))
    })?;
    Ok(true)
}

#[test]
fn every_header_of_this_machine_is_as_gcc_says() {
    if Command::new("gcc").arg("--version").output().is_err() {
        eprintln!("SKIP: no gcc to compare with");
        return;
    }
    let mut headers = kernel_headers();
    headers.extend(POSIX.map(str::to_owned));
    if headers.len() < ENOUGH {
        eprintln!("SKIP: only {} headers are installed", headers.len());
        return;
    }
    let work = std::sync::Mutex::new(headers.into_iter());
    let results = std::sync::Mutex::new((0, Vec::new(), BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(header) = work.lock().unwrap().next() else {
                        break;
                    };
                    let mut skipped = BTreeMap::new();
                    let result = compare(&header, &mut skipped);
                    let mut all = results.lock().unwrap();
                    match result {
                        Ok(passed) => all.0 += usize::from(passed),
                        Err(e) => all.1.push(e),
                    }
                    all.2.extend(skipped);
                }
            });
        }
    });
    let (passed, wrong, skipped) = results.into_inner().unwrap();
    eprintln!("{passed} headers equal");
    for (place, reason) in &skipped {
        eprintln!("skipped {place}: {reason}");
    }
    assert!(
        wrong.is_empty(),
        "{} headers differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(passed >= ENOUGH, "only {passed} headers were compared");
}

/// Structs whose layout depends on every rule about bitfields, packing and alignment.
const TRICKY: &str = "
struct b1 { char a; int b:5; int c:28; char d; };
struct b2 { long long a:33; int b:3; short c:9; char d:1; };
struct b3 { int a:3; int :0; int b:4; char c; int :5; int d:27; };
struct b4 { char a:7; short b:10; int c:16; } __attribute__((packed));
struct b5 { unsigned char x; unsigned long y:40; unsigned z:24; _Bool w:1; };
struct b6 { int a:4 __attribute__((packed)); long b __attribute__((packed)); int c; };
struct b7 { char a; int b:9 __attribute__((aligned(8))); int c; };
union u1 { int a:3; char b[7]; long c:60; };
#pragma pack(push, 2)
struct p1 { char a; long b; int c:20; int d:20; };
#pragma pack(pop)
struct p2 { char a; struct p1 b; struct { char x; int y; } __attribute__((packed)) c; short d; };
struct a1 { char a; int b __attribute__((aligned(32))); } __attribute__((aligned(64)));
struct a2 { char c; struct a1 x[2]; long double ld; __int128 i; };
struct e1 { enum { P = -1, Q = 5 } e; enum big { R = 0x1ffffffffULL } f; char g; };
";

/// gcc describes the structs in BTF, which our reader of it turns into offsets and widths.
#[test]
fn bitfields_and_packing_are_as_gcc_lays_them_out() {
    let dir = std::env::temp_dir().join(format!("rtrace-layout-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let tags = [
        "b1", "b2", "b3", "b4", "b5", "b6", "b7", "p1", "p2", "a1", "a2", "e1",
    ];
    let mut text = TRICKY.to_owned();
    for tag in tags {
        _ = writeln!(text, "struct {tag} v_{tag};");
    }
    text.push_str("union u1 v_u1;\n");
    std::fs::write(dir.join("t.c"), text).unwrap();
    let compiled = Command::new("gcc")
        .args(["-gbtf", "-w", "-c", "-o", &path("t.o"), &path("t.c")])
        .status()
        .is_ok_and(|s| s.success());
    let dumped = compiled
        && Command::new("objcopy")
            .args([
                "-O",
                "binary",
                "--only-section=.BTF",
                "--set-section-flags",
                ".BTF=alloc",
            ])
            .args([path("t.o"), path("t.btf")])
            .status()
            .is_ok_and(|s| s.success());
    if !dumped {
        eprintln!("SKIP: no gcc that writes BTF, or no objcopy");
        return;
    }
    let btf = Btf::open(dir.join("t.btf")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let at = Span::new(FileId(0), 0, TRICKY.len());
    let (env, diagnostics) = translate(&[(TRICKY, at)], &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let spaces = tags.map(|t| (NameSpace::Struct, t));
    for (space, tag) in spaces.into_iter().chain([(NameSpace::Union, "u1")]) {
        let ours = env.types().find(space, tag).unwrap();
        let theirs = btf.find(space, tag).unwrap();
        assert_eq!(env.types().size(ours), btf.size(theirs), "size of {tag}");
        let list = |source: &dyn TypeSource, id| -> Vec<(String, u64, Option<u32>)> {
            let fields = source.fields(id);
            let one = |m: &Member<'_>| (m.name.to_owned(), m.bit_offset, m.bits);
            fields.iter().map(one).collect()
        };
        assert_eq!(
            list(env.types(), ours),
            list(&btf, theirs),
            "members of {tag}"
        );
    }
}

#[test]
fn the_socket_headers_of_a_real_script() {
    if !std::path::Path::new("/usr/include/netinet/in.h").exists() {
        eprintln!("SKIP: no C library headers");
        return;
    }
    let text = "#include <linux/in.h>\n#include <linux/in6.h>\n#include <sys/socket.h>\n";
    let at = Span::new(FileId(0), 0, text.len());
    let (env, diagnostics) = translate(&[(text, at)], &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let types = env.types();
    let sin = types.find(NameSpace::Struct, "sockaddr_in").unwrap();
    assert_eq!(types.size(sin), Some(16));
    assert_eq!(types.field(sin, "sin_port").unwrap().bit_offset, 16);
    let sin6 = types.find(NameSpace::Struct, "sockaddr_in6").unwrap();
    assert_eq!(types.size(sin6), Some(28));
    let int = |name: &str| match env.macro_value(name) {
        Some(MacroValue::Int(v)) => v.bits,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        (int("AF_INET"), int("AF_INET6"), int("INADDR_LOOPBACK")),
        (2, 10, 0x7f00_0001)
    );
    assert_eq!(int("INADDR_NONE"), 0xffff_ffff);
}
