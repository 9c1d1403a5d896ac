//! A batch norm folded into the convolution before it.

use do_conv::{BatchNorm, Composition, Conv2d, Conv2dConfig, DoConv2d, Scalar};
use ndarray::{Array1, Array4};

use super::{inputs, output, problems};
use crate::common::{Numbers, Problem, gamma, oracle};

const EPS: f64 = 1e-5;

/// A batch norm of numbers that are exact in `f32`.
struct Norm {
    weight: Option<Array1<f64>>,
    bias: Option<Array1<f64>>,
    mean: Array1<f64>,
    var: Array1<f64>,
}

impl Norm {
    fn new(channels: usize, affine: [bool; 2]) -> Self {
        let mut numbers = Numbers::new(7);
        let mut vector = || Array1::from_shape_simple_fn(channels, || numbers.real());
        let (weight, bias) = (vector(), vector());
        Self {
            weight: affine[0].then_some(weight),
            bias: affine[1].then_some(bias),
            mean: vector(),
            var: vector().mapv(|var| var.abs() + 0.125),
        }
    }

    fn scale(&self, channel: usize) -> f64 {
        let weight = self.weight.as_ref().map_or(1.0, |weight| weight[channel]);
        weight / (self.var[channel] + EPS).sqrt()
    }

    fn shift(&self, channel: usize) -> f64 {
        self.bias.as_ref().map_or(0.0, |bias| bias[channel])
    }

    fn fold_into<T: Scalar>(&self, conv: &Conv2d<T>) -> Conv2d<T> {
        let narrow = |values: &Array1<f64>| values.mapv(T::round_from).to_vec();
        let (weight, bias) = (self.weight.as_ref().map(narrow), self.bias.as_ref().map(narrow));
        conv.fold_batch_norm(&BatchNorm {
            weight: weight.as_deref(),
            bias: bias.as_deref(),
            running_mean: &narrow(&self.mean),
            running_var: &narrow(&self.var),
            eps: EPS,
        })
        .unwrap()
    }
}

/// Compares convolution and batch norm in one with one after the other in `f64`.
fn folds<T: Scalar>(problem: &Problem, affine: [bool; 2]) {
    let inputs = inputs(problem);
    let layer: DoConv2d<T> = problem.layer(&inputs, Composition::Kernel);
    let norm = Norm::new(problem.out_channels, affine);
    let conv = layer.fold();
    let folded = norm.fold_into(&conv);
    is_rounded_once(&conv, &norm, &folded);
    let got = folded.forward(&inputs.x.mapv(T::round_from)).unwrap();

    let y = output(oracle::solve(problem, &inputs), "y");
    let sums = output(oracle::absolute_sums(problem, &inputs), "y");
    // In T: the layer's, and one of the scaled kernel or bias. In f64: the oracle's, the batch
    // norm's here, and those of the scaling.
    let roundings = problem.roundings("y");
    let gamma = gamma::<T>(roundings + 1) + gamma::<f64>(roundings + 6 + 5);
    for ((index, &y), &got) in y.indexed_iter().zip(&got) {
        let c = index.1;
        let expected = (y - norm.mean[c]) * norm.scale(c) + norm.shift(c);
        let sum = sums[index] + norm.mean[c].abs();
        let bound = gamma * (sum * norm.scale(c).abs() + norm.shift(c).abs());
        assert_near(got, expected, bound);
    }
}

/// Asserts that kernel and bias are what `f64` gives, rounded once.
fn is_rounded_once<T: Scalar>(conv: &Conv2d<T>, norm: &Norm, folded: &Conv2d<T>) {
    // Both computations round the scale three times in f64, and the product or the sums after it.
    let exact = gamma::<f64>(12);
    let rounded = gamma::<T>(1) + exact;
    for (((o, ..), &weight), &got) in conv.weight().indexed_iter().zip(folded.weight()) {
        let expected = weight.widen() * norm.scale(o);
        assert_near(got, expected, rounded * expected.abs());
    }
    for (o, &got) in folded.bias().unwrap().indexed_iter() {
        let bias = conv.bias().map_or(0.0, |bias| bias[o].widen());
        let expected = (bias - norm.mean[o]) * norm.scale(o) + norm.shift(o);
        // The sum is rounded to T; what cancels in it is not.
        let sum = (bias.abs() + norm.mean[o].abs()) * norm.scale(o).abs() + norm.shift(o).abs();
        let bound = T::UNIT_ROUNDOFF * expected.abs() + exact * sum;
        assert_near(got, expected, bound);
    }
}

#[track_caller]
fn assert_near<T: Scalar>(got: T, expected: f64, bound: f64) {
    let difference = (got.widen() - expected).abs();
    assert!(
        difference <= bound,
        "{got}, expected {expected}: off by {difference:e}, allowed {bound:e}"
    );
}

#[test]
fn is_folded_into_every_kind_of_convolution() {
    for problem in problems() {
        for bias in [false, true] {
            for affine in [[false, false], [false, true], [true, false], [true, true]] {
                let problem = Problem { bias, ..problem.clone() };
                folds::<f32>(&problem, affine);
                folds::<f64>(&problem, affine);
            }
        }
    }
}

#[test]
fn of_numbers_that_are_exact() {
    let config = || Conv2dConfig::new(1, 2, [1, 1]).stride([2, 2]);
    let weight = Array4::from_shape_vec((2, 1, 1, 1), vec![3.0, -1.5]).unwrap();
    let bias = Some(Array1::from_vec(vec![5.0, 0.25]));
    let conv = Conv2d::from_parameters(config(), weight.clone(), bias).unwrap();
    let batch_norm = BatchNorm {
        weight: Some(&[0.5, -8.0]),
        bias: Some(&[10.0, 0.125]),
        running_mean: &[1.0, -2.0],
        running_var: &[3.0f32, 15.0],
        eps: 1.0,
    };
    let folded = conv.fold_batch_norm(&batch_norm).unwrap();
    // The scales are 0.5 / 2 and −8 / 4.
    assert_eq!(folded.weight().as_slice(), Some(&[0.75, 3.0][..]));
    assert_eq!(folded.bias().unwrap().as_slice(), Some(&[11.0, -4.375][..]));
    assert_eq!(folded.config(), &config());

    // Without a bias and without an affine part.
    let conv = Conv2d::from_parameters(config().bias(false), weight, None).unwrap();
    let batch_norm = BatchNorm { weight: None, bias: None, ..batch_norm };
    let folded = conv.fold_batch_norm(&batch_norm).unwrap();
    assert_eq!(folded.weight().as_slice(), Some(&[1.5, -0.375][..]));
    assert_eq!(folded.bias().unwrap().as_slice(), Some(&[-0.5, 0.5][..]));
    assert_eq!(folded.config(), &config());
    assert_eq!(folded.parameters().count(), 2);
}
