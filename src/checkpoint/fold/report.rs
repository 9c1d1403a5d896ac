//! What was folded, and how the checks came out.

use safetensors::Dtype;
use serde::Serialize;

use crate::checkpoint::layers::layer_info::{Form, ParameterCounts};
use crate::checkpoint::serialize::{as_pairing_name, as_text};
use crate::config::Pairing;

/// What was folded.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldReport {
    /// The folded layers, by name.
    pub layers: Vec<FoldedLayer>,
    /// Tensors written.
    pub tensors: usize,
    /// Bytes written; of a fold that isn't, and in a format other than safetensors, those of the tensors
    /// alone.
    pub bytes: u64,
}

/// A folded layer, and how the check of its kernel came out.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldedLayer {
    /// The layer's name.
    pub name: String,
    /// Its form.
    pub form: Form,
    /// The key of the folded kernel.
    pub key: String,
    /// `[O, n, M, N]`, whatever the layout.
    pub weight_shape: [usize; 4],
    /// The element type of the kernel.
    #[serde(serialize_with = "as_text")]
    pub dtype: Dtype,
    /// Which slice of `D` went with which of `W`.
    #[serde(serialize_with = "as_pairing_name")]
    pub pairing: Pairing,
    /// The batch normalisation that was folded in.
    pub batch_norm: Option<String>,
    /// Trained parameters as they were and folded, batch normalisation aside.
    pub parameters: ParameterCounts,
    /// The difference, on a random input of the kernel's size, between the folded kernel's output and
    /// the same computed in `f64` from `D` and `W` by features; of the output nearest to its bound.
    pub difference: f64,
    /// That output's bound for rounding errors: `u·Σ|W'||x|` for the one rounding of the kernel, and
    /// those of `f64` sums.
    pub bound: f64,
}
