//! A layer's geometry, and what computes it: the core crate's engine on burn's CPU backend `flex`, burn's own
//! operations on every other.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::nn::PaddingConfig2d;
#[cfg(feature = "flex")]
use burn::tensor::Device;
use burn::tensor::{DType, Tensor};
#[cfg(not(feature = "flex"))]
use do_conv::Scalar as Native;
use do_conv::operator::{Compose, Convolve, DoConvolve};
use do_conv::{Algorithm, Composition, DoConv2dConfig, Error, ErrorKind, Result};

use crate::config::of;
use crate::fallback;
#[cfg(feature = "flex")]
use crate::flex::{self, Native};

/// A layer's geometry, pairing and composition, checked once. Keeps operators and their buffers from call to call,
/// those of the last few paddings and multipliers; clones share them.
#[derive(Clone)]
pub struct Engine {
    /// Without a padding, which may depend on the image, and without `D`'s multiplier.
    config: DoConv2dConfig,
    padding: PaddingConfig2d,
    /// Whether the core computes on `flex`.
    on_flex: bool,
    /// Whether it keeps a plain kernel as it packs it, as long as that is the same.
    keeps: bool,
    recent: Arc<Mutex<Vec<Recent>>>,
}

impl fmt::Debug for Engine {
    /// What it is for, without operators and buffers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, padding, on_flex, keeps, recent: _ } = self;
        f.debug_struct("Engine")
            .field("config", config)
            .field("padding", padding)
            .field("on_flex", on_flex)
            .field("keeps", keeps)
            .finish_non_exhaustive()
    }
}

/// How many sets of operators a layer keeps.
const RECENT: usize = 4;

/// Operators of a recent call, with what they were made for.
#[derive(Debug)]
struct Recent {
    padding: [[usize; 2]; 2],
    d_mul: Option<usize>,
    operators: Arc<Operators>,
}

/// The core's operators for both element types that it has.
#[derive(Debug)]
#[cfg_attr(not(feature = "flex"), expect(dead_code, reason = "shapes are checked by one of them"))]
pub struct Operators {
    pub single: OperatorsOf<f32>,
    pub double: OperatorsOf<f64>,
}

/// The core's operators for one element type.
#[derive(Debug)]
pub struct OperatorsOf<T> {
    pub convolve: Convolve<T>,
    /// By and of a composed kernel; none for a plain one.
    pub composed: Option<(DoConvolve<T>, Compose<T>)>,
    /// The plain kernel of the last calls, if it is to be kept.
    #[cfg(feature = "flex")]
    pub kept: Option<flex::Kept<T>>,
}

/// The kernel of a convolution.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "made and taken apart once a call")]
pub enum Kernel {
    /// `[O, I/g, M, N]`.
    Plain(Tensor<4>),
    /// The one that is composed of `W` and the offset of `D`.
    Composed(Factors),
}

/// What a kernel is composed of. The types may differ; the kernel has that of `W`.
#[derive(Debug, Clone)]
pub struct Factors {
    /// `[O, I/g, S]`.
    pub w: Tensor<3>,
    /// `[I, M·N, S]`.
    pub d_offset: Tensor<3>,
    /// `[1, M·N, S]`; only burn's operations need it.
    pub identity: Tensor<3>,
}

impl Engine {
    /// For a configuration that has been found valid; its padding and `d_mul` don't matter.
    pub fn new(mut config: DoConv2dConfig, padding: PaddingConfig2d, on_flex: bool) -> Self {
        config.d_mul = None;
        Self { config, padding, on_flex, keeps: false, recent: Arc::default() }
    }

    /// The same, which keeps a plain kernel as it packs it, as long as that is the same.
    pub fn keeping(self) -> Self {
        Self { keeps: true, recent: Arc::default(), ..self }
    }

