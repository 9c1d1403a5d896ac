//! What a layer is asked to be. Builders check nothing; everything is checked at once when a layer
//! is made.

pub mod algorithm;
pub mod geometry;
pub mod init;
pub mod padding;
#[cfg(feature = "serde")]
pub mod serialize;

use std::str::FromStr;

use crate::error::{Error, ErrorKind, Operation, Result};
use algorithm::Algorithm;
use geometry::Spec;
use init::{DInit, Init};
use padding::{Padding, PaddingMode};

/// Configuration of a plain convolution layer, [`Conv2d`](crate::Conv2d).
///
/// ```
/// use do_conv::{Conv2d, Conv2dConfig};
///
/// let conv: Conv2d<f32> = Conv2dConfig::new(3, 16, [3, 3]).stride([2, 2]).padding(1).init(42)?;
/// # Ok::<(), do_conv::Error>(())
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
pub struct Conv2dConfig {
    /// `I`, input channels.
    pub in_channels: usize,
    /// `O`, output channels.
    pub out_channels: usize,
    /// `[M, N]`, rows and columns of the kernel.
    pub kernel_size: [usize; 2],
    /// Step of the output over rows and columns. Default: `[1, 1]`.
    pub stride: [usize; 2],
    /// Distance of neighbouring kernel taps over rows and columns. Default: `[1, 1]`.
    pub dilation: [usize; 2],
    /// Padding. Default: [`Padding::Valid`].
    pub padding: Padding,
    /// What stands in the padding. Default: [`PaddingMode::Zeros`].
    pub padding_mode: PaddingMode,
    /// `g`, groups of channels; divides `I` and `O`. Default: 1.
    pub groups: usize,
    /// How the convolution and its gradients are computed. Default: [`Algorithm::Direct`].
    pub algorithm: Algorithm,
    /// Whether a bias is added to each output channel. Default: true.
    pub bias: bool,
    /// How the kernel starts. Default: [`Init::default`].
    pub w_init: Init,
    /// How the bias starts, with the kernel's fans. Default: [`Init::default`], `U(±1/√fan_in)`.
    pub bias_init: Init,
}

impl Conv2dConfig {
    /// A convolution of `in_channels` to `out_channels` by a kernel of `[rows, columns]`.
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: [usize; 2]) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel_size,
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::Valid,
            padding_mode: PaddingMode::Zeros,
            groups: 1,
            algorithm: Algorithm::Direct,
            bias: true,
            w_init: Init::default(),
            bias_init: Init::default(),
        }
    }

    /// Checks everything that doesn't depend on an input, as making a layer of `f64` does: for crates
    /// that make the parameters themselves.
    ///
    /// # Errors
    /// As [`Conv2dConfig::init`], drawing values aside.
    pub fn validate(&self) -> Result<()> {
        const OPERATION: Operation = Operation("Conv2dConfig::validate");
        let spec = self.spec(OPERATION)?;
        OPERATION.room::<f64>("weight", spec.weight_shape().iter().product()).map(drop)
    }

    /// Checks everything that doesn't depend on an input.
    pub(crate) fn spec(&self, operation: Operation) -> Result<Spec> {
        let Self { in_channels, out_channels, groups, .. } = *self;
        let config_error = |field, expected: String, got: String| {
            Err(operation.error(ErrorKind::Config, field, expected, got))
        };
        for (field, value) in
            [("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)]
        {
            if value == 0 {
                return config_error(field, "a positive number".into(), "0".into());
            }
        }
        for (field, value) in [
            ("kernel_size", self.kernel_size),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if value.contains(&0) {
                return config_error(field, "two positive numbers".into(), format!("{value:?}"));
            }
        }
        if !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            let expected =
                format!("a divisor of in_channels {in_channels} and out_channels {out_channels}");
            return config_error("groups", expected, groups.to_string());
        }
        let mut extents = [0; 2];
        for (axis, extent) in extents.iter_mut().enumerate() {
            *extent = (self.kernel_size[axis] - 1)
                .checked_mul(self.dilation[axis])
                .filter(|&extent| extent < isize::MAX as usize / 2)
                .ok_or_else(|| {
                    let expected = "a kernel extent that fits half the address space";
                    let got = format!(
                        "dilation {:?} of kernel_size {:?}",
                        self.dilation, self.kernel_size
                    );
                    operation.error(ErrorKind::Overflow, "dilation", expected, got)
                })?;
        }
        let padding = match self.padding {
            Padding::Valid => [[0; 2]; 2],
            Padding::Explicit(sides) => sides,
            Padding::Same if self.stride != [1, 1] => {
                let got = format!("Same with stride {:?}", self.stride);
                return config_error("padding", "Same only with stride [1, 1]".into(), got);
            }
            Padding::Same => extents.map(|extent| [extent / 2, extent - extent / 2]),
        };
        self.w_init.validate(operation, "w_init")?;
        self.bias_init.validate(operation, "bias_init")?;
        let spec = Spec {
            in_channels,
            out_channels,
            groups,
            kernel_size: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding,
            // Without padding every mode is the same.
            mode: match padding {
                [[0, 0], [0, 0]] => PaddingMode::Zeros,
                _ => self.padding_mode,
            },
            algorithm: self.algorithm,
        };
        operation.element_count("weight", &spec.weight_shape())?;
        Ok(spec)
    }
}

