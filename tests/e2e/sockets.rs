//! `trace-socket.bt PID`: one process sets up a server, seen by tracepoints. `connections.bt`: who
//! connects where, with types and constants from C headers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{Live, example, have};

/// A shell that waits for a line, then becomes the server.
fn shell(server: &str) -> Live {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("read go; exec {server}")])
        .stdin(Stdio::piped());
    Live::start(command)
}

/// Traces a server from before it is one to its first client; what rtrace printed.
fn trace(server: &str) -> String {
    let mut shell = shell(server);
    let pid = shell.pid().to_string();
    let mut tracer = Live::attached(&[&example("trace-socket.bt"), &pid]);
    tracer.line(&format!("tracing sockets of process {pid}"));
    // Another process' calls are not this one's.
    drop(TcpListener::bind("127.0.0.1:0").unwrap());
    shell.say("go\n");
    // The server prints its port.
    let port: u16 = shell.line("\n").trim().parse().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = client.write_all(b"?");
    let mut answer = String::new();
    // The server may close before it has read the question: that is no error of the tracer.
    let _ = client.read_to_string(&mut answer);
    let local = client.local_addr().unwrap().port();
    drop(client);
    shell.end();
    let out = tracer.interrupt().ok();
    assert!(out.contains("bind fd "), "{out}");
    format!("client port {local}\n{out}")
}

#[test]
fn of_a_node_server() {
    let test = "sockets of node";
    if !kernel::usable(test) || !have("node", test) {
        return;
    }
    let out = trace(&format!("node {}", example("server.js")));
    assert_eq!(out.matches("bind fd ").count(), 1, "{out}");
    assert!(out.contains(" SO_REUSEADDR to 1 = 0\n"), "{out}");
    assert!(out.contains(" to 127.0.0.1 port 0\n"), "{out}");
    // Who called bind, in C++.
    assert!(out.contains("        node::TCPWrap::Bind("), "{out}");
    assert!(out.contains(" backlog 511 = 0\n"), "{out}");
    assert!(out.contains("accept4 fd "), "{out}");
    assert!(out.contains(" TCP_NODELAY to 1 = 0\n"), "{out}");
    assert!(
        out.contains("@us[tracepoint:syscalls:sys_exit_accept4]:\n"),
        "{out}"
    );
}

#[test]
fn of_a_python_server() {
    let test = "sockets of python";
    if !kernel::usable(test) || !have("python3", test) {
        return;
    }
    let out = trace(&format!("python3 {}", example("server.py")));
    assert_eq!(out.matches("bind fd ").count(), 1, "{out}");
    assert!(out.contains(" SO_REUSEADDR to 1 = 0\n"), "{out}");
    assert!(out.contains(" backlog 7 = 0\n"), "{out}");
    let port = out.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert!(
        out.contains(&format!("  from 127.0.0.1 port {port}\n")),
        "{out}"
    );
}

/// The address and port of a connection of this process to itself.
fn connect(address: &str) -> Option<u16> {
    let listener = TcpListener::bind((address, 0));
    let listener = listener
        .inspect_err(|e| eprintln!("skipped: connections to {address}: {e}"))
        .ok()?;
    let port = listener.local_addr().unwrap().port();
    TcpStream::connect((address, port)).unwrap();
    Some(port)
}

#[test]
fn connections_of_both_families_by_the_c_librarys_types() {
    let test = "connections by sockaddr";
    if !kernel::usable(test) {
        return;
    }
    for header in ["linux/in.h", "linux/in6.h", "sys/socket.h"] {
        let found = ["/usr/include", "/usr/include/x86_64-linux-gnu"]
            .iter()
            .any(|d| std::path::Path::new(d).join(header).exists());
        if !found {
            eprintln!("skipped: {test}: no {header} here");
            return;
        }
    }
    let mut tracer = Live::attached(&[&example("connections.bt")]);
    let v4 = connect("127.0.0.1").unwrap();
    let v6 = connect("::1");
    let pid = std::process::id();
    if let Some(port) = v6 {
        tracer.line(&format!(" {pid} to [::1] port {port} scope 0\n"));
    }
    let out = tracer.interrupt().ok();
    assert!(out.starts_with("tracing connections\n"), "{out}");
    assert!(
        out.contains(&format!(" {pid} to 127.0.0.1 port {v4}\n")),
        "{out}"
    );
}
