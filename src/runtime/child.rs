//! `-c CMD`: a command that starts when everything is attached and ends the run when it ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::sys::{process, wait};
use crate::error::{Error, ErrorExt, Result};

/// A command: stopped before its first instruction, then running, then ended. Dropped before
/// it ended, it gets SIGTERM (while stopped: SIGKILL).
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    pidfd: OwnedFd,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    Running,
    Ended(ExitStatus),
}

impl Child {
    /// Starts `command`, which is split like a shell does, up to its first instruction. The
    /// thread that calls this must be the one that calls [`resume`](Self::resume).
    ///
    /// # Errors
    /// Quotes that do not match, no such program, or a kernel that forbids tracing.
    pub fn spawn(command: &str) -> Result<Self> {
        Self::start(command).context("Failed to fork child")
    }

    fn start(command: &str) -> Result<Self> {
        let words = split(command)?;
        let (name, args) = words
            .split_first()
            .ok_or_else(|| Error::invalid("the command is empty"))?;
        let path = find(name).ok_or_else(|| {
            let why = match Path::new(name).exists() {
                true => "Permission denied",
                false => "No such file or directory",
            };
            Error::not_found(format!(
                "Path '{name}' does not exist or is not executable ({why})"
            ))
        })?;
        let mut command = Command::new(path);
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(args);
        let user = invoking_user(process::effective_user(), |name| std::env::var(name).ok());
        let mut child = process::spawn_stopped(command, user)?;
        match wait::pidfd_open(child.id()) {
            Ok(pidfd) => Ok(Self {
                child,
                pidfd,
                state: State::Stopped,
            }),
            Err(e) => {
                // It never ran; there is nothing to be done about a failure.
                let _ = child.kill();
                let _ = child.wait();
                Err(e.context("pidfd_open needs Linux 5.3"))
            }
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run.
    ///
    /// # Errors
    /// It was killed meanwhile.
    pub fn resume(&mut self) -> Result<()> {
        if self.state == State::Stopped {
            process::resume(&self.child).context("the command is gone")?;
            self.state = State::Running;
        }
        Ok(())
    }

    /// Readable once it has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if let State::Ended(status) = self.state {
            return Some(status);
        }
        let status = self.child.try_wait().ok()??;
        self.state = State::Ended(status);
        Some(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        match (self.try_wait(), self.state) {
            (Some(_), _) => {}
            (None, State::Stopped) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            // It may take its time to end; nobody waits for it.
            (None, _) => {
                let _ = process::kill(self.child.id(), libc::SIGTERM);
            }
        }
    }
}

/// Who called sudo, if it was called and by someone else than root; only for root itself.
fn invoking_user(effective: u32, env: impl Fn(&str) -> Option<String>) -> Option<process::User> {
    if effective != 0 {
        return None;
    }
    let id = |name| env(name)?.parse::<u32>().ok();
    let (uid, gid) = (id("SUDO_UID")?, id("SUDO_GID")?);
    if uid == 0 {
        return None;
    }
    let groups = match env("SUDO_USER") {
        Some(name) => process::groups_of(&name, gid),
        None => vec![gid],
    };
    Some(process::User { uid, gid, groups })
}

/// Finds a program as a shell does: by PATH unless there is a slash in its name.
fn find(name: &str) -> Option<PathBuf> {
    let runnable = |p: &Path| {
        p.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|p| runnable(p));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|p| runnable(p))
}

/// Splits a command line into words: blanks separate, quotes of both kinds hold together, a
/// backslash takes the next character as it is (within double quotes only `"`, `\`, `$` and
/// `` ` ``). Nothing is expanded.
fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    let unfinished = || Error::invalid(format!("quotes do not match: {line}"));
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let w = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unfinished)? {
                        '\'' => break,
                        c => w.push(c),
                    }
                }
            }
            '"' => {
                let w = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unfinished)? {
                        '"' => break,
                        '\\' => match chars.next().ok_or_else(unfinished)? {
                            c @ ('"' | '\\' | '$' | '`') => w.push(c),
                            c => w.extend(['\\', c]),
                        },
                        c => w.push(c),
                    }
                }
            }
            '\\' => {
                let c = chars.next().ok_or_else(unfinished)?;
                word.get_or_insert_default().push(c);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_like_a_shell_splits_them() {
        let w = split(r#"a  'b c' "d \"e\" \n" f\ g '' x'y'"z""#).unwrap();
        assert_eq!(w, ["a", "b c", r#"d "e" \n"#, "f g", "", "xyz"]);
        assert!(split("'a").is_err());
        assert!(split("a\\").is_err());
        assert!(split("  ").unwrap().is_empty());
    }

    #[test]
    fn only_root_under_sudo_has_an_invoking_user() {
        let env = |name: &str| match name {
            "SUDO_UID" => Some("1000".to_owned()),
            "SUDO_GID" => Some("1001".to_owned()),
            _ => None,
        };
        let user = invoking_user(0, env).unwrap();
        assert_eq!(
            (user.uid, user.gid, &user.groups[..]),
            (1000, 1001, &[1001][..])
        );
        assert!(invoking_user(1000, env).is_none());
        assert!(invoking_user(0, |_| None).is_none());
        assert!(invoking_user(0, |_| Some("0".into())).is_none());
        assert!(invoking_user(0, |_| Some("x".into())).is_none());
    }

    #[test]
    fn missing_programs_are_named() {
        let e = Child::spawn("nonexistent-program -x")
            .unwrap_err()
            .to_string();
        assert_eq!(
            e,
            "Failed to fork child: Path 'nonexistent-program' does not exist or is not executable \
             (No such file or directory)"
        );
        assert!(Child::spawn("/etc/passwd").is_err());
    }

    #[test]
    fn a_command_waits_to_be_resumed_and_its_end_is_seen() {
        let mut child = Child::spawn("sh -c 'exit 3'").unwrap();
        assert_eq!(child.try_wait(), None);
        let state = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
        assert!(state.contains(") t "), "{state}");
        child.resume().unwrap();
        let epoll = wait::Epoll::new().unwrap();
        epoll.add(child.fd(), 7).unwrap();
        assert_eq!(epoll.wait(10_000).unwrap(), [7]);
        let status = child.try_wait().unwrap();
        assert_eq!(process::exit_code(status), 3);
    }

    #[test]
    fn a_stopped_command_does_not_outlive_us() {
        let child = Child::spawn("sleep 100").unwrap();
        let proc = format!("/proc/{}", child.pid());
        drop(child);
        assert!(!Path::new(&proc).exists());
    }
}
