//! Everything outside BPF that a program can ask about.
//!
//! [`World`] is what helpers are answered from. Its defaults describe a machine where nothing
//! can be read and no stack walked; [`FakeWorld`] gives fixed answers for tests and
//! [`HostWorld`] those of this process, for `--engine=user`. No implementation here reads
//! memory by address: what a program asks of user or kernel memory fails with `EFAULT`
//! unless the world's owner placed bytes there.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// Clocks of the time helpers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`
    Monotonic,
    /// `CLOCK_BOOTTIME`
    Boot,
    /// `CLOCK_MONOTONIC_COARSE`
    Coarse,
    /// `CLOCK_TAI`
    Tai,
}

/// Address spaces of memory that is not the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Memory of the kernel.
    Kernel,
    /// Memory of the current task.
    User,
}

/// The current task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id (the kernel's tgid).
    pub pid: u32,
    /// Thread id (the kernel's pid).
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Name, NUL-padded.
    pub comm: [u8; 16],
    /// Address of its `task_struct`.
    pub address: u64,
    /// Id of its cgroup in the unified hierarchy.
    pub cgroup: u64,
}

impl Task {
    /// A name as [`Task::comm`] holds it: at most 15 bytes, NUL-padded.
    pub fn comm_of(name: &[u8]) -> [u8; 16] {
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().zip(name.iter().take(15)) {
            *to = *from;
        }
        comm
    }
}

/// An errno value (positive).
pub type Errno = i32;

/// What a program can ask of the world outside.
pub trait World {
    /// Nanoseconds on `clock`.
    fn clock(&mut self, clock: Clock) -> u64;

    /// The kernel's tick counter.
    fn jiffies(&mut self) -> u64;

    /// The task the program runs in.
    fn task(&mut self) -> Task;

    /// The CPU the program runs on; asked once per run.
    fn cpu(&mut self) -> u32 {
        0
    }

    /// The NUMA node of that CPU.
    fn numa_node(&mut self) -> u32 {
        0
    }

    /// A random number.
    fn random(&mut self) -> u32;

    /// Fills `buf` from memory at `addr`.
    fn read(&mut self, space: Space, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let _ = (space, addr, buf);
        Err(libc::EFAULT)
    }

    /// Writes `data` to memory of the current task.
    fn write_user(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        let _ = (addr, data);
        Err(libc::EFAULT)
    }

    /// Return addresses of the current stack, innermost first.
    fn stack(&mut self, space: Space) -> Result<Vec<u64>, Errno> {
        let _ = space;
        Err(libc::EFAULT)
    }

    /// The cookie given when the program was attached.
    fn attach_cookie(&mut self) -> u64 {
        0
    }

    /// Address of the traced function, 0 where there is none.
    fn func_ip(&mut self) -> u64 {
        0
    }

    /// Id of the cgroup `level` levels below the root on the way to the task's.
    fn ancestor_cgroup(&mut self, level: u32) -> u64 {
        let _ = level;
        0
    }

    /// Process and thread id in the pid namespace of this device and inode.
    fn ns_pid(&mut self, dev: u64, ino: u64) -> Result<(u32, u32), Errno> {
        let _ = (dev, ino);
        Err(libc::EINVAL)
    }

    /// Sends a signal to the current process or thread.
    fn signal(&mut self, signal: u32, thread: bool) -> Result<(), Errno> {
        let _ = (signal, thread);
        Err(libc::EPERM)
    }

    /// A line for the kernel's trace buffer, from `bpf_trace_printk`.
    fn trace(&mut self, text: &[u8]) {
        let _ = text;
    }
}

