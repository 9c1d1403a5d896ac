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

use do_conv::{Conv2dConfig, Error, ErrorKind};

const MAX: usize = usize::MAX;

/// The most elements that an array may have; no machine has room for them.
const MOST: usize = isize::MAX as usize / 8;

/// What buffers hold that nobody may write.
const SENTINEL: f32 = 12345.0;

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
