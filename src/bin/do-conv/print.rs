//! The output of the command.

use std::io::{self, ErrorKind, Write, stdout};

use crate::failure::Failure;

/// Prints a text. Whoever closes the pipe has enough of it, as `do-conv inspect FILE | head`; any other
/// error is one.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failure(&error)),
        _ => Ok(()),
    }
}

pub fn failure(error: &io::Error) -> Failure {
    Failure::new(format!("can't print to standard output: {error}"))
}
