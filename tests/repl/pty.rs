//! A pseudo-terminal with rtrace on it.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a text may take to appear: only a failure waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of the test's own.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rtrace-repl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Both ends of a new pseudo-terminal, neither of which programs that are started inherit.
fn pair(setup: Setup) -> (OwnedFd, OwnedFd) {
    // SAFETY: no memory is passed.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    assert!(master >= 0, "posix_openpt");
    // SAFETY: the descriptor is new and ours.
    let master = unsafe { OwnedFd::from_raw_fd(master) };
    let mut name = [0 as libc::c_char; 64];
    let size = libc::winsize {
        ws_row: setup.rows,
        ws_col: setup.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the buffer is as long as said, and `size` outlives the call.
    let name = unsafe {
        assert_eq!(libc::unlockpt(master.as_raw_fd()), 0, "unlockpt");
        let named = libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len());
        assert_eq!(named, 0, "ptsname_r");
        let sized = libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &size);
        assert_eq!(sized, 0, "TIOCSWINSZ");
        CStr::from_ptr(name.as_ptr())
    };
    let slave = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_str().unwrap())
        .unwrap();
    (master, slave.into())
}

/// Runs rtrace without a terminal and returns what it printed.
pub fn rtrace(args: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_rtrace"))
        .args(args)
        .output();
    let out = run.unwrap();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    String::from_utf8(out.stdout).unwrap() + &err
}

/// How a terminal is, and who sits there.
#[derive(Clone, Copy)]
pub struct Setup {
    pub rows: u16,
    pub columns: u16,
    pub colour: bool,
    /// As an ordinary user.
    pub nobody: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rows: 50,
            columns: 220,
            colour: false,
            nobody: false,
        }
    }
}

/// The user and group `nobody`.
const NOBODY: u32 = 65534;

/// What came out of the terminal.
struct Screen {
    /// All of it, without escape sequences.
    text: String,
    /// What the terminal shows.
    shown: vt100::Parser,
    /// An escape sequence that is not complete.
    escape: Vec<u8>,
    closed: bool,
}

impl Screen {
    fn new(setup: Setup) -> Self {
        Self {
            text: String::new(),
            shown: vt100::Parser::new(setup.rows, setup.columns, 0),
            escape: Vec::new(),
            closed: false,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.shown.process(bytes);
        let mut plain = Vec::new();
        for &b in bytes {
            if !self.escape.is_empty() {
                self.escape.push(b);
                let done = match self.escape.get(1) {
                    Some(b'[') => self.escape.len() > 2 && (0x40..=0x7e).contains(&b),
                    Some(b']') => b == 7,
                    _ => true,
                };
                if done {
                    self.escape.clear();
                }
            } else if b == 0x1b {
                self.escape.push(b);
            } else if b != b'\r' {
                plain.push(b);
            }
        }
        self.text.push_str(&String::from_utf8_lossy(&plain));
    }
}

/// rtrace on a terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    /// How much of the text was looked at.
    seen: usize,
    /// Whether that ends with a prompt.
    at_prompt: bool,
}

impl Terminal {
    /// Starts rtrace and waits for its prompt.
    pub fn start(dir: &Dir, args: &[&str]) -> Self {
        let mut terminal = Self::with(dir, args, Setup::default());
        terminal.prompt();
        terminal
    }

