//! What ends a training.

use std::fmt;

/// What ends a training, and whether all ranks know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
    is_common: bool,
}

/// A result, or what ends a training.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that every rank returns at the same point, so that none waits for another.
    pub fn common(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_common: true }
    }

    /// An error of this rank alone: the others have to be stopped.
    pub fn local(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_common: false }
    }

    /// Whether every rank returns it.
    pub fn is_common(&self) -> bool {
        self.is_common
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<do_conv::Error> for Error {
    fn from(error: do_conv::Error) -> Self {
        Self::local(error.to_string())
    }
}
