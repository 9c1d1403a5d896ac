//! Parameters of other shapes, and saved states of other parameters.

use do_conv::{Composition, Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig, ErrorKind, Saved};
use ndarray::{Array1, Array3, Array4};

use super::{fill_gradients, refused};

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

const STALE: &str = "saved: expected a state saved from this layer's present parameters, got one \
                     saved from other parameters";

/// Asserts that `layer` takes `saved` for the state of other parameters, and writes nothing.
#[track_caller]
fn stale(layer: &DoConv2d<f32>, saved: &Saved<f32>) {
    let dy = Array4::ones(saved.output_shape());
    let text = format!("DoConv2d::backward: {STALE}");
    refused(layer.backward(saved, &dy), ErrorKind::StaleState, &text);
    let [b, i, h, w] = saved.input_shape();
    let mut gradients = layer.gradients(Some((b, i, h, w))).unwrap();
    fill_gradients(&mut gradients);
    let before = gradients.clone();
    let result = layer.backward_into(saved, &dy, gradients.view_mut());
    let text = format!("DoConv2d::backward_into: {STALE}");
    refused(result, ErrorKind::StaleState, &text);
    assert_eq!(gradients, before);
}

#[test]
fn states_of_parameters_that_may_have_changed() {
    type Touch = fn(&mut DoConv2d<f32>);
    let touches: [(&str, Touch); 4] = [
        ("parameters_mut", |layer| _ = layer.parameters_mut()),
        ("w_mut", |layer| _ = layer.w_mut()),
        ("d_offset_mut", |layer| _ = layer.d_offset_mut()),
        ("bias_mut", |layer| _ = layer.bias_mut()),
    ];
    let x = Array4::ones((1, 2, 4, 4));
    for composition in [Composition::Kernel, Composition::Feature] {
        for (name, touch) in touches {
            let config = DoConv2dConfig::new(2, 3, [3, 3]).composition(composition);
            let mut layer: DoConv2d<f32> = config.init(0).unwrap();
            let (y, saved) = layer.forward_train(&x).unwrap();
            layer.backward(&saved, &y).unwrap();
            touch(&mut layer);
            println!("after {name}");
            stale(&layer, &saved);
            stale(&layer, &saved.clone().into_owned());
            let (y, saved) = layer.forward_train(&x).unwrap();
            layer.backward(&saved, &y).unwrap();
        }
    }
}

#[test]
fn states_of_other_layers() {
    let x = Array4::ones((1, 2, 4, 4));
    let config = DoConv2dConfig::new(2, 3, [3, 3]);
    let layer: DoConv2d<f32> = config.clone().init(0).unwrap();
    let (_, saved) = layer.forward_train(&x).unwrap();
    // Of the same parameters, and of other ones.
    stale(&config.clone().init(0).unwrap(), &saved);
    stale(&config.clone().init(1).unwrap(), &saved);
    stale(&config.groups(1).bias(false).init(0).unwrap(), &saved);
    stale(&DoConv2d::from_conv2d(&layer.fold(), None).unwrap(), &saved);
}

#[test]
fn states_of_a_clone_are_taken_until_one_changes() {
    let x = Array4::ones((1, 2, 4, 4));
    let layer: DoConv2d<f32> = DoConv2dConfig::new(2, 3, [3, 3]).init(0).unwrap();
    let mut clone = layer.clone();
    let (y, saved) = layer.forward_train(&x).unwrap();
    let gradients = layer.backward(&saved, &y).unwrap();
    assert_eq!(clone.backward(&saved, &y).unwrap(), gradients);
    clone.w_mut()[[0, 0, 0]] = 1.0;
    stale(&clone, &saved);
    assert_eq!(layer.backward(&saved, &y).unwrap(), gradients);
}

#[test]
fn states_outlive_a_change_of_the_composition() {
    let x = Array4::from_shape_fn((2, 2, 5, 5), |(b, i, h, w)| (7 * b + 5 * i + 3 * h + w) as f64);
    for before in [Composition::Kernel, Composition::Feature] {
        for after in [Composition::Kernel, Composition::Feature] {
            let config = DoConv2dConfig::new(2, 3, [3, 3]).composition(before);
            let mut layer: DoConv2d<f64> = config.init(0).unwrap();
            let (y, saved) = layer.forward_train(&x).unwrap();
            let gradients = layer.backward(&saved, &y).unwrap();
            layer.set_composition(after).unwrap();
            assert_eq!(layer.backward(&saved, &y).unwrap(), gradients);
        }
    }
}
