//! Tracepoints as tracefs lists them, and the functions that ftrace can trace.
//!
//! In: the tracefs mount, which is made if it is missing and we may. Out: names of events, their
//! ids and the layout of their records. Programs are attached elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use super::format::{self, Field};
use super::wildcard;
use crate::error::{Error, ErrorExt, ErrorKind, Result};

/// Where tracefs is mounted, in order of preference; the second one is for old systems.
const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A mounted tracefs.
#[derive(Clone, Debug)]
pub struct Tracefs {
    root: PathBuf,
}

/// A tracepoint with the layout of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracepoint {
    /// The category, such as `sched`.
    pub category: String,
    /// The event, such as `sched_switch`.
    pub event: String,
    /// The number by which perf opens it.
    pub id: u64,
    /// The fields, without the common ones that BPF cannot read.
    pub fields: Vec<Field>,
}

impl Tracefs {
    /// Finds the mount, or makes it.
    ///
    /// # Errors
    /// A kernel without tracefs, or one that refuses to mount or to show it.
    pub fn find() -> Result<Self> {
        for root in MOUNTS {
            match fs::metadata(Path::new(root).join("events")) {
                Ok(_) => return Ok(Self::at(root)),
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                    return Err(Error::from(e).context(format!(
                        "cannot look into {root}, which needs root or CAP_DAC_READ_SEARCH"
                    )));
                }
                Err(_) => {}
            }
        }
        mount(MOUNTS[0]).map_err(|e| {
            let reason = format!(
                "tracefs is not mounted ({e}); as root: mount -t tracefs tracefs {}",
                MOUNTS[0]
            );
            Error::new(e.kind(), reason)
        })?;
        Ok(Self::at(MOUNTS[0]))
    }

    /// A tracefs at `root`, unchecked: another mount, or a copy for tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn event_file(&self, category: &str, event: &str, file: &str) -> Result<String> {
        let name = format!("{category}:{event}");
        // Names come from scripts: they must not climb out of the directory.
        if [category, event]
            .iter()
            .any(|s| s.is_empty() || s.contains('/') || s.starts_with('.'))
        {
            return Err(Error::not_found(format!("no tracepoint is called {name}")));
        }
        let path = self
            .root
            .join("events")
            .join(category)
            .join(event)
            .join(file);
        fs::read_to_string(&path).map_err(|e| {
            if e.kind() == std::io::ErrorKind::NotFound {
                Error::not_found(format!("no tracepoint is called {name}"))
            } else {
                Error::from(e).context(path.display().to_string())
            }
        })
    }

    /// The number of an event, by which perf opens it.
    ///
    /// # Errors
    /// An event that does not exist or may not be read.
    pub fn id(&self, category: &str, event: &str) -> Result<u64> {
        let text = self.event_file(category, event, "id")?;
        text.trim()
            .parse()
            .map_err(|_| Error::invalid(format!("{category}:{event} has no number: {text:?}")))
    }

    /// An event with its fields.
    ///
    /// # Errors
    /// An event that does not exist, may not be read, or whose format is not understood.
    pub fn tracepoint(&self, category: &str, event: &str) -> Result<Tracepoint> {
        let text = self.event_file(category, event, "format")?;
        let (id, fields) = format::parse(&text, category == "syscalls")
            .with_context(|| format!("format of {category}:{event}"))?;
        Ok(Tracepoint {
            category: category.to_owned(),
            event: event.to_owned(),
            id,
            fields,
        })
    }

    /// Whether an event exists.
    pub fn exists(&self, category: &str, event: &str) -> bool {
        self.event_file(category, event, "id").is_ok()
    }

    /// Category and event of all tracepoints that match both patterns, sorted.
    ///
    /// # Errors
    /// A tracefs that cannot be read.
    pub fn events(&self, category: &str, event: &str) -> Result<Vec<(String, String)>> {
        let mut found = match (wildcard::is_pattern(category), wildcard::is_pattern(event)) {
            (false, false) => {
                let name = (category.to_owned(), event.to_owned());
                return Ok(self
                    .exists(category, event)
                    .then_some(name)
                    .into_iter()
                    .collect());
            }
            (false, true) => self.events_in(category, event)?,
            (true, _) => self.all_events(category, event)?,
        };
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// One directory holds the events of a category.
    fn events_in(&self, category: &str, pattern: &str) -> Result<Vec<(String, String)>> {
        if category.is_empty() || category.contains('/') || category.starts_with('.') {
            return Ok(Vec::new());
        }
        let dir = self.root.join("events").join(category);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::from(e).context(dir.display().to_string())),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| dir.display().to_string())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Events are directories; `enable` and `filter` beside them are files.
            if wildcard::matches(pattern, &name) && entry.file_type().is_ok_and(|t| t.is_dir()) {
                found.push((category.to_owned(), name));
            }
        }
        Ok(found)
    }

    /// One file lists every event of the kernel, which is faster than to walk 130 directories.
    fn all_events(&self, category: &str, event: &str) -> Result<Vec<(String, String)>> {
        let path = self.root.join("available_events");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(c, e)| wildcard::matches(category, c) && wildcard::matches(event, e))
            .map(|(c, e)| (c.to_owned(), e.to_owned()))
            .collect())
    }

    /// The text of `available_filter_functions`: a function a line, `[module]` behind it.
    ///
    /// # Errors
    /// A kernel without function tracing, or one that does not let us read the list.
    pub fn filter_functions(&self) -> Result<String> {
        let path = self.root.join("available_filter_functions");
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

fn mount(target: &str) -> Result<()> {
    if !Path::new(target).is_dir() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the kernel has no tracefs",
        ));
    }
    let c = |s: &str| std::ffi::CString::new(s).expect("a constant without NUL");
    let (name, target) = (c("tracefs"), c(target));
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: all pointers are NUL-terminated strings that outlive the call; no mount data.
    let rc = unsafe {
        libc::mount(
            name.as_ptr(),
            target.as_ptr(),
            name.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    if rc != 0 {
        return Err(Error::last_os());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::format::FieldKind;

    fn tracefs() -> Option<Tracefs> {
        match Tracefs::find() {
            Ok(t) => Some(t),
            Err(e) => {
                eprintln!("SKIP: {e}");
                None
            }
        }
    }

    #[test]
    fn this_kernels_events_by_name_and_pattern() {
        let Some(t) = tracefs() else { return };
        let switch = t.tracepoint("sched", "sched_switch").unwrap();
        assert_eq!(switch.id, t.id("sched", "sched_switch").unwrap());
        let comm = switch
            .fields
            .iter()
            .find(|f| f.name == "prev_comm")
            .unwrap();
        assert_eq!((comm.size, comm.is_text()), (16, true));
        assert!(switch.fields.iter().all(|f| !f.name.starts_with("common_")));

        let open = t.tracepoint("syscalls", "sys_enter_openat").unwrap();
        let file = open.fields.iter().find(|f| f.name == "filename").unwrap();
        assert_eq!(file.kind, FieldKind::Pointer { user: true });

        let enters = t.events("syscalls", "sys_enter_*").unwrap();
        assert!(enters.len() > 200 && enters.is_sorted(), "{}", enters.len());
        assert_eq!(t.events("sch*", "sched_switch").unwrap().len(), 1);
        assert_eq!(t.events("*", "no_such_*").unwrap(), []);
        assert_eq!(t.events("nope", "x*").unwrap(), []);
    }

    #[test]
    fn every_format_of_this_kernel_is_understood() {
        let Some(t) = tracefs() else { return };
        let all = t.events("*", "*").unwrap();
        assert!(all.len() > 500);
        for (category, event) in all {
            if let Err(e) = t.tracepoint(&category, &event) {
                // `ftrace:` entries describe records of tracers; they have a format and no id.
                assert_eq!(e.kind(), ErrorKind::NotFound, "{category}:{event}: {e}");
            }
        }
    }

    #[test]
    fn names_do_not_leave_the_directory() {
        let t = Tracefs::at("/sys/kernel/tracing");
        let e = t.tracepoint("..", "options").unwrap_err();
        assert_eq!(e.to_string(), "no tracepoint is called ..:options");
        assert!(!t.exists("sched/../sched", "sched_switch"));
    }
}
