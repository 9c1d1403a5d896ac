//! A file that appears whole or not at all.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::safetensors::{Entry, Plan};
use super::shown_path;
use super::tensor::{Tensor, unreadable};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are read or written at a time.
const CHUNK: usize = 1 << 18;

/// A temporary file beside the one that it will be.
pub struct Output {
    temporary: NamedTempFile,
    path: PathBuf,
    operation: &'static str,
    overwrite: bool,
    /// Where the first tensor starts.
    data_start: u64,
}

impl Output {
    /// Makes the file, with everything in it but the tensors.
    pub fn create(
        operation: &'static str,
        path: &Path,
        overwrite: bool,
        plan: &Plan,
    ) -> Result<Self> {
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(exists(operation, path));
        }
        // A device or a folder, through however many links.
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let (expected, got) = ("a regular file to overwrite", "another kind of thing");
            return Err(Error::new(ErrorKind::File, operation, shown_path(path), expected, got));
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
        let data_start = plan.head.len() as u64;
        temporary.as_file().set_len(data_start + plan.data_len).map_err(refused)?;
        temporary.write_all(&plan.head).map_err(refused)?;
        Ok(Self { temporary, path: path.to_owned(), operation, overwrite, data_start })
    }

    /// A handle with a position of its own, for each thread that writes.
    pub fn handle(&self) -> Result<File> {
        self.temporary.reopen().map_err(|error| refused(self.operation, &self.path, &error))
    }

    /// Writes bytes of the tensors, from byte `at` of these on.
    pub fn write_at(&self, mut file: &File, bytes: &[u8], at: u64) -> Result<()> {
        file.seek(SeekFrom::Start(self.data_start + at))
            .and_then(|_| file.write_all(bytes))
            .map_err(|error| refused(self.operation, &self.path, &error))
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

fn exists(operation: &'static str, path: &Path) -> Error {
    let expected = "a new file, or leave to overwrite it";
    Error::new(ErrorKind::File, operation, shown_path(path), expected, "an existing one")
}

fn refused(operation: &'static str, path: &Path, error: &io::Error) -> Error {
    let field = shown_path(path);
    Error::new(ErrorKind::File, operation, field, "a file that can be written", error)
}

/// Copies a tensor's bytes to its place, some at a time.
pub fn copy(
    operation: &'static str,
    entry: &Entry,
    tensor: &Tensor,
    write: &dyn Fn(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let failed = |error: io::Error| unreadable(operation, entry.name, &error);
    let contents = tensor.contents().map_err(failed)?;
    let mut buffer = Vec::new();
    let len = contents.len();
    for start in (0..len).step_by(CHUNK) {
        let range = start..len.min(start + CHUNK);
        let bytes = contents.part(range, &mut buffer).map_err(failed)?;
        write(bytes, (entry.info.data_offsets.0 + start) as u64)?;
    }
    Ok(())
}
