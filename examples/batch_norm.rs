//! A DO-Conv layer and the batch normalisation after it become one plain convolution.

use do_conv::{BatchNorm, DoConv2d, DoConv2dConfig, Error};
use ndarray::{Array4, Axis};

fn main() -> Result<(), Error> {
    let config = DoConv2dConfig::new(8, 16, [3, 3]).padding(1).bias(false);
    let layer: DoConv2d<f32> = config.init(0)?; // or a trained one
    let x = Array4::from_shape_fn((2, 8, 14, 14), |(b, c, i, j)| ((b + 3 * c + i * j) % 11) as f32);

    // What training leaves of a batch normalisation: one number for each output channel.
    let channel = |scale: f32, shift: f32| (0..16).map(|o| shift + scale * o as f32).collect();
    let [weight, bias, mean, var]: [Vec<f32>; 4] =
        [channel(0.1, 0.5), channel(-0.2, 1.0), channel(0.3, -2.0), channel(0.5, 0.25)];
    let batch_norm = BatchNorm {
        weight: Some(&weight),
        bias: Some(&bias),
        running_mean: &mean,
        running_var: &var,
        eps: 1e-5,
    };

    // In inference, layer by layer.
    let mut expected = layer.forward(&x)?;
    for (o, mut plane) in expected.axis_iter_mut(Axis(1)).enumerate() {
        let scale = weight[o] / (var[o] + 1e-5).sqrt();
        plane.mapv_inplace(|y| (y - mean[o]) * scale + bias[o]);
    }

    // The same as one convolution.
    let conv = layer.fold().fold_batch_norm(&batch_norm)?;
    let difference = (&conv.forward(&x)? - &expected).mapv(f32::abs);
    let largest = difference.fold(0.0f32, |largest, &one| largest.max(one));
    println!("{layer}\n{conv}\nlargest difference {largest:e}");
    assert!(largest < 1e-4, "rounding errors only");
    Ok(())
}
