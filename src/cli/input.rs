//! The program's text, from wherever the command line says.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::args::Program;
use crate::error::Error;

/// A script and the name it has in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The path as given, or `stdin`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Reads the program.
///
/// # Errors
/// The message for the user.
pub fn read(program: &Program) -> Result<Input, String> {
    let (name, bytes) = match program {
        Program::Inline(text) => ("stdin".to_owned(), Ok(text.clone().into_bytes())),
        Program::Stdin => ("stdin".to_owned(), from_stdin()),
        Program::File(path) => (path.display().to_string(), fs::read(path)),
    };
    let bytes = bytes.map_err(|e| {
        let e = Error::from(e);
        format!("ERROR: failed to open file '{name}': {e}")
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Input { name, text }),
        Err(e) => {
            let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()]
                .iter()
                .filter(|&&b| b == b'\n')
                .count();
            Err(format!(
                "{name}:{line}: ERROR: the script is not UTF-8 text"
            ))
        }
    }
}

/// Reads a file given by path.
///
/// # Errors
/// As for [`read`].
pub fn read_file(path: &Path) -> Result<Input, String> {
    read(&Program::File(path.to_owned()))
}

fn from_stdin() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_read_are_named_as_given() {
        let missing = Program::File("nofile.bt".into());
        assert_eq!(
            read(&missing).unwrap_err(),
            "ERROR: failed to open file 'nofile.bt': No such file or directory"
        );
    }

    #[test]
    fn text_must_be_utf8() {
        let path = std::env::temp_dir().join(format!("rtrace-input-{}", std::process::id()));
        fs::write(&path, b"a\nb\xff").unwrap();
        let message = read_file(&path).unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(
            message.ends_with(":2: ERROR: the script is not UTF-8 text"),
            "{message}"
        );
    }
}
