//! Parameters of other shapes, and gradients that aren't theirs.

use do_conv::{
    Composition, Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig, DoConv2dGradients, ErrorKind,
};
use ndarray::{Array1, Array3, Array4};

use crate::common::refused;

#[test]
fn parameters_of_a_plain_layer() {
    let make = |bias: bool, weight: [usize; 4], values: Option<usize>| {
        let config = Conv2dConfig::new(4, 6, [3, 2]).groups(2).bias(bias);
        Conv2d::<f32>::from_parameters(config, Array4::zeros(weight), values.map(Array1::zeros))
    };
    let right = [6, 2, 3, 2];
    for weight in [[2, 6, 3, 2], [6, 4, 3, 2], [6, 2, 2, 3], [0, 2, 3, 2]] {
        let text =
            format!("Conv2d::from_parameters: weight: expected [6, 2, 3, 2], got {weight:?}");
        refused(make(true, weight, Some(6)), ErrorKind::Shape, &text);
    }
    for (bias, values, reason) in [
        (true, Some(4), "expected [6], got [4]"),
        (true, None, "expected [6], got none"),
        (false, Some(6), "expected none, got [6]"),
    ] {
        let text = format!("Conv2d::from_parameters: bias: {reason}");
        refused(make(bias, right, values), ErrorKind::Shape, &text);
    }
    make(true, right, Some(6)).unwrap();
    make(false, right, None).unwrap();
}

#[test]
fn parameters_of_an_over_parameterized_layer() {
    let make = |bias: bool, d_offset: Option<[usize; 3]>, w: [usize; 3], values: Option<usize>| {
        let config = DoConv2dConfig::new(4, 6, [3, 2]).groups(2).d_mul(7).bias(bias);
        DoConv2d::<f32>::from_parameters(
            config,
            d_offset.map(Array3::zeros),
            Array3::zeros(w),
            values.map(Array1::zeros),
        )
    };
    let (d_offset, w) = ([4, 6, 7], [6, 2, 7]);
    for wrong in [[2, 6, 7], [6, 4, 7], [6, 2, 6], [0, 2, 7]] {
        let text = format!("DoConv2d::from_parameters: w: expected [6, 2, 7], got {wrong:?}");
        refused(make(true, Some(d_offset), wrong, Some(6)), ErrorKind::Shape, &text);
    }
    for (wrong, got) in [
        (Some([4, 7, 6]), "[4, 7, 6]"),
        (Some([6, 6, 7]), "[6, 6, 7]"),
        (Some([4, 6, 6]), "[4, 6, 6]"),
        (None, "none"),
    ] {
        let text = format!("DoConv2d::from_parameters: d_offset: expected [4, 6, 7], got {got}");
        refused(make(true, wrong, w, Some(6)), ErrorKind::Shape, &text);
    }
    for (bias, values, reason) in [
        (true, Some(4), "expected [6], got [4]"),
        (true, None, "expected [6], got none"),
        (false, Some(6), "expected none, got [6]"),
    ] {
        let text = format!("DoConv2d::from_parameters: bias: {reason}");
        refused(make(bias, Some(d_offset), w, values), ErrorKind::Shape, &text);
    }
    make(true, Some(d_offset), w, Some(6)).unwrap();
    make(false, Some(d_offset), w, None).unwrap();
}

#[test]
fn parameters_of_a_pointwise_layer() {
    let make = |d_offset: Option<[usize; 3]>, w: [usize; 3]| {
        let config = DoConv2dConfig::new(4, 6, [1, 1]).bias(false);
        let d_offset = d_offset.map(Array3::zeros);
        DoConv2d::<f32>::from_parameters(config, d_offset, Array3::zeros(w), None)
    };
    let text = "DoConv2d::from_parameters: d_offset: expected none, got [4, 1, 1]";
    refused(make(Some([4, 1, 1]), [6, 4, 1]), ErrorKind::Shape, text);
    let text = "DoConv2d::from_parameters: w: expected [6, 4, 1], got [6, 4, 9]";
    refused(make(None, [6, 4, 9]), ErrorKind::Shape, text);
    make(None, [6, 4, 1]).unwrap();
}

