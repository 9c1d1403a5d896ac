//! The layer.

// Fields have the names of the published code's parameters.
#![allow(non_snake_case)]

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::{Initializer, conv};
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor};
use do_conv::{Algorithm, Composition, Error, ErrorKind, Pairing, Result};

use crate::conv2d::expect_kernel_size;
use crate::engine::{Engine, Factors, Kernel, expect_shape};
use crate::fallback::{cast_as, identity};
use crate::{Conv2d, DoConv2dConfig};

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
    #[module(skip)]
    engine: Engine,
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
    /// for a 1×1 kernel; for [`Composition::Feature`] with a pairing that has none; for parameters that there
    /// is no room for; for the initializer `Orthogonal` with a bias, which it can't draw.
    pub fn try_init(&self, device: &Device) -> Result<DoConv2d> {
        self.try_init_of("DoConv2dConfig::try_init", device)
    }

    /// The same, in the name of `operation`.
    fn try_init_of(&self, operation: &'static str, device: &Device) -> Result<DoConv2d> {
        let core = self.to_core(operation)?;
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
            engine: Engine::new(core, self.padding.clone(), self.cpu_engine),
        })
    }
}

impl DoConv2d {
    /// The over-parameterized form of a plain layer, to go on training from: the same function, with
    /// trainable parameters of its own. `W` is the kernel, filled up with zeros to `d_mul` (default
    /// `M·N`), and `D` the identity.
    ///
    /// A layer of several groups of several inputs and outputs is paired by
    /// [`Pairing::InputChannel`]; [`DoConv2d::from_conv2d_paired`] takes another.
    ///
    /// # Errors
    /// For a `d_mul` smaller than `M·N` or one for a 1×1 kernel.
    pub fn from_conv2d(conv: &conv::Conv2d, d_mul: Option<usize>) -> Result<Self> {
        Self::over("DoConv2d::from_conv2d", conv, d_mul, Pairing::InputChannel)
    }

    /// [`DoConv2d::from_conv2d`] with a pairing, as training on with the published PyTorch code needs for
    /// grouped layers.
    ///
    /// # Errors
    /// As [`DoConv2d::from_conv2d`].
    pub fn from_conv2d_paired(
        conv: &conv::Conv2d,
        d_mul: Option<usize>,
        pairing: Pairing,
    ) -> Result<Self> {
        Self::over("DoConv2d::from_conv2d_paired", conv, d_mul, pairing)
    }

    fn over(
        operation: &'static str,
        conv: &conv::Conv2d,
        d_mul: Option<usize>,
        pairing: Pairing,
    ) -> Result<Self> {
        let weight = conv.weight.val();
        let [outputs, n, rows, columns] = weight.dims();
        expect_kernel_size(operation, [rows, columns], conv.kernel_size)?;
        let config =
            DoConv2dConfig::new([n.saturating_mul(conv.groups.max(1)), outputs], [rows, columns])
                .with_stride(conv.stride)
                .with_dilation(conv.dilation)
                .with_groups(conv.groups)
                .with_padding(conv.padding.clone())
                .with_bias(false)
                .with_d_mul(d_mul)
                .with_pairing(pairing);
        let layer = config.try_init_of(operation, &weight.device())?;
        let d_offset = layer.D.map(|d_offset| cast_as(d_offset.val(), &weight).detach());
        let bias = conv.bias.as_ref().map(|bias| Param::from_tensor(bias.val().detach()));
        let w = widen(weight, config.d_mul).detach();
        Ok(Self { W: Param::from_tensor(w), D: d_offset.map(Param::from_tensor), bias, ..layer })
    }

