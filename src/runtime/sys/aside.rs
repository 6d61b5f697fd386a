//! System calls that SIGKILL must not cut short.
//!
//! The kernel puts a breakpoint into each process that maps a probed file, and takes it out again.
//! A task with a fatal signal pending can do neither: it gets no page of another process any more
//! (`fatal_signal_pending` in `__get_user_pages`). Killed while it attaches, it leaves the
//! breakpoints that it has set behind, without a program, until those processes end: "failed to
//! unregister, leaking uprobe" (Linux 6.18).
//!
//! So the call is made by a process of its own, which shares our memory and descriptors and which
//! a signal sent to us, or to our process group, does not reach. We wait for it. If we are killed
//! it completes the call and ends, and at the end of a process nothing is pending: what it
//! attached is detached as it should be.

use std::ffi::{c_int, c_void};
use std::ptr;

/// Stack of the process. libbpf needs some hundred bytes.
const STACK: usize = 256 << 10;

struct Job<F> {
    f: Option<F>,
    result: i64,
}

/// Makes the call `f`, which returns a negative number and leaves `errno` where the kernel
/// refuses. Where no process is to be had we make it ourselves.
pub(super) fn aside<F: FnOnce() -> i64>(f: F) -> i64 {
    let mut job = Job {
        f: Some(f),
        result: -1,
    };
    // SAFETY: asks for new memory.
    let stack = unsafe {
        libc::mmap(
            ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
            -1,
            0,
        )
    };
    if stack != libc::MAP_FAILED {
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK;
        // SAFETY: the new process runs `run` on memory that is its own alone, with `job`, which
        // nobody else uses: CLONE_VFORK stops this thread until that process has ended. It uses
        // this thread's storage meanwhile, so `errno` is found where the caller looks for it.
        // If this thread is killed before, the whole of our process is, and none of it is
        // missed: the memory stays as long as the new process does.
        let pid = unsafe {
            let top = stack.cast::<u8>().add(STACK).cast();
            libc::clone(run::<F>, top, flags, (&raw mut job).cast())
        };
        if pid > 0 {
            wait(pid);
        }
    }
    // Where there was no process, or it was killed before it began.
    if let Some(f) = job.f.take() {
        job.result = f();
    }
    if stack != libc::MAP_FAILED {
        let errno = errno();
        // SAFETY: the process that used it has ended.
        unsafe {
            libc::munmap(stack, STACK);
            *libc::__errno_location() = errno;
        }
    }
    job.result
}

fn errno() -> c_int {
    // SAFETY: it always points to a number of this thread.
    unsafe { *libc::__errno_location() }
}

extern "C" fn run<F: FnOnce() -> i64>(job: *mut c_void) -> c_int {
    // SAFETY: `aside` passes a job of this type, and touches it no more until we end. Making the
    // signal set needs no more than its memory; the mask and the session are this process's own.
    unsafe {
        let job = &mut *job.cast::<Job<F>>();
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, ptr::null_mut());
        libc::setsid();
        if let Some(f) = job.f.take() {
            job.result = f();
        }
    }
    0
}

/// Takes the end of the process away, with what `errno` was.
fn wait(pid: c_int) {
    let errno = errno();
    // SAFETY: no memory is passed; `errno` as above.
    unsafe {
        while libc::waitpid(pid, ptr::null_mut(), libc::__WCLONE) < 0
            && self::errno() == libc::EINTR
        {}
        *libc::__errno_location() = errno;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_made_once_by_another_process_with_our_descriptors() {
        let ours = std::process::id();
        let mut by = 0;
        let (_, write) = std::io::pipe().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&write);
        let copy = aside(|| {
            by = std::process::id();
            // SAFETY: no memory is passed.
            i64::from(unsafe { libc::dup(fd) })
        });
        assert!(by != 0 && by != ours, "{by} {ours}");
        // SAFETY: the descriptor was made above, for us too.
        assert_eq!(unsafe { libc::close(copy as c_int) }, 0);
    }

    #[test]
    fn what_went_wrong_is_told() {
        // SAFETY: no memory is passed.
        assert_eq!(aside(|| i64::from(unsafe { libc::dup(-1) })), -1);
        assert_eq!(errno(), libc::EBADF);
    }
}
