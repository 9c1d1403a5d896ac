//! What goes into the layers, and how the results of two implementations are compared.
//!
//! Inputs are a formula of the index and not random draws, so that a process in another language
//! makes the same ones, and two sums stand for an array of results, so that few bytes are exchanged.

use anyhow::{Result, ensure};
use do_conv::Scalar;

/// An element type that every in-process contender has, or is absent from.
pub trait Element: Scalar + candle_core::WithDType + burn_backend::Element + bytemuck::Pod {
    /// Its name in tables and to PyTorch.
    const NAME: &'static str;
    /// How far, in parts of a checksum's size, results of two implementations may be apart: ten times
    /// what rounding was seen to do, and far less than a wrong tap, border or channel does.
    const TOLERANCE: f64;
}

impl Element for f32 {
    const NAME: &'static str = "float32";
    const TOLERANCE: f64 = 1e-6;
}

impl Element for f64 {
    const NAME: &'static str = "float64";
    const TOLERANCE: f64 = 1e-14;
}

/// The seeds and scales of the arrays, which PyTorch's side has too.
pub const X: (u64, f64) = (1, 1.0);
pub const WEIGHT: (u64, f64) = (2, 0.1);
pub const D_OFFSET: (u64, f64) = (3, 0.1);
pub const DY: (u64, f64) = (4, 1.0);
const CHECKSUM: u64 = 5;

/// A prime, so that the sequence has no period in common with an array's shape.
const MODULUS: u64 = 65521;

fn value(index: usize, seed: u64) -> f64 {
    let index = index as u64;
    let residue = (31 * index * index + 7919 * index + 1000 * seed) % MODULUS;
    residue as f64 / MODULUS as f64 - 0.5
}

/// An array's elements.
pub fn values<T: Element>(shape: &[usize], (seed, scale): (u64, f64)) -> Vec<T> {
    let length = shape.iter().product();
    (0..length).map(|index| Scalar::round_from(value(index, seed) * scale)).collect()
}

/// A sum of an array's elements with weights that tell them apart.
#[derive(Debug, Clone, Copy)]
pub struct Checksum {
    pub sum: f64,
    /// The sum of the terms' sizes.
    pub size: f64,
}

impl Checksum {
    pub fn new<T: Element>(values: &[T]) -> Self {
        let mut checksum = Self { sum: 0.0, size: 0.0 };
        for (index, element) in values.iter().enumerate() {
            let term = element.widen() * value(index, CHECKSUM);
            checksum.sum += term;
            checksum.size += term.abs();
        }
        checksum
    }
}

/// The exact result of a forward pass, and the sums of the sizes of the products in each output: what
/// rounding errors are measured by.
pub struct Exact {
    pub y: Vec<f64>,
    pub sizes: Vec<f64>,
}

impl Exact {
    /// The largest error, `|ŷ − y| / Σ |x|·|w|`, in units of `u = 2⁻²⁴`.
    pub fn largest_error<T: Element>(&self, values: &[T]) -> f64 {
        let errors = values.iter().zip(&self.y).zip(&self.sizes);
        let errors = errors.map(|((value, y), size)| (value.widen() - y).abs() / size);
        // A result that is not a number stays the largest.
        let larger = |largest: f64, error| match largest.is_nan() || error <= largest {
            true => largest,
            false => error,
        };
        errors.fold(0.0, larger) / f32::UNIT_ROUNDOFF
    }
}

/// Makes sure that `peer` computed what we did, so that no time is of another or a wrong function.
pub fn compare(name: &str, ours: &[Checksum], peer: &[Checksum], tolerance: f64) -> Result<()> {
    ensure!(
        ours.len() == peer.len(),
        "{name} has {} results where we have {}",
        peer.len(),
        ours.len()
    );
    for (position, (ours, peer)) in ours.iter().zip(peer).enumerate() {
        let difference = (ours.sum - peer.sum).abs() / ours.size;
        // Written so that a result that is not a number fails.
        ensure!(
            difference <= tolerance,
            "{name} differs from us in result {position}: {peer:?}, ours {ours:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(ours: &[f32], peer: &[f32]) -> bool {
        let sums = |values| [Checksum::new::<f32>(values)];
        compare("peer", &sums(ours), &sums(peer), f32::TOLERANCE).is_err()
    }

    #[test]
    fn comparison_tells_results_apart() {
        let ours = values::<f32>(&[10_000], X);
        let rounded: Vec<f32> = ours.iter().map(|value| value * (1.0 + f32::EPSILON)).collect();
        assert!(!differ(&ours, &rounded));

        let mut swapped = ours.clone();
        swapped.swap(1234, 5678);
        assert!(differ(&ours, &swapped));

        let mut invalid = ours.clone();
        invalid[777] = f32::NAN;
        assert!(differ(&ours, &invalid));
        assert!(differ(&invalid, &ours));
    }

    #[test]
    fn errors_are_counted_in_units_of_rounding() {
        let exact = Exact { y: vec![1.0, 2.0], sizes: vec![1.0, 4.0] };
        assert_eq!(exact.largest_error(&[1.0f32, 2.0]), 0.0);
        // One unit in the last place is two of rounding, and its size is four times the output's.
        assert_eq!(exact.largest_error(&[1.0f32, 2.0f32.next_up()]), 1.0);
        assert_eq!(exact.largest_error(&[1.0f32.next_up(), 2.0]), 2.0);
        assert!(exact.largest_error(&[f32::NAN, 2.0]).is_nan());
    }
}
