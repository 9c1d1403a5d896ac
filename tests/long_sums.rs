//! Gradients are sums over all pixels of a batch; their errors must not grow with the number of pixels.

use do_conv::{Conv2d, Conv2dConfig};
use ndarray::{Array1, Array4};

/// Additions that a term goes through at most, for that many pixels: in a block, and twice the root of
/// the number of blocks.
fn additions(pixels: usize) -> f64 {
    1024.0 + 2.0 * (pixels as f64 / 224.0).sqrt()
}

/// Images of ones and gradients of 0.1: then each sum is the number of pixels times that, and the errors
/// of adding it again and again have one sign.
fn check(config: Conv2dConfig, input: [usize; 4]) {
    let layer: Conv2d<f32> = config.clone().init(1).unwrap();
    let (x, dy) = (Array4::ones(input), 0.1f32);
    let output = layer.output_shape(input).unwrap();
    let gradients = layer.backward(&x, &Array4::from_elem(output, dy)).unwrap();
    let pixels = output[0] * output[2] * output[3];
    let exact = pixels as f64 * f64::from(dy);
    let bound = additions(pixels) * 2f64.powi(-24) * exact;
    let bias = gradients.bias.unwrap_or_else(|| Array1::zeros(0));
    for sum in gradients.weight.iter().chain(&bias) {
        let error = (f64::from(*sum) - exact).abs();
        assert!(error <= bound, "{config:?}, {input:?}: {error} > {bound}");
    }
}

#[test]
fn errors_of_gradients_grow_with_the_root_of_the_pixels() {
    let layer = Conv2dConfig::new;
    check(layer(1, 1, [1, 1]), [8, 1, 2048, 2048]);
    check(layer(1, 1, [3, 3]), [4, 1, 2050, 2050]);
    check(layer(2, 4, [3, 1]).groups(2), [2, 2, 2002, 1024]);
    check(layer(1, 5, [1, 1]), [4, 1, 2048, 2048]);
    check(layer(3, 5, [3, 3]), [3, 3, 1202, 1300]);
    check(layer(1, 6, [1, 1]), [200_000, 1, 3, 2]);
}
