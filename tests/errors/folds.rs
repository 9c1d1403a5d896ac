//! What folding, its check, unfolding and counting costs refuse.

use do_conv::{BatchNorm, Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig, ErrorKind, PaddingMode};
use ndarray::Array4;

use super::{MAX, MOST};
use crate::common::refused;

fn norm<'a>(running_mean: &'a [f32], running_var: &'a [f32]) -> BatchNorm<'a, f32> {
    BatchNorm { weight: None, bias: None, running_mean, running_var, eps: 1e-5 }
}

#[test]
fn batch_norms_of_other_lengths() {
    let conv: Conv2d<f32> = Conv2dConfig::new(2, 3, [3, 3]).init(0).unwrap();
    let ones = [1.0; 9];
    for len in [0, 1, 2, 4, 9] {
        let (wrong, right) = (&ones[..len], &ones[..3]);
        for (field, batch_norm) in [
            ("weight", BatchNorm { weight: Some(wrong), ..norm(right, right) }),
            ("bias", BatchNorm { bias: Some(wrong), ..norm(right, right) }),
            ("running_mean", norm(wrong, right)),
            ("running_var", norm(right, wrong)),
        ] {
            let text =
                format!("Conv2d::fold_batch_norm: batch_norm.{field}: expected [3], got [{len}]");
            refused(conv.fold_batch_norm(&batch_norm), ErrorKind::Shape, &text);
        }
    }
}

#[test]
fn variances_that_have_no_root() {
    let conv: Conv2d<f32> = Conv2dConfig::new(1, 3, [3, 3]).init(0).unwrap();
    for (var, eps, got) in [
        (0.0, 0.0, "0 + 0"),
        (-1.0, 1e-5, "-1 + 0.00001"),
        (-0.5, 0.5, "-0.5 + 0.5"),
        (f32::NAN, 1e-5, "NaN + 0.00001"),
        (f32::INFINITY, 1e-5, "inf + 0.00001"),
        (f32::NEG_INFINITY, f64::INFINITY, "-inf + inf"),
        (1.0, f64::NAN, "1 + NaN"),
        (1.0, f64::INFINITY, "1 + inf"),
        (1.0, -1.0, "1 + -1"),
    ] {
        let (mean, running_var) = ([0.0; 3], [var; 3]);
        let batch_norm = BatchNorm { eps, ..norm(&mean, &running_var) };
        let text = format!(
            "Conv2d::fold_batch_norm: batch_norm.running_var: expected a variance that is positive \
             and finite with eps added, got {got}"
        );
        refused(conv.fold_batch_norm(&batch_norm), ErrorKind::Value, &text);
    }
    let batch_norm = BatchNorm { eps: 0.0, ..norm(&[0.0; 3], &[1.0, 2.0, 0.0]) };
    conv.fold_batch_norm(&batch_norm).unwrap_err();
    // Only the sum counts.
    let batch_norm = BatchNorm { eps: 1.5, ..norm(&[0.0; 3], &[-1.0; 3]) };
    conv.fold_batch_norm(&batch_norm).unwrap();
}

