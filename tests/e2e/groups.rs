//! Only what runs in a control group, or in a container.

use std::path::PathBuf;
use std::process::Command;

use crate::kernel;
use crate::support::{Live, fixture, rtrace, value};

/// A group of version 2 for this test alone, removed at its end.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Group> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts
            .lines()
            .find(|l| l.split(' ').nth(2) == Some("cgroup2"))
            .and_then(|l| l.split(' ').nth(1));
        let path = PathBuf::from(mount?).join(name);
        match std::fs::create_dir_all(&path) {
            Ok(()) => Some(Group(path)),
            Err(e) => {
                eprintln!("skipped: cannot make {}: {e}", path.display());
                None
            }
        }
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Runs a program inside, to its end.
    fn run(&self, program: &str, arg: &str) {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec {program} {arg}",
            self.path()
        );
        let status = Command::new("/bin/sh").args(["-c", &script]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn outside(program: &str, arg: &str) {
    assert!(Command::new(program).arg(arg).status().unwrap().success());
}

#[test]
fn events_in_a_group_and_below_it_count() {
    if !kernel::usable("control groups") {
        return;
    }
    let Some(path) = fixture("syscalls.c", "syscalls", &["-O2"]) else {
        return;
    };
    let name = format!("rtrace-test-{}", std::process::id());
    let Some(group) = Group::new(&name) else {
        eprintln!("skipped: control groups: no cgroup2 here");
        return;
    };
    let Some(below) = Group::new(&format!("{name}/below")) else {
        return;
    };
    let script = "tracepoint:syscalls:sys_enter_getppid { @ = count(); } \
                  tracepoint:raw_syscalls:sys_enter /args.id == 110/ { @raw = count(); }";
    // By its whole path, and by the one below the mount.
    for written in [group.path(), &name] {
        let live = Live::attached(&["--cgroup", written, "-e", script]);
        outside(&path, "1000");
        group.run(&path, "30");
        below.run(&path, "10");
        let out = live.interrupt().ok();
        assert_eq!(value(&out, "@"), "40", "{written}");
        assert_eq!(value(&out, "@raw"), "40", "{written}");
    }
}

#[test]
fn containers_by_the_beginning_of_their_id() {
    if !kernel::usable("containers") {
        return;
    }
    let Some(path) = fixture("syscalls.c", "syscalls", &["-O2"]) else {
        return;
    };
    // As Docker calls the group of a container.
    let id = format!("{:08x}{}", std::process::id(), "e5".repeat(28));
    let Some(group) = Group::new(&format!("docker-{id}.scope")) else {
        eprintln!("skipped: containers: no cgroup2 here");
        return;
    };
    let script = "tracepoint:syscalls:sys_enter_getppid { @[comm] = count(); }";
    let live = Live::attached(&["--container", &id[..12], "-e", script]);
    outside(&path, "100");
    group.run(&path, "20");
    let out = live.interrupt().ok();
    assert_eq!(value(&out, "@[syscalls]"), "20");
}

#[test]
fn what_does_not_exist_is_refused() {
    for option in ["--cgroup", "--container"] {
        let run = rtrace(&[option, "rtrace-nothing-like-it", "-e", "BEGIN { }"]);
        assert_eq!(run.code, Some(1), "{run:#?}");
        assert!(run.err.starts_with("ERROR: "), "{}", run.err);
        assert!(run.err.contains("rtrace-nothing-like-it") || run.err.contains("cgroup2"));
    }
}
