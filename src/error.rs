//! System errors: what failed, why, and in which context.
//!
//! User errors in a script are diagnostics; this type is for the
//! machine's refusals: a file that cannot be opened, a system call that fails.

use std::fmt;

/// What sort of failure an [`Error`] is, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something named does not exist.
    NotFound,
    /// The kernel or the file system refused for lack of privilege.
    PermissionDenied,
    /// A file or a record is not what its format demands.
    InvalidData,
    /// The kernel lacks a feature.
    Unsupported,
    /// Any other input/output failure.
    Io,
    /// Anything else.
    Other,
}

/// Result of an operation that the system may refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A system error: one machine word, with a chain of contexts, outermost first.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    context: Vec<String>,
    message: String,
    errno: Option<i32>,
}

impl Error {
    /// A new error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            context: Vec::new(),
            message: message.into(),
            errno: None,
        }))
    }

    /// Data that does not follow its format.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidData, message)
    }

    /// Something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The error that a system call left in `errno`.
    pub fn last_os() -> Self {
        std::io::Error::last_os_error().into()
    }

    /// The error for a raw errno value (positive).
    pub fn from_errno(errno: i32) -> Self {
        std::io::Error::from_raw_os_error(errno).into()
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The errno value behind this error, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The same error inside one more context.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.context.push(context.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.context.iter().rev() {
            write!(f, "{c}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        let kind = match e.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::InvalidData => ErrorKind::InvalidData,
            std::io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Io,
        };
        let errno = e.raw_os_error();
        let message = match errno {
            // std appends "(os error N)", which says nothing to a user.
            Some(n) => {
                let text = e.to_string();
                let cut = text
                    .rfind(&format!(" (os error {n})"))
                    .unwrap_or(text.len());
                text[..cut].to_owned()
            }
            None => e.to_string(),
        };
        Self(Box::new(Inner {
            kind,
            context: Vec::new(),
            message,
            errno,
        }))
    }
}

/// Adds context to the error side of a result.
pub trait ErrorExt<T> {
    /// Wraps an error in a context that is already at hand.
    fn context(self, context: &str) -> Result<T>;
    /// Wraps an error in a context that is built only when it is needed.
    fn with_context(self, f: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> ErrorExt<T> for std::result::Result<T, E> {
    fn context(self, context: &str) -> Result<T> {
        self.map_err(|e| e.into().context(context))
    }

    fn with_context(self, f: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.into().context(f()))
    }
}