    /// The layer with its convolutions computed by that algorithm, on `flex`.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.engine = self.engine.with_algorithm(algorithm);
        self
    }

    /// The layer with `D` and `W` applied in that [order](DoConv2dConfig::composition), on `flex`.
    ///
    /// # Errors
    /// For [`Composition::Feature`] with a pairing that has none.
    pub fn with_composition(mut self, composition: Composition) -> Result<Self> {
        self.engine = self.engine.with_composition("DoConv2d::with_composition", composition)?;
        Ok(self)
    }

    /// The algorithm of a forward pass for an image `[B, I, H, W]` on `flex`: by kernel composition the one that
    /// was [chosen](DoConv2dConfig::algorithm), where [`Algorithm`] says that it applies, else
    /// [`Algorithm::Direct`]. Gradients and half types have that of the kernel whatever the composition.
    ///
    /// # Errors
    /// For another number of channels, an image too small for the kernel, and a `W` that was given another shape.
    pub fn algorithm(&self, input: [usize; 4]) -> Result<Algorithm> {
        let [_, _, d_mul] = self.W.lazy_shape().dims();
        let d_mul = self.D.as_ref().map(|_| d_mul);
        self.engine.algorithm("DoConv2d::algorithm", input, d_mul)
    }

    /// The composed kernel `W'`, `[O, I/g, M, N]`, which the layer convolves by. Gradients flow through
    /// it.
    ///
    /// # Panics
    /// For a `W` and a `D` that were given other shapes.
    pub fn weight(&self) -> Tensor<4> {
        const OPERATION: &str = "DoConv2d::weight";
        let weight = self.kernel(OPERATION).and_then(|kernel| match kernel {
            Kernel::Plain(weight) => Ok(weight),
            Kernel::Composed(factors) => self.engine.compose(OPERATION, factors),
        });
        weight.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Convolves `x`, `[B, I, H, W]`; gives `[B, O, OH, OW]`, as burn's [`Conv2d`](burn::nn::conv::Conv2d)
    /// does.
    ///
    /// # Panics
    /// Where [`DoConv2d::try_forward`] gives an error.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve("DoConv2d::forward", x).unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`DoConv2d::forward`], with errors.
    ///
    /// # Errors
    /// For another number of channels, an image too small for the kernel, an output that there is no room for, and
    /// tensors of different types (but `D` may have another one than `W`); for parameters that were given another
    /// shape.
    ///
    /// # Panics
    /// Where there is no room for what the computation works in, and for tensors on different devices.
    pub fn try_forward(&self, x: Tensor<4>) -> Result<Tensor<4>> {
        self.convolve("DoConv2d::try_forward", x)
    }

    fn convolve(&self, operation: &'static str, x: Tensor<4>) -> Result<Tensor<4>> {
        let bias = self.bias.as_ref().map(|bias| bias.val());
        self.engine.convolve(operation, x, self.kernel(operation)?, bias)
    }

    /// The kernel, if there is a `D` where there must be one.
    fn kernel(&self, operation: &'static str) -> Result<Kernel> {
        let w = self.W.val();
        let d_offset = self.D.as_ref().map(|d_offset| d_offset.val());
        match (d_offset, self.identity.clone()) {
            (Some(d_offset), Some(identity)) => {
                Ok(Kernel::Composed(Factors { w, d_offset, identity }))
            }
            (None, None) => {
                let [outputs, n, _, _] = self.engine.weight_shape();
                expect_shape(operation, "W", &[outputs, n, 1], w.dims())?;
                Ok(Kernel::Plain(w.reshape([outputs, n, 1, 1])))
            }
            (None, Some(identity)) => {
                let [_, taps, d_mul] = identity.dims();
                let expected =
                    format!("{:?}", [self.engine.config().conv.in_channels, taps, d_mul]);
                Err(Error::new(ErrorKind::Shape, operation, "D", expected, "none"))
            }
            (Some(d_offset), None) => {
                let got = format!("{:?}", d_offset.dims());
                let expected = "none: a 1×1 kernel has no D";
                Err(Error::new(ErrorKind::Shape, operation, "D", expected, got))
            }
        }
    }

    /// burn's plain convolution by the composed kernel: the same function at the cost of burn's plain
    /// layer. Its kernel is a new, trainable parameter, its bias the layer's.
    ///
    /// Where burn runs both, its outputs have the layer's bits; on the CPU backend `flex`, those of
    /// [`DoConv2d::fold_for_cpu`] have, which is the faster one there.
    ///
    /// # Panics
    /// As [`DoConv2d::weight`].
    pub fn fold(&self) -> conv::Conv2d {
        let do_conv::Conv2dConfig { stride, dilation, groups, kernel_size, .. } =
            self.engine.config().conv;
        conv::Conv2d {
            weight: Param::from_tensor(self.weight().detach()),
            bias: self.bias.clone(),
            stride,
            kernel_size,
            dilation,
            groups,
            padding: self.engine.padding().clone(),
        }
    }

    /// The plain convolution by the composed kernel that the core crate's engine runs on `flex`, by this layer's
    /// algorithm: its outputs have the bits of this layer's under [`Composition::Kernel`], on every backend. The
    /// engine [keeps](Conv2d::keep) a kernel of `f32` or `f64` as it packs it.
    ///
    /// # Panics
    /// As [`DoConv2d::weight`].
    pub fn fold_for_cpu(&self) -> Conv2d {
        const OPERATION: &str = "DoConv2d::fold_for_cpu";
        let algorithm = self.engine.config().conv.algorithm;
        let folded = Conv2d::of_burn(OPERATION, self.fold(), algorithm, self.engine.is_on_flex());
        folded.unwrap_or_else(|error| panic!("{error}")).keep()
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
        self.engine.config().metadata(name)
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
        let [_, _, d_mul] = self.W.lazy_shape().dims();
        let do_conv::DoConv2dConfig { conv, pairing, composition, .. } = self.engine.config();
        content
            .add("ch_in", &conv.in_channels)
            .add("ch_out", &conv.out_channels)
            .add_debug_attribute("kernel_size", &conv.kernel_size)
            .add_debug_attribute("stride", &conv.stride)
            .add_debug_attribute("dilation", &conv.dilation)
            .add("groups", &conv.groups)
            .add_debug_attribute("padding", self.engine.padding())
            .add("d_mul", &d_mul)
            .add_debug_attribute("pairing", pairing)
            .add_debug_attribute("composition", composition)
            .add_debug_attribute("algorithm", &conv.algorithm)
            .optional()
    }
}
