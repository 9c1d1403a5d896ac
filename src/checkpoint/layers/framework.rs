//! The frameworks whose DO-Conv code is published: their keys, shapes and pairing.

use crate::config::Pairing;

/// Whose published DO-Conv code a checkpoint comes from: that fixes keys, shapes and pairing, as the
/// [module's table](crate::checkpoint) says.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Framework {
    /// PyTorch, and this crate.
    #[default]
    PyTorch,
    /// TensorFlow and Keras.
    TensorFlow,
    /// GluonCV on MXNet.
    Gluon,
}

impl Framework {
    /// The pairing that the published code has.
    pub(crate) fn pairing(self) -> Pairing {
        match self {
            Self::PyTorch => Pairing::PyTorch,
            Self::TensorFlow | Self::Gluon => Pairing::TensorFlow,
        }
    }

    /// The last part of the key of `W`.
    pub(crate) fn w_key(self) -> &'static str {
        match self {
            Self::PyTorch => "W",
            Self::TensorFlow => "kernel",
            Self::Gluon => "weight",
        }
    }

    /// The last part of the key of a plain convolution's kernel.
    pub(crate) fn kernel_key(self) -> &'static str {
        if self == Self::TensorFlow { "kernel" } else { "weight" }
    }

    /// The axes of a stored plain kernel that are `[O, n, M, N]`.
    pub(crate) fn kernel_axes(self) -> [usize; 4] {
        if self == Self::TensorFlow { [3, 2, 0, 1] } else { [0, 1, 2, 3] }
    }

    /// The last parts of a layer's keys.
    pub(crate) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::PyTorch => &["W", "D", "d_diag", "D_diag", "bias"],
            Self::TensorFlow => &["kernel", "D", "bias"],
            Self::Gluon => &["weight", "D", "bias"],
        }
    }

    /// What may stand between a layer's name and the last part of its keys.
    pub(crate) fn separators(self) -> &'static [char] {
        match self {
            Self::PyTorch | Self::TensorFlow => &['.', '/'],
            Self::Gluon => &['.', '/', '_'],
        }
    }

    /// The number of axes of `W`.
    pub(crate) fn w_rank(self) -> usize {
        if self == Self::Gluon { 4 } else { 3 }
    }

    /// The shape of `W` of a 1×1 layer, as errors have it.
    pub(crate) fn w_1x1(self) -> &'static str {
        match self {
            Self::TensorFlow => "a shape [1, n, O] of a 1x1 layer",
            _ => "a shape [O, n, 1] of a 1x1 layer",
        }
    }

    /// The axes of a stored `W`, of rank 3, that are `[O, n, S]`.
    pub(crate) fn w_axes(self) -> [usize; 3] {
        match self {
            Self::TensorFlow => [2, 1, 0],
            Self::PyTorch | Self::Gluon => [0, 1, 2],
        }
    }

    /// The axes of a stored `D` that are `[I, MN, S]`.
    pub(crate) fn d_axes(self) -> [usize; 3] {
        match self {
            Self::PyTorch => [0, 1, 2],
            Self::TensorFlow | Self::Gluon => [2, 0, 1],
        }
    }
}
