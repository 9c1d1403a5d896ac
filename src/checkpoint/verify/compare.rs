//! Compares tensors, and kernels output channel by output channel.

use std::io;

use rayon::prelude::*;
use safetensors::Dtype;

use super::bound::{Nearest, Rounding};
use super::pair::{Layer, shapes_agree};
use super::report::{Comparison, Deviation};
use crate::checkpoint::float::Float;
use crate::checkpoint::tensor::{ELEMENTS_AT_A_TIME, Tensor};
use crate::checkpoint::unreadable::unreadable;
use crate::error::{Operation, Result};

/// A tensor of either checkpoint with its key.
pub type Pair<'a> = [(&'a str, &'a Tensor); 2];

/// Compares the kernels of a layer, whose element types are those.
pub fn compare_kernels(
    operation: Operation,
    layers: &[Layer; 2],
    dtypes: [Dtype; 2],
) -> Result<Comparison> {
    let [here, there] = layers;
    let shapes = [here.shape(), there.shape()];
    // Kernels have no other elements.
    let floats = dtypes.map(|dtype| Float::of(dtype).unwrap_or(Float::F64));
    if !shapes_agree(&shapes[0], &shapes[1]) {
        return Ok(Comparison { shapes, dtypes, worst: None, is_same: false });
    }
    let kernels = (here.kernel(operation)?, there.kernel(operation)?);
    let outputs = shapes[0].first().copied().unwrap_or(0);
    let row: usize = shapes[0].iter().skip(1).product();
    let together = (ELEMENTS_AT_A_TIME / row.max(1)).max(1);
    let rounding = Rounding::of_kernels(floats);
    let parts = (0..outputs.div_ceil(together)).into_par_iter().map(|part| {
        let first = part * together;
        let range = first..outputs.min(first + together);
        let (here, there) = (kernels.0.rows(range.clone())?, kernels.1.rows(range)?);
        let error = |errors: &Option<Vec<f64>>, element: usize| {
            errors.as_ref().and_then(|errors| errors.get(element)).copied().unwrap_or(0.0)
        };
        let elements = here.values.iter().zip(&there.values).enumerate();
        let compared = elements.map(|(element, (&a, &b))| {
            let sums = error(&here.errors, element) + error(&there.errors, element);
            rounding.compare(a, b, sums, first * row + element)
        });
        Ok(compared.reduce(Nearest::max))
    });
    let nearest = parts.try_reduce(|| None, |a, b| Ok(nearer(a, b)))?;
    Ok(comparison(shapes, dtypes, nearest))
}

/// Compares tensors by value: numbers of the floating-point types of kernels, else bytes.
pub fn compare_tensors(operation: Operation, pair: Pair) -> Result<Comparison> {
    let shapes = pair.map(|(_, tensor)| tensor.shape().to_vec());
    let dtypes = pair.map(|(_, tensor)| tensor.dtype());
    if shapes[0] != shapes[1] {
        return Ok(Comparison { shapes, dtypes, worst: None, is_same: false });
    }
    match dtypes.map(Float::of) {
        [Some(here), Some(there)] => {
            let nearest = compare_values(operation, pair, [here, there])?;
            Ok(comparison(shapes, dtypes, nearest))
        }
        _ => {
            let is_same = dtypes[0] == dtypes[1] && compare_bytes(operation, pair)?;
            Ok(Comparison { shapes, dtypes, worst: None, is_same })
        }
    }
}

/// Compares floating-point numbers.
fn compare_values(operation: Operation, pair: Pair, floats: [Float; 2]) -> Result<Option<Nearest>> {
    let [(here_key, here), (there_key, there)] = pair;
    let failed = |key| move |error: io::Error| unreadable(operation, key, &error);
    let here_contents = here.contents().map_err(failed(here_key))?;
    let there_contents = there.contents().map_err(failed(there_key))?;
    let rounding = Rounding::of_tensors(floats);
    let elements = here_contents.len() / floats[0].size();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut nearest = None;
    for start in (0..elements).step_by(ELEMENTS_AT_A_TIME) {
        let count = ELEMENTS_AT_A_TIME.min(elements - start);
        a.resize(count, 0.0);
        b.resize(count, 0.0);
        here_contents.widen(floats[0], start, &mut a).map_err(failed(here_key))?;
        there_contents.widen(floats[1], start, &mut b).map_err(failed(there_key))?;
        let compared = a.iter().zip(&b).enumerate();
        let compared =
            compared.map(|(element, (&a, &b))| rounding.compare(a, b, 0.0, start + element));
        nearest = nearer(nearest, compared.reduce(Nearest::max));
    }
    Ok(nearest)
}

/// Whether the bytes of two tensors of the same size are the same.
fn compare_bytes(operation: Operation, pair: Pair) -> Result<bool> {
    let [(here_key, here), (there_key, there)] = pair;
    let contents = there.contents().map_err(|error| unreadable(operation, there_key, &error))?;
    let mut is_same = true;
    let mut buffer = Vec::new();
    here.for_each_part(operation, here_key, |bytes, at| {
        let at = at as usize;
        let other = contents.part(at..at + bytes.len(), &mut buffer);
        is_same &= bytes == other.map_err(|error| unreadable(operation, there_key, &error))?;
        Ok(())
    })?;
    Ok(is_same)
}

fn nearer(a: Option<Nearest>, b: Option<Nearest>) -> Option<Nearest> {
    [a, b].into_iter().flatten().reduce(Nearest::max)
}

/// The comparison whose nearest element is that; without elements there is none.
fn comparison(shapes: [Vec<usize>; 2], dtypes: [Dtype; 2], nearest: Option<Nearest>) -> Comparison {
    let is_same = nearest.is_none_or(Nearest::is_within_bound);
    let worst = nearest.map(|Nearest { difference, bound, element }| {
        let mut rest = element;
        let mut at: Vec<usize> = Vec::new();
        for extent in shapes[0].iter().rev() {
            at.insert(0, rest % extent);
            rest /= extent;
        }
        Deviation { difference, bound, at }
    });
    Comparison { shapes, dtypes, worst, is_same }
}
