//! By which algorithm a convolution is computed.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Operation, Result};

/// How a convolution and its gradients are computed.
///
/// Winograd's minimal filtering algorithms `F(m×m, 3×3)` (Lavin and Gray, arXiv 1509.09308) compute `m×m`
/// outputs of a 3×3 kernel from a transformed tile of `(m+2)×(m+2)` inputs by as many multiplications,
/// where the direct sum takes `9·m²`: 2.25 times fewer for `m = 2`, 4 times fewer for `m = 4`. They pay in
/// rounding, and a value that isn't finite reaches all outputs of the tiles that read it.
///
/// They apply to kernels of 3×3 taps, of stride 1 and any dilation, with enough channels; anything else
/// is computed directly, whatever was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Algorithm {
    /// Every product is summed as the definition says.
    #[default]
    Direct,
    /// Winograd's `F(2×2, 3×3)`: about as exact as the direct sum.
    Winograd2,
    /// Winograd's `F(4×4, 3×3)`: the fastest, with a rounding error a few times larger.
    Winograd4,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Winograd2, Self::Winograd4];

    /// The name that [`Algorithm::from_str`] reads: `direct`, `winograd2` or `winograd4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Winograd2 => "winograd2",
            Self::Winograd4 => "winograd4",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    /// The algorithm of that [name](Self::name).
    ///
    /// # Errors
    /// [`ErrorKind::Value`] for any other text.
    fn from_str(name: &str) -> Result<Self> {
        let algorithm = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        algorithm.ok_or_else(|| {
            let expected = Self::ALL.map(Self::name).join(", ");
            Operation("Algorithm::from_str").error(ErrorKind::Value, "name", expected, name)
        })
    }
}
