//! What the tests share: a [`Problem`] (one layer and one input), the naive oracle that solves it in
//! `f64` by the definitions, the crate's own solution to compare with it, and what is asserted of errors.

#![allow(dead_code)]

pub mod golden;
pub mod oracle;
pub mod reference;
pub mod strategy;
pub mod table;

use std::fmt::Debug;

use do_conv::{
    Composition, Conv2dGradients, DoConv2d, DoConv2dConfig, DoConv2dGradients, ErrorKind,
    PaddingMode, Pairing, Result, Scalar,
};
use ndarray::{Array1, Array3, Array4, ArrayD, Dimension, IntoDimension};

/// A layer's sizes and settings, and the size of its input.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub image: [usize; 2],
    pub kernel_size: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    pub mode: PaddingMode,
    pub d_mul: usize,
    pub bias: bool,
    pub pairing: Pairing,
}

/// The arrays that go into a problem.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub x: Array4<f64>,
    pub d_offset: Option<Array3<f64>>,
    pub w: Array3<f64>,
    pub bias: Option<Array1<f64>>,
    pub dy: Array4<f64>,
}

/// What comes out, by name: `kernel`, `y`, `dx`, `dd_offset`, `dw`, `dbias`, those that exist.
pub type Outputs = Vec<(&'static str, ArrayD<f64>)>;

impl Problem {
    /// A plain 3×3 layer, from which others differ.
    pub const DENSE: Self = Self {
        batch: 2,
        in_channels: 4,
        out_channels: 6,
        groups: 1,
        image: [9, 9],
        kernel_size: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [[0, 0], [0, 0]],
        mode: PaddingMode::Zeros,
        d_mul: 9,
        bias: true,
        pairing: Pairing::InputChannel,
    };

    pub fn taps(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1]
    }

    pub fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    pub fn group_outputs(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Rows and columns of the output, or `None` if the kernel doesn't fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        let mut output = [0; 2];
        for (axis, output) in output.iter_mut().enumerate() {
            let padded = self.image[axis] + self.padding[axis][0] + self.padding[axis][1];
            let extent = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1;
            *output = padded.checked_sub(extent)? / self.stride[axis] + 1;
        }
        Some(output)
    }

    pub fn has_feature_composition(&self) -> bool {
        match self.pairing {
            Pairing::InputChannel => true,
            Pairing::PyTorch => self.groups == 1 || self.group_outputs() == 1,
            Pairing::TensorFlow => self.groups == 1 || self.group_inputs() == 1,
        }
    }

    pub fn compositions(&self) -> Vec<Composition> {
        let mut compositions = vec![Composition::Kernel];
        if self.has_feature_composition() {
            compositions.push(Composition::Feature);
        }
        compositions
    }

    pub fn config(&self, composition: Composition) -> DoConv2dConfig {
        let config = DoConv2dConfig::new(self.in_channels, self.out_channels, self.kernel_size)
            .stride(self.stride)
            .dilation(self.dilation)
            .padding(self.padding)
            .padding_mode(self.mode)
            .groups(self.groups)
            .bias(self.bias)
            .pairing(self.pairing)
            .composition(composition);
        if self.taps() == 1 { config } else { config.d_mul(self.d_mul) }
    }

    /// Inputs drawn by `draw`, whose `dy` fits the output.
    pub fn inputs(&self, mut draw: impl FnMut() -> f64) -> Inputs {
        fn array<D: Dimension>(
            shape: impl IntoDimension<Dim = D>,
            draw: &mut impl FnMut() -> f64,
        ) -> ndarray::Array<f64, D> {
            ndarray::Array::from_shape_simple_fn(shape.into_dimension(), draw)
        }
        let [rows, cols] = self.output().expect("the kernel fits");
        let draw = &mut draw;
        Inputs {
            x: array([self.batch, self.in_channels, self.image[0], self.image[1]], draw),
            d_offset: (self.taps() > 1)
                .then(|| array([self.in_channels, self.taps(), self.d_mul], draw)),
            w: array([self.out_channels, self.group_inputs(), self.d_mul], draw),
            bias: self.bias.then(|| array([self.out_channels], draw)),
            dy: array([self.batch, self.out_channels, rows, cols], draw),
        }
    }

    /// The layer with given parameters.
    pub fn layer<T: Scalar>(&self, inputs: &Inputs, composition: Composition) -> DoConv2d<T> {
        DoConv2d::from_parameters(
            self.config(composition),
            inputs.d_offset.as_ref().map(|d_offset| d_offset.mapv(T::round_from)),
            inputs.w.mapv(T::round_from),
            inputs.bias.as_ref().map(|bias| bias.mapv(T::round_from)),
        )
        .expect("a valid problem")
    }

    /// What the crate computes in `T`.
    pub fn solve<T: Scalar>(&self, inputs: &Inputs, composition: Composition) -> Outputs {
        let layer: DoConv2d<T> = self.layer(inputs, composition);
        let x = inputs.x.mapv(T::round_from);
        let y = layer.forward(&x).expect("a valid input");
        let dy = inputs.dy.mapv(T::round_from);
        let gradients = layer.backward(&x, &dy).expect("a valid gradient");
        let wide3 = |array: Array3<T>| array.mapv(T::widen).into_dyn();
        let wide4 = |array: Array4<T>| array.mapv(T::widen).into_dyn();
        let mut outputs = vec![
            ("kernel", wide4(layer.weight())),
            ("y", wide4(y)),
            ("dx", wide4(gradients.x.expect("asked for"))),
            ("dw", wide3(gradients.w)),
        ];
        outputs.extend(gradients.d_offset.map(|dd| ("dd_offset", wide3(dd))));
        let bias = gradients.bias.map(|db| ("dbias", db.mapv(T::widen).into_dyn()));
        outputs.extend(bias);
        outputs
    }

    /// For an output of that name, the most roundings that any product in it goes through, whatever
    /// the composition: the lengths of the nested sums it lies in, and the rounding of `D`.
    pub fn roundings(&self, name: &str) -> usize {
        let (n, r) = (self.group_inputs(), self.group_outputs());
        let (taps, s) = (self.taps(), self.d_mul);
        let [rows, cols] = self.output().expect("the kernel fits");
        let pixels = self.batch * rows * cols;
        let sums = match name {
            "kernel" => s,
            "y" => (n * taps + s).max(n * s + taps) + 1,
            // Reflection reads a pixel up to four times (in a corner), replication any number.
            "dx" => {
                let reads = match self.mode {
                    PaddingMode::Zeros => 1,
                    _ => pixels,
                };
                (r * taps * reads + s).max(r + s + taps * reads)
            }
            "dw" => pixels + taps,
            "dd_offset" => pixels + r,
            "dbias" => pixels,
            _ => unreachable!("no output {name}"),
        };
        sums + 2
    }
}

