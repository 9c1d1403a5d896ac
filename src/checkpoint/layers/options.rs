//! What to take for a layer.

use std::collections::{BTreeMap, BTreeSet};

use super::framework::Framework;
use crate::config::Pairing;

/// What to take for a layer. The default: every set of keys of the published PyTorch code.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerOptions {
    /// Whose keys and shapes. Default: [`Framework::PyTorch`].
    pub framework: Framework,
    /// Which slice of `D` goes with which of `W`. Default: as the file says, else as the framework does
    /// it; see [`LayerInfo::pairing`](crate::checkpoint::LayerInfo::pairing).
    pub pairing: Option<Pairing>,
    /// `[M, N]` of layers by name. Default: as the file's metadata says, else a square.
    pub kernel_sizes: BTreeMap<String, [usize; 2]>,
    /// Layers to leave as they are, by name.
    pub skip: BTreeSet<String>,
}

impl LayerOptions {
    /// Sets whose keys and shapes to look for.
    pub fn framework(mut self, framework: Framework) -> Self {
        self.framework = framework;
        self
    }

    /// Sets which slice of `D` goes with which of `W`.
    pub fn pairing(mut self, pairing: Pairing) -> Self {
        self.pairing = Some(pairing);
        self
    }

    /// Sets the `[M, N]` of a layer.
    pub fn kernel_size(mut self, name: impl Into<String>, kernel_size: [usize; 2]) -> Self {
        self.kernel_sizes.insert(name.into(), kernel_size);
        self
    }

    /// Leaves a layer as it is.
    pub fn skip(mut self, name: impl Into<String>) -> Self {
        self.skip.insert(name.into());
        self
    }
}
