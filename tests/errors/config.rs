//! Configurations of layers that can't be.

use do_conv::{
    Composition, Conv2d, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, ErrorKind, Init, Padding,
    Pairing,
};
use ndarray::{Array3, Array4};

use super::{MAX, MOST};
use crate::common::refused;

/// Asserts that every function that makes a layer refuses it, plain or over-parameterized.
#[track_caller]
fn conv_refused(config: Conv2dConfig, kind: ErrorKind, reason: &str) {
    let init = format!("Conv2dConfig::init: {reason}");
    refused(config.clone().init::<f32>(0), kind, &init);
    refused(config.clone().init::<f64>(0), kind, &init);
    let made = Conv2d::<f32>::from_parameters(config.clone(), Array4::zeros([1; 4]), None);
    refused(made, kind, &format!("Conv2d::from_parameters: {reason}"));
    do_conv_refused(config.into(), kind, reason);
}

/// As [`conv_refused`], for what only an over-parameterized layer has.
#[track_caller]
fn do_conv_refused(config: DoConv2dConfig, kind: ErrorKind, reason: &str) {
    let init = format!("DoConv2dConfig::init: {reason}");
    refused(config.clone().init::<f32>(0), kind, &init);
    refused(config.clone().init::<f64>(0), kind, &init);
    let made = DoConv2d::<f32>::from_parameters(config, None, Array3::zeros([1; 3]), None);
    refused(made, kind, &format!("DoConv2d::from_parameters: {reason}"));
}