/// Fixed answers, for tests.
#[derive(Clone, Debug)]
pub struct FakeWorld {
    /// What all clocks show; advances by [`FakeWorld::tick`] each time it is read.
    pub now: u64,
    /// Nanoseconds between two readings.
    pub tick: u64,
    /// The current task.
    pub task: Task,
    /// The current CPU.
    pub cpu: u32,
    /// State of the generator of random numbers.
    pub seed: u32,
    /// Kernel memory: start address and bytes.
    pub kernel: BTreeMap<u64, Vec<u8>>,
    /// User memory: start address and bytes.
    pub user: BTreeMap<u64, Vec<u8>>,
    /// The kernel stack.
    pub kernel_stack: Vec<u64>,
    /// The user stack.
    pub user_stack: Vec<u64>,
    /// The attach cookie.
    pub cookie: u64,
    /// The traced function.
    pub func_ip: u64,
    /// Signals sent: number, and whether to the thread only.
    pub signals: Vec<(u32, bool)>,
    /// Lines traced.
    pub traced: Vec<String>,
}

impl Default for FakeWorld {
    fn default() -> Self {
        FakeWorld {
            now: 1_000_000_000,
            tick: 0,
            task: Task {
                pid: 1234,
                tid: 1235,
                uid: 1000,
                gid: 100,
                comm: Task::comm_of(b"fake"),
                address: 0xffff_8880_0000_1000,
                cgroup: 1,
            },
            cpu: 0,
            seed: 1,
            kernel: BTreeMap::new(),
            user: BTreeMap::new(),
            kernel_stack: Vec::new(),
            user_stack: Vec::new(),
            cookie: 0,
            func_ip: 0,
            signals: Vec::new(),
            traced: Vec::new(),
        }
    }
}

impl FakeWorld {
    fn memory(&mut self, space: Space) -> &mut BTreeMap<u64, Vec<u8>> {
        match space {
            Space::Kernel => &mut self.kernel,
            Space::User => &mut self.user,
        }
    }

    fn bytes(&mut self, space: Space, addr: u64, len: usize) -> Result<&mut [u8], Errno> {
        let block = self.memory(space).range_mut(..=addr).next_back();
        let (start, bytes) = block.ok_or(libc::EFAULT)?;
        let at = (addr - start) as usize;
        let end = at.checked_add(len).ok_or(libc::EFAULT)?;
        bytes.get_mut(at..end).ok_or(libc::EFAULT)
    }
}

impl World for FakeWorld {
    fn clock(&mut self, _: Clock) -> u64 {
        let now = self.now;
        self.now += self.tick;
        now
    }

    fn jiffies(&mut self) -> u64 {
        self.now / 4_000_000
    }

    fn task(&mut self) -> Task {
        self.task.clone()
    }

    fn cpu(&mut self) -> u32 {
        self.cpu
    }

    fn random(&mut self) -> u32 {
        xorshift(&mut self.seed)
    }

    fn read(&mut self, space: Space, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        buf.copy_from_slice(self.bytes(space, addr, buf.len())?);
        Ok(())
    }

    fn write_user(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        self.bytes(Space::User, addr, data.len())?
            .copy_from_slice(data);
        Ok(())
    }

    fn stack(&mut self, space: Space) -> Result<Vec<u64>, Errno> {
        Ok(match space {
            Space::Kernel => self.kernel_stack.clone(),
            Space::User => self.user_stack.clone(),
        })
    }

    fn attach_cookie(&mut self) -> u64 {
        self.cookie
    }

    fn func_ip(&mut self) -> u64 {
        self.func_ip
    }

    fn signal(&mut self, signal: u32, thread: bool) -> Result<(), Errno> {
        self.signals.push((signal, thread));
        Ok(())
    }

    fn trace(&mut self, text: &[u8]) {
        self.traced.push(String::from_utf8_lossy(text).into_owned());
    }
}

/// This process: its clocks, ids and CPU. Memory cannot be read, stacks cannot be walked.
#[derive(Debug)]
pub struct HostWorld {
    task: Task,
    seed: u32,
    /// Cookie of the probe that is about to run.
    pub cookie: u64,
}

impl HostWorld {
    /// The world of the calling thread. Name and cgroup come from `/proc` and `/sys`; where
    /// those cannot be read the name stays empty and the cgroup 0.
    pub fn new() -> HostWorld {
        let comm = std::fs::read("/proc/thread-self/comm").unwrap_or_default();
        let line = comm.strip_suffix(b"\n").unwrap_or(&comm);
        // SAFETY: these calls have no arguments and cannot fail.
        let (pid, tid, uid, gid) = unsafe {
            (
                libc::getpid(),
                libc::gettid(),
                libc::getuid(),
                libc::getgid(),
            )
        };
        let seed = now(libc::CLOCK_MONOTONIC) as u32 | 1;
        HostWorld {
            task: Task {
                pid: pid as u32,
                tid: tid as u32,
                uid,
                gid,
                comm: Task::comm_of(line),
                address: 0,
                cgroup: own_cgroup().unwrap_or(0),
            },
            seed,
            cookie: 0,
        }
    }
}

