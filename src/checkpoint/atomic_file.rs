//! Files that appear whole or not at all, also several together.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::text::{shown, shown_path};
use crate::error::{Error, ErrorKind, Operation, Result};

/// A file to be, under a temporary name beside its own (`.do-conv-….part`), which goes with this value
/// unless [`persist`](AtomicFile::persist) gives it its own name.
///
/// A file that is replaced keeps its permissions, a symbolic link keeps pointing at the file that is
/// replaced. The owner is who writes, and other hard links keep the old contents.
///
/// ```no_run
/// use std::io::Write;
///
/// use do_conv::checkpoint::AtomicFile;
///
/// let mut notes = AtomicFile::new("notes.txt", false)?;
/// let log = AtomicFile::new("log.txt", true)?;
/// writeln!(notes, "folded")?;
/// AtomicFile::persist_all([notes, log])?; // both, or neither
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    temporary: NamedTempFile,
    destination: Destination,
    operation: Operation,
    /// Bytes of the head.
    head_len: u64,
}

impl AtomicFile {
    /// An empty file to write to, which will be at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if there is something and `overwrite` isn't set; [`ErrorKind::File`] if
    /// there is something other than a file or a link to one, or no file can be made beside it.
    pub fn new(path: impl AsRef<Path>, overwrite: bool) -> Result<Self> {
        Self::create(Operation("AtomicFile::new"), path.as_ref(), overwrite, &[], 0)
    }

    /// Makes a file of a head, which is written, and `len` bytes after it.
    pub(super) fn create(
        operation: Operation,
        path: &Path,
        overwrite: bool,
        head: &[u8],
        len: u64,
    ) -> Result<Self> {
        let destination = Destination::of(operation, path, overwrite)?;
        let refused = |error: io::Error| refused(operation, path, &error);
        let mut temporary = destination.temporary().map_err(refused)?;
        let head_len = head.len() as u64;
        temporary.as_file().set_len(head_len + len).map_err(refused)?;
        temporary.write_all(head).map_err(refused)?;
        Ok(Self { temporary, destination, operation, head_len })
    }

    /// A handle with a position of its own, for each thread that writes.
    pub(super) fn handle(&self) -> Result<File> {
        self.temporary.reopen().map_err(|error| self.refused(&error))
    }

    /// Writes bytes from byte `at` after the head on.
    pub(super) fn write_at(&self, mut file: &File, bytes: &[u8], at: u64) -> Result<()> {
        file.seek(SeekFrom::Start(self.head_len + at))
            .and_then(|_| file.write_all(bytes))
            .map_err(|error| self.refused(&error))
    }

    /// Waits until what was written is on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.temporary.as_file().sync_all().map_err(|error| self.refused(&error))
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// [`ErrorKind::File`] if it can't be written or named; [`ErrorKind::Exists`] if there is a file of
    /// the name by now, and none is to be replaced. Nothing is there then, or what was there before.
    pub fn persist(self) -> Result<()> {
        Self::persist_all([self])
    }

