//! The first script, with and without privileges.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::kernel;
use crate::support::{RTRACE, Run, have, rtrace, run};

const HELLO: &str = r#"BEGIN { printf("hello\n"); exit() }"#;

#[test]
fn in_the_kernel() {
    if kernel::usable("hello in the kernel") {
        assert_eq!(rtrace(&["-e", HELLO]).ok(), "hello\n\n\n");
    }
}

#[test]
fn in_the_interpreter() {
    assert_eq!(rtrace(&["--engine=user", "-e", HELLO]).ok(), "hello\n\n\n");
}

/// A copy of rtrace that everybody may run, and what runs it as nobody.
pub struct Nobody {
    dir: PathBuf,
}

impl Nobody {
    /// `None`, said loudly, where the tests cannot become nobody.
    pub fn new(test: &str) -> Option<Nobody> {
        // SAFETY: takes nothing, cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: {test}: not root, so it cannot become nobody");
            return None;
        }
        if !have("setpriv", test) {
            return None;
        }
        let name = format!("rtrace-{}-{}", std::process::id(), test.replace(' ', "-"));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(RTRACE, dir.join("rtrace")).unwrap();
        for path in [dir.clone(), dir.join("rtrace")] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Some(Nobody { dir })
    }

    /// Runs rtrace as nobody.
    #[track_caller]
    pub fn rtrace(&self, args: &[&str]) -> Run {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(self.dir.join("rtrace"))
            .args(args)
            .current_dir("/")
            .stdin(Stdio::null());
        run(command)
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn as_nobody() {
    let Some(nobody) = Nobody::new("hello as nobody") else {
        return;
    };
    let out = nobody.rtrace(&["--engine=user", "-e", HELLO]).ok();
    assert_eq!(out, "hello\n\n\n");
}
