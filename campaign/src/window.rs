//! What the rounding errors of Winograd's algorithms are bounded by: not the sum of the sizes of the products
//! in an output, but that of the weights, by the largest pixel that a tile with that output may read.

use do_conv::Algorithm;

use crate::case::Case;
use crate::oracle::pixel;

/// Outputs of a tile along an axis, and the factor `κ` of its errors; none if the direct sum is computed,
/// for which the bound is the tighter one.
pub fn tile(case: &Case) -> Option<(i64, f64)> {
    let applies = case.kernel == [3, 3] && case.stride == [1, 1];
    match case.algorithm {
        Algorithm::Winograd2 if applies => Some((2, 16.0)),
        Algorithm::Winograd4 if applies => Some((4, 205.0)),
        _ => None,
    }
}

/// The factor of the unit roundoff, for a sum over so many channels or tiles.
pub fn factor(kappa: f64, terms: usize) -> f64 {
    kappa * (terms as f64 + 40.0)
}

/// Sizes for each element of results, in row-major order.
#[derive(Debug)]
pub struct Windows {
    /// `[B, O, OH, OW]`.
    pub y: Vec<f64>,
    /// `[B, I, H, W]`.
    pub dx: Vec<f64>,
    /// `[O, I/g, 3, 3]`.
    pub dkernel: Vec<f64>,
}

/// A plane of an image.
struct Plane {
    values: Vec<f64>,
    shape: [usize; 2],
}

impl Plane {
    /// The largest value among those that lie `from..=to` steps from each place, in both axes.
    fn largest(&self, shape: [usize; 2], steps: [usize; 2], from: i64, to: i64) -> Plane {
        let near = |place: usize, axis: usize| {
            let at = move |k: i64| place as i64 + k * steps[axis] as i64;
            let len = self.shape[axis] as i64;
            (from..=to).map(at).filter(move |at| (0..len).contains(at)).map(|at| at as usize)
        };
        let [rows, cols] = shape;
        let width = self.shape[1];
        let mut lines = vec![0.0f64; rows * width];
        for row in 0..rows {
            for from_row in near(row, 0) {
                for col in 0..width {
                    let line = &mut lines[row * width + col];
                    *line = line.max(self.values[from_row * width + col]);
                }
            }
        }
        let largest = |row: usize, col: usize| {
            near(col, 1).fold(0.0f64, |largest, from| largest.max(lines[row * width + from]))
        };
        let places = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        Plane { values: places.map(|(row, col)| largest(row, col)).collect(), shape }
    }
}

/// The sizes for tiles of `outputs` outputs a side, wherever tiles begin, of `x`, `kernel` and `dy` that
/// aren't negative.
pub fn windows(case: &Case, outputs: i64, x: &[f64], kernel: &[f64], dy: &[f64]) -> Windows {
    let [height, width] = case.image;
    let out = case.output().expect("the kernel fits");
    let padded = [0, 1].map(|axis| case.image[axis] + case.padding[axis].iter().sum::<usize>());
    // The pixel at each place of the padded image.
    let places: Vec<Option<usize>> = (0..padded[0] * padded[1])
        .map(|place| {
            let position = [place / padded[1], place % padded[1]];
            let [row, col] = [0, 1].map(|axis| {
                let position = position[axis] as i64 - case.padding[axis][0] as i64;
                pixel(position, case.image[axis] as i64, case.mode)
            });
            Some(row? * width + col?)
        })
        .collect();
    let weights: Vec<f64> = kernel.chunks(9).map(|taps| taps.iter().sum()).collect();
    let mut found = Windows {
        y: vec![0.0; dy.len()],
        dx: vec![0.0; x.len()],
        dkernel: vec![0.0; kernel.len()],
    };
    let (n, area, out_area) = (case.inputs, height * width, out[0] * out[1]);
    for image in 0..case.batch {
        let near_dy: Vec<Plane> = (0..case.out_channels())
            .map(|o| {
                let from = (image * case.out_channels() + o) * out_area;
                let plane = Plane { values: dy[from..from + out_area].to_vec(), shape: out };
                // An input is read by the outputs before it, and by tiles of them.
                plane.largest(padded, case.dilation, -outputs - 1, outputs - 1)
            })
            .collect();
        for channel in 0..case.in_channels() {
            let from = (image * case.in_channels() + channel) * area;
            let values = places.iter().map(|place| place.map_or(0.0, |place| x[from + place]));
            let plane = Plane { values: values.collect(), shape: padded };
            let near_x = plane.largest(out, case.dilation, 1 - outputs, outputs + 1);
            let (group, i) = (channel / n, channel % n);
            for o in group * case.outputs..(group + 1) * case.outputs {
                let to = (image * case.out_channels() + o) * out_area;
                let weight = weights[o * n + i];
                for (place, near_x) in near_x.values.iter().enumerate() {
                    found.y[to + place] += near_x * weight;
                    for tap in 0..9 {
                        found.dkernel[(o * n + i) * 9 + tap] += near_x * dy[to + place];
                    }
                }
                for (place, near_dy) in places.iter().zip(&near_dy[o].values) {
                    if let Some(place) = place {
                        found.dx[from + place] += near_dy * weight;
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;
    use crate::{make, oracle};

    #[test]
    fn a_pixel_counts_for_every_tile_that_may_read_it() {
        let case = Case {
            image: [5, 5],
            kernel: [3, 3],
            padding: [[1, 1], [1, 1]],
            algorithm: Algorithm::Winograd2,
            ..Case::default()
        };
        let first = |len: usize, value: f64| {
            let mut values = vec![0.0; len];
            values[0] = value;
            values
        };
        let (outputs, _) = tile(&case).expect("an algorithm that applies");
        let got = windows(&case, outputs, &first(25, 1.0), &first(9, 2.0), &first(25, 3.0));
        // A tile of two outputs reads one pixel beyond them on each side, and ends or begins with them.
        for (place, (&y, &dx)) in got.y.iter().zip(&got.dx).enumerate() {
            let is_near = place / 5 <= 2 && place % 5 <= 2;
            assert_eq!([y, dx], if is_near { [2.0, 6.0] } else { [0.0; 2] }, "{place}");
        }
        assert_eq!(got.dkernel, [3.0; 9]);
    }

    #[test]
    fn windows_hold_what_the_direct_sum_reads() {
        let mut checked = 0;
        for index in 0..400 {
            let case = make::case(&mut Draw::new(5, "windows", index));
            let Some((outputs, _)) = tile(&case).filter(|_| case.output().is_some()) else {
                continue;
            };
            let inputs = case.inputs(|draw| draw.real().abs());
            let kernel = vec![0.5; case.out_channels() * case.inputs * 9];
            let sums = oracle::convolve(&case, &inputs.x, &kernel, &[], &inputs.dy);
            let got = windows(&case, outputs, &inputs.x, &kernel, &inputs.dy);
            for (sums, got) in
                [(&sums.y, &got.y), (&sums.dx, &got.dx), (&sums.dkernel, &got.dkernel)]
            {
                assert_eq!(sums.len(), got.len());
                let holds = |(sum, got): (&f64, &f64)| *sum <= got * (1.0 + 1e-9);
                assert!(sums.iter().zip(got).all(holds), "{case:?}");
            }
            checked += 1;
        }
        assert!(checked > 100, "{checked} cases");
    }
}