    /// Gives all files their names, or none: where one can't have its name, those that had theirs
    /// already are undone, and files that they replaced are back. Only a process that is killed in
    /// between leaves some.
    ///
    /// # Errors
    /// As [`AtomicFile::persist`].
    pub fn persist_all(files: impl IntoIterator<Item = Self>) -> Result<()> {
        let files: Vec<_> = files.into_iter().collect();
        for file in &files {
            file.sync()?;
            let permissions = file.destination.permissions.clone();
            permissions
                .map_or(Ok(()), |permissions| fs::set_permissions(&file.temporary, permissions))
                .map_err(|error| file.refused(&error))?;
        }
        let mut named = Vec::new();
        let last = files.len().saturating_sub(1);
        for (index, file) in files.into_iter().enumerate() {
            match file.name(index < last) {
                Ok(one) => named.push(one),
                Err(error) => {
                    named.into_iter().rev().for_each(Named::undo);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Gives the file its name; what it replaces is kept if that may have to be undone.
    fn name(self, may_be_undone: bool) -> Result<Named> {
        let Self { temporary, destination, operation, .. } = self;
        let Destination { path, real, overwrite, .. } = destination;
        let old = match may_be_undone && overwrite {
            true => kept(&real).map_err(|error| refused(operation, &path, &error))?,
            false => None,
        };
        let named = match overwrite {
            true => temporary.persist(&real),
            false => temporary.persist_noclobber(&real),
        };
        match named {
            Ok(_) => Ok(Named { path: real, old }),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(exists(operation, &path))
            }
            Err(error) => Err(refused(operation, &path, &error.error)),
        }
    }

    /// The error for a write that failed.
    pub(super) fn refused(&self, error: &io::Error) -> Error {
        refused(self.operation, &self.destination.path, error)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file_mut().flush()
    }
}

/// Where a file will be.
#[derive(Debug)]
struct Destination {
    /// As the caller has it.
    path: PathBuf,
    /// The same without a link.
    real: PathBuf,
    overwrite: bool,
    /// Those of the file that is replaced, where they are the process's to set.
    permissions: Option<Permissions>,
}

impl Destination {
    /// Refuses what isn't to be replaced, or isn't a file.
    fn of(operation: Operation, path: &Path, overwrite: bool) -> Result<Self> {
        let mut destination =
            Self { path: path.to_owned(), real: path.to_owned(), overwrite, permissions: None };
        let Ok(metadata) = path.symlink_metadata() else { return Ok(destination) };
        if !overwrite {
            return Err(exists(operation, path));
        }
        let no_file = |got| {
            let expected = "a regular file to overwrite";
            operation.error(ErrorKind::File, shown_path(path), expected, got)
        };
        if metadata.is_symlink() {
            destination.real = fs::canonicalize(path).map_err(|_| no_file("a link to nothing"))?;
        }
        // A device or a folder, through however many links.
        let metadata = path.metadata().map_err(|error| refused(operation, path, &error))?;
        if !metadata.is_file() {
            return Err(no_file("another kind of thing"));
        }
        destination.permissions = cfg!(unix).then(|| metadata.permissions());
        Ok(destination)
    }

    /// A new file beside it, which nobody can read who can't read the one that it replaces.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let mut builder = Builder::new();
        builder.prefix(PREFIX).suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let old = self.permissions.as_ref().map(PermissionsExt::mode);
            // As any other new file; the process's mask takes off what it always does.
            let mode = old.map_or(0o666, |mode| mode & 0o666 | 0o600);
            builder.permissions(Permissions::from_mode(mode));
        }
        builder.tempfile_in(folder(&self.real))
    }
}

/// A file that has its name.
struct Named {
    path: PathBuf,
    /// What it replaced, under a temporary name.
    old: Option<NamedTempFile<()>>,
}

impl Named {
    /// Takes the file away, or puts back what it replaced, as far as that can be done.
    fn undo(self) {
        let _ = match self.old {
            Some(old) => old.persist(&self.path).map_err(|error| error.error),
            None => fs::remove_file(&self.path),
        };
    }
}

const PREFIX: &str = ".do-conv-";

/// Keeps a file under a second, temporary name, if it is there.
fn kept(path: &Path) -> io::Result<Option<NamedTempFile<()>>> {
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(".old");
    let kept = builder.make_in(folder(path), |name| match fs::hard_link(path, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Not all file systems have links, nor may all files be linked.
        Err(_) => fs::copy(path, name).map(|_| ()),
        linked => linked,
    });
    kept.map(Some)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn exists(operation: Operation, path: &Path) -> Error {
    let expected = "a new file, or leave to overwrite it";
    operation.error(ErrorKind::Exists, shown_path(path), expected, "an existing one")
}

fn refused(operation: Operation, path: &Path, error: &io::Error) -> Error {
    // Temporary files put their own path, whole, around what the system says.
    let cause = error.get_ref().and_then(|wrapped| wrapped.source());
    let got = cause.map_or_else(|| error.to_string(), ToString::to_string);
    let expected = "a file that can be written";
    operation.error(ErrorKind::File, shown_path(path), expected, shown(&got))
}
