//! Outputs, upstream gradients and gradient buffers of other shapes. Nothing may be written then.

use do_conv::{
    Composition, Conv2d, Conv2dGradients, DoConv2d, DoConv2dConfig, DoConv2dGradients, ErrorKind,
};
use ndarray::{Array1, Array3, Array4, Array5, ArrayD, ArrayRef, Dimension, IxDyn};

use super::SENTINEL;
use crate::common::{fill, fill_conv, refused};

const INPUT: [usize; 4] = [2, 3, 5, 6];
const OUTPUT: [usize; 4] = [2, 4, 3, 4];

fn config() -> DoConv2dConfig {
    DoConv2dConfig::new(3, 4, [3, 3])
}

fn x() -> Array4<f32> {
    Array4::ones(INPUT)
}

fn conv(bias: bool) -> Conv2d<f32> {
    config().conv.bias(bias).init(0).unwrap()
}

/// The layer in both compositions.
fn layers(config: &DoConv2dConfig) -> impl Iterator<Item = DoConv2d<f32>> {
    let compositions = [Composition::Kernel, Composition::Feature];
    compositions
        .into_iter()
        .map(|composition| config.clone().composition(composition).init(0).unwrap())
}

#[track_caller]
fn y_refused<D: Dimension>(y: &mut ArrayRef<f32, D>, reason: &str) {
    y.fill(SENTINEL);
    let result = conv(true).forward_into(&x(), y);
    refused(result, ErrorKind::Shape, &format!("Conv2d::forward_into: {reason}"));
    for layer in layers(&config()) {
        let result = layer.forward_into(&x(), y);
        refused(result, ErrorKind::Shape, &format!("DoConv2d::forward_into: {reason}"));
    }
    assert!(y.iter().all(|&y| y == SENTINEL));
}

#[test]
fn outputs() {
    for shape in [[1, 4, 3, 4], [2, 3, 3, 4], [2, 4, 4, 3], [2, 4, 3, 5], [0, 4, 3, 4]] {
        let reason = format!("y: expected {OUTPUT:?}, got {shape:?}");
        y_refused(&mut Array4::zeros(shape), &reason);
    }
    let rank = |shape: &str| format!("y: expected an array of rank 4, got shape {shape}");
    y_refused(&mut Array3::zeros((4, 3, 4)), &rank("[4, 3, 4]"));
    y_refused(&mut Array5::zeros((1, 2, 4, 3, 4)), &rank("[1, 2, 4, 3, 4]"));
    y_refused(&mut ArrayD::zeros(IxDyn(&[96])), &rank("[96]"));
}

#[track_caller]
fn dy_refused<D: Dimension>(dy: &ArrayRef<f32, D>, reason: &str) {
    let kind = ErrorKind::Shape;
    let conv = conv(true);
    refused(conv.backward(&x(), dy), kind, &format!("Conv2d::backward: {reason}"));
    let mut gradients = conv.gradients(Some(INPUT)).unwrap();
    fill_conv(&mut gradients, SENTINEL);
    let before = gradients.clone();
    let result = conv.backward_into(&x(), dy, gradients.view_mut());
    refused(result, kind, &format!("Conv2d::backward_into: {reason}"));
    assert_eq!(gradients, before);

    for layer in layers(&config()) {
        let x = x();
        refused(layer.backward(&x, dy), kind, &format!("DoConv2d::backward: {reason}"));
        let mut gradients = layer.gradients(Some(INPUT)).unwrap();
        fill(&mut gradients, SENTINEL);
        let before = gradients.clone();
        let result = layer.backward_into(&x, dy, gradients.view_mut());
        refused(result, kind, &format!("DoConv2d::backward_into: {reason}"));
        assert_eq!(gradients, before);
    }
}

#[test]
fn upstream_gradients() {
    for shape in [[1, 4, 3, 4], [2, 3, 3, 4], [2, 4, 4, 3], [2, 4, 3, 5], [0, 4, 3, 4]] {
        let reason = format!("dy: expected {OUTPUT:?}, got {shape:?}");
        dy_refused(&Array4::zeros(shape), &reason);
    }
    let rank = |shape: &str| format!("dy: expected an array of rank 4, got shape {shape}");
    dy_refused(&Array3::zeros((4, 3, 4)), &rank("[4, 3, 4]"));
    dy_refused(&Array5::zeros((1, 2, 4, 3, 4)), &rank("[1, 2, 4, 3, 4]"));
    dy_refused(&ArrayD::zeros(IxDyn(&[])), &rank("[]"));
}

