//! What the crate refuses, each error to the letter, and what it must not refuse.

#[path = "../common/mod.rs"]
mod common;

mod absurd;
mod accepted;
mod buffers;
mod config;
mod folds;
mod input;
mod parameters;

use std::fmt::Debug;

use do_conv::{Conv2dConfig, Conv2dGradients, DoConv2dGradients, Error, ErrorKind, Result};

const MAX: usize = usize::MAX;

/// The most elements that an array may have; no machine has room for them.
const MOST: usize = isize::MAX as usize / 8;

/// What buffers hold that nobody may write.
const SENTINEL: f32 = 12345.0;

/// Asserts that `result` is an error of that kind and text, `operation: field: expected …, got …`.
#[track_caller]
fn refused<T: Debug>(result: Result<T>, kind: ErrorKind, text: &str) {
    let error = result.expect_err(text);
    assert_eq!((error.kind, error.to_string().as_str()), (kind, text));
}

/// Fills gradients with [`SENTINEL`].
fn fill_gradients(gradients: &mut DoConv2dGradients<f32>) {
    let DoConv2dGradients { x, w, d_offset, bias, .. } = gradients;
    w.fill(SENTINEL);
    x.iter_mut().for_each(|x| x.fill(SENTINEL));
    d_offset.iter_mut().for_each(|d| d.fill(SENTINEL));
    bias.iter_mut().for_each(|bias| bias.fill(SENTINEL));
}

/// Fills gradients with [`SENTINEL`].
fn fill_conv_gradients(gradients: &mut Conv2dGradients<f32>) {
    let Conv2dGradients { x, weight, bias, .. } = gradients;
    weight.fill(SENTINEL);
    x.iter_mut().for_each(|x| x.fill(SENTINEL));
    bias.iter_mut().for_each(|bias| bias.fill(SENTINEL));
}

#[test]
fn an_error_names_operation_field_expected_and_got() {
    let config = Conv2dConfig::new(4, 6, [3, 3]).groups(4);
    let Error { kind, operation, field, expected, got, .. } = config.init::<f32>(0).unwrap_err();
    assert_eq!(kind, ErrorKind::Config);
    assert_eq!(operation, "Conv2dConfig::init");
    assert_eq!(field, "groups");
    assert_eq!(expected, "a divisor of in_channels 4 and out_channels 6");
    assert_eq!(got, "4");
}
