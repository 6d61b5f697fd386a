//! Inputs to start from: small, and of every kind that a reader knows.

use std::path::{Path, PathBuf};
use std::process::Command;

fn texts_of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

/// The file tests of this repository, and what they do not have.
pub fn scripts() -> Vec<Vec<u8>> {
    let mut found = texts_of(&[
        "#!/x\n#include <a.h>\nstruct s { int x; };\nconfig = { max_map_keys = 1; stack_mode = \"raw\" }\n\
         import \"p\";\nlet @m = hash(2);\nmacro f(a, $b, @c) { @c[a] = $b; a }\n\
         fn g($a : int32) : void { return; }\nkprobe:vfs_read / pid == 1 && comm != \"x\" / { @m[1] = count(); }",
        "begin { let $x : struct s* = (struct s *)arg0; if $x->y.0 > 1 { print(1) } else if !2 { } \
         for $i : 0..($n+1) { break; } for ($kv : @a) { continue } while (1) { _ = 5ms; } unroll(3) { } \
         $z = a ? b : c ?: d; sizeof(int8[4]); offsetof(struct a, b.c); typeinfo(typeof($x)); (a=1, b=(1,)) }",
        "begin { @ = 1; @[1,2] = \"s\"; printf(\"%d %s %5.3x %%\\n\", 1, \"a\", 0x1f_00); exit(); } END { clear(@); }",
        "rawtracepoint:sched_switch { @[args.prev.pid] = count(); } interval:s:1 { print(@, 3, 2); zero(@); }",
        "fentry:vfs_read { $t = args.t; @x[$t.comm, kstack(3)] = hist($t.pid, 2); @s = lhist(pid, 0, 10, 1); }",
        "begin { @a = stats(1); @b = avg(-1); @c = tseries(1, 1s, 3); $s = str($1, 4); \
         if (strcontains($s, \"x\")) { @d = (1, (uint8)2, $s); } @e = @d.2; }",
    ]);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut folders = vec![dir];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "bt") && found.len() < 400 {
                found.extend(std::fs::read(path).ok().filter(|b| b.len() < 4096));
            }
        }
    }
    found
}

pub fn headers() -> Vec<Vec<u8>> {
    texts_of(&[
        "#define A 1\n#define B (A + 2 * sizeof(int))\n#define F(x, y) ((x) << (y))\n#define S \"a\" \"b\"\n\
         #if defined(A) && F(1, 2) > 3 || !B\nstruct s { int x : 3; unsigned : 0; char y[A][4]; };\n#else\n#error no\n#endif\n",
        "typedef struct list { struct list *next, *prev; } list_t;\nunion u { long a; struct { int b, c; }; } __attribute__((packed, aligned(8)));\n\
         enum e { X, Y = 5, Z = Y << 2, W = 'a' };\nextern int (*f(int a, void (*cb)(char const *)))(long);\n\
         static inline int g(void) { return { 1; }; }\n",
        "#define CAT(a, b) a ## b\n#define STR(a) #a\n#define V(...) h(__VA_ARGS__)\nint CAT(x, 1)[sizeof(STR(abc))];\nV(1, 2, V(3))\n\
         #undef CAT\n#ifdef CAT\n#elif 1\nlong double ld; _Bool b; __int128 w;\n#endif\n/* c */ // d \\\ne\n",
        "struct a { struct b *p; enum { Q } q; int (*op)(struct a *, ...); unsigned long long bits[0x10 + 020 - 'c' / 2]; } v = { .q = Q };\n#include <nothing.h>\n#pragma once\n",
    ])
}

pub fn btf() -> Vec<Vec<u8>> {
    [
        "struct list { struct list *next, *prev; }; enum e { A, B = 7, C = -1 };\n\
         union u { int a; const volatile char b[4][3]; unsigned long c : 5; };\n\
         typedef struct list list_t; struct t { list_t l; union u u; struct { int x, y; }; void (*f)(int, ...); };\n\
         int vfs_read(struct t *t, list_t l, enum e e); tracepoint void sched_switch(_Bool p, struct t *t);\n",
        "typedef float f32; struct empty { }; struct fwd; struct s { struct fwd *p; f32 f; enum { Q } q; };\n\
         long g(void); int bpf_iter_task(struct s *meta);\n",
    ]
    .map(super::targets::btf_of)
    .to_vec()
}

/// A program without libraries, with symbols, DWARF, unwind tables, a build id and USDT notes;
/// stripped; compressed; and the smallest header there is.
pub fn elf() -> Vec<Vec<u8>> {
    const SOURCE: &str = r#"
struct pair { int a; const char *name; };
static inline __attribute__((always_inline)) int twice(int x) { return x + x; }
__attribute__((noinline)) int add(struct pair *p, long n) {
	__asm__ volatile("990: nop\n"
		".pushsection .note.stapsdt,\"?\",\"note\"\n"
		".balign 4\n.4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n992: .balign 4\n"
		"993: .8byte 990b\n.8byte 0\n.8byte 0\n"
		".asciz \"seed\"\n.asciz \"add\"\n.asciz \"-4@%%edi 8@8(%%rsp) -8@$5 4@x+4(%%rip) 1@(%%rax,%%rbx,4)\"\n"
		"994: .balign 4\n.popsection\n" ::: "memory");
	return p->a + twice((int)n);
}
int x;
void _start(void) { struct pair p = { 1, "n" }; x = add(&p, 2); for (;;) ; }
"#;
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    header.resize(64, 0);
    let mut found = vec![header];
    let dir = std::env::temp_dir().join(format!("rtrace-fuzz-{}", std::process::id()));
    if std::fs::create_dir_all(&dir).is_err() {
        return found;
    }
    let source = dir.join("seed.c");
    let _ = std::fs::write(&source, SOURCE);
    for (name, flags) in [
        ("debug", &["-g"][..]),
        ("stripped", &["-s"]),
        ("compressed", &["-g", "-gz=zlib"]),
        ("dwarf4", &["-g", "-gdwarf-4", "-O0"]),
    ] {
        found.extend(build(&source, &dir.join(name), flags));
    }
    let _ = std::fs::remove_dir_all(&dir);
    if found.len() == 1 {
        eprintln!("skipped: no C compiler, programs are fuzzed from their header alone");
    }
    found
}

