//! Where the bytes of a fold go.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::checkpoint::atomic_file::AtomicFile;
use crate::error::Result;

/// A file, or nothing for a fold that is only checked; counts the bytes either way.
pub struct Sink<'a> {
    file: Option<&'a AtomicFile>,
    /// Bytes of all tensors, those that are written twice counted twice.
    total: u64,
    done: AtomicU64,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Sink<'a> {
    pub fn new(
        file: Option<&'a AtomicFile>,
        total: u64,
        progress: &'a (dyn Fn(u64, u64) + Sync),
    ) -> Self {
        Self { file, total, done: 0.into(), progress }
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
        self.count(bytes.len() as u64);
        Ok(())
    }

    /// Tells that so many more bytes are done.
    pub fn count(&self, len: u64) {
        let done = self.done.fetch_add(len, Ordering::Relaxed) + len;
        (self.progress)(done, self.total);
    }
}
