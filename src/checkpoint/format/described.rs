//! Tensors as writers are told of them, before there is a file.

use safetensors::Dtype;

/// A tensor to be written.
pub struct Described<'a> {
    pub name: &'a str,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}