    /// The same by another algorithm.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self { config: self.config.algorithm(algorithm), recent: Arc::default(), ..self }
    }

    /// The same with `D` and `W` in that order. Refuses, in the name of `operation`, one that the pairing hasn't.
    pub fn with_composition(
        self,
        operation: &'static str,
        composition: Composition,
    ) -> Result<Self> {
        let config = self.config.composition(composition);
        config.validate().map_err(|error| of(operation, error))?;
        Ok(Self { config, recent: Arc::default(), ..self })
    }

    /// What the layer is, without its padding and `d_mul`.
    pub fn config(&self) -> &DoConv2dConfig {
        &self.config
    }

    /// Whether the core computes on `flex`.
    pub fn is_on_flex(&self) -> bool {
        self.on_flex
    }

    /// The layer's padding, in burn's terms.
    pub fn padding(&self) -> &PaddingConfig2d {
        &self.padding
    }

    /// `[O, I/g, M, N]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        let conv = &self.config.conv;
        let [rows, columns] = conv.kernel_size;
        [conv.out_channels, conv.in_channels / conv.groups, rows, columns]
    }

    /// The algorithm of a forward pass for an image `[B, I, H, W]` on `flex`, by a kernel that is composed if there
    /// is a `d_mul`.
    pub fn algorithm(
        &self,
        operation: &'static str,
        input: [usize; 4],
        d_mul: Option<usize>,
    ) -> Result<Algorithm> {
        let operators = self.operators(operation, self.sides(input), d_mul)?;
        let OperatorsOf { convolve, composed, .. } = &operators.single;
        let algorithm = match composed {
            Some((do_convolve, _)) => do_convolve.algorithm(input),
            None => convolve.algorithm(input),
        };
        algorithm.map_err(|error| of(operation, error))
    }

    /// `kernel * x + bias`, `[B, O, OH, OW]`, or why that can't be.
    pub fn convolve(
        &self,
        operation: &'static str,
        x: Tensor<4>,
        kernel: Kernel,
        bias: Option<Tensor<1>>,
    ) -> Result<Tensor<4>> {
        // As burn's own layer has it.
        let (x, kernel) = (x.dequantize(), kernel.dequantize());
        let bias = bias.map(Tensor::dequantize);
        let d_mul = match &kernel {
            Kernel::Plain(weight) => {
                expect_shape(operation, "weight", &self.weight_shape(), weight.dims())?;
                None
            }
            Kernel::Composed(factors) => Some(self.expect_factors(operation, factors)?),
        };
        if let Some(bias) = &bias {
            expect_shape(operation, "bias", &[self.config.conv.out_channels], bias.dims())?;
        }
        let sides = self.sides(x.dims());
        let operators = self.operators(operation, sides, d_mul)?;
        let output = operators.single.convolve.output_shape(x.dims());
        let output = output.map_err(|error| of(operation, error))?;

        let (field, of_kernel) = match &kernel {
            Kernel::Plain(weight) => ("weight", weight.dtype()),
            Kernel::Composed(factors) => ("W", factors.w.dtype()),
        };
        expect_dtype(operation, field, x.dtype(), of_kernel)?;
        bias.iter()
            .try_for_each(|bias| expect_dtype(operation, "bias", x.dtype(), bias.dtype()))?;
        #[cfg(feature = "flex")]
        {
            let devices = [x.device(), kernel.device()];
            let devices = devices.into_iter().chain(bias.iter().map(Tensor::device));
            if let Some(native) = self.native(x.dtype(), devices) {
                expect_room(operation, "y", &output)?;
                return Ok(flex::convolve(x, kernel, bias, operators, native));
            }
        }
        #[cfg(not(feature = "flex"))]
        let _ = output;
        let conv = &self.config.conv;
        let weight = match kernel {
            Kernel::Plain(weight) => weight,
            Kernel::Composed(factors) => self.compose_by_burn(factors),
        };
        Ok(fallback::convolve(conv, sides, x, weight, bias))
    }

    /// The composed kernel, `[O, I/g, M, N]`, if the factors have their shapes.
    pub fn compose(&self, operation: &'static str, factors: Factors) -> Result<Tensor<4>> {
        let factors = factors.dequantize();
        let d_mul = self.expect_factors(operation, &factors)?;
        // No image, no padding; but it tells whether there can be such a `D`.
        let operators = self.operators(operation, [[0; 2]; 2], Some(d_mul))?;
        #[cfg(feature = "flex")]
        {
            let devices = [factors.w.device(), factors.d_offset.device()];
            if let Some(native) = self.native(factors.w.dtype(), devices) {
                return Ok(flex::compose(factors, operators, native));
            }
        }
        drop(operators);
        Ok(self.compose_by_burn(factors))
    }

    /// The type that the core's engine computes in for tensors of that type on those devices, if it does: half
    /// types become `f32`, and results are rounded to theirs.
    #[cfg(feature = "flex")]
    fn native(&self, dtype: DType, devices: impl IntoIterator<Item = Device>) -> Option<DType> {
        let native = match dtype {
            DType::F32 | DType::F16 | DType::BF16 => DType::F32,
            DType::F64 => DType::F64,
            _ => return None,
        };
        let runs_on = |device: Device| {
            device == Device::flex() && (cfg!(feature = "autodiff") || !device.is_autodiff())
        };
        (self.on_flex && devices.into_iter().all(runs_on)).then_some(native)
    }

    fn compose_by_burn(&self, factors: Factors) -> Tensor<4> {
        let DoConv2dConfig { conv, pairing, .. } = &self.config;
        fallback::compose(factors, conv.groups, *pairing).reshape(self.weight_shape())
    }

    /// Refuses factors of other shapes; gives `S`.
    fn expect_factors(&self, operation: &'static str, factors: &Factors) -> Result<usize> {
        let Factors { w, d_offset, .. } = factors;
        let [outputs, n, rows, columns] = self.weight_shape();
        let d_mul = w.dims()[2];
        expect_shape(operation, "W", &[outputs, n, d_mul], w.dims())?;
        let d_shape = [self.config.conv.in_channels, rows * columns, d_mul];
        expect_shape(operation, "D", &d_shape, d_offset.dims())?;
        Ok(d_mul)
    }

    /// The padding of an image, `[[top, bottom], [left, right]]`. burn's `Same` makes the output as large as the
    /// input divided by the stride, and doesn't know of a dilation.
    fn sides(&self, [_, _, height, width]: [usize; 4]) -> [[usize; 2]; 2] {
        match self.padding {
            PaddingConfig2d::Valid => [[0; 2]; 2],
            PaddingConfig2d::Explicit(top, left, bottom, right) => [[top, bottom], [left, right]],
            PaddingConfig2d::Same => {
                let conv = &self.config.conv;
                [(0, height), (1, width)].map(|(axis, size)| {
                    let steps = size.div_ceil(conv.stride[axis]).saturating_sub(1);
                    let reached = steps * conv.stride[axis] + conv.kernel_size[axis];
                    let padding = if size == 0 { 0 } else { reached.saturating_sub(size) };
                    [padding / 2, padding - padding / 2]
                })
            }
        }
    }

    /// Those of a recent call, or new ones.
    fn operators(
        &self,
        operation: &'static str,
        padding: [[usize; 2]; 2],
        d_mul: Option<usize>,
    ) -> Result<Arc<Operators>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = recent.iter().position(|r| (r.padding, r.d_mul) == (padding, d_mul));
        let used = match found {
            Some(found) => recent.remove(found),
            None => {
                let mut config = self.config.clone().padding(padding);
                config.d_mul = d_mul;
                let operators = Operators::new(&config, self.keeps);
                let operators = Arc::new(operators.map_err(|error| of(operation, error))?);
                Recent { padding, d_mul, operators }
            }
        };
        let operators = used.operators.clone();
        recent.insert(0, used);
        recent.truncate(RECENT);
        Ok(operators)
    }
}

