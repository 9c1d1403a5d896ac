//! What a detector is trained to answer.

use burn::tensor::TensorData;

use super::CLASSES;
use super::scene::{Object, SIDE, Scene};

/// Pixels of the canvas, along an axis, to one of the answers.
pub const TARGET_STRIDE: usize = 4;

/// Rows and columns of the answers.
const CELLS: usize = SIDE / TARGET_STRIDE;

/// See [`ScenesWithObjects`](super::ScenesWithObjects).
pub struct Targets {
    pub heat: TensorData,
    pub centres: TensorData,
    pub sizes: TensorData,
}

impl Targets {
    pub fn of<'a>(scenes: impl Iterator<Item = &'a Scene>) -> Self {
        let (mut heat, mut centres, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        let mut count = 0;
        for scene in scenes {
            let (of_classes, of_sizes) = (heat.len(), sizes.len());
            count += 1;
            heat.resize(count * CLASSES * CELLS * CELLS, 0f32);
            centres.resize(count * CLASSES * CELLS * CELLS, 0f32);
            sizes.resize(count * 2 * CELLS * CELLS, 0f32);
            for object in &scene.objects {
                let plane = of_classes + object.class * CELLS * CELLS;
                let centre = centre(object);
                splat(&mut heat[plane..plane + CELLS * CELLS], centre, extents(object));
                let [row, column] = centre;
                centres[plane + row * CELLS + column] = 1.0;
                let [rows, columns] = extents(object);
                sizes[of_sizes + row * CELLS + column] = rows;
                sizes[of_sizes + CELLS * CELLS + row * CELLS + column] = columns;
            }
        }
        let planes = |values, planes| TensorData::new(values, [count, planes, CELLS, CELLS]);
        Self {
            heat: planes(heat, CLASSES),
            centres: planes(centres, CLASSES),
            sizes: planes(sizes, 2),
        }
    }
}

/// Rows and columns, in pixels of the canvas.
fn extents(object: &Object) -> [f32; 2] {
    let [top, left, bottom, right] = object.bounds;
    [bottom - top, right - left]
}

/// The cell that the middle of the object lies in.
fn centre(object: &Object) -> [usize; 2] {
    let [top, left, bottom, right] = object.bounds;
    [top + bottom, left + right].map(|sum| ((sum / 2.0) as usize / TARGET_STRIDE).min(CELLS - 1))
}

/// Raises a class's heat to a Gaussian around the centre, whose deviation is a sixth of the object's extents.
fn splat(heat: &mut [f32], [row, column]: [usize; 2], extents: [f32; 2]) {
    let [down, across] = extents.map(|extent| (extent / 6.0 / TARGET_STRIDE as f32).max(0.1));
    for (at, heat) in heat.iter_mut().enumerate() {
        let distance = |at: usize, centre: usize, deviation: f32| {
            ((at as f32 - centre as f32) / deviation).powi(2)
        };
        let square = distance(at / CELLS, row, down) + distance(at % CELLS, column, across);
        *heat = heat.max((-square / 2.0).exp());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_one_at_centres_alone_and_sizes_stand_there() {
        let object = Object { class: 3, bounds: [8.0, 16.0, 32.0, 36.0] };
        let scene = Scene { pixels: Vec::new(), mask: Vec::new(), objects: vec![object] };
        let targets = Targets::of([&scene].into_iter());
        let heat: Vec<f32> = targets.heat.try_to_vec().unwrap();
        let centres: Vec<f32> = targets.centres.try_to_vec().unwrap();
        let sizes: Vec<f32> = targets.sizes.try_to_vec().unwrap();
        let cell = 5 * CELLS + 6; // (8 + 32) / 2 / 4 and (16 + 36) / 2 / 4
        let ones: Vec<usize> = (0..heat.len()).filter(|&i| heat[i] == 1.0).collect();
        assert_eq!(ones, [3 * CELLS * CELLS + cell]);
        assert_eq!(centres.iter().sum::<f32>(), 1.0);
        assert_eq!(centres[ones[0]], 1.0);
        assert_eq!([sizes[cell], sizes[CELLS * CELLS + cell]], [24.0, 20.0]);
        // A cell below the centre: the deviation is one cell.
        assert!((heat[ones[0] + CELLS] - (-0.5f32).exp()).abs() < 1e-6);
    }
}
