//! How far off Winograd's algorithms really are, on layers of ResNet-18.

use do_conv::{Algorithm, Conv2d, Conv2dConfig, PaddingMode};
use ndarray::Array4;

use crate::bounds::normal;
use crate::common::Numbers;
use crate::oracle::{Arrays, Case};

/// The largest error of an output in parts of the sizes of its products, in roundoffs.
fn largest_error(case: &Case, algorithm: Algorithm, relu: bool) -> f64 {
    let numbers = &mut Numbers::new(3);
    let [n, r] = case.channels;
    let deviation = (2.0 / (9 * n) as f64).sqrt();
    let mut draw = |shape: [usize; 4], scale: f64, relu: bool| {
        Array4::from_shape_simple_fn(shape, || {
            let number = normal(numbers) * scale;
            f64::from((if relu { number.max(0.0) } else { number }) as f32)
        })
    };
    let [height, width] = case.image;
    let x = draw([case.batch, n, height, width], 1.0, relu);
    let weight = draw([r, n, 3, 3], deviation, false);
    let [out_height, out_width] = case.output();
    let dy = Array4::zeros([case.batch, r, out_height, out_width]);
    let arrays = Arrays { x, weight, bias: ndarray::Array1::zeros(r), dy };
    let config = Conv2dConfig::new(n, r, [3, 3]).padding(case.padding).bias(false);
    let weight = arrays.weight.mapv(|value| value as f32);
    let layer = Conv2d::from_parameters(config.algorithm(algorithm), weight, None).unwrap();
    let y = layer.forward(&arrays.x.mapv(|value| value as f32)).unwrap();
    let (exact, sizes) = (case.solve(&arrays).y, case.solve(&arrays.map(f64::abs)).y);
    let errors = y.iter().zip(&exact).zip(&sizes);
    let error = |((&y, exact), size): ((&f32, &f64), &f64)| (f64::from(y) - exact).abs() / size;
    errors.map(error).fold(0.0, f64::max) * f64::from(f32::EPSILON).recip() * 2.0
}

#[test]
fn winograd2_is_off_by_5_roundoffs_and_winograd4_by_20() {
    for (channels, image) in [(64, 28), (128, 14), (256, 7)] {
        let case = Case {
            batch: 1,
            groups: 1,
            channels: [channels, 32],
            image: [image, image],
            dilation: [1, 1],
            padding: [[1, 1], [1, 1]],
            mode: PaddingMode::Zeros,
        };
        for (algorithm, most) in [(Algorithm::Winograd2, 5.0), (Algorithm::Winograd4, 20.0)] {
            for relu in [false, true] {
                let error = largest_error(&case, algorithm, relu);
                println!("{channels} channels, {algorithm}, ReLU {relu}: {error:.2} u");
                assert!(error <= most, "{channels} channels, {algorithm}, ReLU {relu}: {error} u");
            }
        }
    }
}
