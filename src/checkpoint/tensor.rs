//! A tensor of a checkpoint: what it is, and where its bytes are until somebody asks for them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::ArrayView;
use safetensors::Dtype;

use super::npz::NpzArray;
use super::shown;
use crate::error::{Error, ErrorKind, Result};

/// A tensor: its element type, its shape, and its elements in row-major order, little-endian. Those of
/// an opened file stay in the file until they are needed.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    len: usize,
    source: Source,
}

/// Where a tensor's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Memory(Arc<[u8]>),
    /// In a file from this byte on.
    File(Arc<SharedFile>, u64),
    Torch(pytorch_reader::Tensor),
    Npz(NpzArray),
}

impl Tensor {
    /// A tensor in memory, of little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the data isn't as long as the shape demands.
    pub fn new(dtype: Dtype, shape: &[usize], data: &[u8]) -> Result<Self> {
        const OPERATION: &str = "Tensor::new";
        let len = byte_len(OPERATION, "shape", dtype, shape)?;
        if data.len() != len {
            let expected = format!("{len} bytes for {dtype} {shape:?}");
            return Err(Error::new(ErrorKind::Shape, OPERATION, "data", expected, data.len()));
        }
        let source = Source::Memory(data.into());
        Ok(Self { dtype, shape: shape.to_vec(), len, source })
    }

    /// A tensor whose bytes are elsewhere; `name` is for errors.
    pub(super) fn at(
        operation: &'static str,
        name: &str,
        dtype: Dtype,
        shape: Vec<usize>,
        source: Source,
    ) -> Result<Self> {
        let len = byte_len(operation, name, dtype, &shape)?;
        Ok(Self { dtype, shape, len, source })
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

    /// What gives the bytes. Those that are compressed or strewn are read here.
    pub(super) fn contents(&self) -> io::Result<Contents<'_>> {
        let whole = match &self.source {
            Source::File(file, start) => return Ok(Contents::File(file, *start, self.len)),
            Source::Memory(bytes) => Cow::Borrowed(&**bytes),
            Source::Torch(tensor) => Cow::Owned(tensor.read()?),
            Source::Npz(array) => Cow::Owned(array.read(self.len)?),
        };
        if whole.len() != self.len {
            let text = format!("{} bytes where {} were announced", whole.len(), self.len);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Contents::Whole(whole))
    }

    /// All bytes.
    pub(super) fn read(&self, operation: &'static str, name: &str) -> Result<Cow<'_, [u8]>> {
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
}

/// The bytes of a tensor, whole or a part at a time.
#[derive(Debug)]
pub(super) enum Contents<'a> {
    Whole(Cow<'a, [u8]>),
    /// In a file from a byte on, and how many.
    File(&'a SharedFile, u64, usize),
}

impl Contents<'_> {
    /// How many bytes there are.
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
}

/// An open file that several threads read from.
#[derive(Debug)]
pub(super) struct SharedFile(Mutex<File>);

impl SharedFile {
    pub fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }

    fn read_at(&self, start: u64, target: &mut [u8]) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(target)
    }
}

/// The elements, in row-major order, of an array of that shape with its axes in another order.
pub(super) fn permuted<T: Copy>(elements: &[T], shape: &[usize], axes: &[usize]) -> Vec<T> {
    match ArrayView::from_shape(shape, elements) {
        Ok(array) => array.permuted_axes(axes).iter().copied().collect(),
        Err(_) => Vec::new(), // without elements, of a shape too large for an array
    }
}

/// The same for elements of 1, 2, 4 or 8 bytes.
pub(super) fn permuted_bytes(
    bytes: &[u8],
    shape: &[usize],
    axes: &[usize],
    size: usize,
) -> Vec<u8> {
    fn elements<const N: usize>(bytes: &[u8], shape: &[usize], axes: &[usize]) -> Vec<u8> {
        permuted(bytes.as_chunks::<N>().0, shape, axes).into_flattened()
    }
    match size {
        1 => elements::<1>(bytes, shape, axes),
        2 => elements::<2>(bytes, shape, axes),
        4 => elements::<4>(bytes, shape, axes),
        _ => elements::<8>(bytes, shape, axes),
    }
}

/// Bytes of a tensor of that shape.
pub(super) fn byte_len(
    operation: &'static str,
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
            Err(Error::new(ErrorKind::Overflow, operation, shown(name), expected, got))
        }
    }
}

/// The error for bytes that can't be read.
pub(super) fn unreadable(operation: &'static str, name: &str, error: &io::Error) -> Error {
    let got = shown(&error.to_string());
    Error::new(fault(error), operation, shown(name), "readable data", got)
}

/// Whether it is the file's own fault that it can't be read, or the operating system's.
pub(super) fn fault(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Format,
        _ => ErrorKind::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_is_the_file_s_fault_or_the_system_s() {
        for (error, kind) in [
            (io::ErrorKind::InvalidData, ErrorKind::Format),
            (io::ErrorKind::UnexpectedEof, ErrorKind::Format),
            (io::ErrorKind::PermissionDenied, ErrorKind::File),
            (io::ErrorKind::StaleNetworkFileHandle, ErrorKind::File),
            (io::ErrorKind::Other, ErrorKind::File),
        ] {
            let error = unreadable("Checkpoint::read", "a", &error.into());
            assert_eq!((error.kind, &*error.field), (kind, "a"), "{error}");
        }
    }
}
