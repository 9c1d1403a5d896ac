//! The checkpoint itself: tensors by name, and texts by name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use ndarray::ArrayD;

use super::float::Float;
use super::opened::Opened;
use super::tensor::Tensor;
use super::text::shown;
use super::unreadable::unreadable;
use crate::error::{ErrorKind, Operation, Result};

/// Tensors by name, and texts by name.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) opened: Opened,
}

impl Checkpoint {
    /// A checkpoint without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names and tensors, in the order of names.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Puts in a tensor; gives the one that had the name before.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes out the tensor of that name.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// The texts that a safetensors file has beside its tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The texts to write to.
    pub fn metadata_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }

    /// What of the file was taken, and what was left.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The bytes of a tensor: little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name that isn't there; [`ErrorKind::File`] and
    /// [`ErrorKind::Format`] for bytes that can't be read.
    pub fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        const OPERATION: Operation = Operation("Checkpoint::read");
        self.find(OPERATION, name)?.read(OPERATION, name)
    }

    /// The elements of a tensor of `f16`, `bf16`, `f32` or `f64`, exactly.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], and [`ErrorKind::Format`] for another element type.
    pub fn values(&self, name: &str) -> Result<ArrayD<f64>> {
        const OPERATION: Operation = Operation("Checkpoint::values");
        let tensor = self.find(OPERATION, name)?;
        let values = self.values_of(OPERATION, name)?;
        ArrayD::from_shape_vec(tensor.shape(), values)
            .map_err(|error| OPERATION.error(ErrorKind::Overflow, "shape", "a size", error))
    }

    /// The elements of a tensor in row-major order.
    pub(super) fn values_of(&self, operation: Operation, name: &str) -> Result<Vec<f64>> {
        let tensor = self.find(operation, name)?;
        let failed = |error: io::Error| unreadable(operation, name, &error);
        let contents = tensor.contents().map_err(failed)?;
        let float = Float::of(tensor.dtype()).ok_or_else(|| {
            let expected = "F16, BF16, F32 or F64 elements";
            operation.error(ErrorKind::Format, shown(name), expected, tensor.dtype())
        })?;
        let mut values = vec![0.0; contents.len() / float.size()];
        contents.widen(float, 0, &mut values).map_err(failed)?;
        Ok(values)
    }

    fn find(&self, operation: Operation, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            operation.error(ErrorKind::Config, shown(name), "a tensor of that name", "none")
        })
    }
}
