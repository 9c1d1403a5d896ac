//! How to verify.

use crate::checkpoint::layers::options::LayerOptions;

/// How to verify. The default: DO-Conv layers by the keys of the published PyTorch code, on either side.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// What to take for a DO-Conv layer of the checkpoint itself.
    pub layers: LayerOptions,
    /// What to take for one of the other checkpoint.
    pub other_layers: LayerOptions,
}

impl VerifyOptions {
    /// Sets what to take for a DO-Conv layer of the checkpoint itself.
    pub fn layers(mut self, layers: LayerOptions) -> Self {
        self.layers = layers;
        self
    }

    /// Sets what to take for a DO-Conv layer of the other checkpoint.
    pub fn other_layers(mut self, layers: LayerOptions) -> Self {
        self.other_layers = layers;
        self
    }
}
