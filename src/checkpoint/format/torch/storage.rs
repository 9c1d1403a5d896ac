//! Where the elements of PyTorch's tensors are: storages, which several tensors may share.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::value::Read as Result;
use crate::checkpoint::format::archive::Archive;
use crate::checkpoint::room::{room, zeros};
use crate::checkpoint::tensor::{Lazy, SharedFile};

/// A storage: bytes that tensors lie in.
#[derive(Debug, Clone)]
pub struct Storage {
    pub place: Place,
    /// Bytes.
    pub len: u64,
    pub big_endian: bool,
}

/// The storages of a file, by their keys.
pub trait Storages {
    /// The storage of that key.
    fn get(&mut self, key: &str) -> Result<Storage>;
}

/// Where a storage's bytes are.
#[derive(Clone)]
pub enum Place {
    /// In a file as they are, from this byte on, with the checksum of all, if the file has one.
    File(Arc<SharedFile>, u64, Option<u32>),
    /// Packed in an archive.
    Packed(Arc<Mutex<Archive>>, usize),
    Memory(Arc<[u8]>),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(_, start, _) => write!(f, "File({start})"),
            Self::Packed(_, index) => write!(f, "Packed({index})"),
            Self::Memory(bytes) => write!(f, "Memory({})", bytes.len()),
        }
    }
}

impl Storage {
    /// Some of the bytes. A storage's checksum is compared if they are all of them.
    pub fn read(&self, start: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        match &self.place {
            Place::File(file, first, checksum) => {
                let mut bytes = zeros(len)?;
                file.read_at(first + start, &mut bytes)?;
                let whole = start == 0 && len as u64 == self.len;
                if whole && checksum.is_some_and(|checksum| crc32fast::hash(&bytes) != checksum) {
                    return Err(invalid("Invalid checksum"));
                }
                Ok(bytes.into())
            }
            Place::Packed(archive, index) => {
                let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                let mut entry = archive.by_index(*index)?;
                let mut bytes = Vec::new();
                // One byte more reaches the end, where the checksum is compared.
                (&mut entry).take(self.len + 1).read_to_end(&mut bytes)?;
                let end = start as usize + len;
                if bytes.len() as u64 != self.len || end > bytes.len() {
                    return Err(invalid("an entry of another length than announced"));
                }
                bytes.truncate(end);
                bytes.drain(..start as usize);
                Ok(bytes.into())
            }
            Place::Memory(bytes) => {
                let bytes = bytes.get(start as usize..start as usize + len);
                bytes.map(Cow::Borrowed).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

/// The elements of a storage that are a tensor's.
#[derive(Debug)]
pub struct Strided {
    pub storage: Storage,
    /// Bytes of an element, and of the numbers in it that have an order of bytes.
    pub sizes: [usize; 2],
    /// The first element's number in the storage.
    pub offset: usize,
    /// Extents and strides, in elements, of each axis.
    pub axes: Vec<[usize; 2]>,
}

impl Strided {
    /// The number of elements from the first to the last, both included; none if that is beyond the
    /// address space.
    pub fn span(&self) -> Option<usize> {
        if self.axes.iter().any(|&[extent, _]| extent == 0) {
            return Some(0);
        }
        let last = self.axes.iter().try_fold(0usize, |last, &[extent, stride]| {
            last.checked_add((extent - 1).checked_mul(stride)?)
        });
        last?.checked_add(1)
    }

    /// Whether the elements lie one after the other, in row-major order.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.axes.iter().rev().all(|&[extent, stride]| {
            let fits = extent == 1 || stride == expected;
            expected *= extent;
            fits
        })
    }

    /// The elements in row-major order, out of the bytes that they lie in.
    fn gathered(&self, span: &[u8], len: usize) -> io::Result<Vec<u8>> {
        let [size, _] = self.sizes;
        let mut bytes = room(len)?;
        let mut index = vec![0; self.axes.len()];
        let mut at = 0;
        while bytes.len() < len {
            bytes.extend_from_slice(span.get(at * size..(at + 1) * size).unwrap_or_default());
            // The last axis runs fastest.
            for (index, &[extent, stride]) in index.iter_mut().zip(&self.axes).rev() {
                *index += 1;
                // The stride of an axis of one element may be anything; it is taken back.
                at = at.wrapping_add(stride);
                if *index < extent {
                    break;
                }
                at = at.wrapping_sub(extent.wrapping_mul(stride));
                *index = 0;
            }
        }
        Ok(bytes)
    }
}

impl Lazy for Strided {
    fn read(&self, len: usize) -> io::Result<Vec<u8>> {
        let [size, number] = self.sizes;
        let span = self.span().and_then(|span| span.checked_mul(size)).unwrap_or(usize::MAX);
        let span = self.storage.read((self.offset * size) as u64, span)?;
        let mut bytes = match len == 0 || self.is_contiguous() {
            true => span.into_owned(),
            false => self.gathered(&span, len)?,
        };
        if self.storage.big_endian {
            bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_and_extents_that_do_not_matter_may_be_anything() {
        let storage =
            Storage { place: Place::Memory([1, 2, 3, 4][..].into()), len: 4, big_endian: false };
        for (axes, expected) in [
            (vec![[2, 2], [1, usize::MAX]], &[1, 3][..]),
            (vec![[1, usize::MAX], [2, 1], [1, 7], [2, 2]], &[1, 3, 2, 4]),
            (vec![[0, 1], [usize::MAX, 1], [usize::MAX, 1]], &[]),
        ] {
            let strided = Strided { storage: storage.clone(), sizes: [1, 1], offset: 0, axes };
            assert_eq!(strided.read(expected.len()).unwrap(), expected);
        }
    }
}