#[test]
fn gradients_that_do_not_belong_to_parameters() {
    let x = Array4::ones((1, 2, 4, 4));
    let mut layer: DoConv2d<f32> = DoConv2dConfig::new(2, 3, [3, 3]).init(0).unwrap();
    let y = layer.forward(&x).unwrap();
    let right = layer.backward(&x, &y).unwrap();
    type Spoil = fn(&mut DoConv2dGradients<f32>);
    let cases: [(Spoil, &str); 6] = [
        (|g| g.w = Array3::zeros((3, 2, 8)), "w: expected [3, 2, 9], got [3, 2, 8]"),
        (|g| g.d_offset = None, "d_offset: expected [2, 9, 9], got none"),
        (
            |g| g.d_offset = Some(Array3::zeros((9, 9, 2))),
            "d_offset: expected [2, 9, 9], got [9, 9, 2]",
        ),
        (|g| g.bias = None, "bias: expected [3], got none"),
        (|g| g.bias = Some(Array1::zeros(2)), "bias: expected [3], got [2]"),
        (
            |g| g.w = Array3::zeros((9, 2, 3)).reversed_axes(),
            "w: expected an array in standard layout, got strides [1, 3, 6]",
        ),
    ];
    let before = layer.clone();
    for (spoil, reason) in cases {
        let mut wrong = right.clone();
        spoil(&mut wrong);
        let text = format!("DoConv2d::parameters_with_gradients: gradients.{reason}");
        let result = layer.parameters_with_gradients(&wrong).map(|all| all.count());
        refused(result, ErrorKind::Shape, &text);
    }
    let mut plain = layer.fold();
    let mut wrong = plain.backward(&x, &y).unwrap();
    assert_eq!(plain.parameters_with_gradients(&wrong).unwrap().count(), 2);
    wrong.weight = Array4::zeros((3, 2, 3, 2));
    let text = "Conv2d::parameters_with_gradients: gradients.weight: expected [3, 2, 3, 3], got \
                [3, 2, 3, 2]";
    let result = plain.parameters_with_gradients(&wrong).map(|all| all.count());
    refused(result, ErrorKind::Shape, text);
    assert_eq!(layer, before);
}

#[test]
fn parameters_stand_beside_their_own_gradients() {
    let x = Array4::from_shape_fn((1, 2, 4, 4), |(_, i, h, w)| (5 * i + 3 * h + w) as f32);
    for (kernel, names) in [([3, 3], &["w", "d_offset", "bias"][..]), ([1, 1], &["w", "bias"])] {
        let mut layer: DoConv2d<f32> = DoConv2dConfig::new(2, 3, kernel).init(0).unwrap();
        let gradients = layer.backward(&x, &layer.forward(&x).unwrap()).unwrap();
        let expected: Vec<(&str, Vec<f32>)> =
            layer.parameters().map(|(name, values)| (name, values.to_vec())).collect();
        let of = |name: &str| match name {
            "w" => gradients.w.as_slice(),
            "d_offset" => gradients.d_offset.as_ref().and_then(|d| d.as_slice()),
            _ => gradients.bias.as_ref().and_then(|bias| bias.as_slice()),
        };
        let mut seen = Vec::new();
        for (name, values, gradient) in layer.parameters_with_gradients(&gradients).unwrap() {
            assert_eq!((name, &*values), (expected[seen.len()].0, &expected[seen.len()].1[..]));
            assert_eq!(Some(gradient), of(name));
            seen.push(name);
        }
        assert_eq!(seen, names);
    }
}

#[test]
fn gradients_are_the_same_by_either_composition() {
    let x = Array4::from_shape_fn((2, 2, 5, 5), |(b, i, h, w)| (7 * b + 5 * i + 3 * h + w) as f64);
    for before in [Composition::Kernel, Composition::Feature] {
        for after in [Composition::Kernel, Composition::Feature] {
            let config = DoConv2dConfig::new(2, 3, [3, 3]).composition(before);
            let mut layer: DoConv2d<f64> = config.init(0).unwrap();
            let y = layer.forward(&x).unwrap();
            let gradients = layer.backward(&x, &y).unwrap();
            layer.set_composition(after).unwrap();
            assert_eq!(layer.backward(&x, &y).unwrap(), gradients);
        }
    }
}