    /// Starts rtrace on a terminal like this.
    pub fn with(dir: &Dir, args: &[&str], setup: Setup) -> Self {
        let (master, slave) = pair(setup);
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtrace"));
        command
            .args(args)
            .env("TERM", "xterm-256color")
            .env("XDG_STATE_HOME", dir.path("state"))
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave));
        match setup.colour {
            true => command.env_remove("NO_COLOR"),
            false => command.env("NO_COLOR", "1"),
        };
        // SAFETY: between fork and exec only these system calls are made.
        unsafe {
            command.pre_exec(move || {
                let failed = libc::setsid() < 0
                    || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0
                    || setup.nobody
                        && (libc::setgroups(0, std::ptr::null()) < 0
                            || libc::setgid(NOBODY) < 0
                            || libc::setuid(NOBODY) < 0);
                match failed {
                    true => Err(std::io::Error::last_os_error()),
                    false => Ok(()),
                }
            });
        }
        if setup.nobody {
            std::os::unix::fs::chown(&dir.0, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let child = command.spawn().unwrap();
        drop(command);
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().unwrap();
        let screen = Arc::new((Mutex::new(Screen::new(setup)), Condvar::new()));
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = output.read(&mut buffer).unwrap_or(0);
                let (screen, changed) = &*shared;
                let mut screen = screen.lock().unwrap();
                screen.feed(&buffer[..n]);
                screen.closed = n == 0;
                changed.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Self {
            child,
            keyboard,
            screen,
            seen: 0,
            at_prompt: false,
        }
    }

    /// Presses keys.
    pub fn keys(&mut self, text: &str) {
        self.at_prompt = false;
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Types a line, at the next prompt.
    pub fn line(&mut self, text: &str) {
        if !self.at_prompt {
            self.prompt();
        }
        self.keys(text);
        self.keys("\r");
    }

    /// Waits for a prompt to which nothing is typed yet.
    pub fn prompt(&mut self) {
        self.wait_for("a prompt", |text| {
            text.ends_with("rtrace> ").then_some(text.len())
        });
        self.at_prompt = true;
    }

    /// Waits for a text after what was seen before.
    pub fn expect(&mut self, wanted: &str) {
        self.wait_for(wanted, |text| Some(text.find(wanted)? + wanted.len()));
    }

    /// Waits for a text with a number after it.
    pub fn number_after(&mut self, wanted: &str) -> u64 {
        let mut number = 0;
        self.wait_for(wanted, |text| {
            text.match_indices(wanted).find_map(|(at, _)| {
                let rest = text[at + wanted.len()..].trim_start_matches(' ');
                let end = rest.find(|c: char| !c.is_ascii_digit())?;
                number = rest[..end].parse().ok()?;
                Some(text.len() - rest.len() + end)
            })
        });
        number
    }

    fn wait_for(&mut self, what: &str, mut found: impl FnMut(&str) -> Option<usize>) {
        let end = Instant::now() + PATIENCE;
        let (screen, changed) = &*self.screen;
        let mut screen = screen.lock().unwrap();
        loop {
            if let Some(at) = found(&screen.text[self.seen..]) {
                self.seen += at;
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            if screen.closed || left.is_zero() {
                panic!("waited for {what:?}; the terminal shows:\n{}", screen.text);
            }
            screen = changed.wait_timeout(screen, left).unwrap().0;
        }
    }

    /// Waits until the screen is as wanted; what was printed before and went away counts no
    /// more.
    pub fn shows(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        self.look(what, |screen| wanted(&screen.contents()).then_some(()));
    }

    /// Waits until the screen has what is looked for.
    pub fn look<T>(&mut self, what: &str, found: impl Fn(&vt100::Screen) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let (screen, changed) = &*self.screen;
        let mut screen = screen.lock().unwrap();
        loop {
            if let Some(it) = found(screen.shown.screen()) {
                return it;
            }
            let left = end.saturating_duration_since(Instant::now());
            if screen.closed || left.is_zero() {
                let shown = screen.shown.screen().contents();
                panic!("waited for {what:?}; the terminal shows:\n{shown}");
            }
            screen = changed.wait_timeout(screen, left).unwrap().0;
        }
    }

    /// Whether the terminal takes lines and echoes them, as terminals do for whoever comes next.
    pub fn is_as_before(&self) -> bool {
        // SAFETY: termios is plain data, which the call fills.
        let mut found: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `found` outlives the call.
        let asked = unsafe { libc::tcgetattr(self.keyboard.as_raw_fd(), &mut found) };
        assert_eq!(asked, 0, "tcgetattr");
        let wanted = libc::ICANON | libc::ECHO | libc::ISIG;
        found.c_lflag & wanted == wanted
    }

    /// Sends rtrace a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is our child, which nobody has waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    /// All that was written so far, without escape sequences.
    pub fn text(&self) -> String {
        self.screen.0.lock().unwrap().text.clone()
    }

    /// Waits for the end of rtrace and gives its exit code.
    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        let (screen, changed) = &*self.screen;
        let mut screen = screen.lock().unwrap();
        while !screen.closed {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "rtrace does not end:\n{}", screen.text);
            screen = changed.wait_timeout(screen, left).unwrap().0;
        }
        drop(screen);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
