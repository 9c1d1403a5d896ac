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
    /// The plain convolutions that a batch normalisation was folded into, by name. Others are copied.
    pub plain: Vec<FoldedPlain>,
    /// Which batch normalisation was folded into which convolution, by the convolution's name.
    pub batch_norms: Vec<BatchNormPair>,
    /// The batch normalisations that stay as they are, by name.
    pub batch_norms_left: Vec<String>,
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
    /// The difference, on a random input of the kernel's size, between the folded layer's output and
    /// the same computed in `f64` from `D` and `W` by features and then normalised; of the output nearest
    /// to its bound.
    pub difference: f64,
    /// That output's bound for rounding errors: `u·Σ|W'||x|` for the one rounding of the kernel, `u` times
    /// a bias that was folded, and those of `f64` sums.
    pub bound: f64,
}

/// A plain convolution that a batch normalisation was folded into, and how the check came out.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldedPlain {
    /// The convolution's name.
    pub name: String,
    /// The key of the kernel, as it was.
    pub key: String,
    /// The shape of the kernel, as it was.
    pub shape: Vec<usize>,
    /// The element type of the kernel and of the bias.
    #[serde(serialize_with = "as_text")]
    pub dtype: Dtype,
    /// The batch normalisation that was folded in.
    pub batch_norm: String,
    /// As [`FoldedLayer::difference`], of the convolution and its batch normalisation.
    pub difference: f64,
    /// As [`FoldedLayer::bound`].
    pub bound: f64,
}

/// A batch normalisation that was folded, and into which convolution.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchNormPair {
    /// The convolution's name.
    pub layer: String,
    /// The batch normalisation's.
    pub batch_norm: String,
    /// What it adds to the variance.
    pub eps: f64,
    /// What tells that they belong together.
    pub source: BatchNormSource,
}

/// What tells that a batch normalisation belongs to a convolution.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormSource {
    /// A pair of names in [`FoldOptions::batch_norms`](crate::checkpoint::FoldOptions::batch_norms).
    Named,
    /// A pair of patterns there.
    Pattern,
    /// Their names, for [`FoldOptions::auto_batch_norms`](crate::checkpoint::FoldOptions::auto_batch_norms).
    Auto,
}
