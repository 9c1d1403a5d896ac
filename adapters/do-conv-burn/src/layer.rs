//! The layer.

// Fields have the names of the published code's parameters.
#![allow(non_snake_case)]

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor};
use do_conv::{Pairing, Result};

use crate::DoConv2dConfig;
use crate::compose::{cast_as, compose, identity};

/// A 2-D convolution with depthwise over-parameterization (Cao et al.,
/// [arXiv 2006.12030](https://arxiv.org/abs/2006.12030)).
///
/// It is the plain convolution by `W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]`, where `c` is the input
/// channel that `W[o, i]` reads and `D` is the trainable offset plus the identity, which is
/// recomputed. Made by [`DoConv2dConfig`]; [`DoConv2d::fold`] keeps `W'`.
///
/// The parameters have the names that they have in the published PyTorch code's checkpoints.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct DoConv2d {
    /// The conventional kernel, `[O, I/g, S]`.
    pub W: Param<Tensor<3>>,
    /// The offset of `D` from the identity, `[I, M·N, S]`; none for a 1×1 kernel.
    pub D: Option<Param<Tensor<3>>>,
    /// The bias, `[O]`, if there is one.
    pub bias: Option<Param<Tensor<1>>>,
    /// The identity, `[1, M·N, S]`; no parameter.
    identity: Option<Tensor<3>>,
    kernel_size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    #[module(skip)]
    padding: PaddingConfig2d,
    #[module(skip)]
    pairing: Pairing,
}

impl DoConv2dConfig {
    /// Makes a layer.
    ///
    /// # Panics
    /// Where [`DoConv2dConfig::try_init`] gives an error.
    pub fn init(&self, device: &Device) -> DoConv2d {
        self.try_init(device).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes a layer. `W` and the bias start as the [`initializer`](DoConv2dConfig::initializer) says,
    /// and `D` as the identity, so that the layer starts as the plain convolution by `W`.
    ///
    /// # Errors
    /// For a zero size, groups that don't divide the channels, and a `d_mul` smaller than `M·N` or one
    /// for a 1×1 kernel; for parameters that there is no room for; for the initializer `Orthogonal` with
    /// a bias, which it can't draw.
    pub fn try_init(&self, device: &Device) -> Result<DoConv2d> {
        self.try_init_of("DoConv2dConfig::try_init", device)
    }

    /// The same, in the name of `operation`.
    fn try_init_of(&self, operation: &'static str, device: &Device) -> Result<DoConv2d> {
        self.validate(operation)?;
        let [inputs, outputs] = self.channels;
        let (taps, n) = (self.taps(), inputs / self.groups);
        let d_mul = self.d_mul.unwrap_or(taps);
        let (fan_in, fan_out) = (Some(n * d_mul), Some(outputs / self.groups * d_mul));
        let has_d = taps > 1;
        Ok(DoConv2d {
            W: self.initializer.init_with([outputs, n, d_mul], fan_in, fan_out, device),
            D: has_d.then(|| Initializer::Zeros.init([inputs, taps, d_mul], device)),
            bias: self.bias.then(|| self.initializer.init_with([outputs], fan_in, fan_out, device)),
            identity: has_d.then(|| identity(taps, d_mul, device)),
            kernel_size: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            groups: self.groups,
            padding: self.padding.clone(),
            pairing: self.pairing,
        })
    }
}

impl DoConv2d {
    /// The over-parameterized form of a plain layer, to go on training from: the same function, with
    /// trainable parameters of its own. `W` is the kernel, filled up with zeros to `d_mul` (default
    /// `M·N`), and `D` the identity.
    ///
    /// # Errors
    /// For a `d_mul` smaller than `M·N` or one for a 1×1 kernel.
    pub fn from_conv2d(conv: &Conv2d, d_mul: Option<usize>) -> Result<Self> {
        let weight = conv.weight.val();
        let [outputs, n, rows, columns] = weight.dims();
        let config =
            DoConv2dConfig::new([n.saturating_mul(conv.groups.max(1)), outputs], [rows, columns])
                .with_stride(conv.stride)
                .with_dilation(conv.dilation)
                .with_groups(conv.groups)
                .with_padding(conv.padding.clone())
                .with_bias(false)
                .with_d_mul(d_mul);
        let layer = config.try_init_of("DoConv2d::from_conv2d", &weight.device())?;
        let d_offset = layer.D.map(|d_offset| cast_as(d_offset.val(), &weight).detach());
        let bias = conv.bias.as_ref().map(|bias| Param::from_tensor(bias.val().detach()));
        let w = widen(weight, config.d_mul).detach();
        Ok(Self { W: Param::from_tensor(w), D: d_offset.map(Param::from_tensor), bias, ..layer })
    }

