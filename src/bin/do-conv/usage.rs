//! The arguments of the process, and what is said of those that make no sense.

use std::env::args_os;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{Error, ErrorKind};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::print;
use crate::text::shown;

/// The arguments; or prints help, or what is wrong, and gives the exit status.
pub fn parse() -> Result<Arguments, ExitCode> {
    let given: Vec<OsString> = args_os().collect();
    Arguments::try_parse_from(&given).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => status(&error),
        _ => status(&error_of_shown(&given).unwrap_or(error)),
    })
}

/// The same error with the arguments as they are fit for a terminal: errors repeat them.
fn error_of_shown(given: &[OsString]) -> Option<Error> {
    let printable = given.iter().map(|argument| match argument.is_empty() {
        true => String::new(),
        false => shown(&argument.to_string_lossy()),
    });
    Arguments::try_parse_from(printable).err()
}

fn status(error: &Error) -> ExitCode {
    match error.print() {
        Err(failed) if !error.use_stderr() && failed.kind() != std::io::ErrorKind::BrokenPipe => {
            let failure: Failure = print::failure(&failed);
            failure.report()
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}
