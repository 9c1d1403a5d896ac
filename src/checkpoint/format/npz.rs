//! NumPy's `.npz`: a zip archive of `.npy` arrays.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use safetensors::Dtype;

use super::archive::{self, Archive};
use super::container::Parts;
use super::npy::Header;
use crate::checkpoint::axes::permuted_bytes;
use crate::checkpoint::opened::{Opened, PassedOver};
use crate::checkpoint::tensor::{Bytes, Lazy, Tensor};
use crate::checkpoint::text::{OPEN, shown};
use crate::checkpoint::unreadable::unreadable;
use crate::error::{ErrorKind, Result};

/// An array in an archive.
#[derive(Debug)]
struct NpzArray {
    archive: Arc<Mutex<Archive>>,
    index: usize,
    header: Header,
}

/// The arrays of an archive, by their names without `.npy`; those of elements that no tensor has are
/// passed over.
pub fn read(file: File) -> Result<Parts> {
    let mut archive = archive::open(file)?;
    let names = archive::names(&archive)?;
    let mut headers = Vec::new();
    let mut opened = Opened::default();
    for full_name in names {
        let name = full_name.strip_suffix(".npy").unwrap_or(&full_name).to_owned();
        let Some(index) = archive.index_for_name(&full_name) else { continue };
        let entry = archive.by_index(index).map_err(io::Error::from);
        let header = entry.and_then(|mut entry| {
            let size = entry.size();
            Ok((Header::read(&mut entry)?, size))
        });
        match header {
            Ok((header, size)) => headers.push((name, index, header, size)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                opened.passed_over.push(PassedOver { name, what: error.to_string() });
            }
            Err(error) => return Err(unreadable(OPEN, &name, &error)),
        }
    }
    let archive = Arc::new(Mutex::new(archive));
    let mut tensors = BTreeMap::new();
    for (name, index, header, size) in headers {
        let (dtype, shape, start) = (header.dtype, header.shape.clone(), header.len as u64);
        let array = NpzArray { archive: archive.clone(), index, header };
        let tensor = Tensor::at(OPEN, &name, dtype, shape, Bytes::Lazy(Arc::new(array)))?;
        if start + tensor.byte_len() as u64 != size {
            let expected = format!("{} bytes for {dtype} {:?}", tensor.byte_len(), tensor.shape());
            let got = size.saturating_sub(start);
            return Err(OPEN.error(ErrorKind::Format, shown(&name), expected, got));
        }
        if tensors.contains_key(&name) {
            let expected = "each name once";
            return Err(OPEN.error(ErrorKind::Format, shown(&name), expected, "it twice"));
        }
        tensors.insert(name, tensor);
    }
    Ok(Parts { tensors, metadata: BTreeMap::new(), opened })
}

impl Lazy for NpzArray {
    fn read(&self, len: usize) -> io::Result<Vec<u8>> {
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
            let number = if *dtype == Dtype::C64 { size / 2 } else { size };
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
