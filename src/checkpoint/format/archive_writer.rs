//! Zip archives as NumPy and PyTorch write them: nothing compressed, each entry's bytes at a multiple of
//! 64, the same bytes for the same entries.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use safetensors::Dtype;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::described::find;
use crate::checkpoint::atomic_file::AtomicFile;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// The alignment of a tensor in its file, as PyTorch has it for vectors and mapped memory.
const ALIGNMENT: u16 = 64;

/// An entry to be written: bytes, and after them those of a tensor, if there is one.
pub struct Entry<'a> {
    pub name: String,
    pub start: Vec<u8>,
    pub tensor: Option<&'a str>,
}

/// Writes an archive into an empty file, and tells `wrote` of the tensors' bytes; gives the file's
/// length.
pub fn write(
    operation: Operation,
    file: &AtomicFile,
    entries: &[Entry],
    tensors: &BTreeMap<String, Tensor>,
    wrote: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let refused = |error: io::Error| file.refused(&error);
    let mut archive = ZipWriter::new(Target::new(BufWriter::new(file.handle()?)));
    for entry in entries {
        let tensor = entry.tensor.map(|name| Ok((name, find(operation, tensors, name)?)));
        let tensor = tensor.transpose()?;
        let len = entry.start.len() + tensor.map_or(0, |(_, tensor)| tensor.byte_len());
        archive.start_file(&*entry.name, options(len)).map_err(io::Error::from).map_err(refused)?;
        archive.write_all(&entry.start).map_err(refused)?;
        let Some((name, tensor)) = tensor else { continue };
        tensor.for_each_part(operation, name, |bytes, _| {
            wrote(bytes.len() as u64)?;
            archive.write_all(bytes).map_err(refused)
        })?;
    }
    let mut target = archive.finish().map_err(io::Error::from).map_err(refused)?;
    target.flush().and_then(|()| target.seek(SeekFrom::End(0))).map_err(refused)
}

/// How an entry of so many bytes is written. All that could differ from one machine or day to another
/// is told.
fn options(len: usize) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(0o644)
        .with_alignment(ALIGNMENT)
        .large_file(len as u64 >= u32::MAX.into())
}

/// Refuses a shape whose bytes can't be counted in 64 bits with a sign, as PyTorch and NumPy do, with
/// extents of zero taken for one.
pub fn expect_countable(
    operation: Operation,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<()> {
    let size = dtype.bitsize() / 8;
    let bytes = shape.iter().try_fold(size, |bytes, &extent| bytes.checked_mul(extent.max(1)));
    match bytes {
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(()),
        _ => {
            let expected = "extents whose product fits 63 bits, or the format safetensors";
            let got = format!("{dtype} {shape:?}");
            Err(operation.error(ErrorKind::Overflow, shown(name), expected, got))
        }
    }
}

/// What an archive is written to. After a failure [`ZipWriter`] still writes its table of contents when it
/// is dropped, and complains to the standard error if that fails too; so what comes then goes nowhere.
struct Target<W> {
    to: W,
    has_failed: bool,
    /// Where the next byte goes.
    at: u64,
    /// Bytes so far.
    len: u64,
}

impl<W: Write + Seek> Target<W> {
    /// An empty one.
    fn new(to: W) -> Self {
        Self { to, has_failed: false, at: 0, len: 0 }
    }

    /// What `work` gives, or once it has failed what is given `instead`.
    fn unless_failed<R>(
        &mut self,
        work: impl FnOnce(&mut W) -> io::Result<R>,
        instead: R,
    ) -> io::Result<R> {
        if self.has_failed {
            return Ok(instead);
        }
        let result = work(&mut self.to);
        let is_final = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        self.has_failed = result.as_ref().is_err_and(is_final);
        result
    }
}

impl<W: Write + Seek> Write for Target<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.unless_failed(|to| to.write(bytes), bytes.len())?;
        self.at += written as u64;
        self.len = self.len.max(self.at);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_failed(W::flush, ())
    }
}

impl<W: Write + Seek> Seek for Target<W> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let instead = match position {
            SeekFrom::Start(start) => start,
            SeekFrom::End(offset) => self.len.saturating_add_signed(offset),
            SeekFrom::Current(offset) => self.at.saturating_add_signed(offset),
        };
        self.at = self.unless_failed(|to| to.seek(position), instead)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A disk of so many bytes.
    struct Disk(Cursor<Vec<u8>>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.position() as usize + bytes.len() > self.1 {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => self.0.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    /// Writes an archive to a disk of so many bytes, up to the first error; gives its length.
    fn written(room: usize) -> io::Result<usize> {
        let mut archive = ZipWriter::new(Target::new(Disk(Cursor::default(), room)));
        let outcome = ["a", "b", "c"].into_iter().try_for_each(|name| {
            archive.start_file(name, options(100))?;
            archive.write_all(&[7; 100])
        });
        // As when it is dropped, where an error would be printed.
        let target = archive.finish();
        if let Err(error) = outcome {
            assert!(target.is_ok_and(|target| target.has_failed), "{room}");
            return Err(error);
        }
        let target = target?;
        assert!(!target.has_failed, "an error that nobody was told of, {room}");
        Ok(target.to.0.into_inner().len())
    }

    #[test]
    fn a_full_disk_is_an_error_once_and_silence_after_it() {
        let len = written(usize::MAX).unwrap();
        for room in 0..len {
            assert_eq!(written(room).unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
        }
        assert_eq!(written(len).unwrap(), len);
    }
}
