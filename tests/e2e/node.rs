//! The machine's own Node.js: not position independent, its code at another file offset than
//! address, names of C and C++.

use crate::kernel;
use crate::support::{example, have, rtrace, scratch, value};

/// A command that listens on `n` ports of this machine, then ends.
fn listener(n: u32) -> String {
    let code = format!(
        "let n = {n}; const next = () => {{ if (n-- > 0) {{ const s = require(\"net\").createServer(); \
         s.listen(0, \"127.0.0.1\", () => s.close(next)); }} }}; next();"
    );
    format!("node -e '{code}'")
}

fn usable(test: &str) -> bool {
    kernel::usable(test) && have("node", test)
}

#[test]
fn listening_is_seen_by_symbol_and_by_demangled_name() {
    if !usable("node listens") {
        return;
    }
    let out = rtrace(&[&example("node-listen.bt"), "-c", &listener(3)]).ok();
    let lines: Vec<&str> = out.lines().collect();
    // AF_INET is 2; the backlog of net.Server is 511.
    let count = |part: &str| lines.iter().filter(|l| l.contains(part)).count();
    assert_eq!(count("uv_tcp_bind family 2"), 3, "{out}");
    assert_eq!(count("uv_tcp_bind = 0"), 3, "{out}");
    assert_eq!(count("uv_listen backlog 511"), 3, "{out}");
    assert_eq!(count("node::TCPWrap::Listen called from"), 3, "{out}");
    assert!(
        out.contains("        node::TCPWrap::Listen(v8::FunctionCallbackInfo<v8::Value> const&)+"),
        "{out}"
    );
    let hist = out
        .split("@us:\n")
        .nth(1)
        .expect("a histogram of latencies");
    let calls: u32 = hist
        .lines()
        .take_while(|l| l.starts_with('['))
        .map(|l| {
            let after = &l[l.find([')', ']']).unwrap() + 1..l.find('|').unwrap()];
            after.trim().parse::<u32>().unwrap()
        })
        .sum();
    assert_eq!(calls, 3, "{out}");
}

/// One stack from the system call's wrapper in libc through C, C++ and code that V8 generated to
/// main.
#[test]
fn generated_code_is_named_between_cpp_and_libc() {
    if !usable("generated code") {
        return;
    }
    let dir = scratch("node-jit");
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let script = format!("{dir}/hot.js");
    std::fs::write(
        &script,
        "const fs = require('fs'), fd = fs.openSync('/dev/null', 'w'), one = Buffer.from('x');\n\
         function hotWriter(n) { let s = 0; for (let i = 0; i < n; i++) \
         s += fs.writeSync(fd, one, 0, 1); return s; }\n\
         let sum = 0; for (let i = 0; i < 300; i++) sum += hotWriter(100);\n",
    )
    .unwrap();
    // V8 writes its list of names to /tmp, and a log to the current folder.
    let node = format!("sh -c 'cd {dir} && exec node --perf-basic-prof {script}'");
    let probe = "uprobe:libc:write /pid == cpid/ { @[ustack(64)] = count(); @pid = pid; }";
    let out = rtrace(&["-e", probe, "-c", &node]).ok();
    let _ = std::fs::remove_file(format!("/tmp/perf-{}.map", value(&out, "@pid")));
    let whole = out.split("@[\n").find(|stack| {
        let mut lines = stack.lines().map(str::trim);
        let mut then = |what: &dyn Fn(&str) -> bool| lines.any(what);
        then(&|l| l.starts_with("write+"))
            && then(&|l| l.starts_with("uv_fs_write+"))
            && then(&|l| l.starts_with("node::fs::WriteBuffer("))
            && then(&|l| l.starts_with("JS:") && l.contains("hotWriter "))
            && then(&|l| l.starts_with("node::Start(int, char**)+"))
    });
    assert!(whole.is_some(), "{out}");
}

#[test]
fn a_function_with_two_symbols_is_attached_once() {
    if !usable("two symbols at an address") {
        return;
    }
    let script = "uprobe:node:cpp:\"node::TCPWrap::Listen\" { @n = count(); }";
    let run = rtrace(&["-e", script, "-c", &listener(2)]);
    assert!(run.err.contains("Attached 1 probe\n"), "{}", run.err);
    assert_eq!(value(&run.ok(), "@n"), "2");
}
