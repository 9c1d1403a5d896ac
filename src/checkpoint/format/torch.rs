//! PyTorch's files, through the reader of the burn project, which parses pickles and calls nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use pytorch_reader::{DType, PytorchError, PytorchReader};
use safetensors::Dtype;

use crate::checkpoint::tensor::{Bytes, Lazy, Tensor};
use crate::checkpoint::text::{OPEN, shown};
use crate::checkpoint::unreadable::fault;
use crate::error::{Error, ErrorKind, Result};

/// A tensor that may lie strewn in a storage of several.
struct TorchTensor(pytorch_reader::Tensor);

impl Lazy for TorchTensor {
    fn read(&self, _: usize) -> io::Result<Vec<u8>> {
        self.0.read()
    }
}

impl fmt::Debug for TorchTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The tensors of a file, or of the dictionary at `key` in it.
pub fn read(path: &Path, key: Option<&str>) -> Result<BTreeMap<String, Tensor>> {
    let reader = match key {
        Some(key) => PytorchReader::with_top_level_key(path, key),
        None => PytorchReader::new(path),
    };
    let mut tensors = BTreeMap::new();
    for (name, tensor) in reader.map_err(|error| refused(&error))?.into_tensors() {
        let (dtype, shape) = (dtype(tensor.dtype()), tensor.shape().to_vec());
        let bytes = Bytes::Lazy(Arc::new(TorchTensor(tensor)));
        let tensor = Tensor::at(OPEN, &name, dtype, shape, bytes)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn refused(error: &PytorchError) -> Error {
    let kind = match error {
        PytorchError::KeyNotFound(_) => ErrorKind::Config,
        PytorchError::Io(error) => fault(error),
        _ => ErrorKind::Format,
    };
    let field = if kind == ErrorKind::Config { "key" } else { "format" };
    let expected = "a state dict in a safetensors, PyTorch or .npz file";
    OPEN.error(kind, field, expected, shown(&error.to_string()))
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
