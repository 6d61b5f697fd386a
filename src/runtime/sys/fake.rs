//! Failing system calls for unit tests.
//!
//! A test arms one failure for its own thread; the seam reports it instead of making the call.

use std::cell::RefCell;

struct Armed {
    name: &'static str,
    skip: u32,
    errno: i32,
    hit: bool,
}

thread_local! {
    static ARMED: RefCell<Option<Armed>> = const { RefCell::new(None) };
}

/// Disarms the failure when it goes out of scope.
pub struct Guard(());

impl Guard {
    /// Whether the call has failed as arranged.
    pub fn hit(&self) -> bool {
        ARMED.with_borrow(|a| a.as_ref().is_some_and(|a| a.hit))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        ARMED.set(None);
    }
}

/// Lets `skip` calls of `name` (empty: of any) in this thread through and fails the next one
/// with `errno`; later ones succeed again.
pub fn fail_once(name: &'static str, skip: u32, errno: i32) -> Guard {
    ARMED.set(Some(Armed {
        name,
        skip,
        errno,
        hit: false,
    }));
    Guard(())
}

/// What the seam asks before each call.
pub(super) fn failure(name: &str) -> Option<i32> {
    ARMED.with_borrow_mut(|armed| {
        let a = armed.as_mut()?;
        if a.hit || !(a.name.is_empty() || a.name == name) {
            return None;
        }
        if a.skip > 0 {
            a.skip -= 1;
            return None;
        }
        a.hit = true;
        Some(a.errno)
    })
}