/// Configuration of a DO-Conv layer, [`DoConv2d`](crate::DoConv2d).
///
/// `groups = 1` is DO-Conv, `1 < groups < in_channels` DO-GConv and `groups = in_channels`
/// DO-DConv, with any multiplier `out_channels / in_channels`.
///
/// ```
/// use do_conv::{DoConv2d, DoConv2dConfig};
///
/// let layer: DoConv2d<f32> = DoConv2dConfig::new(3, 16, [3, 3]).stride([2, 2]).padding(1).init(42)?;
/// # Ok::<(), do_conv::Error>(())
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
pub struct DoConv2dConfig {
    /// The convolution that the layer folds into. Its `w_init` draws `W`.
    pub conv: Conv2dConfig,
    /// `S`, the depth multiplier of `D`, at least `M·N`. Default: `M·N`. A 1×1 kernel has no `D`
    /// and takes no `d_mul`.
    pub d_mul: Option<usize>,
    /// How `D` starts. Default: [`DInit::Identity`].
    pub d_init: DInit,
    /// In which order `D` and `W` are applied. Default: [`Composition::Kernel`].
    pub composition: Composition,
    /// Which slice of `D` goes with which slice of `W`. Default: [`Pairing::InputChannel`].
    pub pairing: Pairing,
}

/// In which order a layer applies `D` and `W`. Both orders are the same function with the same
/// gradients; they differ in cost and in rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Composition {
    /// `y = (Dᵀ∘W) * x`: composes one kernel and convolves by it. Gives the same bits as the folded
    /// layer.
    #[default]
    Kernel,
    /// `y = W * (D∘x)`: a depthwise convolution by `D`, then a 1×1 convolution by `W`. The gradients,
    /// which are the same, are computed by the composed kernel.
    Feature,
    /// At each call the one with fewer multiply-accumulates for that input's size. The choice
    /// depends on the batch, so bits may too.
    Auto,
}

/// Which channel `c` of `D` goes with `W[o, i]`, for `g` groups of `n = I/g` input and `r = O/g`
/// output channels. All agree for one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Pairing {
    /// `c = (o div r)·n + i`, the input channel that `W[o, i]` reads.
    #[default]
    InputChannel,
    /// `c = (o mod g)·n + i`, as the published PyTorch code computes. It is the input channel only
    /// if `g = 1` or `r = 1`; otherwise there is no feature composition.
    PyTorch,
    /// `c = i·g + (o div r)`, as the published TensorFlow and GluonCV code computes. It is the input
    /// channel only if `g = 1` or `n = 1`; otherwise there is no feature composition.
    TensorFlow,
}

/// What comes before a layer's name in a file's metadata.
pub(crate) const KERNEL_SIZE_PREFIX: &str = "do_conv.kernel_size.";
/// What comes before a layer's name in a file's metadata.
pub(crate) const PAIRING_PREFIX: &str = "do_conv.pairing.";

impl Pairing {
    /// Every pairing.
    pub const ALL: [Self; 3] = [Self::InputChannel, Self::PyTorch, Self::TensorFlow];

