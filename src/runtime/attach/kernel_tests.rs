//! Probes on kernel functions: skipped where the kernel has none.

use super::*;
use crate::object::Object;
use crate::runtime::load::LoadOptions;
use crate::runtime::sys::perf::has_pmu;
use crate::runtime::testing::{
    assert_silent, attach, cookies_usable, counter, counting_object, counts, crowd, kernel_usable,
    load,
};

fn kprobe(symbol: &str, module: Option<&str>, offset: u64, ret: bool) -> Attach {
    Attach::Kprobe {
        symbol: symbol.into(),
        module: module.map(str::to_owned),
        offset,
        ret,
    }
}

/// Asks the kernel for our parent 100 times.
fn hundred_calls() {
    for _ in 0..100 {
        let _ = std::os::unix::process::parent_id();
    }
}

fn has_kprobes(test: &str) -> bool {
    if !kernel_usable(test) {
        return false;
    }
    let has = has_pmu("kprobe");
    if !has {
        eprintln!("skipped: {test}: this kernel has no kprobes");
    }
    has
}

const GETPPID: &str = "__x64_sys_getppid";

#[test]
fn entry_and_return_of_a_function() {
    if !has_kprobes("entry_and_return_of_a_function") {
        return;
    }
    let mut object = counting_object();
    for (slot, probe) in [
        kprobe(GETPPID, None, 0, false),
        kprobe(GETPPID, None, 0, true),
        kprobe(GETPPID, Some("vmlinux"), 0, false),
    ]
    .into_iter()
    .enumerate()
    {
        let p = counter(&mut object, ProgramType::Kprobe, Some(slot as i32 + 1));
        attach(&mut object, p, probe);
    }
    let (loaded, env) = load(object);
    let attacher = Attacher {
        loaded: &loaded,
        env: &env,
        pid: None,
    };
    let links: Vec<Link> = (0..3).map(|i| attacher.attach(i).unwrap()).collect();
    hundred_calls();
    let seen = counts(&loaded);
    assert!(seen[1..4].iter().all(|&n| n >= 100), "{seen:?}");
    super::detach(links, Release::InBackground);
    assert_silent(&loaded, hundred_calls);
}

#[test]
fn many_functions_in_one_link_are_told_apart_by_cookie() {
    let test = "many_functions_in_one_link_are_told_apart_by_cookie";
    if !has_kprobes(test) || !cookies_usable(test) {
        return;
    }
    for ret in [false, true] {
        let mut object = counting_object();
        let p = counter(&mut object, ProgramType::Kprobe, None);
        attach(&mut object, p, kprobe("__x64_sys_getpgrp", None, 0, ret));
        attach(&mut object, p, kprobe(GETPPID, None, 0, ret));
        crowd(&mut object);
        let (loaded, env) = load(object);
        let attacher = Attacher {
            loaded: &loaded,
            env: &env,
            pid: None,
        };
        let (links, failures) = attacher.attach_group(&[0, 1]);
        assert!(failures.is_empty(), "{failures:?}");
        match loaded.programs[0].plan {
            Plan::KprobeMulti => assert_eq!(links.len(), 1),
            _ => eprintln!("skipped: this kernel has no kprobe_multi"),
        }
        hundred_calls();
        let seen = counts(&loaded);
        assert!(seen[1] >= 100 && seen[0] < 100, "ret {ret}: {seen:?}");
    }
}

#[test]
fn a_function_that_does_not_exist_spoils_nothing() {
    let test = "a_function_that_does_not_exist_spoils_nothing";
    if !has_kprobes(test) || !cookies_usable(test) {
        return;
    }
    let mut object = counting_object();
    let p = counter(&mut object, ProgramType::Kprobe, None);
    attach(
        &mut object,
        p,
        kprobe("no_such_function_here", None, 0, false),
    );
    attach(&mut object, p, kprobe(GETPPID, None, 0, false));
    crowd(&mut object);
    let (loaded, env) = load(object);
    let attacher = Attacher {
        loaded: &loaded,
        env: &env,
        pid: None,
    };
    let (links, failures) = attacher.attach_group(&[0, 1]);
    assert_eq!((links.len(), failures.len()), (1, 1));
    let text = failures[0].1.to_string();
    assert!(text.contains("no such function"), "{text}");
    hundred_calls();
    assert!(counts(&loaded)[1] >= 100);
}

fn open_files() {
    for _ in 0..100 {
        std::fs::File::open("/dev/null").unwrap();
    }
}

fn fentry_object(exit: bool) -> Object {
    let ty = if exit {
        ProgramType::TracingFexit
    } else {
        ProgramType::TracingFentry
    };
    let mut object = counting_object();
    let p = counter(&mut object, ty, Some(1));
    object.programs[p.0 as usize].attach_btf = Some(("vfs_open".into(), None));
    attach(&mut object, p, Attach::Fentry { exit, bpf: None });
    object
}

#[test]
fn trampolines_at_entry_and_exit() {
    if !kernel_usable("trampolines_at_entry_and_exit") {
        return;
    }
    for exit in [false, true] {
        let env = HostEnv::default();
        let options = LoadOptions {
            env: &env,
            pid: None,
            verbose: true,
            shared: None,
        };
        let loaded = match Loaded::load(std::sync::Arc::new(fentry_object(exit)), &options) {
            Ok(loaded) => loaded,
            Err(e) => {
                eprintln!("skipped: trampolines_at_entry_and_exit: {e}");
                return;
            }
        };
        let attacher = Attacher {
            loaded: &loaded,
            env: &env,
            pid: None,
        };
        let link = attacher.attach(0).unwrap();
        open_files();
        assert!(counts(&loaded)[1] >= 100);
        super::detach(vec![link], Release::InBackground);
        assert_silent(&loaded, open_files);
    }
}
