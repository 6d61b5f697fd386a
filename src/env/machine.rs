//! Sizes and counts of the machine: pages, processors, clocks, the PID namespace.

use std::os::unix::fs::MetadataExt;

/// Inode number of the initial PID namespace (PROC_PID_INIT_INO in the kernel).
const INIT_PID_NS: u64 = 0xeffffffc;

/// Identity of a PID namespace, as `bpf_get_ns_current_pid_tgid` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace {
    /// Device of the namespace file.
    pub dev: u64,
    /// Its inode number.
    pub inode: u64,
}

impl PidNamespace {
    /// Whether it is the one in which the kernel counts by itself.
    pub fn is_initial(self) -> bool {
        self.inode == INIT_PID_NS
    }
}

/// What the machine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of a page.
    pub page_size: u32,
    /// Number of processors that could ever run: the size of per-CPU values.
    pub cpus_possible: u32,
    /// The processors that run now.
    pub cpus_online: Vec<u32>,
    /// The PID namespace of this process, where /proc shows it.
    pub pid_namespace: Option<PidNamespace>,
    /// Release of the kernel, such as `6.18.44`.
    pub release: String,
}

impl Machine {
    /// Asks the running system.
    pub fn probe() -> Self {
        let list = |file| {
            std::fs::read_to_string(format!("/sys/devices/system/cpu/{file}"))
                .ok()
                .and_then(|text| cpu_list(&text))
                .filter(|cpus| !cpus.is_empty())
        };
        let online = list("online").unwrap_or_else(|| {
            let n = std::thread::available_parallelism().map_or(1, usize::from);
            (0..n as u32).collect()
        });
        let possible = list("possible").and_then(|cpus| cpus.last().map(|&last| last + 1));
        let ns = std::fs::metadata("/proc/self/ns/pid").ok();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        // SAFETY: sysconf takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Self {
            page_size: u32::try_from(page).unwrap_or(4096),
            cpus_possible: possible.unwrap_or(online.len() as u32),
            cpus_online: online,
            pid_namespace: ns.map(|m| PidNamespace {
                dev: m.dev(),
                inode: m.ino(),
            }),
            release: release.trim().to_owned(),
        }
    }
}

/// Parses a list such as `0-3,8`, sorted as the kernel prints it.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(cpus)
}

/// A reading of `clock` (a `CLOCK_*` number) in nanoseconds.
pub fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is a valid timespec to write to; an unknown clock leaves it at zero.
    unsafe { libc::clock_gettime(clock, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Nanoseconds to add to a reading of `clock` (a `CLOCK_*` number) to get wall-clock time.
///
/// Both clocks are read a few times and the closest pair is kept, so that being scheduled away in
/// between does not count.
pub fn wall_clock_offset(clock: libc::clockid_t) -> i64 {
    let read = |clock| nanoseconds(clock) as i64;
    (0..5)
        .map(|_| {
            let before = read(clock);
            let wall = read(libc::CLOCK_REALTIME);
            let after = read(clock);
            (after - before, wall - (before + (after - before) / 2))
        })
        .min_by_key(|&(width, _)| width)
        .map_or(0, |(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cpu_list("0"), Some(vec![0]));
        assert_eq!(cpu_list("x"), None);
    }

    #[test]
    fn this_machine_is_consistent() {
        let m = Machine::probe();
        assert!(m.page_size.is_power_of_two());
        assert!(m.cpus_online.iter().all(|&c| c < m.cpus_possible));
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let zero = wall_clock_offset(libc::CLOCK_REALTIME);
        assert!(zero.abs() < 1_000_000_000, "{zero}");
        let boot = wall_clock_offset(libc::CLOCK_BOOTTIME);
        assert!(boot > 0 && i128::from(boot) <= now.as_nanos() as i128);
    }
}
