//! Where the bytes of a fold go.

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::checkpoint::atomic_file::AtomicFile;
use crate::error::{ErrorKind, Operation, Result};

/// Is told the bytes done and those of all tensors, and says whether to go on.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync + 'a);

/// A file, or nothing for a fold that is only checked; counts the bytes either way.
pub struct Sink<'a> {
    operation: Operation,
    file: Option<&'a AtomicFile>,
    /// Bytes of all tensors, those that are written twice counted twice.
    total: u64,
    done: AtomicU64,
    progress: Progress<'a>,
}

impl<'a> Sink<'a> {
    pub fn new(
        operation: Operation,
        file: Option<&'a AtomicFile>,
        total: u64,
        progress: Progress<'a>,
    ) -> Self {
        Self { operation, file, total, done: 0.into(), progress }
    }

    /// What a thread writes with.
    pub fn handle(&self) -> Result<Option<File>> {
        self.file.map(AtomicFile::handle).transpose()
    }

    /// Writes bytes from byte `at` of the tensors on.
    pub fn write(&self, handle: Option<&File>, bytes: &[u8], at: u64) -> Result<()> {
        if let (Some(file), Some(handle)) = (self.file, handle) {
            file.write_at(handle, bytes, at)?;
        }
        self.count(bytes.len() as u64)
    }

    /// Tells that so many more bytes are done.
    pub fn count(&self, len: u64) -> Result<()> {
        let done = self.done.fetch_add(len, Ordering::Relaxed) + len;
        match (self.progress)(done, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                let (expected, got) = ("leave to go on", "a wish to stop");
                Err(self.operation.error(ErrorKind::Cancelled, "progress", expected, got))
            }
        }
    }
}
