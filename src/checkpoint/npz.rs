//! NumPy's `.npz`: a zip archive of `.npy` arrays.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::sync::{Arc, Mutex, PoisonError};

use zip::ZipArchive;

use super::npy::Header;
use super::tensor::{Source, Tensor, permuted_bytes, unreadable};
use super::{Checkpoint, OPEN, shown};
use crate::error::{Error, ErrorKind, Result};

/// The largest pickle of an archive: its objects take many times that. One of a state dict has about
/// 200 bytes a tensor.
const MAX_PICKLE: u64 = 16 << 20;

type Archive = ZipArchive<BufReader<File>>;

/// An array in an archive.
#[derive(Debug, Clone)]
pub struct NpzArray {
    archive: Arc<Mutex<Archive>>,
    index: usize,
    header: Header,
}

fn open(file: File) -> Result<Archive> {
    ZipArchive::new(BufReader::new(file)).map_err(|error| {
        let error = shown(&error.to_string());
        Error::new(ErrorKind::Format, OPEN, "format", "a zip archive", error)
    })
}

/// The names of an archive's entries by their place in it.
fn names(archive: &Archive) -> Result<Vec<String>> {
    let names = archive.file_names().map(|name| name.map(|name| name.to_string()));
    names.collect::<zip::result::ZipResult<_>>().map_err(|error| {
        let error = shown(&error.to_string());
        Error::new(ErrorKind::Format, OPEN, "format", "names in the archive", error)
    })
}

/// Whether the archive has arrays and isn't PyTorch's; leaves the file at its start. Refuses an archive
/// with a name twice, which readers resolve differently, and one that unpacks to more than `most` bytes
/// or has an enormous pickle.
pub fn is_npz(mut file: &File, most: u64) -> Result<bool> {
    let copy = file.try_clone().and_then(|copy| file.rewind().map(|()| copy));
    let copy = copy.map_err(|error| unreadable(OPEN, "format", &error))?;
    let mut archive = open(copy)?;
    if archive.has_duplicate_names() {
        let (expected, got) = ("each name of the archive once", "one twice");
        return Err(Error::new(ErrorKind::Format, OPEN, "format", expected, got));
    }
    let names = names(&archive)?;
    let mut bytes = 0u64;
    for index in 0..archive.len() {
        let size = archive.by_index_raw(index).map_err(io::Error::from).map(|entry| entry.size());
        let size = size.map_err(|error| unreadable(OPEN, "format", &error))?;
        bytes = bytes.saturating_add(size);
        if names.get(index).is_some_and(|name| name.ends_with("data.pkl")) && size > MAX_PICKLE {
            let expected = format!("a pickle of at most {MAX_PICKLE} bytes");
            return Err(Error::new(ErrorKind::Overflow, OPEN, "format", expected, size));
        }
    }
    if bytes > most {
        let expected = format!("an archive of at most {most} bytes unpacked (max_bytes)");
        return Err(Error::new(ErrorKind::Overflow, OPEN, "max_bytes", expected, bytes));
    }
    file.rewind().map_err(|error| unreadable(OPEN, "format", &error))?;
    let torch = names.iter().any(|name| name == "data.pkl" || name.ends_with("/data.pkl"));
    Ok(!torch && names.iter().any(|name| name.ends_with(".npy")))
}

/// The arrays of an archive, by their names without `.npy`.
pub fn read(file: File) -> Result<Checkpoint> {
    let mut archive = open(file)?;
    let names = names(&archive)?;
    let mut headers = Vec::new();
    for full_name in names {
        let name = full_name.strip_suffix(".npy").unwrap_or(&full_name).to_owned();
        let Some(index) = archive.index_for_name(&full_name) else { continue };
        let entry = archive.by_index(index).map_err(io::Error::from);
        let header = entry.and_then(|mut entry| {
            let size = entry.size();
            Ok((Header::read(&mut entry)?, size))
        });
        let (header, size) = header.map_err(|error| unreadable(OPEN, &name, &error))?;
        headers.push((name, index, header, size));
    }
    let archive = Arc::new(Mutex::new(archive));
    let mut tensors = BTreeMap::new();
    for (name, index, header, size) in headers {
        let (dtype, shape, start) = (header.dtype, header.shape.clone(), header.len as u64);
        let array = NpzArray { archive: archive.clone(), index, header };
        let tensor = Tensor::at(OPEN, &name, dtype, shape, Source::Npz(array))?;
        if start + tensor.byte_len() as u64 != size {
            let expected = format!("{} bytes for {dtype} {:?}", tensor.byte_len(), tensor.shape());
            let got = size.saturating_sub(start);
            return Err(Error::new(ErrorKind::Format, OPEN, shown(&name), expected, got));
        }
        if tensors.contains_key(&name) {
            let expected = "each name once";
            return Err(Error::new(ErrorKind::Format, OPEN, shown(&name), expected, "it twice"));
        }
        tensors.insert(name, tensor);
    }
    Ok(Checkpoint { tensors, metadata: BTreeMap::new() })
}

impl NpzArray {
    /// The array's `len` bytes, little-endian and in row-major order.
    pub fn read(&self, len: usize) -> io::Result<Vec<u8>> {
        let Header { dtype, shape, fortran_order, big_endian, len: start } = &self.header;
        let mut bytes = Vec::new();
        {
            let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
            let mut entry = archive.by_index(self.index)?;
            io::copy(&mut (&mut entry).take(*start as u64), &mut io::sink())?;
            // One byte more reaches the end, where the checksum is compared.
            (&mut entry).take(len as u64 + 1).read_to_end(&mut bytes)?;
        }
        if bytes.len() != len {
            let text = format!("{} bytes where {len} were announced", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let size = dtype.bitsize() / 8;
        if *big_endian {
            // A complex number is two of half its size.
            let number = if *dtype == safetensors::Dtype::C64 { size / 2 } else { size };
            bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
        }
        if *fortran_order {
            // The file has the reversed array in row-major order.
            let reversed: Vec<usize> = shape.iter().rev().copied().collect();
            let axes: Vec<usize> = (0..shape.len()).rev().collect();
            bytes = permuted_bytes(&bytes, &reversed, &axes, size);
        }
        Ok(bytes)
    }
}
