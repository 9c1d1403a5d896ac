//! Zip archives, which NumPy and PyTorch have their tensors in, and what one may take.

use std::fs::File;
use std::io::{self, BufReader, Seek};

use zip::ZipArchive;

use crate::checkpoint::text::{OPEN, shown};
use crate::checkpoint::unreadable::unreadable;
use crate::error::{ErrorKind, Result};

pub type Archive = ZipArchive<BufReader<File>>;

/// Opens an archive.
pub fn open(file: File) -> Result<Archive> {
    ZipArchive::new(BufReader::new(file)).map_err(|error| {
        let error = shown(&error.to_string());
        OPEN.error(ErrorKind::Format, "format", "a zip archive", error)
    })
}

/// The names of an archive's entries by their place in it.
pub fn names(archive: &Archive) -> Result<Vec<String>> {
    let names = archive.file_names().map(|name| name.map(|name| name.to_string()));
    names.collect::<zip::result::ZipResult<_>>().map_err(|error| {
        let error = shown(&error.to_string());
        OPEN.error(ErrorKind::Format, "format", "names in the archive", error)
    })
}

/// The names of an archive's entries; leaves the file at its start. Refuses an archive with a name twice,
/// which readers resolve differently, and one that unpacks to more than `most` bytes.
pub fn examine(mut file: &File, most: u64) -> Result<Vec<String>> {
    let copy = file.try_clone().and_then(|copy| file.rewind().map(|()| copy));
    let copy = copy.map_err(|error| unreadable(OPEN, "format", &error))?;
    let mut archive = open(copy)?;
    if archive.has_duplicate_names() {
        let (expected, got) = ("each name of the archive once", "one twice");
        return Err(OPEN.error(ErrorKind::Format, "format", expected, got));
    }
    let names = names(&archive)?;
    let mut bytes = 0u64;
    for index in 0..archive.len() {
        let size = archive.by_index_raw(index).map_err(io::Error::from).map(|entry| entry.size());
        let size = size.map_err(|error| unreadable(OPEN, "format", &error))?;
        bytes = bytes.saturating_add(size);
    }
    if bytes > most {
        let expected = format!("an archive of at most {most} bytes unpacked (max_bytes)");
        return Err(OPEN.error(ErrorKind::Overflow, "max_bytes", expected, bytes));
    }
    file.rewind().map_err(|error| unreadable(OPEN, "format", &error))?;
    Ok(names)
}