    /// The key under which a safetensors file's metadata has the [name](Self::name) of the pairing of
    /// all its layers.
    pub const METADATA_KEY: &str = "do_conv.pairing";

    /// The name in the metadata of checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::InputChannel => "input_channel",
            Self::PyTorch => "pytorch",
            Self::TensorFlow => "tensorflow",
        }
    }

    /// Whether it pairs each `W[o, i]` with the input channel it reads.
    pub(crate) fn is_by_input_channel(self, spec: &Spec) -> bool {
        let [inputs, outputs] = [spec.group_inputs(), spec.group_outputs()];
        self.is_by_channel_of(Groups { count: spec.groups, inputs, outputs })
    }

    /// The same for such groups.
    pub(crate) fn is_by_channel_of(self, groups: Groups) -> bool {
        match self {
            Self::InputChannel => true,
            Self::PyTorch => groups.count == 1 || groups.outputs == 1,
            Self::TensorFlow => groups.count == 1 || groups.inputs == 1,
        }
    }

    /// Whether any two pairings differ for such groups.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn matters_to(groups: Groups) -> bool {
        !Self::ALL.iter().all(|pairing| pairing.is_by_channel_of(groups))
    }
}

impl FromStr for Pairing {
    type Err = Error;

    /// The pairing of that [name](Self::name).
    ///
    /// # Errors
    /// [`ErrorKind::Value`] for any other text.
    fn from_str(name: &str) -> Result<Self> {
        let pairing = Self::ALL.into_iter().find(|pairing| pairing.name() == name);
        pairing.ok_or_else(|| {
            let expected = Self::ALL.map(Self::name).join(", ");
            Operation("Pairing::from_str").error(ErrorKind::Value, "name", expected, name)
        })
    }
}

/// How channels are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Groups {
    /// `g`.
    pub count: usize,
    /// `n`, input channels of a group.
    pub inputs: usize,
    /// `r`, output channels of a group.
    pub outputs: usize,
}

impl DoConv2dConfig {
    /// A DO-Conv layer of `in_channels` to `out_channels` by a kernel of `[rows, columns]`.
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: [usize; 2]) -> Self {
        Conv2dConfig::new(in_channels, out_channels, kernel_size).into()
    }

    /// Sets the depth multiplier `S ≥ M·N`.
    pub fn d_mul(mut self, d_mul: usize) -> Self {
        self.d_mul = Some(d_mul);
        self
    }

    /// Sets how `D` starts.
    pub fn d_init(mut self, init: DInit) -> Self {
        self.d_init = init;
        self
    }

    /// Sets the order of `D` and `W`.
    pub fn composition(mut self, composition: Composition) -> Self {
        self.composition = composition;
        self
    }

    /// Sets which slice of `D` goes with which slice of `W`.
    pub fn pairing(mut self, pairing: Pairing) -> Self {
        self.pairing = pairing;
        self
    }

    /// What tensors don't show of a layer, as keys and texts of a safetensors file's metadata, where
    /// readers of the feature `checkpoint` find it: its kernel size and its pairing. `name` is the
    /// layer's in the file, its keys up to the last separator.
    ///
    /// ```
    /// let config = do_conv::DoConv2dConfig::new(8, 16, [3, 5]).groups(4);
    /// let [size, pairing] = config.metadata("stem");
    /// assert_eq!((&*size.0, &*size.1), ("do_conv.kernel_size.stem", "3x5"));
    /// assert_eq!((&*pairing.0, &*pairing.1), ("do_conv.pairing.stem", "input_channel"));
    /// ```
    pub fn metadata(&self, name: &str) -> [(String, String); 2] {
        let [rows, columns] = self.conv.kernel_size;
        [
            (format!("{KERNEL_SIZE_PREFIX}{name}"), format!("{rows}x{columns}")),
            (format!("{PAIRING_PREFIX}{name}"), self.pairing.name().into()),
        ]
    }

    /// Checks everything that doesn't depend on an input, as making a layer of `f64` does: for crates
    /// that make the parameters themselves.
    ///
    /// # Errors
    /// As [`DoConv2dConfig::init`], drawing values aside.
    pub fn validate(&self) -> Result<()> {
        const OPERATION: Operation = Operation("DoConv2dConfig::validate");
        let (spec, d_mul) = self.spec(OPERATION)?;
        let w = spec.out_channels * spec.group_inputs() * d_mul;
        let d_offset = spec.in_channels * spec.taps() * d_mul;
        // The products are checked by then.
        for (field, count) in [("w", w), ("d_offset", d_offset)] {
            OPERATION.room::<f64>(field, count)?;
        }
        Ok(())
    }

    /// Checks everything that doesn't depend on an input; gives the spec and `S`.
    pub(crate) fn spec(&self, operation: Operation) -> Result<(Spec, usize)> {
        let spec = self.conv.spec(operation)?;
        let taps = spec.taps();
        let [m, n] = spec.kernel_size;
        let expected = match self.d_mul {
            Some(_) if taps == 1 => "none: a 1×1 kernel has no D".into(),
            Some(d_mul) if d_mul < taps => format!("at least {taps} for a {m}×{n} kernel"),
            _ => String::new(),
        };
        if let (Some(d_mul), false) = (self.d_mul, expected.is_empty()) {
            return Err(operation.error(ErrorKind::Config, "d_mul", expected, d_mul));
        }
        let d_mul = self.d_mul.unwrap_or(taps);
        if self.composition == Composition::Feature && !self.pairing.is_by_input_channel(&spec) {
            return Err(operation.error(
                ErrorKind::Config,
                "composition",
                "Kernel or Auto: D is not paired by input channel",
                format!(
                    "Feature with pairing {:?} and {} groups of {} to {} channels",
                    self.pairing,
                    spec.groups,
                    spec.group_inputs(),
                    spec.group_outputs()
                ),
            ));
        }
        if let DInit::Random(init) = self.d_init {
            init.validate(operation, "d_init")?;
        }
        operation.element_count("d_offset", &[spec.in_channels, taps, d_mul])?;
        operation.element_count("w", &[spec.out_channels, spec.group_inputs(), d_mul])?;
        Ok((spec, d_mul))
    }
}