fn build(source: &Path, to: &PathBuf, flags: &[&str]) -> Option<Vec<u8>> {
    let done = Command::new("cc")
        .args(["-O1", "-nostdlib", "-static", "-Wl,--build-id", "-o"])
        .arg(to)
        .args(flags)
        .arg(source)
        .output()
        .ok()?;
    done.status.success().then(|| std::fs::read(to).ok())?
}

pub fn perf_maps() -> Vec<Vec<u8>> {
    texts_of(&[
        "7fff00000000 20 Lfoo;::bar\n7fff00000020 0x10 py::main:/a b.py\n",
        "0x10 5 a\nbad line\n10 ffffffffffffffff b\nffffffffffffffff 1 c\n10 5 a again\n",
    ])
}

pub fn proc_maps() -> Vec<Vec<u8>> {
    texts_of(&[
        "55aa00000000-55aa00002000 r-xp 00001000 fd:01 1234       /usr/bin/a b\n7ffe0-7fff0 rw-p 0 00:00 0 [stack]\n",
        "0-ffffffffffffffff r-xp ffffffffffffffff 00:00 0 /x (deleted)\nffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n",
    ])
}

pub fn kallsyms() -> Vec<Vec<u8>> {
    texts_of(&[
        "ffffffff81000000 T _text\nffffffff81234560 t vfs_read\nffffffffc0000000 t f\t[mod]\n",
        "0000000000000000 A x\nzz T bad\n\n",
    ])
}

pub fn formats() -> Vec<Vec<u8>> {
    texts_of(&[
        "name: sched_switch\nID: 314\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
         \tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n\
         \tfield:__data_loc char[] name;\toffset:28;\tsize:4;\tsigned:0;\n\nprint fmt: \"%s\", REC->prev_comm\n",
        "name: x\nID: 1\nformat:\n\tfield:const char * filename;\toffset:16;\tsize:8;\tsigned:0;\n\tfield:u8 a[2][3];\toffset:24;\tsize:6;\tsigned:0;\n",
    ])
}

pub fn names() -> Vec<Vec<u8>> {
    texts_of(&[
        "_ZNSt6vectorIiSaIiEE9push_backEOi",
        "_ZN4core3fmt9Formatter3pad17h1234567890abcdefE",
        "_RNvNtCs1234_7mycrate3foo3bar",
        "_RINvNtC3std3mem8align_ofNtNtC3std3mem12DiscriminantE",
        "_ZN12_GLOBAL__N_11fIZNS_1gEvEUlvE_EEvT_",
        "_ZZ4mainENKUlRT_E_clIiEEDaS0_",
        "plain_name",
    ])
}

pub fn texts() -> Vec<Vec<u8>> {
    let mut found = texts_of(&[
        "plain",
        "\x1b]0;title\x07\r\n\t\"quoted\\\"",
        "{\"type\": \"x\"}\n",
        "\u{85}\u{9b}31m\u{2028}\u{1f600}",
    ]);
    found.push(vec![
        0xff, 0xfe, 0x80, 0x9b, b'3', b'1', b'm', 0xc2, 0x9b, 0xe2, 0x82,
    ]);
    found.push((0..=255).collect());
    found
}

pub fn lines() -> Vec<Vec<u8>> {
    let mut found = texts_of(&[
        ":probes",
        ":load /tmp/x",
        "print(@x, 3)",
        "kprobe:vfs_",
        "uprobe:/bin/sh:ma",
        "begin { printf(\"%d \\\"",
        "struct task_struct { int",
        "@x[pid, \"a//b\"] = cou",
        "/* open",
        "config = { a = 1; b = \"c\" } begin { @ = 1 } let @m = hash(2);",
    ]);
    found.extend(scripts().into_iter().take(40));
    found
}

/// ZIP archives with one member, stored and compressed, with and without a comment.
pub fn archives() -> Vec<Vec<u8>> {
    let one = |method: u8, comment: &[u8]| {
        let local = [
            b"PK\x03\x04\x0a\0\0\0",
            &[method][..],
            &[0; 9],
            &[2, 0, 0, 0, 2, 0, 0, 0],
        ];
        let local = [&local.concat(), &b"\x01\0\x03\0a\0\0\0hi"[..]].concat();
        let entry = [
            b"PK\x01\x02\x0a\0\x0a\0\0\0",
            &[method][..],
            &[0; 9],
            &[2, 0, 0, 0, 2, 0, 0, 0],
        ];
        let entry = [&entry.concat(), &b"\x01\0"[..], &[0; 16], b"a"].concat();
        let (at, len) = (local.len() as u32, entry.len() as u32);
        let end = [
            &b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..],
            &len.to_le_bytes(),
            &at.to_le_bytes(),
        ];
        let end = [
            &end.concat(),
            &(comment.len() as u16).to_le_bytes()[..],
            comment,
        ]
        .concat();
        [local, entry, end].concat()
    };
    vec![one(0, b""), one(8, b""), one(0, b"PK\x05\x06 a comment")]
}
