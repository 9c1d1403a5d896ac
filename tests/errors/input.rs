//! Inputs that a layer can't take.

use do_conv::{Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig, ErrorKind, Padding, PaddingMode};
use ndarray::{Array3, Array4, Array5, ArrayD, ArrayRef, Dimension, IxDyn, arr0};

use super::{MAX, MOST, SENTINEL};
use crate::common::{fill, fill_conv, refused};

/// Asserts that every function that takes an image refuses this one and writes nothing.
#[track_caller]
fn image_refused<D: Dimension>(
    config: &Conv2dConfig,
    x: &ArrayRef<f32, D>,
    kind: ErrorKind,
    reason: &str,
) {
    let blank = Array4::from_elem((1, 1, 1, 1), SENTINEL);
    let text = |operation: &str| format!("{operation}: {reason}");

    let conv: Conv2d<f32> = config.clone().init(0).unwrap();
    refused(conv.forward(x), kind, &text("Conv2d::forward"));
    let mut y = blank.clone();
    refused(conv.forward_into(x, &mut y), kind, &text("Conv2d::forward_into"));
    assert_eq!(y, blank);
    refused(conv.backward(x, &blank), kind, &text("Conv2d::backward"));
    let mut gradients = conv.gradients(Some([1, 1, 1, 1])).unwrap();
    fill_conv(&mut gradients, SENTINEL);
    let before = gradients.clone();
    let result = conv.backward_into(x, &blank, gradients.view_mut());
    refused(result, kind, &text("Conv2d::backward_into"));
    assert_eq!(gradients, before);

    let layer: DoConv2d<f32> = DoConv2dConfig::from(config.clone()).init(0).unwrap();
    refused(layer.forward(x), kind, &text("DoConv2d::forward"));
    let mut y = blank.clone();
    refused(layer.forward_into(x, &mut y), kind, &text("DoConv2d::forward_into"));
    assert_eq!(y, blank);
    refused(layer.backward(x, &blank), kind, &text("DoConv2d::backward"));
    let mut gradients = layer.gradients(Some([1, 1, 1, 1])).unwrap();
    fill(&mut gradients, SENTINEL);
    let before = gradients.clone();
    let result = layer.backward_into(x, &blank, gradients.view_mut());
    refused(result, kind, &text("DoConv2d::backward_into"));
    assert_eq!(gradients, before);
    refused(layer.check_fold(&conv, x), kind, &text("DoConv2d::check_fold"));
}

/// Asserts that every function that takes a shape refuses this one.
#[track_caller]
fn shape_refused(config: &Conv2dConfig, input: [usize; 4], kind: ErrorKind, reason: &str) {
    let text = |operation: &str| format!("{operation}: {reason}");
    let conv: Conv2d<f32> = config.clone().init(0).unwrap();
    refused(conv.output_shape(input), kind, &text("Conv2d::output_shape"));
    let layer: DoConv2d<f32> = DoConv2dConfig::from(config.clone()).init(0).unwrap();
    refused(layer.output_shape(input), kind, &text("DoConv2d::output_shape"));
    refused(layer.cost(input), kind, &text("DoConv2d::cost"));
    let check = layer.check_fold_random(&conv, input, 0);
    refused(check, kind, &text("DoConv2d::check_fold_random"));
}

/// As [`image_refused`] and [`shape_refused`].
#[track_caller]
fn input_refused(config: &Conv2dConfig, input: [usize; 4], kind: ErrorKind, reason: &str) {
    image_refused(config, &Array4::zeros(input), kind, reason);
    shape_refused(config, input, kind, reason);
}

#[test]
fn other_ranks() {
    let config = Conv2dConfig::new(3, 2, [3, 3]);
    let reason = |shape: &str| format!("x: expected an array of rank 4, got shape {shape}");
    let kind = ErrorKind::Shape;
    image_refused(&config, &arr0(1.0), kind, &reason("[]"));
    image_refused(&config, &Array3::zeros((3, 5, 5)), kind, &reason("[3, 5, 5]"));
    image_refused(&config, &Array5::zeros((1, 1, 3, 5, 5)), kind, &reason("[1, 1, 3, 5, 5]"));
    let dynamic: ArrayD<f32> = ArrayD::zeros(IxDyn(&[3, 5]));
    image_refused(&config, &dynamic, kind, &reason("[3, 5]"));
}

#[test]
fn other_numbers_of_channels() {
    let config = Conv2dConfig::new(3, 2, [3, 3]);
    for channels in [0, 1, 2, 4, 6] {
        let reason = format!("x: expected [2, 3, 5, 6], got [2, {channels}, 5, 6]");
        input_refused(&config, [2, channels, 5, 6], ErrorKind::Shape, &reason);
    }
}

