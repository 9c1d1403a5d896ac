//! From a detector's answers to boxes.

use burn::tensor::{Tensor, TensorReadError};

use super::detections::Detection;
use crate::data::TARGET_STRIDE;

/// Below that a net doesn't believe in an object.
const LEAST_SCORE: f32 = 0.05;

/// The boxes of each scene: the peaks of `scores`, `[B, C, h, w]`, with the `sizes`, `[B, 2, h, w]`, that stand
/// there.
pub fn decode(scores: Tensor<4>, sizes: Tensor<4>) -> Result<Vec<Vec<Detection>>, TensorReadError> {
    let [_, classes, rows, columns] = scores.dims();
    let scores: Vec<f32> = scores.try_into_vec_as()?;
    let sizes: Vec<f32> = sizes.try_into_vec_as()?;
    let pixels = rows * columns;
    let scenes = scores.chunks(classes * pixels).zip(sizes.chunks(2 * pixels));
    Ok(scenes
        .map(|(scores, sizes)| {
            let planes = scores.chunks(pixels).enumerate();
            planes
                .flat_map(|(class, plane)| {
                    peaks(plane, columns).map(move |at| {
                        let centre = [at / columns, at % columns];
                        let size = [sizes[at], sizes[pixels + at]];
                        Detection { class, score: plane[at], bounds: bounds(centre, size) }
                    })
                })
                .collect()
        })
        .collect())
}

/// Where a score is believed in and none of the eight around is higher.
fn peaks(plane: &[f32], columns: usize) -> impl Iterator<Item = usize> {
    let rows = plane.len() / columns;
    (0..plane.len()).filter(move |&at| {
        let (row, column) = (at / columns, at % columns);
        let around = |center: usize, end: usize| center.saturating_sub(1)..(center + 2).min(end);
        let highest = around(row, rows)
            .flat_map(|row| around(column, columns).map(move |column| row * columns + column))
            .map(|neighbour| plane[neighbour])
            .fold(f32::NEG_INFINITY, f32::max);
        plane[at] >= LEAST_SCORE && plane[at] >= highest
    })
}

fn bounds(centre: [usize; 2], size: [f32; 2]) -> [f32; 4] {
    let [row, column] = centre.map(|at| (at as f32 + 0.5) * TARGET_STRIDE as f32);
    let [rows, columns] = size.map(|extent| extent.max(0.0) / 2.0);
    [row - rows, column - columns, row + rows, column + columns]
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn peaks_become_boxes_and_their_flanks_do_not() {
        let device = Device::flex();
        let plane = [[0.9, 0.5, 0.0], [0.4, 0.0, 0.0], [0.0, 0.0, 0.3]];
        let none = [[0.01, 0.0, 0.0], [0.0; 3], [0.0; 3]];
        let scores = Tensor::<4>::from_data([[plane, none]], &device);
        let rows = [[8.0, 1.0, 1.0], [1.0; 3], [1.0, 1.0, 6.0]];
        let columns = [[4.0, 1.0, 1.0], [1.0; 3], [1.0, 1.0, -3.0]];
        let sizes = Tensor::<4>::from_data([[rows, columns]], &device);
        let expected = vec![vec![
            Detection { class: 0, score: 0.9, bounds: [-2.0, 0.0, 6.0, 4.0] },
            Detection { class: 0, score: 0.3, bounds: [7.0, 10.0, 13.0, 10.0] },
        ]];
        assert_eq!(decode(scores, sizes).unwrap(), expected);
    }
}
