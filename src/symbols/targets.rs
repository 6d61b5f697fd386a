//! The files that the target of a user probe means.
//!
//! In: a path, a name, or a pattern with `*` in any component of a path. Out: the files, each
//! with the path by which people know it. For a process, a pattern without a slash means the
//! programs and libraries that it has mapped, by path or name; `*` alone without a process
//! means those of all processes. Only files that are meant by a pattern are looked into, since
//! most of a folder is no program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::elf::ElfFile;
use super::glob::Glob;
use super::paths::{PathResolver, basename};

/// A file that a target means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetPath {
    /// A path as it was written, else where the file was found.
    pub shown: String,
    /// What to open.
    pub path: PathBuf,
}

impl PathResolver {
    /// The files that `target` means, none if there is none.
    pub fn files(&self, target: &str) -> Vec<TargetPath> {
        if !target.contains('*') {
            let found = self.resolve(target).map(|path| TargetPath {
                shown: if target.contains('/') {
                    target.to_owned()
                } else {
                    path.to_string_lossy().into_owned()
                },
                path,
            });
            return found.into_iter().collect();
        }
        let paths = match self.pid {
            _ if target.contains('/') => self.matching(target),
            Some(pid) => self.mapped(pid, &Glob::new(target)),
            None if target == "*" => self.mapped_by_all(),
            None => {
                let dirs = self.path.split(':').filter(|d| !d.is_empty());
                dirs.flat_map(|dir| self.matching(&format!("{dir}/{target}")))
                    .collect()
            }
        };
        paths
            .into_iter()
            .map(|path| TargetPath {
                shown: path.to_string_lossy().into_owned(),
                path,
            })
            .collect()
    }

    /// Programs and libraries that a process has mapped.
    fn mapped(&self, pid: u32, pattern: &Glob) -> BTreeSet<PathBuf> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        text.lines()
            .filter_map(mapped_file)
            .filter(|path| {
                pattern.matches(path.as_bytes()) || pattern.matches(basename(path).as_bytes())
            })
            .map(|path| {
                if self.root == Path::new("/") {
                    PathBuf::from(path)
                } else {
                    self.below_root(Path::new(path))
                }
            })
            .filter(|path| path.is_file())
            .collect()
    }

    fn mapped_by_all(&self) -> BTreeSet<PathBuf> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .flat_map(|pid| Self::for_pid(pid).mapped(pid, &Glob::new("*")))
            .collect()
    }

    /// Programs and libraries whose path matches component by component.
    fn matching(&self, pattern: &str) -> BTreeSet<PathBuf> {
        let start = if pattern.starts_with('/') { "/" } else { "" };
        let mut found = vec![PathBuf::from(start)];
        for part in pattern.split('/').filter(|p| !p.is_empty()) {
            if !part.contains('*') {
                for path in &mut found {
                    path.push(part);
                }
                continue;
            }
            let glob = Glob::new(part);
            found = found
                .iter()
                .flat_map(|dir| self.entries(dir, &glob))
                .collect();
        }
        found
            .into_iter()
            .filter(|p| self.inside(p).is_file() && ElfFile::open(&self.inside(p)).is_ok())
            .collect()
    }

    /// Entries of a folder that match; hidden ones only if the pattern says so.
    fn entries(&self, dir: &Path, glob: &Glob) -> Vec<PathBuf> {
        let here = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        std::fs::read_dir(self.inside(here))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| {
                let name = e.file_name();
                let name = name.as_encoded_bytes();
                glob.matches(name) && !name.starts_with(b".")
            })
            .map(|e| dir.join(e.file_name()))
            .collect()
    }

    /// Where a path of this file system is for us.
    fn inside(&self, path: &Path) -> PathBuf {
        if self.root == Path::new("/") {
            path.to_owned()
        } else {
            self.below_root(path)
        }
    }
}

/// The file of a line of `/proc/PID/maps` if code of it is mapped.
fn mapped_file(line: &str) -> Option<&str> {
    let permissions = line.split_ascii_whitespace().nth(1)?;
    permissions.contains('x').then_some(())?;
    line.find('/').map(|at| &line[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(resolver: &PathResolver, target: &str) -> Vec<String> {
        let files = resolver.files(target);
        files.into_iter().map(|f| f.shown).collect()
    }

    #[test]
    fn any_component_of_a_path_may_be_a_pattern() {
        let root = std::env::temp_dir().join(format!("rtrace-targets-{}", std::process::id()));
        for (dir, file) in [
            ("a1", "prog"),
            ("a2", "prog"),
            ("b", "prog"),
            ("a2", ".prog"),
        ] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
            std::fs::copy("/bin/sh", root.join(dir).join(file)).unwrap();
        }
        std::fs::write(root.join("a1/program.txt"), "not a program").unwrap();
        let at = root.to_str().unwrap();
        let system = PathResolver::system();
        assert_eq!(
            shown(&system, &format!("{at}/a*/*pro*")),
            [format!("{at}/a1/prog"), format!("{at}/a2/prog")]
        );
        assert_eq!(
            shown(&system, &format!("{at}/b/../b/prog")),
            [format!("{at}/b/../b/prog")]
        );
        assert_eq!(shown(&system, &format!("{at}/c*/prog")), [] as [String; 0]);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_pattern_for_a_process_means_what_it_has_mapped() {
        let me = PathResolver::for_pid(std::process::id());
        let exe = std::env::current_exe().unwrap();
        let exe = exe.to_str().unwrap();
        for pattern in ["*", "rtrace*", &format!("{}*", &exe[..exe.len() - 1])] {
            assert!(shown(&me, pattern).iter().any(|f| f == exe), "{pattern}");
        }
        assert_eq!(shown(&me, "*no-such-library*"), [] as [String; 0]);
        assert_eq!(
            mapped_file("7f0000-7f1000 r--p 0 08:01 5 /usr/lib/x.so"),
            None
        );
        assert_eq!(
            mapped_file("7f0000-7f1000 r-xp 0 08:01 5       /usr/my lib/x.so"),
            Some("/usr/my lib/x.so")
        );
    }
}