    /// The composed kernel `W'`, `[O, I/g, M, N]`, which the layer convolves by. Gradients flow through
    /// it.
    pub fn weight(&self) -> Tensor<4> {
        let w = self.W.val();
        let [outputs, n, _] = w.dims();
        let weight = match (&self.D, &self.identity) {
            (Some(d_offset), Some(identity)) => {
                compose(d_offset.val(), identity.clone(), w, self.groups, self.pairing)
            }
            _ => w,
        };
        weight.reshape([outputs, n, self.kernel_size[0], self.kernel_size[1]])
    }

    /// Convolves `x`, `[B, I, H, W]`; gives `[B, O, OH, OW]`, as burn's [`Conv2d`] does.
    ///
    /// # Panics
    /// As that does, for another number of channels or an image too small for the kernel.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = Param::initialized(self.W.id, self.weight());
        self.plain(weight).forward(x)
    }

    /// burn's plain convolution by the composed kernel: the same function at the cost of a plain
    /// layer, with the same bits where one backend runs both. Its kernel is a new, trainable parameter,
    /// its bias the layer's.
    pub fn fold(&self) -> Conv2d {
        self.plain(Param::from_tensor(self.weight().detach()))
    }

    /// What a layer's tensors don't show, its kernel size and its pairing, for the metadata of a
    /// safetensors file: `do-conv fold` then needs no options for it. `name` is the layer's path in the
    /// model, or what the store makes of it.
    ///
    /// ```
    /// # use burn::module::Module;
    /// use burn::store::{ModuleSnapshot, SafetensorsStore};
    /// # use do_conv_burn::{DoConv2d, DoConv2dConfig};
    /// # #[derive(Module, Debug)]
    /// # struct MyModel { stem: DoConv2d }
    /// # let stem = DoConv2dConfig::new([8, 16], [3, 3]).with_groups(4).init(&Default::default());
    /// # let my_model = MyModel { stem };
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("trained.safetensors");
    ///
    /// let mut store = SafetensorsStore::from_file(path);
    /// for (key, text) in my_model.stem.metadata("stem") {
    ///     store = store.metadata(key, text);
    /// }
    /// my_model.save_into(&mut store)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metadata(&self, name: &str) -> [(String, String); 2] {
        let [outputs, n, _] = self.W.lazy_shape().dims();
        do_conv::DoConv2dConfig::new(n * self.groups, outputs, self.kernel_size)
            .groups(self.groups)
            .pairing(self.pairing)
            .metadata(name)
    }

    /// burn's layer of this one's geometry and bias.
    fn plain(&self, weight: Param<Tensor<4>>) -> Conv2d {
        Conv2d {
            weight,
            bias: self.bias.clone(),
            stride: self.stride,
            kernel_size: self.kernel_size,
            dilation: self.dilation,
            groups: self.groups,
            padding: self.padding.clone(),
        }
    }
}

/// A kernel `[O, I/g, M, N]` as `W`, `[O, I/g, S]`, filled up with zeros; `S` is `M·N` if there is no
/// `d_mul`.
pub(crate) fn widen(weight: Tensor<4>, d_mul: Option<usize>) -> Tensor<3> {
    let [outputs, n, rows, columns] = weight.dims();
    let taps = rows * columns;
    let w: Tensor<3> = weight.reshape([outputs, n, taps]);
    match d_mul.unwrap_or(taps) - taps {
        0 => w,
        more => w.pad([(0, 0), (0, 0), (0, more)], PadMode::Constant(0.0)),
    }
}

impl ModuleDisplay for DoConv2d {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [outputs, n, d_mul] = self.W.lazy_shape().dims();
        content
            .add("ch_in", &(n * self.groups))
            .add("ch_out", &outputs)
            .add_debug_attribute("kernel_size", &self.kernel_size)
            .add_debug_attribute("stride", &self.stride)
            .add_debug_attribute("dilation", &self.dilation)
            .add("groups", &self.groups)
            .add_debug_attribute("padding", &self.padding)
            .add("d_mul", &d_mul)
            .optional()
    }
}
