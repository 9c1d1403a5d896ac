//! A file that appears whole or not at all.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::text::shown_path;
use crate::error::{Error, ErrorKind, Operation, Result};

/// A temporary file beside the one that it will be.
pub struct AtomicFile {
    temporary: NamedTempFile,
    path: PathBuf,
    operation: Operation,
    overwrite: bool,
    /// Bytes of the head.
    head_len: u64,
}

impl AtomicFile {
    /// Makes a file of a head, which is written, and `len` bytes after it.
    pub fn create(
        operation: Operation,
        path: &Path,
        overwrite: bool,
        head: &[u8],
        len: u64,
    ) -> Result<Self> {
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(exists(operation, path));
        }
        // A device or a folder, through however many links.
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let (expected, got) = ("a regular file to overwrite", "another kind of thing");
            return Err(operation.error(ErrorKind::File, shown_path(path), expected, got));
        }
        let refused = |error: io::Error| refused(operation, path, &error);
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut builder = Builder::new();
        builder.prefix(".do-conv-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any other new file; the process's mask takes off what it always does.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut temporary = builder.tempfile_in(folder).map_err(refused)?;
        let head_len = head.len() as u64;
        temporary.as_file().set_len(head_len + len).map_err(refused)?;
        temporary.write_all(head).map_err(refused)?;
        Ok(Self { temporary, path: path.to_owned(), operation, overwrite, head_len })
    }

    /// A handle with a position of its own, for each thread that writes.
    pub fn handle(&self) -> Result<File> {
        self.temporary.reopen().map_err(|error| refused(self.operation, &self.path, &error))
    }

    /// Writes bytes from byte `at` after the head on.
    pub fn write_at(&self, mut file: &File, bytes: &[u8], at: u64) -> Result<()> {
        file.seek(SeekFrom::Start(self.head_len + at))
            .and_then(|_| file.write_all(bytes))
            .map_err(|error| refused(self.operation, &self.path, &error))
    }

    /// The error for a write of one's own that failed.
    pub fn refused(&self, error: &io::Error) -> Error {
        refused(self.operation, &self.path, error)
    }

    /// Gives the file its name, once it is on the disk.
    pub fn persist(self) -> Result<()> {
        let Self { temporary, path, operation, overwrite, .. } = self;
        temporary.as_file().sync_all().map_err(|error| refused(operation, &path, &error))?;
        let named = match overwrite {
            true => temporary.persist(&path),
            false => temporary.persist_noclobber(&path),
        };
        match named {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(exists(operation, &path))
            }
            Err(error) => Err(refused(operation, &path, &error.error)),
        }
    }
}

fn exists(operation: Operation, path: &Path) -> Error {
    let expected = "a new file, or leave to overwrite it";
    operation.error(ErrorKind::Exists, shown_path(path), expected, "an existing one")
}

fn refused(operation: Operation, path: &Path, error: &io::Error) -> Error {
    let field = shown_path(path);
    operation.error(ErrorKind::File, field, "a file that can be written", error)
}
