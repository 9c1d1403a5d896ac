//! A tensor of a checkpoint: what it is, and where its bytes are until somebody asks for them.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use safetensors::Dtype;

use super::float::Float;
use super::text::shown;
use super::unreadable::unreadable;
use crate::error::{ErrorKind, Operation, Result};

/// Elements that are widened at a time.
pub const ELEMENTS_AT_A_TIME: usize = 1 << 15;

/// Bytes that are copied at a time.
const BYTES_AT_A_TIME: usize = 1 << 18;

/// A tensor: its element type, its shape, and its elements in row-major order, little-endian. Those of
/// an opened file stay in the file until they are needed.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    len: usize,
    bytes: Bytes,
}

/// Where a tensor's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    Memory(Arc<[u8]>),
    /// In a file as they are, from this byte on, so that a part can be read without the rest.
    File(Arc<SharedFile>, u64),
    /// Wherever a format has them.
    Lazy(Arc<dyn Lazy>),
}

/// Bytes that a format makes whole when they are asked for: unpacked, gathered or reordered.
pub(super) trait Lazy: fmt::Debug + Send + Sync {
    /// The tensor's `len` bytes: little-endian elements in row-major order. Of another length they are
    /// refused.
    fn read(&self, len: usize) -> io::Result<Vec<u8>>;
}

impl Tensor {
    /// A tensor in memory, of little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the data isn't as long as the shape demands; [`ErrorKind::Overflow`] for a
    /// shape beyond the address space, or that isn't whole bytes.
    pub fn new(dtype: Dtype, shape: &[usize], data: &[u8]) -> Result<Self> {
        const OPERATION: Operation = Operation("Tensor::new");
        let len = byte_len(OPERATION, "shape", dtype, shape)?;
        if data.len() != len {
            let expected = format!("{len} bytes for {dtype} {shape:?}");
            return Err(OPERATION.error(ErrorKind::Shape, "data", expected, data.len()));
        }
        Ok(Self { dtype, shape: shape.to_vec(), len, bytes: Bytes::Memory(data.into()) })
    }

    /// A tensor whose bytes are elsewhere; `name` is for errors.
    pub(super) fn at(
        operation: Operation,
        name: &str,
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: Bytes,
    ) -> Result<Self> {
        let len = byte_len(operation, name, dtype, &shape)?;
        Ok(Self { dtype, shape, len, bytes })
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The extents, outermost first; none for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes of all elements.
    pub fn byte_len(&self) -> usize {
        self.len
    }

    /// What gives the bytes. Those that a format makes whole are read here.
    pub(super) fn contents(&self) -> io::Result<Contents<'_>> {
        let whole = match &self.bytes {
            Bytes::File(file, start) => return Ok(Contents::File(file, *start, self.len)),
            Bytes::Memory(bytes) => Cow::Borrowed(&**bytes),
            Bytes::Lazy(bytes) => Cow::Owned(bytes.read(self.len)?),
        };
        if whole.len() != self.len {
            let text = format!("{} bytes where {} were announced", whole.len(), self.len);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Contents::Whole(whole))
    }

    /// All bytes.
    pub(super) fn read(&self, operation: Operation, name: &str) -> Result<Cow<'_, [u8]>> {
        let contents = self.contents().map_err(|error| unreadable(operation, name, &error))?;
        match contents {
            Contents::Whole(bytes) => Ok(bytes),
            Contents::File(file, start, len) => {
                let mut bytes = vec![0; len];
                let read = file.read_at(start, &mut bytes);
                read.map_err(|error| unreadable(operation, name, &error))?;
                Ok(bytes.into())
            }
        }
    }

    /// Calls `take` with all bytes in order, a part at a time, and the place of the part's first.
    pub(super) fn for_each_part(
        &self,
        operation: Operation,
        name: &str,
        mut take: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let failed = |error: io::Error| unreadable(operation, name, &error);
        let contents = self.contents().map_err(failed)?;
        let mut buffer = Vec::new();
        let len = contents.len();
        for start in (0..len).step_by(BYTES_AT_A_TIME) {
            let range = start..len.min(start + BYTES_AT_A_TIME);
            take(contents.part(range, &mut buffer).map_err(failed)?, start as u64)?;
        }
        Ok(())
    }
}

/// The bytes of a tensor, whole or a part at a time.
#[derive(Debug)]
pub(super) enum Contents<'a> {
    Whole(Cow<'a, [u8]>),
    /// In a file, with the first byte's place in it and the number of bytes.
    File(&'a SharedFile, u64, usize),
}

impl Contents<'_> {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::File(_, _, len) => *len,
        }
    }

    /// Some of the bytes, which may be put into `buffer`.
    pub fn part<'b>(
        &'b self,
        range: Range<usize>,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<&'b [u8]> {
        match self {
            Self::Whole(bytes) => Ok(&bytes[range]),
            Self::File(file, start, _) => {
                buffer.resize(range.len(), 0);
                file.read_at(start + range.start as u64, buffer)?;
                Ok(buffer)
            }
        }
    }

    /// Writes the values of the elements from number `first` on, which are of type `float`.
    pub fn widen(&self, float: Float, first: usize, values: &mut [f64]) -> io::Result<()> {
        let mut buffer = Vec::new();
        for (index, values) in values.chunks_mut(ELEMENTS_AT_A_TIME).enumerate() {
            let start = (first + index * ELEMENTS_AT_A_TIME) * float.size();
            let end = start + values.len() * float.size();
            float.widen(self.part(start..end, &mut buffer)?, values);
        }
        Ok(())
    }
}

/// An open file that several threads read from.
#[derive(Debug)]
pub(super) struct SharedFile(Mutex<File>);

impl SharedFile {
    pub fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }

    pub fn read_at(&self, start: u64, target: &mut [u8]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(target)
    }
}

/// Bytes of a tensor of that shape; `name` is for errors.
pub(super) fn byte_len(
    operation: Operation,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<usize> {
    let elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let bits = elements.and_then(|elements| elements.checked_mul(dtype.bitsize()));
    match bits {
        Some(bits) if bits.is_multiple_of(8) => Ok(bits / 8),
        _ => {
            let expected = "a size that fits the address space, in whole bytes";
            let got = format!("{dtype} {shape:?}");
            Err(operation.error(ErrorKind::Overflow, shown(name), expected, got))
        }
    }
}
