//! What was unfolded, and what was left.

use std::fmt;

use safetensors::Dtype;
use serde::Serialize;

use crate::checkpoint::layers::layer_info::{Form, ParameterCounts};
use crate::checkpoint::serialize::{as_pairing_name, as_text};
use crate::config::Pairing;

/// What was unfolded, and what was left.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnfoldReport {
    /// The unfolded layers, by name.
    pub layers: Vec<UnfoldedLayer>,
    /// What looks like a kernel and was left as it is, by key.
    pub left: Vec<LeftTensor>,
}

impl UnfoldReport {
    /// Trained parameters of the unfolded layers, after and before.
    pub fn parameters(&self) -> ParameterCounts {
        let sum = |count: fn(&ParameterCounts) -> usize| {
            self.layers.iter().map(|layer| count(&layer.parameters)).fold(0, usize::saturating_add)
        };
        ParameterCounts {
            trained: sum(|counts| counts.trained),
            folded: sum(|counts| counts.folded),
        }
    }
}

/// An unfolded layer.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnfoldedLayer {
    /// The layer's name.
    pub name: String,
    /// Its form.
    pub form: Form,
    /// The key of the plain kernel.
    pub key: String,
    /// The key of `W`.
    pub w_key: String,
    /// The key of `D`; none for a 1×1 layer.
    pub d_key: Option<String>,
    /// `[O, n, M, N]`.
    pub weight_shape: [usize; 4],
    /// `[O, n, S]`.
    pub w_shape: [usize; 3],
    /// `[I, MN, S]`; none for a 1×1 layer.
    pub d_shape: Option<[usize; 3]>,
    /// `g`, groups; 1 for a 1×1 layer that nothing was told of.
    pub groups: usize,
    /// What tells the groups.
    pub groups_source: GroupsSource,
    /// Which slice of `D` goes with which of `W`.
    #[serde(serialize_with = "as_pairing_name")]
    pub pairing: Pairing,
    /// The element type, of `D` too.
    #[serde(serialize_with = "as_text")]
    pub dtype: Dtype,
    /// Trained parameters as they are now, and folded, which is as they were.
    pub parameters: ParameterCounts,
}

/// What tells the groups of an unfolded layer.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupsSource {
    /// [`UnfoldOptions::groups`](crate::checkpoint::UnfoldOptions::groups) or
    /// [`UnfoldOptions::depthwise`](crate::checkpoint::UnfoldOptions::depthwise).
    Options,
    /// The kernel's shape: one output is in one group.
    Shape,
    /// Nothing: a kernel of several inputs is taken for one group.
    Assumed,
    /// Nothing has to: a 1×1 layer has no `D`.
    NotNeeded,
}

/// A tensor that looks like a kernel and was left as it is.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftTensor {
    /// Its key.
    pub key: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Why it was left.
    pub reason: LeftReason,
}

/// Why something that looks like a kernel was left.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftReason {
    /// A pattern of [`UnfoldOptions::skip`](crate::checkpoint::UnfoldOptions::skip) names it.
    Skipped,
    /// No pattern of [`UnfoldOptions::layers`](crate::checkpoint::UnfoldOptions::layers) does.
    NotChosen,
    /// It has one tap.
    Pointwise,
    /// It isn't of a convolution over rows and columns: it has three axes, or more than four.
    Rank,
    /// Its elements aren't floating-point numbers of a kernel's types.
    ElementType,
    /// It has no elements.
    Empty,
}

impl fmt::Display for LeftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Skipped => "skipped",
            Self::NotChosen => "not chosen",
            Self::Pointwise => "1x1",
            Self::Rank => "no two-dimensional convolution",
            Self::ElementType => "no F16, BF16, F32 or F64 elements",
            Self::Empty => "no elements",
        })
    }
}