#[test]
fn images_smaller_than_the_kernel() {
    let kind = ErrorKind::InputSize;
    let config = Conv2dConfig::new(1, 1, [3, 2]);
    let reason =
        "x height: expected at least 3: the kernel spans 3 of a height padded by 0 + 0, got 2";
    input_refused(&config, [1, 1, 2, 2], kind, reason);
    let reason =
        "x width: expected at least 2: the kernel spans 2 of a width padded by 0 + 0, got 1";
    input_refused(&config, [1, 1, 3, 1], kind, reason);
    let reason =
        "x width: expected at least 2: the kernel spans 2 of a width padded by 0 + 0, got 0";
    input_refused(&config, [0, 1, 3, 0], kind, reason);

    let config = Conv2dConfig::new(1, 1, [3, 4]).dilation([2, 3]).padding([[1, 2], [0, 4]]);
    let reason =
        "x height: expected at least 2: the kernel spans 5 of a height padded by 1 + 2, got 1";
    input_refused(&config, [1, 1, 1, 9], kind, reason);
    let reason =
        "x width: expected at least 6: the kernel spans 10 of a width padded by 0 + 4, got 5";
    input_refused(&config, [1, 1, 2, 5], kind, reason);

    let half = isize::MAX as usize / 2;
    let config = Conv2dConfig::new(1, 1, [1, 2]).dilation([MAX, half - 1]);
    let reason = format!(
        "x width: expected at least {half}: the kernel spans {half} of a width padded by 0 + 0, \
         got 7"
    );
    input_refused(&config, [1, 1, 1, 7], kind, &reason);
}

#[test]
fn images_smaller_than_their_padding_mode_reads() {
    let same = [1, 1, 2, 2];
    for (mode, padding, input, reason) in [
        (
            PaddingMode::Reflect,
            [[2, 1], [0, 0]],
            same,
            "height: expected more than its reflect padding 2, got 2",
        ),
        (
            PaddingMode::Reflect,
            [[0, 0], [1, 3]],
            same,
            "width: expected more than its reflect padding 3, got 2",
        ),
        (
            PaddingMode::Reflect,
            [[0, 1], [0, 0]],
            [1, 1, 0, 2],
            "height: expected more than its reflect padding 1, got 0",
        ),
        (
            PaddingMode::Reflect,
            [[MAX, 1], [0, 0]],
            same,
            "height: expected more than its reflect padding MAX, got 2",
        ),
        // Padded along the other axis alone.
        (
            PaddingMode::Reflect,
            [[0, 0], [1, 0]],
            [1, 1, 0, 2],
            "height: expected at least 1: the kernel spans 1 of a height padded by 0 + 0, got 0",
        ),
        (
            PaddingMode::Replicate,
            [[0, 0], [1, 0]],
            [1, 1, 0, 2],
            "height: expected at least 1: the kernel spans 1 of a height padded by 0 + 0, got 0",
        ),
        (
            PaddingMode::Circular,
            [[3, 0], [0, 0]],
            same,
            "height: expected at least its circular padding 3, got 2",
        ),
        (
            PaddingMode::Circular,
            [[0, 0], [2, 3]],
            same,
            "width: expected at least its circular padding 3, got 2",
        ),
        (
            PaddingMode::Circular,
            [[0, 0], [0, MAX]],
            same,
            "width: expected at least its circular padding MAX, got 2",
        ),
        (
            PaddingMode::Replicate,
            [[1, 0], [0, 0]],
            [1, 1, 0, 2],
            "height: expected at least 1 for replicate padding, got 0",
        ),
        (
            PaddingMode::Replicate,
            [[0, 0], [0, 1]],
            [1, 1, 2, 0],
            "width: expected at least 1 for replicate padding, got 0",
        ),
    ] {
        let config = Conv2dConfig::new(1, 1, [1, 1]).padding(padding).padding_mode(mode);
        let reason = format!("x {reason}").replace("MAX", &MAX.to_string());
        input_refused(&config, input, ErrorKind::InputSize, &reason);
    }
    // The padding that `Same` stands for.
    let config = Conv2dConfig::new(1, 1, [1, 4]).padding(Padding::Same);
    let config = config.padding_mode(PaddingMode::Reflect);
    let reason = "x width: expected more than its reflect padding 2, got 2";
    input_refused(&config, [1, 1, 2, 2], ErrorKind::InputSize, reason);
}

