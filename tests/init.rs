//! Parameters start by the distributions that their initialisers name, each figure from its formula.

use do_conv::{Conv2d, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, Init};

/// What a distribution has, by its formula.
enum Expected {
    /// `U(−b, b)`.
    Uniform(f64),
    /// `N(0, s²)`.
    Normal(f64),
}
use Expected::{Normal, Uniform};

/// The initialisers and what they give for these fans.
fn initialisers(fan_in: f64, fan_out: f64) -> Vec<(Init, Expected)> {
    vec![
        // √5 makes 6 / ((1 + 5) · fan_in).
        (Init::default(), Uniform(1.0 / fan_in.sqrt())),
        (Init::KaimingUniform { a: 0.0 }, Uniform((6.0 / fan_in).sqrt())),
        (Init::KaimingUniform { a: 3.0 }, Uniform((0.6 / fan_in).sqrt())),
        (Init::KaimingNormal { a: 0.0 }, Normal((2.0 / fan_in).sqrt())),
        (Init::KaimingNormal { a: 3.0 }, Normal((0.2 / fan_in).sqrt())),
        (Init::XavierUniform, Uniform((6.0 / (fan_in + fan_out)).sqrt())),
        (Init::XavierNormal, Normal((2.0 / (fan_in + fan_out)).sqrt())),
        (Init::Uniform { bound: 0.25 }, Uniform(0.25)),
        (Init::Normal { std: 2.0 }, Normal(2.0)),
    ]
}

/// Compares thousands of values with what is expected: a part of them farther than half a bound or one
/// deviation from zero, their mean and their square mean, each to about four deviations of itself.
fn check(what: &str, values: &[f64], expected: &Expected) {
    let count = values.len() as f64;
    assert!(count > 3000.0, "{what}");
    let mean = values.iter().sum::<f64>() / count;
    let square = values.iter().map(|value| value * value).sum::<f64>() / count;
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let beyond =
        |limit: f64| values.iter().filter(|value| value.abs() > limit).count() as f64 / count;
    let (deviation, beyond, part) = match *expected {
        Uniform(bound) => {
            assert!(largest <= bound && largest > 0.995 * bound, "{what}: {largest} of {bound}");
            (bound / 3f64.sqrt(), beyond(bound / 2.0), 0.5)
        }
        Normal(std) => {
            assert!(largest > 3.0 * std && largest < 6.0 * std, "{what}: {largest} for {std}");
            (std, beyond(std), 0.3173)
        }
    };
    let tolerance = 4.0 / count.sqrt();
    assert!(mean.abs() < tolerance * deviation, "{what}: mean {mean}, {deviation}");
    let ratio = square / (deviation * deviation);
    assert!((ratio - 1.0).abs() < 1.5 * tolerance, "{what}: {ratio} of the variance");
    assert!((beyond - part).abs() < tolerance / 2.0, "{what}: {beyond} for {part}");
}

#[test]
fn kernels_and_biases_have_their_distributions() {
    // Groups of 15 to 20 channels, 9 taps.
    let config = || Conv2dConfig::new(30, 40, [3, 3]).groups(2);
    for (init, expected) in initialisers(135.0, 180.0) {
        let conv: Conv2d<f64> = config().w_init(init).init(3).unwrap();
        let values: Vec<_> = conv.weight().iter().copied().collect();
        check(&format!("weight, {init:?}"), &values, &expected);
    }
    // One input channel a group and as many outputs: 4 taps are the fan-in, 4 · 1 the fan-out.
    for (init, expected) in initialisers(4.0, 4.0) {
        let config = Conv2dConfig::new(5000, 5000, [2, 2]).groups(5000).bias_init(init);
        let conv: Conv2d<f64> = config.init(4).unwrap();
        let values: Vec<_> = conv.bias().unwrap().iter().copied().collect();
        check(&format!("bias, {init:?}"), &values, &expected);
    }
}

#[test]
fn over_parameterized_kernels_have_their_distributions() {
    // 15 channels of S = 12 in, 20 channels out, as many as a 1×1 layer of features.
    let config = || DoConv2dConfig::new(30, 40, [3, 3]).groups(2).d_mul(12);
    for (init, expected) in initialisers(180.0, 240.0) {
        let layer: DoConv2d<f64> = config().w_init(init).init(5).unwrap();
        let values: Vec<_> = layer.w().iter().copied().collect();
        check(&format!("w, {init:?}"), &values, &expected);
    }
    // A depthwise kernel of 9 taps and 12 outputs a channel. `D` is the offset and the identity.
    for (init, expected) in initialisers(9.0, 108.0) {
        let layer: DoConv2d<f64> = config().d_init(DInit::Random(init)).init(6).unwrap();
        let d_offset = layer.d_offset().unwrap();
        let d = d_offset
            .indexed_iter()
            .map(|((_, tap, s), offset)| offset + if s < 9 && s % 9 == tap { 1.0 } else { 0.0 });
        check(&format!("D, {init:?}"), &d.collect::<Vec<_>>(), &expected);
    }
}

#[test]
fn single_precision_is_double_precision_rounded() {
    let config = || DoConv2dConfig::new(4, 6, [3, 3]).d_init(DInit::Random(Init::default()));
    let (single, double): (DoConv2d<f32>, DoConv2d<f64>) =
        (config().init(7).unwrap(), config().init(7).unwrap());
    for ((name, single), (_, double)) in single.parameters().zip(double.parameters()) {
        // The identity is subtracted from D after it has been rounded.
        let exact = name != "d_offset";
        for (single, double) in single.iter().zip(double) {
            let difference = (f64::from(*single) - double).abs();
            assert!(difference == 0.0 || difference < 1.2e-7, "{name}: {single}, {double}");
            assert!(!exact || *single == *double as f32, "{name}: {single}, {double}");
        }
    }
}

#[test]
fn constants_are_what_they_are() {
    let constant = |value| Init::Constant { value };
    let config = DoConv2dConfig::new(2, 3, [3, 3]).w_init(constant(2.5)).bias_init(constant(-1.0));
    let layer: DoConv2d<f32> = config.d_init(DInit::Random(constant(0.5))).init(1).unwrap();
    assert!(layer.w().iter().all(|&w| w == 2.5));
    assert!(layer.bias().unwrap().iter().all(|&bias| bias == -1.0));
    let offset = |tap, s| if tap == s { -0.5 } else { 0.5 };
    let d_offset = layer.d_offset().unwrap();
    assert!(d_offset.indexed_iter().all(|((_, tap, s), &value)| value == offset(tap, s)));
}

#[test]
fn distributions_of_no_width_are_zero() {
    for init in [Init::Uniform { bound: 0.0 }, Init::Normal { std: 0.0 }] {
        let config = Conv2dConfig::new(2, 3, [3, 3]).w_init(init).bias_init(init);
        let conv: Conv2d<f32> = config.init(1).unwrap();
        assert!(conv.parameters().all(|(_, values)| values.iter().all(|&value| value == 0.0)));
    }
}