impl From<Conv2dConfig> for DoConv2dConfig {
    /// The over-parameterized form of a plain convolution, with every other setting its default.
    fn from(conv: Conv2dConfig) -> Self {
        Self {
            conv,
            d_mul: None,
            d_init: DInit::default(),
            composition: Composition::default(),
            pairing: Pairing::default(),
        }
    }
}

/// The setters that both configurations have.
macro_rules! setters {
    ($config:ty, $self:ident => $conv:expr) => {
        impl $config {
            /// Sets the step of the output over rows and columns.
            pub fn stride(mut $self, stride: [usize; 2]) -> Self {
                $conv.stride = stride;
                $self
            }

            /// Sets the distance of neighbouring kernel taps over rows and columns.
            pub fn dilation(mut $self, dilation: [usize; 2]) -> Self {
                $conv.dilation = dilation;
                $self
            }

            /// Sets the padding: one number, `[rows, columns]`, `[[top, bottom], [left, right]]` or
            /// a [`Padding`].
            pub fn padding(mut $self, padding: impl Into<Padding>) -> Self {
                $conv.padding = padding.into();
                $self
            }

            /// Sets what stands in the padding.
            pub fn padding_mode(mut $self, mode: PaddingMode) -> Self {
                $conv.padding_mode = mode;
                $self
            }

            /// Sets the number of groups.
            pub fn groups(mut $self, groups: usize) -> Self {
                $conv.groups = groups;
                $self
            }

            /// Sets how the convolution and its gradients are computed.
            pub fn algorithm(mut $self, algorithm: Algorithm) -> Self {
                $conv.algorithm = algorithm;
                $self
            }

            /// Sets whether a bias is added.
            pub fn bias(mut $self, bias: bool) -> Self {
                $conv.bias = bias;
                $self
            }

            /// Sets how the kernel starts.
            pub fn w_init(mut $self, init: Init) -> Self {
                $conv.w_init = init;
                $self
            }

            /// Sets how the bias starts.
            pub fn bias_init(mut $self, init: Init) -> Self {
                $conv.bias_init = init;
                $self
            }
        }
    };
}
setters!(Conv2dConfig, self => self);
setters!(DoConv2dConfig, self => self.conv);
