//! Errors for what can't be read.

use std::io;
use std::path::Path;

use super::text::{OPEN, shown, shown_path};
use crate::error::{Error, ErrorKind, Operation};

/// The error for a tensor or a part of a file whose bytes can't be read, or that there is no room for.
pub fn unreadable(operation: Operation, name: &str, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return operation.error(ErrorKind::Memory, shown(name), "room for it", "none");
    }
    let got = shown(&error.to_string());
    operation.error(fault(error), shown(name), "readable data", got)
}

/// The error for a file that can't be opened.
pub fn unreadable_file(path: &Path, error: &io::Error) -> Error {
    OPEN.error(ErrorKind::File, shown_path(path), "a readable file", error)
}

/// Whether it is the file's own fault that it can't be read, or the operating system's.
pub fn fault(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Format,
        _ => ErrorKind::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_is_the_file_s_fault_or_the_system_s() {
        for (error, kind) in [
            (io::ErrorKind::InvalidData, ErrorKind::Format),
            (io::ErrorKind::UnexpectedEof, ErrorKind::Format),
            (io::ErrorKind::PermissionDenied, ErrorKind::File),
            (io::ErrorKind::StaleNetworkFileHandle, ErrorKind::File),
            (io::ErrorKind::Other, ErrorKind::File),
            (io::ErrorKind::OutOfMemory, ErrorKind::Memory),
        ] {
            let error = unreadable(Operation("Checkpoint::read"), "a", &error.into());
            assert_eq!((error.kind, &*error.field), (kind, "a"), "{error}");
        }
    }
}
