//! What the command says where it can't do what it was told.

use std::io::{Write, stderr};
use std::path::Path;
use std::process::ExitCode;

use crate::text::shown_path;

/// A refusal in a sentence, which says which file it is about, and what to try.
#[derive(Debug)]
pub struct Failure {
    pub text: String,
    pub hint: Option<String>,
    /// The exit status: 1, 2 for arguments that make no sense, 128 and the signal for a signal.
    pub status: u8,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, status: 1 }
    }

    /// About a file.
    pub fn of(path: &Path, text: &str) -> Self {
        Self::new(format!("{}: {text}", shown_path(path)))
    }

    /// Arguments that don't go together.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { status: 2, ..Self::new(text) }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Prints it, if there is anything to print to; gives the exit status.
    pub fn report(&self) -> ExitCode {
        let mut text = format!("error: {}\n", self.text);
        if let Some(hint) = &self.hint {
            text += &format!("hint: {hint}\n");
        }
        // Nobody is left to be told.
        let _ = stderr().write_all(text.as_bytes());
        ExitCode::from(self.status)
    }
}
