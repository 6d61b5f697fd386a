//! The machine's own Node.js: not position independent, its code at another file offset than
//! address, names of C and C++.

use crate::kernel;
use crate::support::{example, have, rtrace, value};

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