#[track_caller]
fn conv_gradients_refused(bias: bool, spoil: impl Fn(&mut Conv2dGradients<f32>), reason: &str) {
    let conv = conv(bias);
    let mut gradients = conv.gradients(Some(INPUT)).unwrap();
    spoil(&mut gradients);
    fill_conv(&mut gradients, SENTINEL);
    let before = gradients.clone();
    let dy = Array4::ones(OUTPUT);
    let result = conv.backward_into(&x(), &dy, gradients.view_mut());
    let text = format!("Conv2d::backward_into: gradients.{reason}");
    refused(result, ErrorKind::Shape, &text);
    assert_eq!(gradients, before);
}

#[test]
fn gradients_of_a_plain_layer() {
    for shape in [[1, 3, 5, 6], [2, 4, 5, 6], [2, 3, 6, 5], [0, 3, 5, 6]] {
        let reason = format!("x: expected {INPUT:?}, got {shape:?}");
        conv_gradients_refused(true, |g| g.x = Some(Array4::zeros(shape)), &reason);
    }
    for shape in [[3, 4, 3, 3], [4, 3, 3, 2], [4, 3, 9, 1], [0, 3, 3, 3]] {
        let reason = format!("weight: expected [4, 3, 3, 3], got {shape:?}");
        conv_gradients_refused(true, |g| g.weight = Array4::zeros(shape), &reason);
    }
    let five = |g: &mut Conv2dGradients<f32>| g.bias = Some(Array1::zeros(5));
    conv_gradients_refused(true, five, "bias: expected [4], got [5]");
    let four = |g: &mut Conv2dGradients<f32>| g.bias = Some(Array1::zeros(4));
    conv_gradients_refused(false, four, "bias: expected none, got [4]");
}

#[track_caller]
fn gradients_refused(
    config: &DoConv2dConfig,
    spoil: impl Fn(&mut DoConv2dGradients<f32>),
    reason: &str,
) {
    for layer in layers(config) {
        let x = x();
        let y = layer.forward(&x).unwrap();
        let mut gradients = layer.gradients(Some(INPUT)).unwrap();
        spoil(&mut gradients);
        fill(&mut gradients, SENTINEL);
        let before = gradients.clone();
        let result = layer.backward_into(&x, &y, gradients.view_mut());
        let text = format!("DoConv2d::backward_into: gradients.{reason}");
        refused(result, ErrorKind::Shape, &text);
        assert_eq!(gradients, before);
    }
}

#[test]
fn gradients_of_an_over_parameterized_layer() {
    let with_bias = &config().d_mul(10);
    for shape in [[1, 3, 5, 6], [2, 4, 5, 6], [2, 3, 6, 5], [0, 3, 5, 6]] {
        let reason = format!("x: expected {INPUT:?}, got {shape:?}");
        gradients_refused(with_bias, |g| g.x = Some(Array4::zeros(shape)), &reason);
    }
    for shape in [[3, 4, 10], [4, 3, 9], [4, 3, 0]] {
        let reason = format!("w: expected [4, 3, 10], got {shape:?}");
        gradients_refused(with_bias, |g| g.w = Array3::zeros(shape), &reason);
    }
    for shape in [[3, 10, 9], [4, 9, 10], [3, 9, 9]] {
        let reason = format!("d_offset: expected [3, 9, 10], got {shape:?}");
        gradients_refused(with_bias, |g| g.d_offset = Some(Array3::zeros(shape)), &reason);
    }
    let five = |g: &mut DoConv2dGradients<f32>| g.bias = Some(Array1::zeros(5));
    gradients_refused(with_bias, five, "bias: expected [4], got [5]");

    let four = |g: &mut DoConv2dGradients<f32>| g.bias = Some(Array1::zeros(4));
    gradients_refused(&config().bias(false), four, "bias: expected none, got [4]");
    let pointwise = DoConv2dConfig::new(3, 4, [1, 1]);
    let one = |g: &mut DoConv2dGradients<f32>| g.d_offset = Some(Array3::zeros((3, 1, 1)));
    gradients_refused(&pointwise, one, "d_offset: expected none, got [3, 1, 1]");
}
