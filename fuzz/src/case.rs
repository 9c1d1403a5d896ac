//! A layer, an input and values for both, made from bytes: small, mostly valid, and of every kind.

use do_conv::{Algorithm, Composition, DoConv2dConfig, Padding, PaddingMode, Pairing, Scalar};
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use ndarray::{Array, Dimension, IntoDimension};

/// Multiply-accumulates of all ways to compute a case.
const MOST_WORK: u128 = 1 << 19;
/// The same of cases that a loop nest computes as well.
const MOST_NESTED: u128 = 1 << 15;
/// Elements of its largest array.
const MOST_ELEMENTS: u128 = 1 << 16;

/// What a run of a target is about.
#[derive(Debug, Clone)]
pub struct Case {
    /// The layer.
    pub config: DoConv2dConfig,
    /// `[B, I, H, W]`.
    pub input: [usize; 4],
    /// Whether elements are `f64`.
    pub double: bool,
    /// What arrays hold.
    pub values: Values,
    /// How each array that is lent lies in memory.
    pub layouts: u64,
    /// An axis, and the length that it has in arrays of a wrong shape.
    pub wrong: [usize; 2],
}

/// What arrays hold, drawn from a seed.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    kind: Kind,
    seed: u32,
}

/// What kind of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Small integers, whose sums are exact.
    Integers,
    /// `U(−1, 1)`.
    Reals,
    /// Infinities, not-a-numbers, the largest and the smallest, among ones.
    Special,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        // One at which a register or a path has its edge, or any.
        let channels = |bytes: &mut Unstructured<'a>| -> Result<usize> {
            Ok(match bytes.int_in_range(0..=15u8)? {
                index @ 0..=11 => [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 33][usize::from(index)],
                _ => bytes.int_in_range(1..=80)?,
            })
        };
        let groups = bytes.int_in_range(1..=4)?;
        let [inputs, outputs] = [channels(bytes)? * groups, channels(bytes)? * groups];
        let side = |bytes: &mut Unstructured<'a>| -> Result<usize> {
            let most = if bytes.ratio(1, 8)? { 40 } else { 5 };
            bytes.int_in_range(1..=most)
        };
        let kernel = [side(bytes)?, side(bytes)?];
        let step = |bytes: &mut Unstructured<'a>| bytes.int_in_range(1..=4);
        let far = |bytes: &mut Unstructured<'a>| -> Result<usize> {
            let most = if bytes.ratio(1, 8)? { 60 } else { 4 };
            bytes.int_in_range(0..=most)
        };
        let padding = match bytes.int_in_range(0..=3u8)? {
            0 => Padding::Valid,
            1 => Padding::Same,
            _ => Padding::Explicit([[far(bytes)?, far(bytes)?], [far(bytes)?, far(bytes)?]]),
        };
        let stride = match padding {
            Padding::Same => [1, 1],
            _ => [step(bytes)?, step(bytes)?],
        };
        let mut config = DoConv2dConfig::new(inputs, outputs, kernel)
            .groups(groups)
            .stride(stride)
            .dilation([step(bytes)?, step(bytes)?])
            .padding(padding)
            .padding_mode(*bytes.choose(&MODES)?)
            .bias(bytes.arbitrary()?)
            .pairing(*bytes.choose(&PAIRINGS)?)
            .composition(*bytes.choose(&COMPOSITIONS)?);
        if kernel != [1, 1] && bytes.ratio(1, 3)? {
            config = config.d_mul(kernel[0] * kernel[1] + bytes.int_in_range(0..=20)?);
        }
        let extent = |bytes: &mut Unstructured<'a>| -> Result<usize> {
            let most = if bytes.ratio(1, 8)? { 600 } else { 20 };
            bytes.int_in_range(0..=most)
        };
        let input = [bytes.int_in_range(0..=3)?, inputs, extent(bytes)?, extent(bytes)?];
        let kind = *bytes.choose(&[Kind::Integers, Kind::Integers, Kind::Reals, Kind::Special])?;
        let mut case = Self {
            config,
            input,
            double: bytes.arbitrary()?,
            values: Values { kind, seed: bytes.arbitrary()? },
            layouts: bytes.arbitrary()?,
            wrong: [bytes.int_in_range(0..=3)?, bytes.int_in_range(0..=9)?],
        };
        // Last, so that inputs that were found before there was a choice mean what they did.
        case.config.conv.algorithm = *bytes.choose(&Algorithm::ALL)?;
        Ok(case)
    }
}

/// Every padding mode.
pub const MODES: [PaddingMode; 4] =
    [PaddingMode::Zeros, PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular];