#[test]
fn checks_against_another_geometry() {
    let config = || DoConv2dConfig::new(4, 6, [3, 3]);
    let x: Array4<f32> = Array4::ones((1, 4, 8, 8));
    let layer: DoConv2d<f32> = config().init(0).unwrap();
    let printed = |settings: &str, parameters: usize, maccs: usize| {
        format!("Conv2d({settings}; {parameters} parameters; {maccs} MACCs per output pixel)")
    };
    let own = printed("4 → 6, 3×3", 222, 216);
    for (other, settings, parameters, maccs) in [
        (config().stride([1, 2]), "4 → 6, 3×3, stride 1×2", 222, 216),
        (config().dilation([2, 2]), "4 → 6, 3×3, dilation 2", 222, 216),
        (config().padding(1), "4 → 6, 3×3, padding 1", 222, 216),
        (config().groups(2), "4 → 6, 3×3, groups 2", 114, 108),
        (config().bias(false), "4 → 6, 3×3, no bias", 216, 216),
        (DoConv2dConfig::new(5, 6, [3, 3]), "5 → 6, 3×3", 276, 270),
        (DoConv2dConfig::new(4, 7, [3, 3]), "4 → 7, 3×3", 259, 252),
        (DoConv2dConfig::new(4, 6, [3, 1]), "4 → 6, 3×1", 78, 72),
    ] {
        let folded = other.init(0).unwrap().fold();
        let got = printed(settings, parameters, maccs);
        let text = format!("DoConv2d::check_fold: folded: expected {own}, got {got}");
        refused(layer.check_fold(&folded, &x), ErrorKind::Config, &text);
        // A random input is made first and then handed to the check.
        let check = layer.check_fold_random(&folded, [1, 4, 8, 8], 0);
        refused(check, ErrorKind::Config, &text);
    }

    let padded = || config().padding([1, 2]);
    let layer: DoConv2d<f32> = padded().padding_mode(PaddingMode::Circular).init(0).unwrap();
    let own = printed("4 → 6, 3×3, padding 1×2 circular", 222, 216);
    let got = printed("4 → 6, 3×3, padding 1×2", 222, 216);
    let text = format!("DoConv2d::check_fold: folded: expected {own}, got {got}");
    let folded = padded().init(0).unwrap().fold();
    refused(layer.check_fold(&folded, &x), ErrorKind::Config, &text);
}

#[test]
fn checks_against_another_padding_mode_without_padding() {
    let config = || DoConv2dConfig::new(1, 1, [3, 3]);
    let layer: DoConv2d<f32> = config().init(0).unwrap();
    let folded = config().padding_mode(PaddingMode::Reflect).init(0).unwrap().fold();
    // Nothing reads the padding, so it is the same function.
    let check = layer.check_fold_random(&folded, [1, 1, 4, 4], 0).unwrap();
    assert!(check.within_bound && check.same_bits);
}

#[test]
fn depth_multipliers_of_an_unfolded_layer() {
    let unfold = |kernel_size: [usize; 2], d_mul: usize| {
        let conv: Conv2d<f32> = Conv2dConfig::new(1, 1, kernel_size).init(0).unwrap();
        DoConv2d::from_conv2d(&conv, Some(d_mul))
    };
    let text = "DoConv2d::from_conv2d: d_mul: expected at least 9 for a 3×3 kernel, got 8";
    refused(unfold([3, 3], 8), ErrorKind::Config, text);
    let text = "DoConv2d::from_conv2d: d_mul: expected none: a 1×1 kernel has no D, got 1";
    refused(unfold([1, 1], 1), ErrorKind::Config, text);
    let text = format!(
        "DoConv2d::from_conv2d: d_offset: expected a number of elements that can be addressed, got \
         [1, 9, {MAX}]"
    );
    refused(unfold([3, 3], MAX), ErrorKind::Overflow, &text);
    let s = MOST / 9;
    let text = format!("DoConv2d::from_conv2d: w: expected room for {s} elements, got none");
    refused(unfold([3, 3], s), ErrorKind::Memory, &text);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn costs_that_overflow() {
    let input = [1 << 53, 64, 1, 1];
    let text =
        format!("DoConv2d::cost: input: expected a cost that is a 64-bit number, got {input:?}");
    for kernel_size in [[1, 1], [1, 2]] {
        let config =
            DoConv2dConfig::new(64, 64, kernel_size).padding([[0, 0], [0, kernel_size[1] - 1]]);
        let layer: DoConv2d<f32> = config.init(0).unwrap();
        refused(layer.cost(input), ErrorKind::Overflow, &text);
    }
    // A third of 2⁶⁴ multiply-accumulates forward is too many for a training step.
    let layer: DoConv2d<f32> = DoConv2dConfig::new(64, 64, [1, 1]).init(0).unwrap();
    let most = 64 * 64 * 3;
    let batch = usize::MAX / most;
    layer.cost([batch, 64, 1, 1]).unwrap();
    let input = [batch + 1, 64, 1, 1];
    let text =
        format!("DoConv2d::cost: input: expected a cost that is a 64-bit number, got {input:?}");
    refused(layer.cost(input), ErrorKind::Overflow, &text);
}
