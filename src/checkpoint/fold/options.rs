//! How to fold.

use std::collections::BTreeMap;

use super::layout::KernelLayout;
use crate::checkpoint::format::file_format::FileFormat;
use crate::checkpoint::layers::options::LayerOptions;

/// How to fold. The default: every layer of the published PyTorch code, into the keys that
/// `torch.nn.Conv2d` loads.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct FoldOptions {
    /// What to take for a layer.
    pub layers: LayerOptions,
    /// The last part of the keys of a folded layer, of the kernel for `W` and of the bias for `bias`.
    /// Default: `weight` and `bias`.
    pub rename: BTreeMap<String, String>,
    /// By the name of a layer, that of the batch normalisation after it, which is folded into the
    /// layer and left out; the layer has a bias then. Default: none.
    pub batch_norms: BTreeMap<String, String>,
    /// What batch normalisations add to the variance. Default: 1e-5, as PyTorch and MXNet; Keras has
    /// 1e-3.
    pub eps: f64,
    /// The format. Default: [`FileFormat::of_path`], and safetensors for a fold that isn't written.
    pub format: Option<FileFormat>,
    /// The order of folded kernels' axes; other tensors are copied as they are. Default:
    /// [`KernelLayout::PyTorch`].
    pub layout: KernelLayout,
    /// Whether an existing file may be replaced. Default: no.
    pub overwrite: bool,
}

impl Default for FoldOptions {
    fn default() -> Self {
        Self {
            layers: LayerOptions::default(),
            rename: BTreeMap::new(),
            batch_norms: BTreeMap::new(),
            eps: 1e-5,
            format: None,
            layout: KernelLayout::default(),
            overwrite: false,
        }
    }
}

impl FoldOptions {
    /// Sets what to take for a layer.
    pub fn layers(mut self, layers: LayerOptions) -> Self {
        self.layers = layers;
        self
    }

    /// Sets the last part of the keys of folded kernels (`W`) or of their biases (`bias`).
    pub fn rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.rename.insert(from.into(), to.into());
        self
    }

    /// Folds a batch normalisation into the layer before it.
    pub fn batch_norm(mut self, layer: impl Into<String>, batch_norm: impl Into<String>) -> Self {
        self.batch_norms.insert(layer.into(), batch_norm.into());
        self
    }

    /// Sets what batch normalisations add to the variance.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets the format, whatever the path's extension.
    pub fn format(mut self, format: FileFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets the order of folded kernels' axes.
    pub fn layout(mut self, layout: KernelLayout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets whether an existing file may be replaced.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}