/// `γ_k = k·u / (1 − k·u)`, the bound of the relative error of `k` roundings (Higham, Accuracy and
/// Stability of Numerical Algorithms, 2nd ed., lemma 3.1).
pub fn gamma<T: Scalar>(roundings: usize) -> f64 {
    let error = roundings as f64 * T::UNIT_ROUNDOFF;
    error / (1.0 - error)
}

/// Asserts that every output is within `tolerance(name) · sums` of what is expected.
pub fn assert_within(
    what: &str,
    got: &Outputs,
    expected: &Outputs,
    sums: &Outputs,
    tolerance: impl Fn(&str) -> f64,
) {
    for (name, expected) in expected {
        let find = |outputs: &'_ Outputs| {
            let found = outputs.iter().find(|(found, _)| found == name);
            found.unwrap_or_else(|| panic!("{what}: no {name}")).1.clone()
        };
        let (got, sums) = (find(got), find(sums));
        assert_eq!(got.shape(), expected.shape(), "{what}: shape of {name}");
        let tolerance = tolerance(name);
        for ((index, &got), (&expected, &sum)) in got.indexed_iter().zip(expected.iter().zip(&sums))
        {
            let difference = (got - expected).abs();
            assert!(
                difference <= tolerance * sum,
                "{what}: {name}{:?} is {got}, expected {expected}: off by {difference:e}, allowed \
                 {:e}",
                index.slice(),
                tolerance * sum,
            );
        }
    }
    assert_eq!(got.len(), expected.len(), "{what}: number of outputs");
}

/// Asserts that `result` is an error of that kind and text, `operation: field: expected …, got …`.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T>, kind: ErrorKind, text: &str) {
    let error = result.expect_err(text);
    assert_eq!((error.kind, error.to_string().as_str()), (kind, text));
}

/// Fills the gradients of a DO-Conv layer.
pub fn fill(gradients: &mut DoConv2dGradients<f32>, value: f32) {
    let DoConv2dGradients { x, w, d_offset, bias, .. } = gradients;
    w.fill(value);
    x.iter_mut().for_each(|x| x.fill(value));
    d_offset.iter_mut().for_each(|d_offset| d_offset.fill(value));
    bias.iter_mut().for_each(|bias| bias.fill(value));
}

/// Fills the gradients of a plain layer.
pub fn fill_conv(gradients: &mut Conv2dGradients<f32>, value: f32) {
    let Conv2dGradients { x, weight, bias, .. } = gradients;
    weight.fill(value);
    x.iter_mut().for_each(|x| x.fill(value));
    bias.iter_mut().for_each(|bias| bias.fill(value));
}

/// A stream of numbers from a seed, for inputs that no strategy needs to shrink.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Xorshift (Marsaglia, 2003).
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A multiple of 2⁻²⁰ in `[−1, 1)`: exact in `f32`.
    pub fn real(&mut self) -> f64 {
        (self.next() >> 43) as f64 / (1u64 << 20) as f64 - 1.0
    }

    /// A whole number in `−most..=most`.
    pub fn integer(&mut self, most: u64) -> f64 {
        (self.next() >> 8).rem_euclid(2 * most + 1) as f64 - most as f64
    }
}
