//! How far off each algorithm is on layers of ResNet-18: the table of `docs/engine.md`.

use do_conv::{Algorithm, Conv2d};
use ndarray::Array4;

use crate::case::Case;
use crate::draw::Draw;
use crate::{oracle, window};

/// The 3×3 layers of stride 1: channels and rows of the image.
const LAYERS: [(&str, usize, usize); 4] =
    [("r18.l1", 64, 56), ("r18.l2", 128, 28), ("r18.l3", 256, 14), ("r18.l4", 512, 7)];

/// Errors of the outputs of a layer, in unit roundoffs.
struct Errors {
    /// The largest in parts of `Σ |x||w|`, and the root of the mean square.
    largest: f64,
    rms: f64,
    /// The largest in parts of `Σ_c max|x_c| · Σ_taps |w_c|`; none for the direct sum.
    of_window: Option<f64>,
}

/// A normal number (Box and Muller).
fn normal(draw: &mut Draw) -> f64 {
    let [a, b] = [0, 1].map(|_| (draw.real() + 1.0) / 2.0);
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Prints the table; whether all layers could be computed.
pub fn print(seed: u64) -> bool {
    println!("| layer | images | algorithm | largest | rms | `c` |");
    println!("| --- | --- | --- | --: | --: | --: |");
    for (index, (name, channels, image)) in LAYERS.into_iter().enumerate() {
        for (images, relu) in [("normal", false), ("ReLU", true)] {
            let draw = &mut Draw::new(seed, "errors", index as u64);
            if let Err(error) = layer(draw, name, [channels, image], images, relu) {
                println!("FAILED: {name}: {error}");
                return false;
            }
        }
    }
    true
}

/// Prints the lines of a layer.
fn layer(
    draw: &mut Draw,
    name: &str,
    [channels, image]: [usize; 2],
    images: &str,
    relu: bool,
) -> Result<(), String> {
    let case = Case {
        inputs: channels,
        outputs: channels,
        image: [image; 2],
        kernel: [3, 3],
        padding: [[1, 1]; 2],
        bias: false,
        ..Case::default()
    };
    let deviation = (2.0 / (9 * channels) as f64).sqrt();
    let narrow = |value: f64| f64::from(value as f32);
    let pixel = |draw: &mut Draw| if relu { normal(draw).max(0.0) } else { normal(draw) };
    let x: Vec<f64> = (0..channels * image * image).map(|_| narrow(pixel(draw))).collect();
    let weights = channels * channels * 9;
    let kernel: Vec<f64> = (0..weights).map(|_| narrow(deviation * normal(draw))).collect();
    let dy = vec![0.0; x.len()];
    let exact = oracle::convolve(&case, &x, &kernel, &[], &dy).y;
    let absolute = |values: &[f64]| values.iter().map(|value| value.abs()).collect::<Vec<f64>>();
    let (sizes_x, sizes_kernel) = (absolute(&x), absolute(&kernel));
    let sizes = oracle::convolve(&case, &sizes_x, &sizes_kernel, &[], &dy).y;
    for algorithm in Algorithm::ALL {
        let case = Case { algorithm, ..case.clone() };
        let y = forward(&case, &x, &kernel).map_err(|error| error.to_string())?;
        let windows = window::tile(&case)
            .map(|(outputs, _)| window::windows(&case, outputs, &sizes_x, &sizes_kernel, &dy).y);
        let Errors { largest, rms, of_window } = errors(&y, &exact, &sizes, windows.as_deref());
        let of_window = of_window.map_or(String::new(), |part| format!("{part:.2}"));
        println!("| `{name}` | {images} | {algorithm} | {largest:.2} | {rms:.3} | {of_window} |");
    }
    Ok(())
}

fn forward(case: &Case, x: &[f64], kernel: &[f64]) -> do_conv::Result<Vec<f64>> {
    let array = |shape: [usize; 4], values: &[f64]| {
        let mut values = values.iter().map(|&value| value as f32);
        Array4::from_shape_simple_fn(shape, || values.next().unwrap_or_default())
    };
    let config = case.config().conv;
    let layer = Conv2d::from_parameters(config, array(case.weight_shape(), kernel), None)?;
    let y = layer.forward(&array(case.x_shape(), x))?;
    Ok(y.iter().map(|&y| y.into()).collect())
}

fn errors(y: &[f64], exact: &[f64], sizes: &[f64], windows: Option<&[f64]>) -> Errors {
    let unit = f64::from(f32::EPSILON) / 2.0;
    let off: Vec<f64> = y.iter().zip(exact).map(|(y, exact)| (y - exact).abs() / unit).collect();
    let parts = |of: &[f64]| off.iter().zip(of).map(|(off, of)| off / of).collect::<Vec<f64>>();
    let largest = |parts: &[f64]| parts.iter().fold(0.0f64, |most, &part| most.max(part));
    let of_sizes = parts(sizes);
    let squares: f64 = of_sizes.iter().map(|part| part * part).sum();
    Errors {
        largest: largest(&of_sizes),
        rms: (squares / of_sizes.len() as f64).sqrt(),
        of_window: windows.map(|windows| largest(&parts(windows))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_in_roundoffs_of_the_sizes() {
        let unit = f64::from(f32::EPSILON) / 2.0;
        let y = [1.0 + 3.0 * unit, 2.0 - 8.0 * unit];
        let got = errors(&y, &[1.0, 2.0], &[1.0, 2.0], Some(&[2.0, 1.0]));
        assert_eq!((got.largest, got.rms, got.of_window), (4.0, 12.5f64.sqrt(), Some(8.0)));
    }
}
