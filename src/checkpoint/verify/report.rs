//! Whether two checkpoints compute the same, and where they don't.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde::Serialize;

use crate::checkpoint::serialize::as_texts;

/// Whether two checkpoints compute the same, and where they don't.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The layers that are DO-Conv layers on at least one side, by name.
    pub layers: Vec<VerifiedLayer>,
    /// All other tensors that both have, by name.
    pub tensors: BTreeMap<String, Comparison>,
    /// The names of tensors that only the checkpoint itself has, identities aside.
    pub only_here: Vec<String>,
    /// Those that only the other has.
    pub only_there: Vec<String>,
}

impl VerifyReport {
    /// Whether both have the same tensors, or layers in their place, and all agree within their bounds.
    pub fn is_same(&self) -> bool {
        self.only_here.is_empty()
            && self.only_there.is_empty()
            && self.layers.iter().all(VerifiedLayer::is_same)
            && self.tensors.values().all(|tensor| tensor.is_same)
    }
}

/// A layer of both checkpoints.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifiedLayer {
    /// The layer's name.
    pub name: String,
    /// The keys of `W`, or of the plain kernel, here and there.
    pub keys: [String; 2],
    /// The kernels, composed where there are `D` and `W`.
    pub kernel: Comparison,
    /// The biases, if both have one.
    pub bias: Option<Comparison>,
}

impl VerifiedLayer {
    /// Whether kernels and biases agree within their bounds.
    pub fn is_same(&self) -> bool {
        self.kernel.is_same && self.bias.as_ref().is_none_or(|bias| bias.is_same)
    }
}

/// How two tensors compare.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The shapes here and there; of kernels `[O, n, M, N]`, or `[O, n, M·N]` where nothing tells more.
    pub shapes: [Vec<usize>; 2],
    /// The element types here and there; of kernels those of `W`.
    #[serde(serialize_with = "as_texts")]
    pub dtypes: [Dtype; 2],
    /// The element nearest to its bound, or furthest beyond; none where shapes differ, where elements
    /// aren't floating-point on both sides, and where there are none.
    pub worst: Option<Deviation>,
    /// Whether every element agrees within its bound.
    pub is_same: bool,
}

/// By how much an element differs.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deviation {
    /// The absolute difference; infinite where only one is a number or finite, which JSON has as `null`.
    pub difference: f64,
    /// What the difference may be.
    pub bound: f64,
    /// The element's place in the shape here.
    pub at: Vec<usize>,
}