impl Operators {
    fn new(config: &DoConv2dConfig, keeps: bool) -> Result<Self> {
        let (single, double) = (OperatorsOf::new(config, keeps)?, OperatorsOf::new(config, keeps)?);
        Ok(Self { single, double })
    }
}

impl<T: Native> OperatorsOf<T> {
    fn new(config: &DoConv2dConfig, keeps: bool) -> Result<Self> {
        let composed = || Ok((DoConvolve::new(config)?, Compose::new(config)?));
        #[cfg(not(feature = "flex"))]
        let _ = keeps;
        Ok(Self {
            convolve: Convolve::new(&config.conv)?,
            composed: config.d_mul.map(|_| composed()).transpose()?,
            #[cfg(feature = "flex")]
            kept: keeps.then(|| flex::Kept::new(&config.conv)),
        })
    }
}

impl Kernel {
    fn dequantize(self) -> Self {
        match self {
            Self::Plain(weight) => Self::Plain(weight.dequantize()),
            Self::Composed(factors) => Self::Composed(factors.dequantize()),
        }
    }

    #[cfg(feature = "flex")]
    fn device(&self) -> Device {
        match self {
            Self::Plain(weight) => weight.device(),
            // `D` is of the same layer, and on its device; autodiff may be on for either.
            Self::Composed(Factors { w, d_offset, .. }) => match d_offset.device().is_autodiff() {
                true => d_offset.device(),
                false => w.device(),
            },
        }
    }
}

impl Factors {
    fn dequantize(self) -> Self {
        Self { w: self.w.dequantize(), d_offset: self.d_offset.dequantize(), ..self }
    }
}

/// Refuses a tensor of another shape.
pub fn expect_shape<const N: usize>(
    operation: &'static str,
    field: &'static str,
    expected: &[usize; N],
    got: [usize; N],
) -> Result<()> {
    if got == *expected {
        return Ok(());
    }
    let (expected, got) = (format!("{expected:?}"), format!("{got:?}"));
    Err(Error::new(ErrorKind::Shape, operation, field, expected, got))
}

/// Refuses a tensor of another type than `x`.
fn expect_dtype(
    operation: &'static str,
    field: &'static str,
    expected: DType,
    got: DType,
) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    let (expected, got) = (format!("{expected:?}, as x is"), format!("{got:?}"));
    Err(Error::new(ErrorKind::Config, operation, field, expected, got))
}

/// Refuses a result that there is no room for: a plain allocation that fails ends the process.
#[cfg(feature = "flex")]
fn expect_room(operation: &'static str, field: &'static str, shape: &[usize]) -> Result<()> {
    let count = shape.iter().product();
    Vec::<f64>::new().try_reserve_exact(count).map_err(|_| {
        let expected = format!("room for {count} elements");
        Error::new(ErrorKind::Memory, operation, field, expected, "none")
    })
}