impl Default for HostWorld {
    fn default() -> Self {
        HostWorld::new()
    }
}

impl World for HostWorld {
    fn clock(&mut self, clock: Clock) -> u64 {
        now(match clock {
            Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::Boot => libc::CLOCK_BOOTTIME,
            Clock::Coarse => libc::CLOCK_MONOTONIC_COARSE,
            Clock::Tai => libc::CLOCK_TAI,
        })
    }

    // User space cannot see the counter. It counts ticks, which are what the coarse clock
    // advances by, and starts five minutes before its low half overflows. The clock starts
    // before the ticks do, so this is a fraction of a second ahead.
    fn jiffies(&mut self) -> u64 {
        let tick = resolution(libc::CLOCK_MONOTONIC_COARSE).max(1);
        let start = (1 << 32) - 300 * (1_000_000_000 / tick);
        start + now(libc::CLOCK_MONOTONIC_COARSE) / tick
    }

    fn task(&mut self) -> Task {
        self.task.clone()
    }

    fn cpu(&mut self) -> u32 {
        // SAFETY: the call has no arguments; a negative result means failure.
        let cpu = unsafe { libc::sched_getcpu() };
        cpu.max(0) as u32
    }

    fn numa_node(&mut self) -> u32 {
        let mut node = 0u32;
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: `node` is valid for the write, the other pointers may be null.
        unsafe { libc::syscall(libc::SYS_getcpu, nothing, &raw mut node, nothing) };
        node
    }

    fn random(&mut self) -> u32 {
        xorshift(&mut self.seed)
    }

    fn attach_cookie(&mut self) -> u64 {
        self.cookie
    }
}

/// The id of this process' cgroup in the unified hierarchy: the inode of its directory.
fn own_cgroup() -> Option<u64> {
    let all = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = all.lines().find_map(|l| l.strip_prefix("0::"))?;
    let meta = std::fs::metadata(format!("/sys/fs/cgroup{path}")).ok()?;
    Some(meta.ino())
}

fn resolution(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is valid for the write; on failure it stays zero.
    unsafe { libc::clock_getres(clock, &raw mut t) };
    t.tv_nsec as u64
}

/// A reading of a clock in nanoseconds.
pub(super) fn now(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is valid for the write; on failure it stays zero.
    unsafe { libc::clock_gettime(clock, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Marsaglia's 32-bit xorshift; never yields 0 from a non-zero state.
fn xorshift(state: &mut u32) -> u32 {
    let mut x = (*state).max(1);
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = x;
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fake_memory_is_bounded() {
        let mut w = FakeWorld::default();
        w.user.insert(0x1000, b"hello".to_vec());
        let mut buf = [0; 3];
        w.read(Space::User, 0x1002, &mut buf).unwrap();
        assert_eq!(&buf, b"llo");
        assert_eq!(w.read(Space::User, 0x1003, &mut buf), Err(libc::EFAULT));
        assert_eq!(w.read(Space::Kernel, 0x1000, &mut buf), Err(libc::EFAULT));
        assert_eq!(w.read(Space::User, 0xfff, &mut buf), Err(libc::EFAULT));
    }

    #[test]
    fn host_knows_this_process_and_reads_no_memory() {
        let mut w = HostWorld::new();
        assert_eq!(w.task().pid, std::process::id());
        let (a, b) = (w.clock(Clock::Boot), w.clock(Clock::Boot));
        assert!(0 < a && a <= b);
        let here = 5u8;
        let mut buf = [0];
        let addr = &raw const here as u64;
        assert_eq!(w.read(Space::User, addr, &mut buf), Err(libc::EFAULT));
    }
}