/// Every pairing.
pub const PAIRINGS: [Pairing; 3] = [Pairing::InputChannel, Pairing::PyTorch, Pairing::TensorFlow];
/// Every composition.
pub const COMPOSITIONS: [Composition; 3] =
    [Composition::Kernel, Composition::Feature, Composition::Auto];

impl Case {
    /// `S`.
    pub fn depth(&self) -> usize {
        let [rows, cols] = self.config.conv.kernel_size;
        self.config.d_mul.unwrap_or(rows * cols)
    }

    /// `[O, I/g, M, N]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        let conv = &self.config.conv;
        let [rows, cols] = conv.kernel_size;
        [conv.out_channels, conv.in_channels / conv.groups, rows, cols]
    }

    /// `[I, M·N, S]`, of a kernel that has a `D`.
    pub fn offset_shape(&self) -> [usize; 3] {
        let [rows, cols] = self.config.conv.kernel_size;
        [self.config.conv.in_channels, rows * cols, self.depth()]
    }

    /// `[O, I/g, S]`.
    pub fn w_shape(&self) -> [usize; 3] {
        let [outputs, inputs, ..] = self.weight_shape();
        [outputs, inputs, self.depth()]
    }

    /// Whether the kernel has a `D`.
    pub fn has_depth(&self) -> bool {
        self.config.conv.kernel_size != [1, 1]
    }

    /// Whether an output of that shape takes little time, by every composition.
    pub fn is_small(&self, output: [usize; 4]) -> bool {
        let arrays = [product(&self.offset_shape()), product(&self.input), product(&output)];
        self.work(output) <= MOST_WORK && arrays.iter().all(|&elements| elements <= MOST_ELEMENTS)
    }

    /// Whether sums are exact, be all of them of one sign, and direct, and so few that a loop nest takes little time.
    pub fn is_exact<T: Scalar>(&self, output: [usize; 4]) -> bool {
        let work = self.work(output);
        let largest = work as f64 * 4.0 * self.depth() as f64;
        self.values.kind == Kind::Integers
            && self.config.conv.algorithm == Algorithm::Direct
            && work <= MOST_NESTED
            && largest < 1.0 / T::UNIT_ROUNDOFF
    }

    /// Multiply-accumulates of all compositions, and what the lines of no image take.
    fn work(&self, output: [usize; 4]) -> u128 {
        let [outputs, inputs, rows, cols] = self.weight_shape();
        let pixels = product(&[output[0], output[2], output[3]]);
        let composed = product(&[outputs, inputs, rows, cols, self.depth()]);
        let convolved = product(&[outputs, inputs, rows, cols, output[0], output[2], output[3]]);
        let features = product(&[self.input[1], rows * cols + outputs, self.depth()]);
        composed
            .saturating_add(convolved)
            .saturating_add(features.saturating_mul(pixels))
            .saturating_add(product(&[output[2], output[3]]))
            .saturating_add(product(&[self.input[2], self.input[3]]))
    }

    /// The shape with a wrong length, if it is one, and small.
    pub fn wrong_shape<const N: usize>(&self, right: [usize; N]) -> Option<[usize; N]> {
        let mut shape = right;
        shape[self.wrong[0] % N] = self.wrong[1];
        (shape != right && product(&shape) <= MOST_ELEMENTS).then_some(shape)
    }
}

impl Values {
    /// Whether they are within bounds of rounding errors.
    pub fn are_finite(self) -> bool {
        self.kind != Kind::Special
    }

    /// An array of these, where integers are at most `most`; arrays of different names differ.
    pub fn array<T: Scalar, D: Dimension>(
        self,
        name: &str,
        most: u64,
        shape: impl IntoDimension<Dim = D>,
    ) -> Array<T, D> {
        let mut state = name.bytes().fold(u64::from(self.seed), |state, byte| {
            state.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
        });
        Array::from_shape_simple_fn(shape.into_dimension(), || {
            state = next(state);
            T::round_from(self.value(state >> 16, most))
        })
    }

    fn value(self, bits: u64, most: u64) -> f64 {
        const SPECIAL: [f64; 8] =
            [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, 3e38, 1e-45, 5e-324, -0.0];
        match self.kind {
            Kind::Integers => (bits % (2 * most + 1)) as f64 - most as f64,
            Kind::Reals => bits as f64 / (1u64 << 47) as f64 - 1.0,
            Kind::Special if bits.is_multiple_of(16) => SPECIAL[(bits / 16 % 8) as usize],
            Kind::Special => 1.0,
        }
    }
}

/// The product, as large as it may be.
pub fn product(sizes: &[usize]) -> u128 {
    sizes.iter().fold(1, |product: u128, &size| product.saturating_mul(size as u128))
}

/// The next state of a linear congruential generator (Knuth's MMIX).
fn next(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}
