//! The files that scripts import.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::syntax::imports::{Found, LoadError, Loader};

/// Write permission for everybody.
const WORLD_WRITABLE: u32 = 0o002;

/// Imports from the file system: beside the importing file, then in the folders of `-I`.
#[derive(Clone, Debug, Default)]
pub struct FileLoader {
    dirs: Vec<PathBuf>,
}

impl FileLoader {
    /// A loader that also looks in `dirs`.
    pub fn new(dirs: &[PathBuf]) -> Self {
        Self {
            dirs: dirs.to_vec(),
        }
    }
}

impl Loader for FileLoader {
    fn find(&mut self, importer: &str, path: &str) -> Result<Found, LoadError> {
        // A program from the command line or standard input imports from where we are.
        let beside = Path::new(importer).parent().unwrap_or(Path::new(""));
        let places = std::iter::once(beside).chain(self.dirs.iter().map(PathBuf::as_path));
        let mut checked = Vec::new();
        for dir in places {
            let candidate = dir.join(path);
            match fs::metadata(&candidate) {
                Ok(meta) if meta.is_dir() => {
                    if meta.permissions().mode() & WORLD_WRITABLE != 0 {
                        return Err(LoadError::Refused(format!(
                            "everybody can write to the directory '{}'",
                            candidate.display()
                        )));
                    }
                    return directory(&candidate);
                }
                Ok(_) => return Ok(Found::File(identity(&candidate))),
                Err(_) => checked.push(candidate.display().to_string()),
            }
        }
        Err(LoadError::NotFound(checked))
    }

    fn read(&mut self, path: &str) -> Result<String, String> {
        let bytes = fs::read(path).map_err(|e| Error::from(e).to_string())?;
        String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())
    }
}

/// The scripts and headers right in a directory, by name.
fn directory(dir: &Path) -> Result<Found, LoadError> {
    let refused = |e: std::io::Error| {
        let e = Error::from(e);
        LoadError::Refused(format!(
            "cannot read the directory '{}': {e}",
            dir.display()
        ))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let known = path.extension().is_some_and(|e| e == "bt" || e == "h");
        if known && path.is_file() {
            files.push(identity(&path));
        }
    }
    files.sort();
    Ok(Found::Directory(files))
}

/// One spelling for all ways to name a file.
fn identity(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_importer_come_before_the_folders() {
        let root = std::env::temp_dir().join(format!("rtrace-imports-{}", std::process::id()));
        let (a, b) = (root.join("a"), root.join("b"));
        for dir in [&a, &b] {
            fs::create_dir_all(dir).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for file in [
            a.join("x.bt"),
            b.join("x.bt"),
            b.join("y.h"),
            b.join("z.txt"),
        ] {
            fs::write(file, "").unwrap();
        }
        let mut loader = FileLoader::new(std::slice::from_ref(&b));
        let main = a.join("main.bt").display().to_string();
        let file = |p: &Path| Ok(Found::File(identity(p)));
        assert_eq!(loader.find(&main, "x.bt"), file(&a.join("x.bt")));
        assert_eq!(loader.find(&main, "y.h"), file(&b.join("y.h")));
        let both = vec![identity(&b.join("x.bt")), identity(&b.join("y.h"))];
        assert_eq!(loader.find(&main, "../b"), Ok(Found::Directory(both)));
        fs::set_permissions(&b, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            loader.find(&main, "../b"),
            Err(LoadError::Refused(_))
        ));
        fs::remove_dir_all(root).unwrap();
        let missing = FileLoader::default().find("stdin", "nope.bt");
        assert_eq!(missing, Err(LoadError::NotFound(vec!["nope.bt".into()])));
    }
}
