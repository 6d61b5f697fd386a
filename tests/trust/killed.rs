//! Faults: rtrace is killed at any moment, and the kernel keeps nothing of it.

use std::ffi::CStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libbpf_sys as sys;

use crate::kernel::usable;
use crate::run::{rtrace, threads};

/// Whether the kernel has a map of this name. Programs hold their maps and links hold their
/// programs: when the map that all programs use is gone, everything is.
fn map_exists(name: &str) -> bool {
    let mut id = 0;
    loop {
        // SAFETY: `id` outlives the call.
        if unsafe { sys::bpf_map_get_next_id(id, &raw mut id) } != 0 {
            return false;
        }
        // SAFETY: takes a number.
        let fd = unsafe { sys::bpf_map_get_fd_by_id(id) };
        if fd < 0 {
            continue;
        }
        let mut info = sys::bpf_map_info::default();
        let mut size = size_of_val(&info) as u32;
        // SAFETY: `info` has `size` bytes and outlives the call; the descriptor is ours and is
        // not used after it is closed.
        let got = unsafe {
            let got = sys::bpf_map_get_info_by_fd(fd, &raw mut info, &raw mut size);
            libc::close(fd);
            got
        };
        // SAFETY: the kernel ends names with NUL; without an answer it is empty.
        let found = unsafe { CStr::from_ptr(info.name.as_ptr()) };
        if got == 0 && found.to_string_lossy().contains(name) {
            return true;
        }
    }
}

/// How often rtrace is to be killed.
pub fn kills() -> u32 {
    let kills = std::env::var("RTRACE_KILLS").ok();
    kills.and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// Numbers that differ from run to run.
pub struct Random(u64);

impl Random {
    /// With its seed, which is printed too.
    pub fn seeded() -> (Self, u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = now.as_nanos() as u64 | 1;
        eprintln!("seed {seed}");
        (Self(seed), seed)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn nothing_is_left_of_who_was_killed() {
    if !usable("nothing_is_left_of_who_was_killed") {
        return;
    }
    let Some(target) = threads() else { return };
    let kills = kills();
    let (mut random, seed) = Random::seeded();
    let name = format!("k{}", std::process::id());
    let script = format!(
        "begin {{ @{name} = 0; }} uprobe:{0}:tick {{ @{name}++; }} uretprobe:{0}:tick {{ @{name}++; }} \
         profile:hz:99 {{ @{name}++; }} interval:ms:10 {{ @{name}++; printf(\"x\\n\"); }} \
         end {{ @{name}++; }}",
        target.display()
    );
    let mut loaded = 0;
    for i in 0..kills {
        let mut tracer = rtrace();
        tracer.args(["-q", "-e", &script]);
        tracer.args(["-c", &format!("{} 2 1000", target.display())]);
        tracer.stdout(std::process::Stdio::null());
        tracer.stderr(std::process::Stdio::null());
        let mut tracer = tracer.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(400)));
        loaded += u32::from(map_exists(&name));
        // It may have come to its end by itself.
        let _ = tracer.kill();
        tracer.wait().unwrap();
        let start = Instant::now();
        while map_exists(&name) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "kill {i}, seed {seed}: maps of a killed run are still there"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    eprintln!("{loaded} of {kills} were killed with maps in the kernel");
    assert!(
        loaded > 0 || kills < 20,
        "no run was killed while it had anything"
    );
}
