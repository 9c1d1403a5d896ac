//! Initialisers, as plain data.

use crate::error::{ErrorKind, Operation, Result};

/// A distribution to draw parameters from.
///
/// `fan_in` is the number of terms summed into one output of the kernel, `fan_out` the number of
/// outputs that one input goes to, both within a group.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Init {
    /// `U(−b, b)` with `b = √(6 / ((1 + a²) · fan_in))` (He et al., arXiv 1502.01852).
    KaimingUniform {
        /// Negative slope of the leaky ReLU that follows; √5 by default, for which `b = 1/√fan_in`.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "crate::config::serialize::init_number")
        )]
        a: f64,
    },
    /// `N(0, s²)` with `s = √(2 / ((1 + a²) · fan_in))` (He et al., arXiv 1502.01852).
    KaimingNormal {
        /// Negative slope of the leaky ReLU that follows.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "crate::config::serialize::init_number")
        )]
        a: f64,
    },
    /// `U(−b, b)` with `b = √(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010).
    XavierUniform,
    /// `N(0, s²)` with `s = √(2 / (fan_in + fan_out))` (Glorot and Bengio, 2010).
    XavierNormal,
    /// `U(−bound, bound)`.
    Uniform {
        /// Half the width of the interval.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "crate::config::serialize::init_number")
        )]
        bound: f64,
    },
    /// `N(0, std²)`.
    Normal {
        /// Standard deviation.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "crate::config::serialize::init_number")
        )]
        std: f64,
    },
    /// Every parameter the same.
    Constant {
        /// The value.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "crate::config::serialize::init_number")
        )]
        value: f64,
    },
}

impl Default for Init {
    /// Kaiming-uniform with `a = √5`, as PyTorch's convolutions and the published DO-Conv start.
    fn default() -> Self {
        Self::KaimingUniform { a: 5f64.sqrt() }
    }
}

/// How the depthwise kernel `D = d_offset + E` starts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DInit {
    /// `D = E`, the identity: the layer starts as the plain convolution by `W`.
    #[default]
    Identity,
    /// `D` drawn as a depthwise kernel of fan-in `M·N` and fan-out `M·N·S`, and the identity
    /// subtracted from it: the paper's ablation, which trains worse.
    Random(Init),
}

impl Init {
    /// The number that it has, if any.
    pub(crate) fn number(&self) -> Option<f64> {
        match *self {
            Self::KaimingUniform { a } | Self::KaimingNormal { a } => Some(a),
            Self::XavierUniform | Self::XavierNormal => None,
            Self::Uniform { bound } => Some(bound),
            Self::Normal { std } => Some(std),
            Self::Constant { value } => Some(value),
        }
    }

    /// Refuses parameters that give no distribution.
    pub(crate) fn validate(&self, operation: Operation, field: &'static str) -> Result<()> {
        let Some(value) = self.number() else { return Ok(()) };
        let positive = matches!(self, Self::Uniform { .. } | Self::Normal { .. });
        if value.is_finite() && !(positive && value < 0.0) {
            return Ok(());
        }
        let expected =
            if positive { "a finite number that is not negative" } else { "a finite number" };
        Err(operation.error(ErrorKind::Value, field, expected, value))
    }
}