#[test]
fn same_padding_has_its_larger_half_on_the_far_side() {
    let config = Conv2dConfig::new(1, 1, [1, 4]).padding(Padding::Same).bias(false);
    let weight =
        ndarray::Array4::from_shape_vec((1, 1, 1, 4), vec![1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let layer = Conv2d::from_parameters(config, weight, None).unwrap();
    let x = ndarray::Array4::from_shape_vec((1, 1, 1, 3), vec![100.0, 10.0, 1.0]).unwrap();
    // One zero on the left, two on the right: 1·0 + 2·100 + 3·10 + 4·1, and so on.
    let y = layer.forward(&x).unwrap();
    assert_eq!(y.as_slice().unwrap(), [234.0, 123.0, 12.0]);
}

#[test]
fn zeros() {
    let config = || Conv2dConfig::new(2, 2, [3, 3]);
    for (config, field) in [
        (Conv2dConfig::new(0, 2, [3, 3]), "in_channels"),
        (Conv2dConfig::new(2, 0, [3, 3]), "out_channels"),
        (config().groups(0), "groups"),
    ] {
        let reason = format!("{field}: expected a positive number, got 0");
        conv_refused(config, ErrorKind::Config, &reason);
    }
    for pair in [[0, 2], [2, 0], [0, 0]] {
        for (config, field) in [
            (Conv2dConfig::new(2, 2, pair), "kernel_size"),
            (config().stride(pair), "stride"),
            (config().dilation(pair), "dilation"),
        ] {
            let reason = format!("{field}: expected two positive numbers, got {pair:?}");
            conv_refused(config, ErrorKind::Config, &reason);
        }
    }
}

#[test]
fn groups_that_divide_not_both_channel_numbers() {
    for groups in [3, 4, 5, 12, MAX] {
        let reason =
            format!("groups: expected a divisor of in_channels 4 and out_channels 6, got {groups}");
        conv_refused(Conv2dConfig::new(4, 6, [3, 3]).groups(groups), ErrorKind::Config, &reason);
    }
}

#[test]
fn same_padding_with_a_stride() {
    for stride in [[2, 1], [1, 2], [MAX, MAX]] {
        let config = Conv2dConfig::new(1, 1, [3, 3]).padding(Padding::Same);
        let reason = format!(
            "padding: expected Same only with stride [1, 1], got Same with stride {stride:?}"
        );
        conv_refused(config.stride(stride), ErrorKind::Config, &reason);
    }
}

#[test]
fn kernel_extents_that_overflow() {
    let half = isize::MAX as usize / 2;
    for (kernel_size, dilation) in [
        ([MAX, 1], [1, 1]),
        ([1, MAX], [1, 1]),
        ([3, 1], [MAX, 1]),
        ([1, 2], [1, MAX]),
        ([1, 2], [1, half]),
        ([half + 1, 1], [1, 1]),
        ([MAX, MAX], [MAX, MAX]),
    ] {
        let reason = format!(
            "dilation: expected a kernel extent that fits half the address space, got dilation \
             {dilation:?} of kernel_size {kernel_size:?}"
        );
        let config = Conv2dConfig::new(1, 1, kernel_size).dilation(dilation);
        conv_refused(config, ErrorKind::Overflow, &reason);
    }
}

#[test]
fn everything_at_its_largest() {
    let config = Conv2dConfig::new(MAX, MAX, [MAX, MAX])
        .stride([MAX, MAX])
        .dilation([MAX, MAX])
        .padding(MAX)
        .groups(MAX);
    let reason = format!(
        "dilation: expected a kernel extent that fits half the address space, got dilation \
         [{MAX}, {MAX}] of kernel_size [{MAX}, {MAX}]"
    );
    conv_refused(config.clone(), ErrorKind::Overflow, &reason);
    let config = DoConv2dConfig::from(config).d_mul(MAX);
    do_conv_refused(config, ErrorKind::Overflow, &reason);
}

#[test]
fn kernels_that_overflow() {
    let root = 1 << (usize::BITS / 2);
    for (config, shape) in [
        (Conv2dConfig::new(MAX, 1, [1, 1]), [1, MAX, 1, 1]),
        (Conv2dConfig::new(1, MAX, [1, 1]), [MAX, 1, 1, 1]),
        (Conv2dConfig::new(MAX, MAX, [1, 1]), [MAX, MAX, 1, 1]),
        (Conv2dConfig::new(MAX, MAX, [1, 1]).groups(MAX), [MAX, 1, 1, 1]),
        (Conv2dConfig::new(1, 1, [root, root]), [1, 1, root, root]),
        (Conv2dConfig::new(root, root, [1, 1]), [root, root, 1, 1]),
        (Conv2dConfig::new(1, MOST + 1, [1, 1]), [MOST + 1, 1, 1, 1]),
    ] {
        let reason =
            format!("weight: expected a number of elements that can be addressed, got {shape:?}");
        conv_refused(config, ErrorKind::Overflow, &reason);
    }
}

#[test]
fn depth_multipliers_that_overflow() {
    let root = 1 << (usize::BITS / 2);
    let reason = |field: &str, shape: [usize; 3]| {
        format!("{field}: expected a number of elements that can be addressed, got {shape:?}")
    };
    let d_mul = |out_channels: usize, d_mul: usize| {
        DoConv2dConfig::new(2, out_channels, [3, 3]).d_mul(d_mul)
    };
    for s in [MAX, MOST, MOST / 18 + 1] {
        let d_offset = reason("d_offset", [2, 9, s]);
        do_conv_refused(d_mul(1, s), ErrorKind::Overflow, &d_offset);
    }
    let w = reason("w", [root, 2, root]);
    do_conv_refused(d_mul(root, root), ErrorKind::Overflow, &w);
    // The default multiplier of a large kernel.
    let large = DoConv2dConfig::new(1, 1, [root, 1]);
    do_conv_refused(large, ErrorKind::Overflow, &reason("d_offset", [1, root, root]));
}

#[test]
#[cfg(target_pointer_width = "64")]
fn parameters_that_there_is_no_room_for() {
    let error = |field: &str, count: usize| {
        format!("{field}: expected room for {count} elements, got none")
    };
    refused(
        Conv2dConfig::new(1, MOST, [1, 1]).init::<f32>(0),
        ErrorKind::Memory,
        &format!("Conv2dConfig::init: {}", error("weight", MOST)),
    );
    refused(
        DoConv2dConfig::new(1, MOST, [1, 1]).init::<f64>(0),
        ErrorKind::Memory,
        &format!("DoConv2dConfig::init: {}", error("w", MOST)),
    );
    refused(
        DoConv2dConfig::new(1, 1, [4096, 4096]).init::<f32>(0),
        ErrorKind::Memory,
        &format!("DoConv2dConfig::init: {}", error("d_offset", 1 << 48)),
    );
}

#[test]
fn depth_multipliers_that_are_too_small() {
    for d_mul in [0, 1, 5] {
        let reason = format!("d_mul: expected at least 6 for a 2×3 kernel, got {d_mul}");
        let config = DoConv2dConfig::new(1, 1, [2, 3]).d_mul(d_mul);
        do_conv_refused(config, ErrorKind::Config, &reason);
    }
}

#[test]
fn factors_that_there_is_no_room_for() {
    // Either is larger than any memory, and no product of all its extents but one is.
    for (field, config) in [
        ("w", DoConv2dConfig::new(1 << 12, 1 << 12, [3, 3]).d_mul(1 << 24)),
        ("d_offset", DoConv2dConfig::new(16, 16, [1 << 10, 1 << 10]).groups(16)),
    ] {
        for refusal in [config.validate().unwrap_err(), config.init::<f64>(0).unwrap_err()] {
            assert_eq!((refusal.kind, refusal.field.as_ref()), (ErrorKind::Memory, field));
        }
    }
}

#[test]
fn depth_multipliers_of_pointwise_kernels() {
    for d_mul in [0, 1, MAX] {
        let reason = format!("d_mul: expected none: a 1×1 kernel has no D, got {d_mul}");
        let config = DoConv2dConfig::new(1, 1, [1, 1]).d_mul(d_mul);
        do_conv_refused(config, ErrorKind::Config, &reason);
    }
}

#[test]
fn feature_composition_of_a_pairing_that_has_none() {
    // Grouped, 4 to 6 channels in 2 groups; depthwise with multiplier 2; one input channel a group
    // is enough for TensorFlow's pairing, and one output channel a group for PyTorch's.
    for (pairing, [inputs, outputs, groups], sizes) in [
        (Pairing::PyTorch, [4, 6, 2], "2 groups of 2 to 3 channels"),
        (Pairing::PyTorch, [3, 6, 3], "3 groups of 1 to 2 channels"),
        (Pairing::TensorFlow, [4, 6, 2], "2 groups of 2 to 3 channels"),
        (Pairing::TensorFlow, [4, 2, 2], "2 groups of 2 to 1 channels"),
    ] {
        let config = DoConv2dConfig::new(inputs, outputs, [3, 3]).groups(groups).pairing(pairing);
        let reason = format!(
            "composition: expected Kernel or Auto: D is not paired by input channel, got Feature \
             with pairing {pairing:?} and {sizes}"
        );
        let feature = config.clone().composition(Composition::Feature);
        do_conv_refused(feature, ErrorKind::Config, &reason);

        let mut layer: DoConv2d<f32> = config.init(0).unwrap();
        let before = layer.clone();
        let text = format!("DoConv2d::set_composition: {reason}");
        refused(layer.set_composition(Composition::Feature), ErrorKind::Config, &text);
        assert_eq!(layer, before);
        layer.set_composition(Composition::Auto).unwrap();
        assert_eq!(layer.config().composition, Composition::Auto);
    }
}

#[test]
fn initialisers_that_are_no_distribution() {
    let finite = "a finite number";
    let positive = "a finite number that is not negative";
    for (value, text) in
        [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf"), (-0.5, "-0.5")]
    {
        for (init, expected) in [
            (Init::KaimingUniform { a: value }, finite),
            (Init::KaimingNormal { a: value }, finite),
            (Init::Uniform { bound: value }, positive),
            (Init::Normal { std: value }, positive),
            (Init::Constant { value }, finite),
        ] {
            if value.is_finite() && expected == finite {
                continue;
            }
            let reason = |field: &str| format!("{field}: expected {expected}, got {text}");
            let config = || Conv2dConfig::new(1, 1, [3, 3]);
            conv_refused(config().w_init(init), ErrorKind::Value, &reason("w_init"));
            conv_refused(config().bias_init(init), ErrorKind::Value, &reason("bias_init"));
            let random = DoConv2dConfig::from(config()).d_init(DInit::Random(init));
            do_conv_refused(random, ErrorKind::Value, &reason("d_init"));
        }
    }
}

#[test]
fn initialisers_beyond_the_element_type() {
    let init = Init::Constant { value: 1e300 };
    let config = || Conv2dConfig::new(1, 1, [3, 3]);
    let reason = "expected an initialiser whose values the element type can hold, got inf";
    let text = |config: &str, field: &str| format!("{config}::init: {field}: {reason}");
    let kind = ErrorKind::Value;
    refused(config().w_init(init).init::<f32>(0), kind, &text("Conv2dConfig", "w_init"));
    refused(config().bias_init(init).init::<f32>(0), kind, &text("Conv2dConfig", "bias_init"));
    let layer = || DoConv2dConfig::from(config());
    refused(layer().w_init(init).init::<f32>(0), kind, &text("DoConv2dConfig", "w_init"));
    refused(layer().bias_init(init).init::<f32>(0), kind, &text("DoConv2dConfig", "bias_init"));
    let random = layer().d_init(DInit::Random(init));
    refused(random.init::<f32>(0), kind, &text("DoConv2dConfig", "d_init"));
    layer().w_init(init).init::<f64>(0).unwrap();
}
