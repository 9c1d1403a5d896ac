//! Tensors as writers are told of them, before there is a file.

use std::collections::BTreeMap;

use safetensors::Dtype;

use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// A tensor to be written.
pub struct Described<'a> {
    pub name: &'a str,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

/// The tensor itself, once it is to be written.
pub fn find<'t>(
    operation: Operation,
    tensors: &'t BTreeMap<String, Tensor>,
    name: &str,
) -> Result<&'t Tensor> {
    tensors.get(name).ok_or_else(|| {
        operation.error(ErrorKind::Config, shown(name), "a tensor of that name", "none")
    })
}