#[test]
fn paddings_that_overflow() {
    let half = isize::MAX as usize / 2;
    for (padding, [height, width], sum) in [
        ([[MAX, 0], [0, 0]], [3, 4], format!("{MAX} + 3 + 0")),
        ([[0, 0], [0, MAX]], [3, 4], format!("0 + 4 + {MAX}")),
        ([[MAX, MAX], [MAX, MAX]], [3, 4], format!("{MAX} + 3 + {MAX}")),
        ([[0, 0], [half - 5, 2]], [3, 4], format!("{} + 4 + 2", half - 5)),
    ] {
        let config = Conv2dConfig::new(1, 1, [1, 1]).padding(padding).stride([MAX, MAX]);
        let reason = format!(
            "padding: expected a padded extent that fits half the address space, got {sum}"
        );
        input_refused(&config, [1, 1, height, width], ErrorKind::Overflow, &reason);
    }
}

#[test]
fn shapes_that_overflow() {
    let addressed = |field: &str, shape: [usize; 4]| {
        format!("{field}: expected a number of elements that can be addressed, got {shape:?}")
    };
    let config = Conv2dConfig::new(2, 4, [1, 1]);
    for input in [
        [MAX, 2, 1, 1],
        [1, 2, MOST / 2 + 1, 1],
        [1 << (usize::BITS / 2), 2, 1 << (usize::BITS / 2), 1],
        // Zero extents don't hide the others.
        [0, 2, MOST / 2, 2],
    ] {
        shape_refused(&config, input, ErrorKind::Overflow, &addressed("x", input));
    }
    let output = addressed("y", [MOST / 4 + 1, 4, 1, 1]);
    shape_refused(&config, [MOST / 4 + 1, 2, 1, 1], ErrorKind::Overflow, &output);

    let side = 1 << (usize::BITS / 2);
    let config = Conv2dConfig::new(1, 1, [1, 1]).padding([[side, 0], [0, side]]);
    let output = addressed("y", [1, 1, side + 1, side + 1]);
    input_refused(&config, [1, 1, 1, 1], ErrorKind::Overflow, &output);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn images_that_there_is_no_room_for() {
    let kind = ErrorKind::Memory;
    let room =
        |field: &str, len: usize| format!("{field}: expected room for {len} elements, got none");
    // An image whose elements don't lie in order is copied.
    let config = Conv2dConfig::new(1, 1, [1, 1]).stride([1 << 29, 1 << 29]);
    let conv: Conv2d<f32> = config.clone().init(0).unwrap();
    let layer: DoConv2d<f32> = DoConv2dConfig::from(config).init(0).unwrap();
    let one = arr0(1.0);
    let x = one.broadcast((1, 1, 1 << 29, 1 << 29)).unwrap();
    let copy = room("x", 1 << 58);
    refused(conv.forward(&x), kind, &format!("Conv2d::forward: {copy}"));
    refused(conv.backward(&x, &x), kind, &format!("Conv2d::backward: {copy}"));
    refused(layer.forward(&x), kind, &format!("DoConv2d::forward: {copy}"));
    refused(layer.backward(&x, &x), kind, &format!("DoConv2d::backward: {copy}"));
    let check = layer.check_fold_random(&conv, [1, 1, 1 << 29, 1 << 29], 0);
    refused(check, kind, &format!("DoConv2d::check_fold_random: {copy}"));
    assert_eq!(layer.check_fold(&conv, &x).unwrap_err().kind, kind);

    // Small images, large outputs.
    let config = Conv2dConfig::new(1, 1, [1, 1]).padding([[0, MOST - 1], [0, 0]]);
    let conv: Conv2d<f32> = config.clone().init(0).unwrap();
    let layer: DoConv2d<f32> = DoConv2dConfig::from(config).init(0).unwrap();
    let x = Array4::ones((1, 1, 1, 1));
    let output = room("y", MOST);
    refused(conv.forward(&x), kind, &format!("Conv2d::forward: {output}"));
    refused(layer.forward(&x), kind, &format!("DoConv2d::forward: {output}"));

    let gradient = room("x", MOST);
    let shape = Some([MOST, 1, 1, 1]);
    refused(conv.gradients(shape), kind, &format!("Conv2d::gradients: {gradient}"));
    refused(layer.gradients(shape), kind, &format!("DoConv2d::gradients: {gradient}"));
    let shape = Some([1 << 40, 1 << 40, 1, 1]);
    let text = "x: expected a number of elements that can be addressed, got \
                [1099511627776, 1099511627776, 1, 1]";
    let kind = ErrorKind::Overflow;
    refused(conv.gradients(shape), kind, &format!("Conv2d::gradients: {text}"));
    refused(layer.gradients(shape), kind, &format!("DoConv2d::gradients: {text}"));
}
