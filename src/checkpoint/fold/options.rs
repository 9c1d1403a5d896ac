//! How to fold.

use std::collections::BTreeMap;

use super::layout::KernelLayout;
use crate::checkpoint::format::file_format::FileFormat;
use crate::checkpoint::layers::options::LayerOptions;

/// How to fold. The default: every layer of the published PyTorch code, into the keys that
/// `torch.nn.Conv2d` loads.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoldOptions {
    /// What to take for a layer.
    pub layers: LayerOptions,
    /// The last part of the keys of a folded layer, of the kernel for `W` and of the bias for `bias`.
    /// Default: `weight` and `bias`.
    pub rename: BTreeMap<String, String>,
    /// The names of convolutions, DO-Conv layers or plain ones, each with that of the batch normalisation
    /// right after it, which is folded into the convolution and left out; the convolution has a bias then.
    /// Both may be patterns, in which `*` is any run of characters: those of the first stand for those of
    /// the second, as in `layer*.conv*` and `layer*.bn*`. A pair of names goes before patterns. Plain
    /// kernels are `weight` `[O, n, …]`, or of Keras `kernel` `[…, n, O]` and `depthwise_kernel`
    /// `[…, I, O/I]`, of one to three dimensions; that they aren't transposed convolutions' is taken for
    /// granted of pairs of names. Default: none.
    pub batch_norms: Vec<(String, String)>,
    /// Whether convolutions that aren't in `batch_norms` are paired by their names, and refused in doubt,
    /// as [here](crate::checkpoint#batch-normalisations). Default: no.
    pub auto_batch_norms: bool,
    /// The names or patterns of convolutions that `auto_batch_norms` leaves as they are. Default: none.
    pub skip_batch_norms: Vec<String>,
    /// What batch normalisations add to the variance. Default: 1e-3 of those with a `moving_variance`,
    /// as Keras and TensorFlow, and 1e-5 of others, as PyTorch, MXNet and burn.
    pub eps: Option<f64>,
    /// The format. Default: [`FileFormat::of_path`], and safetensors for a fold that isn't written.
    pub format: Option<FileFormat>,
    /// The order of folded kernels' axes; other tensors are copied as they are. Default:
    /// [`KernelLayout::PyTorch`].
    pub layout: KernelLayout,
    /// The same of batch normalisations by name or pattern; a name goes before patterns. Default: none.
    pub eps_of: Vec<(String, f64)>,
    /// Whether an existing file may be replaced. Default: no.
    pub overwrite: bool,
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

    /// Folds a batch normalisation into the convolution before it; both may be patterns.
    pub fn batch_norm(mut self, conv: impl Into<String>, batch_norm: impl Into<String>) -> Self {
        self.batch_norms.push((conv.into(), batch_norm.into()));
        self
    }

    /// Sets whether batch normalisations are folded into the convolutions that their names tell.
    pub fn auto_batch_norms(mut self, auto: bool) -> Self {
        self.auto_batch_norms = auto;
        self
    }

    /// Leaves convolutions of that name or pattern out of those that are paired by their names.
    pub fn skip_batch_norm(mut self, conv: impl Into<String>) -> Self {
        self.skip_batch_norms.push(conv.into());
        self
    }

    /// Sets what batch normalisations add to the variance.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = Some(eps);
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

    /// Sets what batch normalisations of that name or pattern add to the variance.
    pub fn eps_of(mut self, batch_norm: impl Into<String>, eps: f64) -> Self {
        self.eps_of.push((batch_norm.into(), eps));
        self
    }

    /// Sets whether an existing file may be replaced.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}
