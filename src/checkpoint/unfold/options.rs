//! How to unfold.

use crate::checkpoint::layers::framework::Framework;
use crate::config::Pairing;

/// How to unfold. The default: every convolution of more than one tap, with `S = M·N`, by the keys of the
/// published PyTorch code.
///
/// Layers are named by patterns, in which a `*` is any run of characters: `layer*.conv1`. One that names
/// no layer is refused.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnfoldOptions {
    /// What the DO-Conv layers are for: that fixes their keys and shapes, and those of the plain ones.
    /// Default: [`UnfoldTarget::PyTorch`].
    pub target: UnfoldTarget,
    /// Patterns of the convolutions to unfold. Default: none, which is all of them.
    pub layers: Vec<String>,
    /// Patterns of convolutions to leave as they are. Default: none.
    pub skip: Vec<String>,
    /// `S`, at least `M·N`, by patterns, of which the last that fits a layer is for it. Default: `M·N`.
    pub d_mul: Vec<(String, usize)>,
    /// Groups by patterns, of which the last that fits a layer is for it. Default: 1 where a kernel has
    /// several inputs; else they have to be told.
    pub groups: Vec<(String, usize)>,
    /// Patterns of convolutions with as many groups as outputs. Default: none.
    pub depthwise: Vec<String>,
    /// Whether the identity is stored beside `D`, as `d_diag`: the published PyTorch code asks for it
    /// unless it loads with `strict=False`. Default: no.
    pub identity: bool,
    /// Whether 1×1 kernels become `W`, without a `D`, which is how the published code has them. Default:
    /// no, they stay plain.
    pub pointwise: bool,
    /// What the numbers are drawn from that start `W` beyond the last whole copy of the identity, with
    /// the layer's name. Default: 0.
    pub seed: u64,
}

impl UnfoldOptions {
    /// Sets what the DO-Conv layers are for.
    pub fn target(mut self, target: UnfoldTarget) -> Self {
        self.target = target;
        self
    }

    /// Unfolds the convolutions whose names match, and no others but those of further such patterns.
    pub fn layer(mut self, pattern: impl Into<String>) -> Self {
        self.layers.push(pattern.into());
        self
    }

    /// Leaves the convolutions whose names match as they are.
    pub fn skip(mut self, pattern: impl Into<String>) -> Self {
        self.skip.push(pattern.into());
        self
    }

    /// Sets `S` of the layers whose names match, of all by the pattern `*`.
    pub fn d_mul(mut self, pattern: impl Into<String>, d_mul: usize) -> Self {
        self.d_mul.push((pattern.into(), d_mul));
        self
    }

    /// Sets the groups of the layers whose names match.
    pub fn groups(mut self, pattern: impl Into<String>, groups: usize) -> Self {
        self.groups.push((pattern.into(), groups));
        self
    }

    /// Sets that the layers whose names match have as many groups as outputs.
    pub fn depthwise(mut self, pattern: impl Into<String>) -> Self {
        self.depthwise.push(pattern.into());
        self
    }

    /// Sets whether the identity is stored beside `D`.
    pub fn identity(mut self, identity: bool) -> Self {
        self.identity = identity;
        self
    }

    /// Sets whether 1×1 kernels become `W`.
    pub fn pointwise(mut self, pointwise: bool) -> Self {
        self.pointwise = pointwise;
        self
    }

    /// Sets what numbers are drawn from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// What unfolded layers are for: whose keys, shapes and pairing they have.
///
/// | for | plain kernel | `W` | `D` | pairing |
/// | --- | --- | --- | --- | --- |
/// | `PyTorch` | `weight` `[O, n, M, N]` | `W` `[O, n, S]` | `D` `[I, MN, S]` | [`Pairing::PyTorch`] |
/// | `DoConv2d` | `weight` `[O, n, M, N]` | `W` `[O, n, S]` | `D` `[I, MN, S]` | [`Pairing::InputChannel`] |
/// | `OverParameterize` | `weight` `[O, n, M, N]` | `weight`, the same, or `[O, n, S, 1]` | `weight.do_conv.D` `[I, MN, S]` | [`Pairing::InputChannel`] |
/// | `TensorFlow` | `kernel` `[M, N, n, O]` | `kernel` `[S, n, O]` | `D` `[MN, S, I]` | [`Pairing::TensorFlow`] |
/// | `Gluon` | `weight` `[O, n, M, N]` | `weight`, the same | `D` `[MN, MN, I]` | [`Pairing::TensorFlow`] |
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum UnfoldTarget {
    /// The published PyTorch code.
    #[default]
    PyTorch,
    /// The layers `DoConv2d` of this crate and of its adapters, with their default pairing.
    DoConv2d,
    /// Plain layers of burn that its adapter's `OverParameterize` is applied to. [`Checkpoint::layers`]
    /// doesn't find these, and the file's metadata say nothing of them.
    ///
    /// [`Checkpoint::layers`]: crate::checkpoint::Checkpoint::layers
    OverParameterize,
    /// The published TensorFlow code.
    TensorFlow,
    /// The published GluonCV code, whose `S` is `M·N`.
    Gluon,
}

impl UnfoldTarget {
    /// Whose keys and shapes [`Checkpoint::layers`](crate::checkpoint::Checkpoint::layers) finds the
    /// layers by; of `OverParameterize` those of the plain layers.
    pub fn framework(self) -> Framework {
        match self {
            Self::PyTorch | Self::DoConv2d | Self::OverParameterize => Framework::PyTorch,
            Self::TensorFlow => Framework::TensorFlow,
            Self::Gluon => Framework::Gluon,
        }
    }

    /// Which slice of `D` goes with which of `W`.
    pub fn pairing(self) -> Pairing {
        match self {
            Self::DoConv2d | Self::OverParameterize => Pairing::InputChannel,
            _ => self.framework().pairing(),
        }
    }

    /// Whether `W` keeps the plain kernel's key.
    pub(super) fn keeps_key(self) -> bool {
        !matches!(self, Self::PyTorch | Self::DoConv2d)
    }

    /// Whether a 1×1 layer is another than a plain one.
    pub(super) fn has_pointwise(self) -> bool {
        !matches!(self, Self::OverParameterize | Self::Gluon)
    }
}
